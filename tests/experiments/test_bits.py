"""The experiment on accuracy against bits: validation chooses, the test set is read once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spikeprop.assemble import Data, open_data
from spikeprop.config import TrainConfig
from spikeprop.experiments import bits
from spikeprop.experiments.bits import BitsConfig, BitsExperiment, main, table


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Coarse time steps: the experiment's stages in seconds."""

    def coarse(config: TrainConfig) -> Data:
        return open_data(TrainConfig(**{**vars(config), "time_window": 105_000}))

    monkeypatch.setattr(bits, "open_data", coarse)


@pytest.mark.slow
@pytest.mark.usefixtures("short")
def test_validation_chooses_and_what_is_finished_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = BitsConfig(
        seeds=1, bits=(8, 3), lrs=(1e-5, 1e-3), tuning_epochs=(1,), epochs=1, hidden=(12,),
        out=tmp_path,
    )  # fmt: skip
    work = BitsExperiment(config, print)
    results = work.run()
    cells = work.store.cells.values()
    by_lr = {
        lr: [c["tuned"] for c in cells if c["part"] == "validation" and c["lr"] == lr]
        for lr in config.lrs
    }
    assert all(len(found) == 2 for found in by_lr.values())
    assert results["lr"] == max(config.lrs, key=lambda lr: (sum(by_lr[lr]), -lr))
    assert {c["lr"] for c in cells if c["part"] == "test"} == {results["lr"]}
    assert len(results["float"]) == 1
    assert set(results["bits"]) == {8, 3}

    def never(*args: Any) -> None:
        raise AssertionError("everything is in the store")

    monkeypatch.setattr(BitsExperiment, "trained", never)
    assert BitsExperiment(config, print).run() == results


def test_table_pairs_each_seed_with_its_float_network() -> None:
    cells = [{"rounded": 0.9, "tuned": 0.95}, {"rounded": 0.8, "tuned": 0.93}]
    lines = table({"float": [0.96, 0.94], "bits": {4: cells}}).splitlines()
    assert lines[2] == "| float | 95.00 ± 1.41 | | |"
    assert lines[3] == "| 4 | 85.00 ± 7.07 | 94.00 ± 1.41 | -1.00 ± 0.00 |"


def test_bad_arguments_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["bits", "--seeds", "0"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "seeds has to be at least 1" in capsys.readouterr().err
    with pytest.raises(ValueError, match="lrs has to name values above 0"):
        BitsConfig(lrs=())
