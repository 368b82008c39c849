"""Geometry of the page's line charts and histograms; the template makes SVG of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["HEIGHT", "LEFT", "WIDTH", "Chart", "Line", "histogram", "line_chart"]

WIDTH, HEIGHT = 420, 250
LEFT, RIGHT, TOP, BOTTOM = 62, 12, 12, 40


@dataclass(frozen=True)
class Line:
    """A line of a chart, in the chart's own coordinates.

    Attributes
    ----------
    name : str
        For the legend.
    colour : int
        Number of the page's colour, from 1.
    path : str
        The ``d`` of an SVG path.
    marks : list of (x, y)
        Where the points lie.
    dashed : bool
        Whether it is dashed.
    """

    name: str
    colour: int
    path: str
    marks: list[tuple[float, float]]
    dashed: bool = False


@dataclass(frozen=True)
class Chart:
    """What a chart shows; ticks are pairs of place and text.

    Attributes
    ----------
    title, x_label, y_label : str
        In words; ``title`` describes the chart to those who do not see it, too.
    lines : list of Line
        Its lines.
    bars : list of (x, y, width, height)
        The bars of a histogram.
    bar_colour : int
        Number of the page's colour.
    x_ticks, y_ticks : list of (float, str)
        Places along the axes.
    """

    title: str
    x_label: str
    y_label: str
    lines: list[Line] = field(default_factory=list)
    bars: list[tuple[float, float, float, float]] = field(default_factory=list)
    bar_colour: int = 1
    x_ticks: list[tuple[float, str]] = field(default_factory=list)
    y_ticks: list[tuple[float, str]] = field(default_factory=list)


def line_chart(
    title: str,
    y_label: str,
    series: Sequence[tuple[str, int, Sequence[tuple[float, float]]]],
    *,
    x_label: str = "epoch",
    top: float | None = None,
) -> Chart | None:
    """Return a chart of named series of points, from zero up; None if there is no point.

    Parameters
    ----------
    title, y_label, x_label : str
        Words.
    series : sequence of (name, colour, points)
        Colours above 100 are dashed lines of the colour less 100.
    top : float, optional
        The end of the vertical axis; else what the points need.
    """
    series = [item for item in series if item[2]]
    if not series:
        return None
    xs = [x for _, _, points in series for x, _ in points]
    ys = [y for _, _, points in series for _, y in points]
    low, high = min(xs), max(xs)
    ceiling = top if top is not None else max(_steps(max(*ys, 0.0))[-1], 1e-12)
    floor = 0.0 if min(ys) >= 0 else min(ys)
    across = _Scale(low, high, LEFT, WIDTH - RIGHT)
    up = _Scale(floor, ceiling, HEIGHT - BOTTOM, TOP)
    lines = []
    for name, colour, points in series:
        marks = [(round(across(x), 1), round(up(y), 1)) for x, y in points]
        path = "M" + "L".join(f"{x} {y}" for x, y in marks)
        lines.append(
            Line(name, colour % 100, path, marks if len(marks) <= 40 else [], colour > 100)
        )
    whole = range(math.ceil(low), int(high) + 1, max(1, math.ceil((high - low) / 6)))
    return Chart(
        title,
        x_label,
        y_label,
        lines=lines,
        x_ticks=[(round(across(x), 1), f"{x:g}") for x in whole],
        y_ticks=[(round(up(y), 1), f"{y:g}") for y in _steps(ceiling) if y <= ceiling * 1.0001],
    )


def histogram(
    title: str, x_label: str, y_label: str, values: NDArray[np.float64], colour: int = 1
) -> Chart:
    """Return a histogram of values that are not negative, in 24 bars from zero."""
    end = _steps(max(float(values.max(initial=0.0)), 1e-3))[-1]
    counts, edges = np.histogram(values, bins=24, range=(0.0, end))
    ceiling = _steps(max(float(counts.max()), 1.0))[-1]
    across = _Scale(0.0, end, LEFT, WIDTH - RIGHT)
    up = _Scale(0.0, ceiling, HEIGHT - BOTTOM, TOP)
    bars = [
        (
            round(across(left) + 0.5, 1),
            round(up(count), 1),
            round(across(right) - across(left) - 1, 1),
            round(up(0.0) - up(count), 1),
        )
        for count, left, right in zip(counts.tolist(), edges[:-1], edges[1:], strict=True)
        if count
    ]
    return Chart(
        title,
        x_label,
        y_label,
        bars=bars,
        bar_colour=colour,
        x_ticks=[(round(across(x), 1), f"{x:g}") for x in _steps(end)],
        y_ticks=[(round(up(y), 1), f"{y:g}") for y in _steps(ceiling)],
    )


@dataclass(frozen=True)
class _Scale:
    """A linear map of values to places."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        if self.high == self.low:
            return (self.start + self.end) / 2
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def _steps(high: float) -> list[float]:
    """Return round numbers from 0 that end at ``high`` or just above."""
    if high <= 0:
        return [0.0, 1.0]
    rough = high / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * 0.9999)
    count = math.ceil(high / step - 1e-9)
    return [round(step * i, 12) for i in range(count + 1)]
