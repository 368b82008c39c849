"""The refractory time of pixels, applied to recordings: compiled, and in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeprop.datasets.columns import EventColumns
from spikeprop.datasets.compiled import compiled

__all__ = ["refractory"]


def refractory(
    batch: EventColumns, sensor_size: tuple[int, int, int], period: int
) -> NDArray[np.bool_]:
    """Tell which events come at least ``period`` after the last one kept of their pixel.

    Events have to be sorted in time within each recording.
    """
    pixel = batch.y.astype(np.int64) * sensor_size[0] + batch.x
    loop = compiled(kept_events)
    if loop is None:
        return kept_events_numpy(batch.t, pixel, batch.row, period)
    pixels = sensor_size[0] * sensor_size[1]
    kept: NDArray[np.bool_] = loop(batch.t, pixel, batch.offsets, pixels, period)
    return kept


def kept_events(t: Any, pixel: Any, offsets: Any, pixels: int, period: int) -> Any:
    """Go through the events one by one; written for numba."""
    kept = np.zeros(len(t), dtype=np.bool_)
    ready = np.zeros(pixels, dtype=np.int64)
    for sample in range(len(offsets) - 1):
        start, stop = offsets[sample], offsets[sample + 1]
        for i in range(start, stop):
            ready[pixel[i]] = 0
        for i in range(start, stop):
            if t[i] >= ready[pixel[i]]:
                kept[i] = True
                ready[pixel[i]] = t[i] + period
    return kept


def kept_events_numpy(
    t: NDArray[Any], pixel: NDArray[np.int64], row: NDArray[np.int64], period: int
) -> NDArray[np.bool_]:
    """Hop from kept event to kept event, in all pixels at once."""
    order = np.lexsort((t, pixel, row))
    kept = np.zeros(len(t), dtype=bool)
    if len(t) == 0:
        return kept
    new = np.ones(len(t), dtype=bool)
    new[1:] = (np.diff(row[order]) != 0) | (np.diff(pixel[order]) != 0)
    group = np.cumsum(new) - 1
    ends = np.append(np.flatnonzero(new)[1:], len(t))
    # All pixels of all recordings on one axis, further apart than any period.
    line = group * (int(t.max()) + period + 1) + t[order]
    here = np.flatnonzero(new)
    while len(here):
        kept[order[here]] = True
        after = np.searchsorted(line, line[here] + period, side="left")
        # A period of 0 keeps everything: go on with the next event then.
        after = np.maximum(after, here + 1)
        here = after[after < ends[group[here]]]
    return kept
