"""The table of a comparison: for the terminal, Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from math import isnan
from pathlib import Path

from tabulate import tabulate

from spikeprop.comparison.rows import BASELINE, Row
from spikeprop.datasets.files import write_text

__all__ = ["HEADINGS", "cells_of", "print_table", "write_tables"]

HEADINGS = (
    "data",
    "network",
    "rule",
    "accuracy, %",
    f"less {BASELINE}",
    "frozen, %",
    f"samples/s / {BASELINE}",
    f"memory / {BASELINE}",
    "spikes",
    "operations",
)


def cells_of(row: Row) -> list[str]:
    """Return a row's figures as they are shown, "-" for what was not measured."""
    return [
        row.dataset,
        row.network,
        row.rule,
        row.failure or _with_error(row.accuracy, row.spread, 100, "{:.2f}"),
        _with_error(row.difference, row.difference_error, 100, "{:+.2f}"),
        _shown(100 * row.frozen_accuracy, "{:.2f}"),
        _shown(row.speed, "{:.2f}"),
        _shown(row.memory, "{:.2f}"),
        _shown(row.spikes, "{:,.0f}"),
        _shown(row.operations, "{:.3g}"),
    ]


def _shown(value: float, form: str) -> str:
    return "-" if isnan(value) else form.format(value)


def _with_error(value: float, error: float, scale: float, form: str) -> str:
    if isnan(value):
        return "-"
    spread = "" if isnan(error) else f" ± {scale * error:.2f}"
    return form.format(scale * value) + spread


def print_table(rows: Sequence[Row]) -> None:
    """Print the table to the terminal."""
    from rich.table import Table

    from spikeprop.terminal import table_console

    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="left" if index < 3 else "right")
    for row in rows:
        table.add_row(*cells_of(row))
    table_console(200).print(table)


def write_tables(rows: Sequence[Row], out: Path, note: str) -> list[Path]:
    """Write ``table.md``, ``table.tex`` and ``table.csv`` into a folder; return the files.

    ``note`` stands under the Markdown table: how the figures came about.
    """
    shown = [cells_of(row) for row in rows]
    alignment = ("left",) * 3 + ("right",) * (len(HEADINGS) - 3)

    def written(form: str) -> str:
        return tabulate(
            shown, headers=HEADINGS, tablefmt=form, colalign=alignment, disable_numparse=True
        )

    contents = {
        "table.md": written("github") + f"\n\n{note}\n",
        "table.tex": written("latex_booktabs") + "\n",
        "table.csv": _csv(rows),
    }
    for name, text in contents.items():
        write_text(out / name, text, parents=True)
    return [out / name for name in contents]


def _csv(rows: Sequence[Row]) -> str:
    """All figures in full, for other programs."""
    names = (
        "dataset", "network", "rule", "accuracy", "spread", "difference", "difference_error",
        "frozen_accuracy", "speed", "memory", "spikes", "operations",
    )  # fmt: skip
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*names, "accuracies", "frozen", "options", "failure"])
    for row in rows:
        nested = [json.dumps(item) for item in (row.accuracies, row.frozen, row.options)]
        writer.writerow([*(getattr(row, name) for name in names), *nested, row.failure])
    return text.getvalue()
