"""The benchmarks' rows as pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from spikeprop.datasets.files import write_atomically
from spikeprop.plots import COLOURS

__all__ = ["save_figures"]

Row = dict[str, Any]


def save_figures(results: dict[str, Any], folder: Path) -> list[Path]:
    """Draw what the results hold, one PNG a part; return the files."""
    parts, written = results["parts"], []
    if parts.get("steps"):
        written.append(_save(folder / "steps.png", _steps(parts["steps"])))
    if parts.get("scaling"):
        written.append(_save(folder / "scaling.png", _scaling(parts["scaling"])))
    if parts.get("memory"):
        written.append(_save(folder / "memory.png", _memory(parts["memory"])))
    if parts.get("race"):
        written.append(_save(folder / "race.png", _race(parts["race"])))
    return written


def _save(path: Path, figure: Figure) -> Path:
    write_atomically(path, lambda file: figure.savefig(file, dpi=150), parents=True)
    return path


def _figure(width: int, columns: int = 1) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns, squeeze=False)
    return figure, list(axes[0])


def _lines(axes: Axes, rows: Sequence[Row], x: str, y: str, log: bool = True) -> None:
    """Draw ``y`` over ``x``, a line a method."""
    for i, name in enumerate(dict.fromkeys(row["method"] for row in rows)):
        own = sorted((row for row in rows if row["method"] == name), key=lambda row: row[x])
        axes.plot(
            [row[x] for row in own], [row[y] for row in own], marker="o", markersize=3,
            label=name, color=COLOURS[i % len(COLOURS)],
            linestyle=("-", "--", ":")[i // len(COLOURS) % 3],
        )  # fmt: skip
    if log:
        axes.set_xscale("log")
        axes.set_yscale("log")
    axes.grid(alpha=0.3)


def _legend(figure: Figure, axes: Axes) -> None:
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside right upper", fontsize=7, frameon=False
    )


def _steps(rows: Sequence[Row]) -> Figure:
    groups = list(dict.fromkeys((row["B"], row["source"]) for row in rows))
    figure, all_axes = _figure(4 * len(groups) + 3, len(groups))
    for axes, (batch, source) in zip(all_axes, groups, strict=True):
        _lines(axes, [r for r in rows if (r["B"], r["source"]) == (batch, source)], "T", "ms")
        axes.set_title(f"batch {batch}, {source}", fontsize=9)
        axes.set_xlabel("time steps T")
    all_axes[0].set_ylabel("ms per training step")
    _legend(figure, all_axes[0])
    return figure


def _scaling(rows: Sequence[Row]) -> Figure:
    values: dict[str, Callable[[Row], float]] = {
        "cores": lambda row: row["threads"],
        "width": lambda row: row["hidden"][0],
        "depth": lambda row: len(row["hidden"]),
        "T": lambda row: row["T"],
        "density": lambda row: 100 * row["density"],
    }
    varied = list(dict.fromkeys(row["varied"] for row in rows))
    figure, all_axes = _figure(3 * len(varied) + 2, len(varied))
    for axes, what in zip(all_axes, varied, strict=True):
        own = [{**row, "x": values[what](row)} for row in rows if row["varied"] == what]
        _lines(axes, own, "x", "ms")
        axes.set_xlabel("density, %" if what == "density" else what)
    all_axes[0].set_ylabel("ms per training step")
    _legend(figure, all_axes[0])
    return figure


def _memory(rows: Sequence[Row]) -> Figure:
    works = list(dict.fromkeys(row["work"] for row in rows))
    figure, all_axes = _figure(4 * len(works) + 2, len(works))
    for axes, work in zip(all_axes, works, strict=True):
        _lines(axes, [row for row in rows if row["work"] == work], "T", "mib")
        axes.set_title("a stream" if work == "stream" else "a training step", fontsize=9)
        axes.set_xlabel("time steps T")
        axes.legend(fontsize=6, frameon=False)
    all_axes[0].set_ylabel("peak over the start, MiB")
    return figure


def _race(rows: Sequence[Row]) -> Figure:
    figure, (axes,) = _figure(6)
    for i, name in enumerate(dict.fromkeys(row["method"] for row in rows)):
        label: str | None = name
        for row in rows:
            if row["method"] != name:
                continue
            for curve in row["curves"].values():
                axes.plot(
                    curve["seconds"], [100 * a for a in curve["accuracies"]],
                    color=COLOURS[i % len(COLOURS)], linewidth=0.8, label=label,
                )  # fmt: skip
                label = None
    axes.set_xscale("log")
    axes.set_xlabel("training time, s")
    axes.set_ylabel("validation accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, frameon=False)
    return figure
