"""From events to an event batch: the time steps of ``bin_events``, never made dense."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from spikeprop.datasets import _bin_kernel
from spikeprop.datasets.binning import Binning, as_columns, locate
from spikeprop.datasets.columns import EventColumns
from spikeprop.datasets.compiled import compiled
from spikeprop.datasets.events import Events
from spikeprop.datasets.sparse import EventBatch

__all__ = ["bin_events_sparse"]

_Rows = tuple[NDArray[np.int64], NDArray[np.int32], "NDArray[np.float32] | None"]


def bin_events_sparse(
    events_list: Sequence[Events] | EventColumns,
    binning: Binning,
    sensor_size: tuple[int, int, int],
    duration: int,
    chosen: NDArray[np.int64] | None = None,
) -> EventBatch:
    """Cut recordings into time steps, as sparse events.

    Equal to ``EventBatch.from_dense(bin_events(...))`` in every entry, in time and memory that grow
    with the number of events and not with that of cells.

    Parameters
    ----------
    events_list, binning, sensor_size, duration
        As in :func:`spikeprop.datasets.bin_events`.
    chosen : ndarray of int64, shape (B,), optional
        Only these recordings, in this order; the others' events are not looked at.

    Returns
    -------
    EventBatch
        T time steps of B recordings; ``features`` is (P, H, W).

    Raises
    ------
    ValueError
        If the batch is empty, or an event lies outside the sensor or before time 0.
    """
    columns = as_columns(events_list)
    kernel = compiled(_bin_kernel.bin_rows)
    starts, stops = columns.offsets[:-1], columns.offsets[1:]
    if chosen is not None:
        starts, stops = starts[chosen], stops[chosen]
    found = None
    # Compiled code has no integers that hold both these and negative ones.
    if kernel is not None and not any(column.dtype == np.uint64 for column in columns[:4]):
        found = _compiled_rows(kernel, columns, starts, stops, binning, sensor_size, duration)
    if found is None:  # no numba, or the NumPy code has an error to raise
        columns = columns if chosen is None else columns.taken(starts, stops)
        found = _numpy_rows(columns, binning, sensor_size, duration)
    offsets, channels, values = found
    if values is not None and bool((values == 1).all()):
        values = None
    return EventBatch(
        torch.from_numpy(offsets),
        torch.from_numpy(channels),
        None if values is None else torch.from_numpy(values),
        (len(offsets) - 1) // len(starts),
        torch.Size(binning.features(sensor_size)),
    )


def _numpy_rows(
    columns: EventColumns, binning: Binning, sensor_size: tuple[int, int, int], duration: int
) -> _Rows:
    step, channel, steps = locate(columns, binning, sensor_size, duration)
    size = int(np.prod(binning.features(sensor_size)))
    key = ((columns.row * steps + step) * size + channel)[step < steps]
    cells, counts = np.unique(key, return_counts=True)
    offsets = np.zeros(columns.batch * steps + 1, dtype=np.int64)
    np.cumsum(np.bincount(cells // size, minlength=columns.batch * steps), out=offsets[1:])
    values = None if binning.binary else counts.astype(np.float32)
    return offsets, (cells % size).astype(np.int32), values


def _compiled_rows(
    kernel: Callable[..., tuple[int, int]],
    columns: EventColumns,
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    binning: Binning,
    sensor_size: tuple[int, int, int],
    duration: int,
) -> _Rows | None:
    """Run the compiled loop; None where it met an event that has no place."""
    steps = binning.steps(duration)
    if binning.event_count is not None:
        measure, amount = _bin_kernel.EVENT_COUNT, binning.event_count
        steps = max(1, -(-int((stops - starts).max()) // amount))
    elif binning.n_time_bins is not None:
        measure, amount = _bin_kernel.N_TIME_BINS, binning.n_time_bins
    else:
        assert binning.time_window is not None
        measure, amount = _bin_kernel.TIME_WINDOW, binning.time_window
    assert steps is not None
    entries = int((stops - starts).sum())
    channels = np.empty(entries, dtype=np.int32)
    values = np.empty(0 if binning.binary else entries, dtype=np.float32)
    offsets = np.empty(len(starts) * steps + 1, dtype=np.int64)
    sensor = np.array(sensor_size, dtype=np.int64)
    status, n = kernel(
        columns.t,
        columns.x,
        columns.y,
        columns.p,
        starts,
        stops,
        measure,
        amount,
        duration,
        steps,
        sensor,
        binning.pool,
        binning.merge_polarities,
        binning.binary,
        channels,
        values,
        offsets,
    )
    if status != _bin_kernel.FINE:
        return None
    return offsets, channels[:n], None if binning.binary else values[:n]
