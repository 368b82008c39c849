"""Watching a training run: progress bars, plain lines, a CSV table, TensorBoard.

Each is a callback for ``ForwardLearner.fit``; any of them works without the command line.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from torch import Tensor

from spikeprop.datasets.files import write_text
from spikeprop.fit import Callback, EpochResult, Part
from spikeprop.terminal import text_console

if TYPE_CHECKING:
    from spikeprop.learner import ForwardLearner

__all__ = ["CsvLog", "PlainProgress", "ProgressBars", "TensorBoardLog", "epoch_line", "row_of"]

Row = dict[str, float | int]


def row_of(result: EpochResult, learning_rate: float = math.nan) -> Row:
    """Return an epoch as a flat table row; layers count from 1.

    ``learning_rate`` is that after the epoch's last update.
    """
    row: Row = {"epoch": result.epoch, "train_accuracy": result.train_accuracy}
    row |= _per_layer("train_accuracy", result.train_block_accuracy)
    row |= _per_layer("train_loss", result.train_loss)
    row |= _per_layer("rate", result.rate)
    if result.validation is not None:
        row["validation_accuracy"] = result.validation.accuracy
        row |= _per_layer("validation_accuracy", result.validation.block_accuracy)
    row["learning_rate"] = learning_rate
    row["seconds"] = result.seconds
    row["samples_per_second"] = result.samples_per_second
    return row


def epoch_line(result: EpochResult, epochs: int) -> str:
    """Return an epoch as a line for people."""
    parts = [
        f"epoch {result.epoch:>{len(str(epochs))}}/{epochs}",
        f"train {100 * result.train_accuracy:.1f} %",
    ]
    if result.validation is not None:
        parts.append(f"validation {100 * result.validation.accuracy:.1f} %")
    parts += [
        f"layers {_percents(result.train_block_accuracy)} %",
        f"rate {_rates(result.rate)}",
        f"{result.samples_per_second:.0f} samples/s",
        f"{result.seconds:.1f} s",
    ]
    return "  ".join(parts)


def learning_rate(learner: ForwardLearner) -> float:
    """Return the learning rate of the first block that is trained; NaN if there is none."""
    for optimizer in learner.optimizers:
        if optimizer is not None:
            return float(optimizer.param_groups[0]["lr"])
    return math.nan


class PlainProgress(Callback):
    """One line an epoch, for logs and pipes.

    Parameters
    ----------
    epochs
        Number of epochs in all.
    console
        Where to print; standard output if not given.
    """

    def __init__(self, epochs: int, console: Console | None = None) -> None:
        self.epochs = epochs
        self.console = console or text_console(soft_wrap=True)

    def on_epoch_end(self, learner: ForwardLearner, result: EpochResult) -> None:
        """Print the epoch's line."""
        self.console.print(epoch_line(result, self.epochs), highlight=False, soft_wrap=True)


class ProgressBars(PlainProgress):
    """A bar for the running epoch, with accuracy per layer, spike rate and samples/s.

    Epochs that are over have a line each. Use it as a context manager, so that the terminal is put
    right at the end.
    """

    def __init__(self, epochs: int, console: Console | None = None) -> None:
        super().__init__(epochs, console)
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=self.console,
            transient=True,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> ProgressBars:
        self._bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bars.stop()

    def on_epoch_start(self, learner: ForwardLearner, epoch: int, n_batches: int | None) -> None:
        """Start the epoch's bar."""
        self._remove()
        description = f"epoch {epoch}/{self.epochs}"
        self._task = self._bars.add_task(description, total=n_batches, figures="")

    def on_part(self, learner: ForwardLearner, part: Part) -> None:
        """Move the bar on, with the means of the epoch so far."""
        _, accuracy, rate = part.sums / part.samples
        speed = part.samples / max(part.seconds, 1e-9)
        figures = f"layers {_percents(accuracy)} %  rate {_rates(rate)}  {speed:.0f} samples/s"
        if self._task is not None:
            self._bars.update(self._task, completed=part.batches, figures=figures)

    def on_epoch_end(self, learner: ForwardLearner, result: EpochResult) -> None:
        """Take the bar away and print the epoch's line."""
        self._remove()
        super().on_epoch_end(learner, result)

    def _remove(self) -> None:
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None


class CsvLog(Callback):
    """A table of all epochs, one line each; the file is whole after every epoch.

    Parameters
    ----------
    path
        The file.
    rows
        Epochs that are already done, when a run is resumed.
    """

    def __init__(self, path: Path, rows: Sequence[Row] = ()) -> None:
        self.path = path
        self.rows: list[Row] = list(rows)

    def on_epoch_end(self, learner: ForwardLearner, result: EpochResult) -> None:
        """Add the epoch and write the table."""
        self.rows.append(row_of(result, learning_rate(learner)))
        self.write()

    def write(self) -> None:
        """Write the table."""
        if not self.rows:
            return
        text = io.StringIO()
        table = csv.DictWriter(text, fieldnames=list(self.rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(self.rows)
        write_text(self.path, text.getvalue())


class TensorBoardLog(Callback):
    """The figures of every epoch as TensorBoard event files.

    Parameters
    ----------
    folder
        Where the event files go.
    start_epoch
        Epochs already done when a run is resumed; later ones of the killed run are hidden.
    """

    def __init__(self, folder: Path, start_epoch: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter

        writer: Any = SummaryWriter  # untyped in torch
        self.writer = writer(str(folder), purge_step=start_epoch + 1 if start_epoch else None)

    def __enter__(self) -> TensorBoardLog:
        return self

    def __exit__(self, *exception: object) -> None:
        self.writer.close()

    def on_epoch_end(self, learner: ForwardLearner, result: EpochResult) -> None:
        """Write the epoch's figures."""
        for name, value in row_of(result, learning_rate(learner)).items():
            if name != "epoch":
                self.writer.add_scalar(name.replace("_layer_", "/layer_"), value, result.epoch)
        self.writer.flush()


def _per_layer(name: str, values: Tensor) -> Row:
    return {f"{name}_layer_{i}": float(value) for i, value in enumerate(values.tolist(), start=1)}


def _percents(values: Tensor) -> str:
    return " ".join(f"{100 * value:.1f}" for value in values.tolist())


def _rates(values: Tensor) -> str:
    return " ".join(f"{value:.3f}" for value in values.tolist())
