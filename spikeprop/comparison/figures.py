"""The figures of a comparison: accuracy of the rules, and what it costs beside BPTT."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import isnan
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from matplotlib.transforms import Bbox

from spikeprop.comparison.rows import BASELINE, Row
from spikeprop.datasets.files import write_atomically
from spikeprop.rules.names import split_variant

__all__ = ["write_figures"]


def write_figures(rows: Sequence[Row], out: Path) -> list[Path]:
    """Draw each network and data set into ``NAME.png``; return the files.

    Left: test accuracy and its standard deviation over the seeds, and with frozen hidden layers.
    Right, where it was measured: accuracy against time and memory over BPTT's.
    """
    files = []
    for dataset, network in dict.fromkeys((row.dataset, row.network) for row in rows):
        group = [row for row in rows if (row.dataset, row.network) == (dataset, network)]
        drawn = [row for row in group if row.accuracies]
        if not drawn:
            continue
        path = out / f"{dataset}_{network.replace(':', '.')}.png"
        figure = _draw(drawn, f"{dataset}, {network}")
        write_atomically(path, partial(figure.savefig, dpi=120), parents=True)
        files.append(path)
    return files


def _draw(rows: Sequence[Row], title: str) -> Figure:
    costs = [row for row in rows if not isnan(row.speed) and not isnan(row.memory)]
    panels = 2 if costs else 1
    figure = Figure(figsize=(5.5 * panels, 1.6 + 0.32 * max(len(rows), 6)), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    places = range(len(rows))
    for place, row in zip(places, rows, strict=True):
        axes[0].errorbar(
            100 * row.accuracy,
            place,
            xerr=0.0 if isnan(row.spread) else 100 * row.spread,
            fmt="o",
            capsize=3,
            color="0.45" if split_variant(row.rule)[0] == BASELINE else "tab:blue",
        )
    axes[0].grid(axis="x", alpha=0.3)
    frozen = [(i, 100 * row.frozen_accuracy) for i, row in enumerate(rows) if row.frozen]
    if frozen:
        heights, values = zip(*frozen, strict=True)
        axes[0].plot(values, heights, "k|", markersize=12, label="hidden layers frozen")
        axes[0].legend(loc="upper left", bbox_to_anchor=(0.0, -0.12), frameon=False)
    axes[0].set_yticks(list(places), [row.rule for row in rows])
    axes[0].invert_yaxis()
    lowest = min([100 * row.accuracy for row in rows] + [value for _, value in frozen])
    axes[0].set_xlim(max(0.0, lowest - 5.0), 100.0)
    axes[0].set_xlabel("test accuracy, %")
    if costs:
        axes[1].axvline(1.0, color="0.8")
        points = [(1.0 / row.speed, 100 * row.accuracy) for row in costs]
        areas = [60 * max(row.memory, 0.05) for row in costs]
        axes[1].scatter(*zip(*points, strict=True), s=areas, color="tab:blue", alpha=0.6)
        axes[1].set_xscale("log")
        left, right = axes[1].get_xlim()
        axes[1].set_xlim(left, right * (right / left) ** 0.25)  # room for names
        axes[1].xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes[1].xaxis.set_major_formatter("{x:g}")
        axes[1].xaxis.set_minor_locator(NullLocator())
        axes[1].set_xlabel(f"time per sample / {BASELINE} (area: memory / {BASELINE})")
        axes[1].set_ylabel("test accuracy, %")
        _name(figure, axes[1], [row.rule for row in costs], points)
    return figure


def _name(
    figure: Figure, axes: Axes, names: Sequence[str], points: Sequence[tuple[float, float]]
) -> None:
    """Write names beside points, from the top down, each below what is written there already."""
    taken: list[Bbox] = []
    figure.draw_without_rendering()
    for point, name in sorted(zip(points, names, strict=True), key=lambda item: -item[0][1]):
        label = axes.annotate(name, point, xytext=(7, -3), textcoords="offset points", size=8)
        label.set_in_layout(False)
        while any(label.get_window_extent().overlaps(box) for box in taken):
            label.set_position((7, label.get_position()[1] - 1))
        taken.append(label.get_window_extent())
