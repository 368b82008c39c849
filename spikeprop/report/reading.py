"""What a run folder says by itself: options, epochs, test metrics."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from spikeprop import runs
from spikeprop.config import HOW_TO_RUN, TrainConfig

__all__ = ["Run", "differing_options", "read_run", "wilson"]

Row = dict[str, float]


@dataclass(frozen=True)
class Run:
    """A run as its folder describes it.

    Attributes
    ----------
    path : Path
        The folder.
    name : str
        What the page calls it.
    config : TrainConfig
        Every option.
    rows : list of dict
        Epochs, as in ``metrics.csv``; what is no number is NaN.
    metrics : dict or None
        ``metrics.json``; None for a run that has not finished.
    """

    path: Path
    name: str
    config: TrainConfig
    rows: list[Row]
    metrics: dict[str, Any] | None

    @property
    def layers(self) -> int:
        """Number of layers."""
        return len(self.config.hidden)

    def series(self, name: str) -> list[tuple[float, float]]:
        """Return ``(epoch, value)`` of a column, without the epochs that lack it."""
        pairs = [(row["epoch"], row.get(name, math.nan)) for row in self.rows]
        return [pair for pair in pairs if math.isfinite(pair[1])]


def read_run(path: Path) -> Run:
    """Read a run folder.

    Raises
    ------
    FileNotFoundError
        If it is none.
    ValueError
        If a file in it is damaged, or comes from another version.
    """
    folder = runs.RunFolder(path)
    config = folder.config()
    metrics = folder.metrics() if folder.finished else None
    if metrics is not None:
        _check(metrics, folder / runs.METRICS)
    return Run(path, path.resolve().name, config, _rows(folder / runs.CSV), metrics)


def _rows(path: Path) -> list[Row]:
    if not path.is_file():  # killed within its first epoch
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [
                {name: _number(text) for name, text in row.items() if name is not None}
                for row in csv.DictReader(file)
            ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not a table: {error}") from None
    if any(not math.isfinite(row.get("epoch", math.nan)) for row in rows):
        raise ValueError(f"{path} has a line without an epoch")
    return rows


def _number(text: str | list[str] | None) -> float:
    try:
        return float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan


def _check(metrics: dict[str, Any], path: Path) -> None:
    """Refuse metrics that lack, or misspell, what a page is made of."""
    try:
        classes = [str(name) for name in metrics["data"]["classes"]]
        counts = metrics["confusion_matrix"]
        square = len(counts) == len(classes) and all(len(row) == len(classes) for row in counts)
        numbers = [
            metrics["test_accuracy"],
            metrics["samples"],
            *(value for row in counts for value in row),
        ]
        sound = square and all(isinstance(value, int | float) for value in numbers)
        sound = sound and [float(value) for value in metrics["layer_accuracy"]] != []
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error!r}") from None
    if not sound:
        raise ValueError(f"{path} is damaged: its confusion matrix does not fit its classes")


def differing_options(found: list[Run]) -> list[tuple[str, list[Any]]]:
    """Return the options in which runs differ, and each run's value."""
    table = []
    for field in fields(TrainConfig):
        values = [getattr(run.config, field.name) for run in found]
        if field.name not in HOW_TO_RUN and any(value != values[0] for value in values):
            table.append((field.name, values))
    return table


def wilson(share: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """Return Wilson's interval for a share of ``count`` trials; 95 % for ``z = 1.96``.

    Source: E. B. Wilson, Journal of the American Statistical Association 22:209, 1927.
    """
    if count == 0:
        return 0.0, 1.0
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2) / (1 + z * z / count)
    return max(middle - half, 0.0), min(middle + half, 1.0)
