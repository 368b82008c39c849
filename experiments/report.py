"""The figures of a comparison, and the table that shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import mean, median, stdev
from typing import Any

from spikeprop.experiments.search import METHODS

__all__ = ["Report", "in_percent", "paired_difference", "print_report"]


@dataclass(frozen=True)
class Report:
    """Everything that a comparison found.

    Attributes
    ----------
    dataset, note, fingerprint : str
        The data: name, what a report has to mention, sha256.
    folds : int
        Number of folds, 0 for the set's own split.
    chosen : dict
        Configuration of either method that validation chose.
    cells : dict
        For each row of the table, one cell per seed or fold, in the same order.
    memory_mib : dict
        Peak memory of either method over that before training; empty if not measured.
    trials : dict
        Search budget of either method.
    """

    dataset: str
    note: str | None
    fingerprint: str
    folds: int
    chosen: dict[str, dict[str, Any]]
    cells: dict[str, list[dict[str, Any]]]
    memory_mib: dict[str, float]
    trials: dict[str, int]

    def accuracies(self, method: str) -> list[float]:
        """Return the test accuracies of a row, 0 to 1."""
        return [float(cell["accuracy"]) for cell in self.cells[method]]

    @property
    def time_ratio(self) -> float | None:
        """Median over runs of time per update, first method over second; None if not measured."""
        ratios = [c["time_ratio"] for c in self.cells[METHODS[0]] if "time_ratio" in c]
        return median(ratios) if ratios else None

    @property
    def memory_ratio(self) -> float | None:
        """Peak memory of the first method over that of the second; None if not measured."""
        if not self.memory_mib:
            return None
        return self.memory_mib[METHODS[0]] / self.memory_mib[METHODS[1]]

    def summary(self) -> dict[str, Any]:
        """Return the figures of the table as JSON can write them."""
        difference, error = paired_difference(*(self.accuracies(m) for m in METHODS))
        return {
            "dataset": self.dataset,
            "note": self.note,
            "data_sha256": self.fingerprint,
            "folds": self.folds,
            "trials": self.trials,
            "chosen": self.chosen,
            "accuracies": {method: self.accuracies(method) for method in self.cells},
            "mean": {method: mean(self.accuracies(method)) for method in self.cells},
            "difference": difference,
            "difference_error": error,
            "time_ratio": self.time_ratio,
            "memory_ratio": self.memory_ratio,
            "memory_mib": self.memory_mib,
        }


def in_percent(shares: Sequence[float], sign: str = "") -> str:
    """Return the mean of shares in percent and, of more than one, their standard deviation.

    ``sign="+"`` writes that of a mean above 0.
    """
    spread = f" ± {100 * stdev(shares):.2f}" if len(shares) > 1 else ""
    return f"{100 * mean(shares):{sign}.2f}{spread}"


def paired_difference(ours: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """Return the mean of ``ours - other`` over the runs and its standard error (0 for one run).

    Raises
    ------
    ValueError
        If the two are not equally many, or empty.
    """
    if not ours or len(ours) != len(other):
        raise ValueError(f"pairs are needed, got {len(ours)} and {len(other)} accuracies")
    differences = [a - b for a, b in zip(ours, other, strict=True)]
    error = stdev(differences) / sqrt(len(differences)) if len(differences) > 1 else 0.0
    return mean(differences), error


def print_report(report: Report) -> None:
    """Print the table and the figures under it."""
    from rich.console import Console
    from rich.table import Table

    console = Console(soft_wrap=True, highlight=False)
    runs = f"{report.folds} folds" if report.folds else f"{len(report.cells[METHODS[0]])} seeds"
    table = Table(title=f"{report.dataset}, {runs}: test accuracy after the last epoch, in %")
    for name in ("method", "mean ± sd", "each", "ms per update", "peak memory, MiB"):
        table.add_column(name, justify="left" if name == "method" else "right")
    for method, cells in report.cells.items():
        values = report.accuracies(method)
        times = [1000 * c["update_seconds"] for c in cells if "update_seconds" in c]
        memory = report.memory_mib.get(method)
        table.add_row(
            method,
            in_percent(values),
            " ".join(f"{100 * value:.2f}" for value in values),
            f"{median(times):.1f}" if times else "",
            "" if memory is None else f"{memory:.1f}",
        )
    console.print(table)
    summary = report.summary()
    first, second = METHODS
    console.print(
        f"{first} - {second}, paired: {100 * summary['difference']:+.2f} ± "
        f"{100 * summary['difference_error']:.2f} points (standard error)"
    )
    for name, ratio in (("time", report.time_ratio), ("peak memory", report.memory_ratio)):
        if ratio is not None:
            console.print(f"{name}, {first} / {second}: {ratio:.2f}")
    for method in METHODS:
        console.print(f"{method}, best of {report.trials[method]} trials: {report.chosen[method]}")
    console.print(f"data sha256 {report.fingerprint}" + (f"; {report.note}" if report.note else ""))
