"""Presets: which options they stand for, and what they say before they start."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from rich.console import Console

from spikeprop import presets
from spikeprop.cli import parse
from spikeprop.config import PresetName, TrainConfig, from_json, to_json
from spikeprop.datasets import make_events, write_events
from spikeprop.train import train


def test_the_names_are_those_of_the_configuration() -> None:
    assert set(get_args(PresetName)) == set(presets.PRESETS)


@pytest.mark.parametrize("name", list(presets.PRESETS))
def test_the_command_line_and_python_mean_the_same(name: str) -> None:
    config = parse(["train", "--preset", name])
    assert config == presets.preset(name)
    assert config.dataset == name
    assert from_json(to_json(config)) == config
    changed = ["--epochs", "2", "--hidden", "64", "--time-window=5000"]
    config = parse(["train", f"--preset={name}", *changed])
    assert config == presets.preset(name, epochs=2, hidden=(64,), time_window=5000)
    assert config.n_time_bins is None


def test_other_names_are_refused() -> None:
    with pytest.raises(ValueError, match="preset"):
        parse(["train", "--preset", "imagenet"])
    with pytest.raises(ValueError, match="no preset 'imagenet': choose one of nmnist, dvsgesture"):
        presets.preset("imagenet")
    assert parse(["train"]) == TrainConfig()


def nmnist(root: Path) -> None:
    rng = np.random.default_rng(0)
    for split, count in (("Train", 4), ("Test", 2)):
        for digit in range(10):
            for number in range(count):
                n = 300
                x, y = (
                    np.clip(rng.normal(c, 4, n), 0, 33).astype(int) for c in (digit * 3 + 3, 17)
                )
                t = np.sort(rng.integers(0, 300_000, n))
                events = make_events(x, y, t, rng.integers(0, 2, n))
                write_events(root / split / str(digit) / f"{number:05}.bin", events)


def test_a_preset_says_what_it_costs_and_trains(tmp_path: Path) -> None:
    nmnist(tmp_path / "data")
    config = presets.preset(
        "nmnist",
        data_dir=tmp_path / "data",
        runs_dir=tmp_path / "runs",
        hidden=(32,),
        epochs=1,
        batch_size=10,
        pool=2,
        validation=0.0,
    )
    text = io.StringIO()
    folder = train(config, Console(file=text, width=200))
    said = text.getvalue()
    assert "preset nmnist: downloads 1.2 GB unless it is there, takes about 5 GB" in said
    assert re.search(r"expected: \d+ s of training for 1 epochs, \d+\.\d GB of memory", said)
    assert said.index("preset nmnist") < said.index("expected:") < said.index("test accuracy")
    assert "network 578-32" in said  # 17 x 17 pixels, two polarities
    assert folder.metrics()["samples"] == 20


def test_times_in_words() -> None:
    assert [presets._words(s) for s in (0.1, 80, 600, 7200)] == ["1 s", "80 s", "10 min", "2.0 h"]
