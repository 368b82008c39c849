"""Options of a training run: checked, documented, and the same after a trip through JSON."""

import dataclasses
import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikeprop.config import (
    BEFORE,
    SIGPROP_OPTIONS,
    TrainConfig,
    differences,
    from_json,
    lag_steps,
    to_json,
)


def test_defaults_are_allowed_and_survive_json() -> None:
    config = TrainConfig()
    assert from_json(to_json(config)) == config


@given(
    hidden=st.lists(st.integers(1, 5000), min_size=1, max_size=4).map(tuple),
    beta=st.floats(0, 1),
    lr=st.floats(1e-300, 1e3),
    homeostasis=st.none() | st.floats(1e-6, 1),
    data_dir=st.none() | st.just(Path("some") / "where"),
    name=st.none() | st.sampled_from(["a", "run 1", "größe"]),
    rectify=st.booleans(),
)
def test_json_keeps_every_bit(**options: Any) -> None:
    config = TrainConfig(**options)
    again = from_json(to_json(config))
    assert again == config
    assert isinstance(again.hidden, tuple)


@given(st.text())
def test_json_of_anything_else_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="the file"):
        from_json(text, "the file")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, r"epochs must be at least 1, got 0"),
        ({"batch_size": -3}, r"batch_size must be at least 1, got -3"),
        ({"update_every": 0}, r"update_every must be at least 1, got 0"),
        ({"n_time_bins": 0}, r"n_time_bins must be at least 1"),
        ({"shift": -1}, r"shift must be at least 0, got -1"),
        ({"n_time_bins": 5, "event_count": 5}, r"n_time_bins and event_count.*not both"),
        ({"lags": (0, 20_000)}, r"lags must be whole numbers of time steps of 15000 µs"),
        ({"lags": (0, 15_000), "n_time_bins": 5}, r"lags=.* needs time steps of one length"),
        ({"tau_mem": 20.0, "event_count": 5}, "tau_mem=20.0 needs time steps of one length"),
        ({"tau_mem": 20.0, "beta": 0.6}, r"tau_mem stands in place of beta.* \(got 20.0 and 0.6\)"),
        ({"tau_mem": 0.0}, r"tau_mem must be in \(0, inf\), got 0"),
        (
            {"evidence_tau": 20.0, "evidence": "running-mean"},
            "that of evidence 'leaky', got 'running-mean'",
        ),
        ({"hidden": ()}, r"hidden must be one or more sizes"),
        ({"hidden": (5, 0)}, r"hidden must be one or more sizes of at least 1, got \(5, 0\)"),
        ({"beta": 1.5}, r"beta must be in \[0, 1\], got 1.5"),
        ({"validation": 1.0}, r"validation must be in \[0, 1\), got 1.0"),
        ({"lr": 0.0}, r"lr must be in \(0, inf\), got 0.0"),
        ({"lr": float("nan")}, r"lr must be in \(0, inf\), got nan"),
        ({"homeostasis": 0.0}, r"homeostasis must be in \(0, 1\]"),
        ({"dataset": "imagenet"}, r"dataset must be one of saccade-digits, nmnist, .*'imagenet'"),
        ({"name": "../elsewhere"}, r"name must be the name of one folder"),
        ({"name": ".."}, r"name must be the name of one folder"),
        ({"loss": "cosin"}, r"loss must be one of cosine, .*'cosin'; did you mean 'cosine'"),
        ({"rule": "sigprob"}, r"'sigprob'; did you mean 'sigprop'"),
        ({"top_k": 0}, r"top_k must be at least 1, got 0"),
        ({"rule": "sp-voltage", "tau": 0.5, "rectify": False}, r"has no tau, rectify"),
    ],
)
def test_values_outside_their_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 2.5}, r"epochs must be of type int, got 2.5"),
        ({"epochs": True}, r"epochs must be of type int, got True"),
        ({"quiet": 1}, r"quiet must be of type bool, got 1"),
        ({"hidden": 5}, r"hidden must be a sequence of int, got 5"),
        ({"lr": "fast"}, r"lr must be of type float, got 'fast'"),
        ({"runs_dir": None}, r"runs_dir must be of type .*Path, got None"),
    ],
)
def test_values_of_another_type(options: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        TrainConfig(**options)


def test_times_mean_the_same_whatever_the_length_of_a_step() -> None:
    fine, coarse = (
        TrainConfig(time_window=window, tau_mem=22, evidence="leaky", evidence_tau=12.5)
        for window in (5_000, 15_000)
    )
    assert coarse.decay == pytest.approx(fine.decay**3)
    assert 1 - coarse.newest == pytest.approx((1 - fine.newest) ** 3)
    given = TrainConfig(beta=0.8, evidence="leaky", evidence_alpha=0.3)
    assert (given.decay, given.newest) == (0.8, 0.3)


def test_whole_numbers_are_floats_and_strings_are_paths() -> None:
    config = TrainConfig(beta=1, data_dir="data")  # type: ignore[arg-type]
    assert isinstance(config.beta, float)
    assert config.data_dir == Path("data")


def edited(**changes: Any) -> str:
    head = json.loads(to_json(TrainConfig()))
    head["config"] |= changes
    return json.dumps(head)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "c.json is not valid JSON"),
        ("[]", "c.json is not the configuration of a spikeprop run"),
        (json.dumps({"format": "spikeprop-run", "version": 99}), "version 99.*reads version 1"),
        (json.dumps({"format": "spikeprop-run", "version": 1}), "no options under 'config'"),
        (edited(momentum=0.9, zeal=1), "unknown options momentum, zeal.*another version"),
        (edited(epochs=0), "c.json: epochs must be at least 1, got 0"),
        (edited(lr="fast"), "c.json: lr must be of type float"),
    ],
)
def test_json_of_another_version(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_json(text, "c.json")


def test_json_with_an_option_missing() -> None:
    head = json.loads(to_json(TrainConfig()))
    del head["config"]["beta"]
    with pytest.raises(ValueError, match="no option beta"):
        from_json(json.dumps(head))


def test_json_from_before_an_option_was_there() -> None:
    head = json.loads(to_json(TrainConfig()))
    del head["sha256"]  # older configurations have no digest
    for name in BEFORE:
        del head["config"][name]
    then = from_json(json.dumps(head))
    assert then == TrainConfig(lags=(0,))
    assert lag_steps(then.lags, then.time_window) == (0,)


def test_delays_are_whole_steps() -> None:
    assert lag_steps(None, 3_000) == (0, 3)
    assert lag_steps((0, 45_000), 3_000) == (0, 15)
    assert TrainConfig(n_time_bins=60, lags=(0,)).lags == (0,)


def test_differences_name_what_was_given_and_what_the_run_has() -> None:
    stored = TrainConfig(epochs=3, beta=0.5, name="a")
    assert differences(TrainConfig(), stored) == []
    assert differences(TrainConfig(epochs=3, name="b", quiet=True), stored) == []
    assert differences(TrainConfig(epochs=4), stored) == ["--epochs 4 (run: 3)"]


def test_every_option_is_documented() -> None:
    source = inspect.getsource(TrainConfig)
    for field in dataclasses.fields(TrainConfig):
        assert re.search(rf'^    {field.name}: [^\n]*\n    """[A-Za-z]', source, re.MULTILINE)


def test_options_of_sigprop_exist() -> None:
    assert set(SIGPROP_OPTIONS) <= {field.name for field in dataclasses.fields(TrainConfig)}
