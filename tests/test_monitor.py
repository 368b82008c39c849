"""What is shown and written while a network learns."""

import csv
import io
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console

from spikeprop.fit import EpochResult, Evaluation, Part
from spikeprop.monitor import (
    CsvLog,
    PlainProgress,
    ProgressBars,
    TensorBoardLog,
    epoch_line,
    learning_rate,
    row_of,
)


def result(epoch: int, *, validated: bool = True) -> EpochResult:
    confusion = torch.tensor([[3, 1], [0, 4]])
    return EpochResult(
        epoch=epoch,
        train_accuracy=0.75,
        train_loss=torch.tensor([1.5, 0.5]),
        train_block_accuracy=torch.tensor([0.5, 0.75]),
        rate=torch.tensor([0.125, 0.25]),
        validation=Evaluation(0.875, torch.tensor([0.5, 0.875]), confusion, 8)
        if validated
        else None,
        seconds=2.0,
        samples_per_second=400.0,
    )


def learner(lr: float = 0.01) -> Any:
    return SimpleNamespace(optimizers=[None, SimpleNamespace(param_groups=[{"lr": lr}])])


def metrics(accuracy: list[float], samples: int) -> Any:
    return SimpleNamespace(
        loss=torch.zeros(2),
        accuracy=torch.tensor(accuracy),
        rate=torch.tensor([0.125, 0.25]),
        prediction=torch.zeros(samples),
    )


def test_row() -> None:
    assert row_of(result(3), 0.5) == {
        "epoch": 3,
        "train_accuracy": 0.75,
        "train_accuracy_layer_1": 0.5,
        "train_accuracy_layer_2": 0.75,
        "train_loss_layer_1": 1.5,
        "train_loss_layer_2": 0.5,
        "rate_layer_1": 0.125,
        "rate_layer_2": 0.25,
        "validation_accuracy": 0.875,
        "validation_accuracy_layer_1": 0.5,
        "validation_accuracy_layer_2": 0.875,
        "learning_rate": 0.5,
        "seconds": 2.0,
        "samples_per_second": 400.0,
    }
    assert "validation_accuracy" not in row_of(result(3, validated=False))


def test_line() -> None:
    assert epoch_line(result(3), 12) == (
        "epoch  3/12  train 75.0 %  validation 87.5 %  layers 50.0 75.0 %  rate 0.125 0.250  "
        "400 samples/s  2.0 s"
    )
    assert "validation" not in epoch_line(result(3, validated=False), 12)


def test_learning_rate() -> None:
    assert learning_rate(learner(0.25)) == 0.25
    assert math.isnan(learning_rate(SimpleNamespace(optimizers=[None])))  # type: ignore[arg-type]


def test_plain_progress_is_a_line_an_epoch() -> None:
    text = io.StringIO()
    progress = PlainProgress(2, Console(file=text, width=20))
    for epoch in (1, 2):
        progress.on_epoch_start(learner(), epoch, 1)
        progress.on_batch_end(learner(), epoch, 1, metrics([0.5, 1.0], 4))
        progress.on_epoch_end(learner(), result(epoch))
    assert text.getvalue().splitlines() == [epoch_line(result(epoch), 2) for epoch in (1, 2)]


def test_bars_show_means_over_the_epoch() -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=150, color_system=None)
    with ProgressBars(3, console) as bars:
        bars.on_epoch_start(learner(), 1, 2)
        part = Part.empty(1)
        for accuracy, n in (([0.5, 1.0], 6), ([1.0, 1.0], 2)):
            part = part.add(metrics(accuracy, n), n, 0, 1.0)
            bars.on_part(learner(), part)
        task = bars._bars.tasks[0]
        assert (task.completed, task.total, task.description) == (2, 2, "epoch 1/3")
        assert task.fields["figures"].startswith("layers 62.5 100.0 %  rate 0.125 0.250  ")
        bars.on_epoch_end(learner(), result(1))
        bars.on_epoch_start(learner(), 2, None)
        (task,) = bars._bars.tasks
        assert (task.completed, task.total, task.description) == (0, None, "epoch 2/3")
    assert epoch_line(result(1), 3) in text.getvalue()


def test_csv_is_whole_after_every_epoch(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    log = CsvLog(path)
    log.write()
    assert not path.exists()
    for epoch in (1, 2):
        log.on_epoch_end(learner(), result(epoch))
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["epoch"] for row in rows] == [str(n) for n in range(1, epoch + 1)]
    again = CsvLog(path, log.rows)
    again.on_epoch_end(learner(), result(3))
    with path.open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    assert {name: float(value) for name, value in last.items()} == row_of(result(3), 0.01)


def test_tensorboard_holds_the_same_figures(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with TensorBoardLog(tmp_path) as log:
        for epoch in (1, 2, 3):
            log.on_epoch_end(learner(), result(epoch))
    with TensorBoardLog(tmp_path, start_epoch=1) as log:  # resumed after epoch 1
        for epoch in (2, 3):
            log.on_epoch_end(learner(), result(epoch))
    events = accumulator.EventAccumulator(str(tmp_path))
    events.Reload()
    scalars = events.Scalars("validation_accuracy")
    assert [item.step for item in scalars] == [1, 2, 3]
    assert [item.value for item in scalars] == [0.875] * 3
    assert "train_loss/layer_2" in events.Tags()["scalars"]
