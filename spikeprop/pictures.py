"""A picture of one recording: its events as an image, over time, and their rate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from spikeprop.datasets import Events
from spikeprop.datasets.files import write_atomically

__all__ = ["save_recording"]

SHOWN = 40_000
RATE_BINS = 100


def save_recording(
    path: Path, events: Events, sensor_size: tuple[int, int, int] | None, title: str
) -> None:
    """Draw a recording into a ``.png`` file: ON events red, OFF events blue.

    Parameters
    ----------
    path
        The file; its folder must exist.
    events
        Fields x, y, t (microseconds) and p; at least one event.
    sensor_size
        Width, height and number of polarities; None takes what the events need.
    title
        Line above the picture.

    Raises
    ------
    ValueError
        If there is no event.
    OSError
        If the file cannot be written.
    """
    if len(events) == 0:
        raise ValueError("events is empty: there is nothing to draw")
    width = int(events["x"].max()) + 1 if sensor_size is None else sensor_size[0]
    height = int(events["y"].max()) + 1 if sensor_size is None else sensor_size[1]
    seconds = (events["t"] - events["t"][0]) / 1e6
    figure = Figure(figsize=(11, 4), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10)
    image, raster, rate = figure.subplots(1, 3, width_ratios=[1, 1, 1])
    total = np.zeros((height, width))
    np.add.at(total, (events["y"], events["x"]), np.where(events["p"] > 0, 1, -1))
    limit = max(1.0, float(np.quantile(np.abs(total[total != 0]), 0.98)) if total.any() else 1.0)
    flat = height < 8  # a row of inputs is hardly seen as an image
    image.imshow(
        total,
        cmap="RdBu_r",
        vmin=-limit,
        vmax=limit,
        interpolation="nearest",
        aspect="auto" if flat else "equal",
    )
    image.set_xlabel("x [pixels]")
    image.set_ylabel("y [pixels]")
    chosen = np.linspace(0, len(events) - 1, min(SHOWN, len(events))).round().astype(np.int64)
    colours = np.where(events["p"][chosen] > 0, "tab:red", "tab:blue")
    raster.scatter(seconds[chosen], events["x"][chosen], s=0.5, c=colours, linewidths=0)
    raster.set_xlim(0, max(float(seconds[-1]), 1e-6))
    raster.set_ylim(-0.5, width - 0.5)
    raster.set_xlabel("time [s]")
    raster.set_ylabel("x [pixels]")
    edges = np.linspace(0, max(float(seconds[-1]), 1e-6), RATE_BINS + 1)
    for polarity, colour in ((1, "tab:red"), (0, "tab:blue")):
        chosen_times = seconds[(events["p"] > 0) == bool(polarity)]
        counts, _ = np.histogram(chosen_times, edges)
        rate.stairs(counts / np.diff(edges) / 1e3, edges, color=colour, baseline=None)
    rate.set_xlabel("time [s]")
    rate.set_ylabel("events [1,000 a second]: ON red, OFF blue")
    write_atomically(path, lambda file: figure.savefig(file, dpi=110, format="png"))
