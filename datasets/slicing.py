"""Pieces of long recordings, as a set of their own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from spikeprop.datasets.binning import positive_int
from spikeprop.datasets.columns import EventColumns
from spikeprop.datasets.events import Events
from spikeprop.datasets.store import EventStore

__all__ = ["EventSlices"]


class EventSlices(Dataset[tuple[Events, int]]):
    """Every recording of a store cut into slices of equal duration; one item each.

    Times of a slice count from its own start. A recording's last, incomplete slice is left out,
    unless it is the only one. Nothing is copied before it is asked for.

    Parameters
    ----------
    store
        The recordings.
    duration
        Length of a slice in microseconds.
    stride
        From the start of one slice to that of the next in microseconds; None means ``duration``,
        less makes them overlap.

    Attributes
    ----------
    recordings : ndarray of int64, shape (N,)
        Which recording of the store each slice is cut from: keep these together when you split.
    begins : ndarray of int64, shape (N,)
        Where each slice begins in its recording, in microseconds.
    name, sensor_size, classes, targets, groups, duration, note, partial
        As in :class:`EventStore`, a slice being a recording.

    Raises
    ------
    ValueError, TypeError
        If ``duration`` or ``stride`` is not a positive integer.
    """

    def __init__(self, store: EventStore, duration: int, stride: int | None = None) -> None:
        self.store = store
        self.duration = positive_int("duration", duration)
        step = self.duration if stride is None else positive_int("stride", stride)
        recordings, begins, starts, stops = [], [], [], []
        for index in range(len(store)):
            t = store.view(index).t
            length = int(t[-1]) + 1 if len(t) else 0
            count = max(1, (length - self.duration) // step + 1)
            begin = np.arange(count, dtype=np.int64) * step
            # searchsorted in the column's own type: in another it would convert the whole column.
            limit = np.iinfo(t.dtype).max
            ends = np.minimum(begin + self.duration, limit).astype(t.dtype)
            recordings.append(np.full(count, index))
            begins.append(begin)
            starts.append(store.offsets[index] + np.searchsorted(t, begin.astype(t.dtype)))
            stops.append(store.offsets[index] + np.searchsorted(t, ends))
        self.recordings: NDArray[np.int64] = np.concatenate(recordings)
        self.begins: NDArray[np.int64] = np.concatenate(begins)
        self._starts: NDArray[np.int64] = np.concatenate(starts)
        self._stops: NDArray[np.int64] = np.concatenate(stops)
        self.targets = store.targets[self.recordings]
        self.groups = None if store.groups is None else store.groups[self.recordings]
        self.name, self.classes, self.sensor_size = store.name, store.classes, store.sensor_size
        self.note, self.partial = store.note, store.partial

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Events, int]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} slices")
        index %= len(self)
        return self.columns(np.array([index])).events(0), int(self.targets[index])

    def columns(self, indices: NDArray[np.int64]) -> EventColumns:
        """Return several slices at once."""
        columns = self.store.spans(self._starts[indices], self._stops[indices])
        return columns._replace(t=columns.t - np.repeat(self.begins[indices], columns.lengths))
