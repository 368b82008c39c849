"""From events to frames: one spiking input a time bin.

Compared with ``tonic.transforms.ToFrame``: a whole batch at once; windows of fixed duration start
at time 0 of the recording (tonic: at its first event) and are equally many for every recording; the
last, incomplete window is kept (tonic drops it); a fixed number of bins covers the recording up to
and including its last event (tonic rounds the window down and loses the rest).
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spikeprop.datasets.columns import EventColumns
from spikeprop.datasets.events import Events

TIME_WINDOW = 15_000


@dataclass(frozen=True)
class Binning:
    """How a recording is cut into time steps: by one of three measures.

    Parameters
    ----------
    time_window
        Duration of a bin in microseconds. The default, 15,000, gives way where one of the other two
        is given. ``T = ceil(duration / time_window)``, the same for every recording of a set;
        events at or after the set's nominal duration are dropped.
    n_time_bins
        Number of bins of equal duration between the first and the last event of each recording.
    event_count
        Number of events in a bin. T is that of the batch's longest recording; shorter ones end in
        empty bins.
    binary
        True: a cell is 1 where at least one event fell into it (a spike); False: the number of
        events.
    pool
        Spatial pooling: ``pool`` x ``pool`` pixels become one. Pixels left over at the right and
        lower edge make a smaller last one.
    merge_polarities
        True: one channel for all polarities; False: one each.

    Raises
    ------
    ValueError
        If two measures are given, or one is below 1.
    TypeError
        If a measure is not an integer.
    """

    time_window: int | None = TIME_WINDOW
    n_time_bins: int | None = None
    event_count: int | None = None
    binary: bool = True
    pool: int = 1
    merge_polarities: bool = False

    def __post_init__(self) -> None:
        if self.time_window == TIME_WINDOW and (self.n_time_bins or self.event_count):
            object.__setattr__(self, "time_window", None)
        names = ("time_window", "n_time_bins", "event_count")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if len(given) != 1:
            said = ", ".join(f"{name}={value!r}" for name, value in given.items()) or "none"
            raise ValueError(f"give exactly one of {', '.join(names)}; got {said}")
        for name, value in given.items():
            object.__setattr__(self, name, positive_int(name, value))
        object.__setattr__(self, "pool", positive_int("pool", self.pool))
        object.__setattr__(self, "binary", bool(self.binary))
        object.__setattr__(self, "merge_polarities", bool(self.merge_polarities))

    def steps(self, duration: int) -> int | None:
        """Return the number of time steps T of a set of nominal ``duration`` in microseconds.

        None where it differs from batch to batch (``event_count``).
        """
        if self.time_window is not None:
            return max(1, -(-duration // self.time_window))
        return self.n_time_bins

    def features(self, sensor_size: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return the shape ``(P, H, W)`` of a time step for a sensor ``(W, H, P)``."""
        width, height, polarities = sensor_size
        return (
            1 if self.merge_polarities else polarities,
            -(-height // self.pool),
            -(-width // self.pool),
        )


def positive_int(name: str, value: object, least: int = 1) -> int:
    """Return ``value`` as an int of at least ``least``, or raise an error that names it."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if isinstance(value, bool) or number < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
    return number


def bin_events(
    events_list: Sequence[Events] | EventColumns,
    binning: Binning,
    sensor_size: tuple[int, int, int],
    duration: int,
) -> Tensor:
    """Cut recordings into frames.

    Parameters
    ----------
    events_list
        The batch: structured arrays with fields x, y, t (microseconds, from 0) and p, sorted in t;
        or the same as columns. One without events gives empty frames.
    binning
        How to cut.
    sensor_size
        Width W, height H and number of polarities P.
    duration
        Nominal duration of a recording in microseconds; used with ``time_window`` only.

    Returns
    -------
    Tensor, float32, shape (T, B, P, H, W)
        T is at least 1; P, H and W are smaller where ``binning`` merges polarities or pools.

    Raises
    ------
    ValueError
        If the batch is empty, or an event lies outside the sensor or before time 0.
    """
    columns = as_columns(events_list)
    step, cell, steps = locate(columns, binning, sensor_size, duration)
    features = binning.features(sensor_size)
    shape = (steps, columns.batch, *features)
    size = int(np.prod(shape))
    cell = ((step * columns.batch + columns.row) * int(np.prod(features)) + cell)[step < steps]
    if binning.binary:
        frames = torch.zeros(size, dtype=torch.float32)
        frames[torch.from_numpy(cell)] = 1.0
    else:
        frames = torch.from_numpy(np.bincount(cell, minlength=size)).to(torch.float32)
    return frames.reshape(shape)


def as_columns(events: Sequence[Events] | EventColumns) -> EventColumns:
    """Return a batch of recordings as columns."""
    if isinstance(events, EventColumns):
        if events.batch == 0:
            raise ValueError("events_list is empty; give at least one recording")
        return events
    return EventColumns.from_list(events)


def locate(
    columns: EventColumns, binning: Binning, sensor_size: tuple[int, int, int], duration: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Return the time step of every event, its channel within one, and the number of steps.

    Events that fall into no time step have one at or beyond that number.
    """
    t, x, y, p = (
        column.astype(np.int64, copy=False)
        for column in (columns.t, columns.x, columns.y, columns.p)
    )
    check_range(columns, sensor_size)
    step, steps = _time_step(t, columns.row, columns.lengths, binning, duration)
    _, height, width = binning.features(sensor_size)
    if binning.pool > 1:
        x, y = x // binning.pool, y // binning.pool
    channel = y * width + x
    if not binning.merge_polarities:
        channel += p * (height * width)
    return step, channel, steps


def true_lengths(columns: EventColumns, binning: Binning, steps: int) -> NDArray[np.int64]:
    """Return the number of time steps up to the last event of each recording, at most ``steps``.

    An empty recording has 0; with ``n_time_bins`` every other one has all.
    """
    lengths = columns.lengths
    if binning.event_count is not None:
        found = -(-lengths // binning.event_count)
    elif binning.n_time_bins is not None:
        found = np.full(len(lengths), steps)
    else:
        assert binning.time_window is not None
        found = columns.span()[1] // binning.time_window + 1
    return np.where(lengths > 0, np.minimum(found, steps), 0)


def length_mask(lengths: Tensor, steps: int) -> Tensor:
    """Return which time steps are a recording's own: bool, shape (T, B).

    Parameters
    ----------
    lengths : Tensor of int64, shape (B,)
        Time steps of each recording.
    steps
        T.
    """
    return torch.arange(steps, device=lengths.device)[:, None] < lengths


def check_range(columns: EventColumns, sensor_size: tuple[int, int, int]) -> None:
    """Raise ValueError if an event lies outside the sensor or before time 0."""
    fields = zip("xyp", (columns.x, columns.y, columns.p), sensor_size, strict=True)
    for name, values, limit in fields:
        if len(values) and not (values.min() >= 0 and values.max() < limit):
            raise ValueError(
                f"events[{name!r}] reaches from {values.min()} to {values.max()}; the sensor "
                f"(W, H, P) = {tuple(sensor_size)} allows 0 to {limit - 1}"
            )
    if len(columns.t) and columns.t.min() < 0:
        raise ValueError(f"events['t'] begins at {columns.t.min()} us; times count from 0")


def _time_step(
    t: NDArray[np.int64],
    row: NDArray[np.int64],
    lengths: NDArray[np.int64],
    binning: Binning,
    duration: int,
) -> tuple[NDArray[np.int64], int]:
    """Time step of every event, and the number of time steps."""
    starts = np.cumsum(lengths) - lengths
    if binning.event_count is not None:
        within = np.arange(len(t)) - starts[row]
        return within // binning.event_count, max(1, -(-int(lengths.max()) // binning.event_count))
    if binning.n_time_bins is not None:
        filled = lengths > 0
        first, last = np.zeros_like(lengths), np.zeros_like(lengths)
        first[filled] = t[starts[filled]]
        last[filled] = t[(starts + lengths - 1)[filled]]
        if np.any((t < first[row]) | (t > last[row])):
            raise ValueError("events are not sorted in t; n_time_bins needs them in order")
        span = (last - first + 1)[row]
        return (t - first[row]) * binning.n_time_bins // span, binning.n_time_bins
    assert binning.time_window is not None
    steps = binning.steps(duration)
    assert steps is not None
    step = t // binning.time_window
    # The last window may reach beyond the nominal duration; its tail is cut like all that follows.
    step[t >= duration] = steps
    return step, steps
