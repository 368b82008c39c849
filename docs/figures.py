"""Draw the figures of the tutorial: ``python docs/figures.py docs/figures`` (the build does it).

Drawings, not data: what is measured is plotted by the code cells of the pages.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import itertools

from matplotlib import pyplot as plt
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

INK, GREY, SIGNAL, ERROR = "#1f2933", "#6b7785", "#0b6e4f", "#b3261e"


def canvas(width: float, height: float) -> tuple[Any, Any]:
    """Return a figure of so many units, without axes."""
    figure, axes = plt.subplots(figsize=(width, height))
    axes.set_xlim(0, width)
    axes.set_ylim(0, height)
    axes.set_aspect("equal")
    axes.axis("off")
    figure.subplots_adjust(0, 0, 1, 1)
    return figure, axes


def arrow(
    axes: Any, start: Any, end: Any, colour: str = INK, *, bend: float = 0.0, dashed: bool = False
) -> None:
    """Draw an arrow between two points."""
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=11,
            color=colour,
            linewidth=1.4,
            linestyle="--" if dashed else "-",
            connectionstyle=f"arc3,rad={bend}",
            shrinkA=0,
            shrinkB=0,
        )
    )


def box(axes: Any, x: float, y: float, text: str, colour: str = INK, width: float = 1.1) -> None:
    """Draw a box with a word, centred at x, y."""
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - 0.22),
            width,
            0.44,
            boxstyle="round,pad=0.04",
            facecolor="white",
            edgecolor=colour,
            linewidth=1.4,
        )
    )
    axes.text(x, y, text, ha="center", va="center", fontsize=10, color=colour)


def say(axes: Any, x: float, y: float, text: str, colour: str = INK, **options: Any) -> None:
    """Write a line, centred unless told otherwise."""
    axes.text(x, y, text, fontsize=10, color=colour, **{"ha": "center", "va": "center", **options})


def space() -> Any:
    """Spatial credit: any of the synapses below may have made the output wrong."""
    figure, axes = canvas(7.2, 3.1)
    columns = [(0.9, 3), (2.9, 4), (4.9, 4), (6.3, 1)]
    places = [[(x, 1.75 + 0.55 * (i - (n - 1) / 2)) for i in range(n)] for x, n in columns]
    for before, after in itertools.pairwise(places):
        for a in before:
            for b in after:
                axes.plot(*zip(a, b, strict=True), color="#c5ccd3", linewidth=0.8, zorder=0)
    (a, b) = places[1][2], places[2][1]
    axes.plot(*zip(a, b, strict=True), color=ERROR, linewidth=2.4, zorder=1)
    for column in places:
        for place in column:
            axes.add_patch(Circle(place, 0.15, facecolor="white", edgecolor=INK, linewidth=1.3))
    say(axes, 6.3, 2.25, "wrong", ERROR)
    say(axes, 3.9, 3.0, "was it this synapse?", ERROR)
    arrow(axes, (3.9, 2.86), (3.9, 1.85), ERROR)
    for x, text in ((0.9, "input"), (2.9, "layer 1"), (4.9, "layer 2"), (6.3, "output")):
        say(axes, x, 0.5, text)
    arrow(axes, (0.9, 0.2), (6.3, 0.2))
    return figure


def time() -> Any:
    """Temporal credit: any of the moments before may have made the output wrong."""
    figure, axes = canvas(7.2, 3.1)
    xs = [0.9 + 0.9 * i for i in range(7)]
    for i, x in enumerate(xs):
        fired = i == 1
        colour = ERROR if fired else INK
        box(axes, x, 1.8, f"$t={i + 1}$", colour, 0.55)
        say(axes, x, 0.75, "spike" if fired else "·", colour)
        arrow(axes, (x, 0.95), (x, 1.52), colour)
    for left, right in itertools.pairwise(xs):
        arrow(axes, (left + 0.33, 1.8), (right - 0.33, 1.8))
    say(axes, xs[-1], 2.75, "wrong now", ERROR)
    arrow(axes, (xs[-1], 2.6), (xs[-1], 2.1), ERROR)
    arrow(axes, (xs[-1] - 0.55, 2.75), (xs[1], 2.1), ERROR, bend=0.18, dashed=True)
    say(axes, 2.6, 2.95, "or was it then?", ERROR)
    say(axes, 3.6, 0.3, "one neuron, step after step")
    return figure


def two_streams() -> Any:
    """Signal propagation: recording and class signal through the same synapses."""
    figure, axes = canvas(7.2, 3.3)
    ys = {INK: 2.5, SIGNAL: 0.9}
    box(axes, 0.8, 2.5, "recording $x_t$", INK, 1.3)
    box(axes, 0.8, 0.9, "class $c$", SIGNAL, 1.3)
    for colour, y in ys.items():
        for x, name in ((3.0, "1"), (5.2, "2")):
            symbol = "h" if colour == INK else "s"
            box(axes, x, y, f"voltage ${symbol}_{name}$", colour, 1.25)
    for colour, y, first in ((INK, 2.5, "$W_1$"), (SIGNAL, 0.9, "$S$")):
        arrow(axes, (1.52, y), (2.3, y), colour)
        say(axes, 1.9, y + 0.2, first, colour)
        arrow(axes, (3.7, y), (4.5, y), colour)
        say(axes, 4.1, y + 0.2, "$W_2$", colour)
        arrow(axes, (5.9, y), (6.8, y), colour)
    for x in (3.0, 5.2):
        box(axes, x, 1.7, "compare", ERROR, 1.0)
        arrow(axes, (x, 2.22), (x, 1.98), ERROR)
        arrow(axes, (x, 1.18), (x, 1.42), ERROR)
        say(axes, x + 0.95, 1.7, "update", ERROR)
    say(axes, 3.6, 3.1, "spikes go on; nothing comes back")
    say(axes, 3.6, 0.3, "the same synapses for both", SIGNAL)
    return figure


FIGURES: dict[str, Callable[[], Any]] = {
    "credit-space": space,
    "credit-time": time,
    "two-streams": two_streams,
}


def draw_all(folder: Path) -> list[Path]:
    """Write every figure as SVG into ``folder``; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with plt.rc_context({"svg.hashsalt": "spikeprop", "font.family": "DejaVu Sans"}):
        for name, draw in FIGURES.items():
            figure = draw()
            path = folder / f"{name}.svg"
            figure.savefig(path, metadata={"Date": None})
            plt.close(figure)
            written.append(path)
    return written


if __name__ == "__main__":
    for file in draw_all(Path(sys.argv[1])):
        print(file)
