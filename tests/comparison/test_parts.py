"""The parts of a comparison, each on its own."""

from __future__ import annotations

import csv
import json
import string
from dataclasses import replace
from itertools import combinations
from math import isnan
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from spikeprop import ForwardLearner
from spikeprop.comparison.activity import activity, fan_out
from spikeprop.comparison.cells import Cell, Result, build_learner, open_cell
from spikeprop.comparison.config import CompareConfig
from spikeprop.comparison.cost import Cost
from spikeprop.comparison.figures import _draw, write_figures
from spikeprop.comparison.rows import Row, make_rows
from spikeprop.comparison.search import defaults, prepare, search, space_of
from spikeprop.comparison.tables import cells_of, print_table, write_tables
from spikeprop.comparison.work import Pair, _cell
from spikeprop.evidence import Leaky, RunningMean
from spikeprop.neurons import LIF, Delay
from spikeprop.rules import SPVoltage
from spikeprop.rules.names import split_variant
from spikeprop.shapes import Convolution, build_shape, check_shape

CELL = Cell(
    rule="sp-voltage", network="4", dataset="saccade-digits", options={"lr": 1e-3}, seed=0,
    epochs=1, batch_size=2, time_window=63_000, pool=1, shift=0, beta=0.9,
)  # fmt: skip


def test_networks_are_read_from_a_word() -> None:
    assert check_shape("256-128") == ([], [256, 128])
    assert check_shape("conv:8-16:64") == ([Convolution(8), Convolution(16)], [64])
    assert check_shape("conv:8k5s2-16-9k4s1p:64") == (
        [Convolution(8, 5, 2, pooled=False), Convolution(16), Convolution(9, 4, 1, pooled=True)],
        [64],
    )
    net = build_shape("conv:3-4:5", (2, 8, 12), beta=0.9, dropout=0.0, seed=0)
    assert [type(m).__name__ for m in net] == [
        "Conv2d", "LIF", "AvgPool2d", "Conv2d", "LIF", "AvgPool2d", "Flatten", "Linear", "LIF",
    ]  # fmt: skip
    assert net(torch.zeros(1, 2, 8, 12)).shape == (1, 5)
    strided = build_shape("conv:3k5s2-4k4s2p:5", (2, 9, 12), beta=0.9, dropout=0.0, seed=0)
    assert [type(m).__name__ for m in strided] == [
        "Conv2d", "LIF", "Conv2d", "LIF", "AvgPool2d", "Flatten", "Linear", "LIF",
    ]  # fmt: skip
    assert strided(torch.zeros(1, 2, 9, 12)).shape == (1, 5)
    dropping = build_shape("6-5-4", (2, 3, 3), beta=0.9, dropout=0.2, seed=0)
    assert sum(isinstance(m, nn.Dropout) for m in dropping) == 2
    for word in ("", "256-", "conv:8", "conv::4", "0", "a-b", "conv:8k5:4", "conv:8p:4", "8k5s2"):
        with pytest.raises(ValueError, match="network must be sizes"):
            check_shape(word)
    small: list[tuple[str, tuple[int, ...]]] = [
        ("conv:2-2-2:4", (2, 4, 4)), ("conv:2k5s2p:4", (2, 2, 9)), ("conv:2:4", (9,)),
    ]  # fmt: skip
    for word, shape in small:
        with pytest.raises(ValueError, match="needs larger pictures than inputs of shape"):
            build_shape(word, shape, beta=0.9, dropout=0.0, seed=0)


def test_lags_are_drawn_from_the_seed() -> None:
    net = build_shape("4-3", (2, 3, 3), beta=0.9, dropout=0.0, seed=0, lags=(0, 3))
    again = build_shape("4-3", (2, 3, 3), beta=0.9, dropout=0.0, seed=0, lags=(0, 3))
    delays = [module.delay for module in net if isinstance(module, Delay)]
    assert [d.shape for d in delays] == [(18,), (4,)]
    assert set(torch.cat(delays).tolist()) == {0, 3}
    torch.testing.assert_close(net.state_dict(), again.state_dict())
    conv = build_shape("conv:3:5", (2, 4, 4), beta=0.9, dropout=0.0, seed=0, lags=(0, 1))
    assert [m.delay.shape for m in conv if isinstance(m, Delay)] == [(2, 4, 4), (12,)]


def test_networks_depend_on_the_seed_alone() -> None:
    first, again, other = (
        build_shape("5-4", (2, 3, 3), beta=0.9, dropout=0.0, seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(first[1].weight, again[1].weight)
    assert not torch.equal(first[1].weight, other[1].weight)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"processes": -1}, "processes must be at least 0"),
        ({"epochs": 3, "trial_epochs": 4}, "trial_epochs must be None or lie within"),
        ({"validation": 1.0}, "validation must lie within"),
        ({"beta": 2.0}, "beta must lie within"),
        ({"rules": ()}, "rules must name one or more"),
        ({"rules": ("bptt", "bptt")}, "each once"),
        ({"lags": (0, 20_000)}, "lags must be whole numbers of time steps"),
        ({"networks": ("x",)}, "network must be sizes"),
        ({"update_every": 0}, "update_every must be None or at least 1, got 0"),
        ({"device": "cuda"}, r"measure must be off \(--no-measure\) on another device"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CompareConfig(**options)


def test_a_cell_learns_on_its_device() -> None:
    data = open_cell(CELL)
    pair = Pair("saccade-digits", "4", "sigprop")
    elsewhere = replace(CELL, device="meta")  # a device of torch's that every machine has
    assert build_learner(elsewhere, data).device.type == "meta"
    assert _cell(CompareConfig(device="meta", measure=False), pair, {}, seed=0).device == "meta"
    with pytest.raises(ValueError, match="device 'abacus' cannot be used"):
        build_learner(replace(CELL, device="abacus"), data)


def test_weights_move_as_often_as_the_cell_says() -> None:
    data = open_cell(CELL)
    pair = Pair("saccade-digits", "4", "e-prop")
    config = CompareConfig(update_every=7)
    assert build_learner(_cell(config, pair, {}, seed=0), data).update_every == 7
    asked = build_learner(_cell(CompareConfig(), pair, {}, seed=0), data)
    assert asked.update_every == asked.rule.update_every > 1


@pytest.mark.parametrize(
    ("rule", "rates"),
    [
        ("sigprop", [0.0, 1e-3]),
        ("sigprop[signal=learned]", [0.0, 1e-3, 1e-3]),
        ("sigprop[readout=trained]", [0.0, 0.0, 1e-3]),
    ],
)
def test_what_a_frozen_cell_predicts_by_learns(rule: str, rates: list[float]) -> None:
    cell = replace(CELL, rule=rule, network="5-4", options={"lr": 1e-3}, freeze=True)
    learner = build_learner(cell, open_cell(cell))
    found = [item.param_groups[0]["lr"] for item in learner.all_optimizers if item is not None]
    assert found == rates


def test_a_cell_is_named_by_all_that_determines_it() -> None:
    keys = {
        CELL.key,
        Cell(**{**CELL.__dict__, "seed": 1}).key,
        Cell(**{**CELL.__dict__, "options": {"lr": 2e-3}}).key,
        Cell(**{**CELL.__dict__, "freeze": True}).key,
        Cell(**{**CELL.__dict__, "validation": 0.2}).key,
        Cell(**{**CELL.__dict__, "beta": 0.8}).key,
        Cell(**{**CELL.__dict__, "device": "meta"}).key,
        Cell(**{**CELL.__dict__, "update_every": 9}).key,
    }
    assert len(keys) == 8
    # Where the data lie says nothing of the result.
    assert Cell(**{**CELL.__dict__, "data_dir": "/elsewhere"}).key == CELL.key


def test_trials_may_be_shorter_than_final_runs() -> None:
    config = CompareConfig(epochs=12, trial_epochs=6)
    pair = Pair("saccade-digits", "4", "sigprop")
    assert _cell(config, pair, {}, seed=0, validation=0.2).epochs == 6
    assert _cell(config, pair, {}, seed=0).epochs == 12
    assert _cell(CompareConfig(epochs=12), pair, {}, seed=0, validation=0.2).epochs == 12


def test_a_variant_fixes_options_and_leaves_the_rest_to_the_search() -> None:
    word = "sigprop[evidence=running-mean+leaky:0.5,lr=1e-4,rectify=False]"
    name, fixed = split_variant(word)
    assert name == "sigprop"
    assert fixed == {"evidence": "running-mean+leaky:0.5", "lr": 1e-4, "rectify": False}
    assert split_variant("my_rules.py:Mine") == ("my_rules.py:Mine", {})
    assert set(space_of(word)) == {"tau", "dropout"}
    cell = replace(CELL, rule=word, options=defaults(word), order_window=126_000, limit=40)
    assert set(cell.key) <= set(string.ascii_letters + string.digits + "._+-")
    data = open_cell(cell)
    assert len(data.classes) == 20
    assert data.summary["train"] == 40
    learner = build_learner(cell, data)
    assert learner.rule.evidence == (RunningMean(), Leaky(0.5))
    assert not learner.rule.rectify
    assert learner.optimizers[0].param_groups[0]["lr"] == 1e-4
    with pytest.raises(ValueError, match="limit must be at most"):
        open_cell(replace(cell, limit=10**6))


def test_a_cell_from_before_an_option_was_there_keeps_its_name() -> None:
    assert CELL.key == "sp-voltage_4_saccade-digits_test_seed0_4b7626ca289c"


def test_spikes_and_operations_are_counted() -> None:
    net = nn.Sequential(nn.Linear(3, 2), LIF(0.5, init_hidden=True), nn.Linear(2, 4),
                        LIF(0.5, init_hidden=True))  # fmt: skip
    with torch.no_grad():
        net[0].weight.fill_(2.0), net[0].bias.zero_()
        net[2].weight.zero_(), net[2].bias.zero_()
    learner = ForwardLearner(net, SPVoltage(2))
    learner.bind((3,))
    x = torch.tensor([[[1.0, 0, 0], [0, 0, 0]], [[1, 1, 0], [0, 0, 0]]])  # (T=2, B=2, 3)
    # Recording 1: one event, then two; both neurons of layer 1 spike at either step; layer 2 never.
    spikes, operations = activity(learner, [(x, torch.tensor([0, 1]))])
    assert spikes == (2 + 2) / 2
    assert operations == (3 * 2 + 4 * 4) / 2
    assert fan_out(nn.Conv2d(2, 6, 3, stride=1)) == 6 * 9
    assert fan_out(nn.Conv2d(2, 6, 4, stride=2, groups=2)) == 6 * 16 / (4 * 2)
    with pytest.raises(TypeError, match="fan-out of ConvTranspose2d"):
        fan_out(nn.ConvTranspose2d(1, 1, 3))


def test_a_search_begins_with_the_defaults_and_goes_on(tmp_path: Path) -> None:
    url = prepare(None, tmp_path)
    tried: list[dict[str, Any]] = []

    def score(options: dict[str, Any]) -> float:
        tried.append(options)
        return float(options["lr"] == 2e-4)

    search("a", "sigprop", 3, url, score)
    assert tried[0] == defaults("sigprop")
    assert len(tried) == 3
    best = search("a", "sigprop", 8, url, score)
    assert len(tried) == 8
    values = [score(options) for options in tried[:8]]
    assert best == tried[values.index(max(values))]
    # The same search in one go tries the same.
    again: list[dict[str, Any]] = []
    search("a", "sigprop", 8, prepare(None, _made(tmp_path / "b")), lambda o: again.append(o) or
           float(o["lr"] == 2e-4))  # type: ignore[func-returns-value]  # fmt: skip
    assert again == tried[:8]


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_a_database_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"storage 'nonsense://x' cannot be used"):
        prepare("nonsense://x", tmp_path)


def _result(accuracy: float) -> Result:
    return Result(accuracy, [accuracy], 10.0, 1e4, 1.0, "engine", "sha")


def _rows() -> list[Row]:
    pairs = [Pair("d", "4", rule) for rule in ("worse", "bptt", "better", "broken")]
    worse, bptt, better, broken = pairs
    found: dict[Any, Any] = {
        (worse, False): [_result(0.5), _result(0.6)],
        (bptt, False): [_result(0.7), _result(0.9)],
        (better, False): [_result(0.9), _result(0.9)],
        (broken, False): ["seed 0: it diverged", "seed 1: it diverged"],
        (better, True): [_result(0.4), _result(0.6)],
    }
    costs = {worse: Cost(2.0, 30.0), bptt: Cost(1.0, 60.0)}
    return make_rows(pairs, {pair: {"lr": 1.0} for pair in pairs}, found, costs)


def test_rows_are_compared_by_seed_with_bptt() -> None:
    rows = {row.rule: row for row in _rows()}
    assert [row.rule for row in _rows()] == ["better", "bptt", "worse", "broken"]
    assert rows["worse"].difference == pytest.approx((-0.2 - 0.3) / 2)
    assert rows["worse"].difference_error == pytest.approx(0.05)
    assert (rows["worse"].speed, rows["worse"].memory) == (0.5, 0.5)
    assert rows["better"].frozen_accuracy == pytest.approx(0.5)
    assert isnan(rows["better"].speed)
    assert isnan(rows["broken"].accuracy)
    assert "it diverged" in cells_of(rows["broken"])[3]


@pytest.mark.parametrize("variants", [1, 2])
def test_the_only_variant_of_bptt_stands_for_it(variants: int) -> None:
    rules = ["sigprop", "bptt[homeostasis=0.1]", "bptt[homeostasis=0.2]"][: 1 + variants]
    pairs = [Pair("d", "4", rule) for rule in rules]
    found = {(pair, False): [_result(0.5 + 0.1 * k), _result(0.5)] for k, pair in enumerate(pairs)}
    costs = {pair: Cost(1.0 + k, 2.0) for k, pair in enumerate(pairs)}
    rows = make_rows(pairs, {pair: {} for pair in pairs}, found, costs)
    ours = next(row for row in rows if row.rule == "sigprop")
    if variants == 1:
        assert ours.difference == pytest.approx(-0.05)
        assert ours.speed == pytest.approx(2.0)
    else:
        assert isnan(ours.difference)
        assert isnan(ours.speed)


def test_tables_and_figures_show_the_rows(tmp_path: Path) -> None:
    rows = _rows()
    markdown, latex, table = write_tables(rows, tmp_path, "A note.")
    text = markdown.read_text()
    assert "| worse " in text
    assert "55.00 ± 7.07" in text
    assert text.endswith("A note.\n")
    assert r"\toprule" in latex.read_text()
    found = {row["rule"]: row for row in csv.DictReader(table.read_text().splitlines())}
    assert json.loads(found["better"]["accuracies"]) == [0.9, 0.9]
    assert float(found["better"]["difference"]) == pytest.approx(0.1)
    (figure,) = write_figures(rows, tmp_path)
    assert figure.read_bytes()[:4] == b"\x89PNG"
    assert write_figures([row for row in rows if row.failure], tmp_path) == []


def test_the_terminal_shows_what_a_variant_is(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([replace(_rows()[0], rule="sigprop[signal=learned,lr=2e-3]")])
    assert "sigprop[signal=learned,lr=2e-3]" in capsys.readouterr().out


def test_names_in_a_figure_do_not_cover_each_other() -> None:
    made = next(row for row in _rows() if row.rule == "bptt")
    rows = [replace(made, rule=f"a long name {k}", speed=1.0 - k / 100) for k in range(5)]
    drawn = _draw(rows, "title")
    drawn.draw_without_rendering()
    boxes = [text.get_window_extent() for text in drawn.axes[1].texts]
    assert len(boxes) == 5
    for one, other in combinations(boxes, 2):
        assert not one.overlaps(other)
