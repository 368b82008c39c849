"""The comparison at its smallest size: equal budgets, no test data in choices, resuming."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, replace
from pathlib import Path
from statistics import stdev

import numpy as np
import pytest

from spikeprop.datasets import Binning
from spikeprop.experiments import compare as module
from spikeprop.experiments.compare import CompareConfig, compare, main
from spikeprop.experiments.frozen import frozen_network
from spikeprop.experiments.linear import linear, summed_frames
from spikeprop.experiments.recordings import Recordings, load, splits, tuning_split
from spikeprop.experiments.report import paired_difference, print_report
from spikeprop.experiments.search import METHODS, TRIALS, best, trials
from spikeprop.experiments.store import Store


@pytest.fixture(scope="module")
def small() -> Recordings:
    return load("saccade-digits").first(train=20, test=8)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[CompareConfig, list[str]]:
    config = CompareConfig(quick=True, memory=False, out=tmp_path_factory.mktemp("compare"))
    lines: list[str] = []
    compare(config, lines.append)
    return config, lines


def test_both_methods_get_the_same_number_of_different_trials() -> None:
    for budget in (1, 3, TRIALS):
        lists = [trials(method, budget) for method in METHODS]
        assert [len(configs) for configs in lists] == [budget, budget]
        assert [len({str(c) for c in configs}) for configs in lists] == [budget, budget]
    with pytest.raises(ValueError, match="trials"):
        trials("bptt", TRIALS + 1)
    with pytest.raises(ValueError, match="method"):
        trials("magic", 1)


def test_equal_budget_was_spent(finished: tuple[CompareConfig, list[str]]) -> None:
    _, lines = finished
    spent = [sum(f", {method}: " in x and "trial" in x for x in lines) for method in METHODS]
    assert spent == [2, 2]


def test_best_takes_the_first_of_equals() -> None:
    configs = trials("bptt", 3)
    assert best(configs, [0.5, 0.9, 0.9]) == configs[1]
    with pytest.raises(ValueError, match="every trial"):
        best(configs, [0.5])


def test_tuning_never_sees_the_test_part(small: Recordings) -> None:
    for folds in (0, 3):
        run = splits(small, folds, seeds=2)[0]
        tuning = tuning_split(small, run, 0.2)
        assert not set(run.test) & (set(tuning.train) | set(tuning.test))
        assert set(tuning.train) | set(tuning.test) == set(run.train)
        assert not set(tuning.train) & set(tuning.test)


def test_folds_cover_the_pooled_set(small: Recordings) -> None:
    tested = np.concatenate([split.test for split in splits(small, 4, seeds=1)])
    assert sorted(tested) == list(range(len(small)))


def test_results_are_written_and_reported(
    finished: tuple[CompareConfig, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    config, _ = finished
    report = compare(config)
    print_report(report)
    shown = capsys.readouterr().out
    for row in ("spikeprop", "bptt", "linear", "paired", report.fingerprint):
        assert row in shown
    assert [len(report.cells[m]) for m in METHODS] == [2, 2]
    assert report.time_ratio is not None
    assert report.memory_ratio is None
    cells = json.loads((config.out / "results.json").read_text())["cells"]
    with (config.out / "results.csv").open() as file:
        assert [row["cell"] for row in csv.DictReader(file)] == list(cells)


def test_finished_cells_are_not_run_again(
    finished: tuple[CompareConfig, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, lines = finished

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a finished cell was run again")

    monkeypatch.setattr(module, "train_together", refuse)
    again: list[str] = []
    compare(config, again.append)
    assert again == lines
    with pytest.raises(AssertionError, match="run again"):
        compare(replace(config, shift=2))


def test_what_is_missing_is_run(finished: tuple[CompareConfig, list[str]], tmp_path: Path) -> None:
    config, _ = finished
    store = Store(config.out)
    kept = {key: cell for key, cell in store.cells.items() if "seed 1, bptt" not in key}
    Store(tmp_path).put(kept)
    report = compare(replace(config, out=tmp_path))
    assert report.accuracies("bptt") == compare(config).accuracies("bptt")


def test_cross_validation(tmp_path: Path) -> None:
    config = CompareConfig(quick=True, folds=3, memory=False, baselines=False, out=tmp_path)
    report = compare(config)
    assert report.folds == 2
    assert {method: len(cells) for method, cells in report.cells.items()} == dict.fromkeys(
        METHODS, 2
    )


def test_paired_difference() -> None:
    difference, error = paired_difference([0.9, 0.8, 0.7], [0.8, 0.8, 0.8])
    assert difference == pytest.approx(0.0)
    assert error == pytest.approx(stdev([0.1, 0.0, -0.1]) / 3**0.5)
    with pytest.raises(ValueError, match="pairs"):
        paired_difference([0.9], [])


def test_linear_and_frozen_baselines_learn_something(small: Recordings) -> None:
    run = splits(small, 0, seeds=1)[0]
    tuning = tuning_split(small, run, 0.2)
    binning = Binning(time_window=63_000)
    flat = linear(summed_frames(small, binning), small.targets, run, tuning)
    frozen = frozen_network(small, binning, run, tuning, (64, 64))
    assert flat.test > 0.3
    assert frozen.test > 0.2
    assert frozen.readout in ("voltage", "rate")


def test_fingerprint_tells_data_apart(small: Recordings) -> None:
    other = small.first(train=19, test=8)
    assert small.fingerprint() == small.first(train=20, test=8).fingerprint()
    assert small.fingerprint() != other.fingerprint()


@pytest.mark.parametrize("content", ["{", "[]", '{"version": 99, "cells": {}}'])
def test_a_foreign_results_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(ValueError, match=r"results\.json"):
        Store(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"), [("epochs", 0), ("folds", 1), ("hidden", ()), ("trials", 99), ("seeds", 0)]
)
def test_wrong_options_are_named(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        CompareConfig(**{name: value})  # type: ignore[arg-type]


def test_command_line_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["compare", "--dataset", "nmnist", "--data-dir", str(tmp_path), "--quick"]
    monkeypatch.setattr("sys.argv", [*arguments, "--out", str(tmp_path / "out")])
    monkeypatch.setattr(
        module, "load", lambda name, root: (_ for _ in ()).throw(FileNotFoundError("no files"))
    )
    assert main() == 2
    assert "no files" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_options_are_plain() -> None:
    assert json.dumps(asdict(CompareConfig()), default=str)
