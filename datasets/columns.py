"""A batch of recordings as four columns: what loaders, augmentation and binning pass on.

Structured arrays are pleasant for one recording and slow for a thousand. Here the events of all
recordings of a batch lie one after another, a column a field, so that every operation on the batch
is a few passes over contiguous memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikeprop.datasets.events import Events, make_events

__all__ = ["EventColumns"]


class EventColumns(NamedTuple):
    """Recordings one after another; recording ``i`` is ``offsets[i]`` to ``offsets[i + 1]``.

    Attributes
    ----------
    t : ndarray of int, shape (N,)
        Times in microseconds.
    x, y, p : ndarray of int, shape (N,)
        Pixels and polarity.
    offsets : ndarray of int64, shape (B + 1,)
        From 0 to N, never decreasing.
    """

    t: NDArray[np.integer[Any]]
    x: NDArray[np.integer[Any]]
    y: NDArray[np.integer[Any]]
    p: NDArray[np.integer[Any]]
    offsets: NDArray[np.int64]

    @classmethod
    def from_list(cls, events_list: Sequence[Events]) -> EventColumns:
        """Put structured arrays (fields x, y, t, p) together.

        Raises
        ------
        ValueError
            If the list is empty.
        """
        if len(events_list) == 0:
            raise ValueError("events_list is empty; give at least one recording")
        offsets = np.zeros(len(events_list) + 1, dtype=np.int64)
        np.cumsum([len(events) for events in events_list], out=offsets[1:])
        t, x, y, p = (
            np.concatenate([events[name] for events in events_list]).astype(np.int64, copy=False)
            for name in "txyp"
        )
        return cls(t, x, y, p, offsets)

    def taken(self, starts: NDArray[np.int64], stops: NDArray[np.int64]) -> EventColumns:
        """Return a copy of the events ``starts[i]`` to ``stops[i]`` as recording ``i``."""
        offsets = np.zeros(len(starts) + 1, dtype=np.int64)
        np.cumsum(stops - starts, out=offsets[1:])
        parts = [slice(a, b) for a, b in zip(starts.tolist(), stops.tolist(), strict=True)]
        t, x, y, p = (
            np.concatenate([column[part] for part in parts], dtype=kind, casting="unsafe")
            for column, kind in zip(self, (np.int64, np.int32, np.int32, np.int8), strict=False)
        )
        return EventColumns(t, x, y, p, offsets)

    @property
    def batch(self) -> int:
        """Number of recordings B."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of events of each recording, shape (B,)."""
        return np.diff(self.offsets)

    @property
    def row(self) -> NDArray[np.int64]:
        """Recording that each event belongs to, shape (N,)."""
        return np.repeat(np.arange(self.batch), self.lengths)

    def events(self, index: int) -> Events:
        """Return one recording as a structured array."""
        if not 0 <= index < self.batch:
            raise IndexError(f"index {index} is out of range for {self.batch} recordings")
        part = slice(int(self.offsets[index]), int(self.offsets[index + 1]))
        return make_events(self.x[part], self.y[part], self.t[part], self.p[part])

    def keep(self, mask: NDArray[np.bool_]) -> EventColumns:
        """Return the events where ``mask`` is true, in the same recordings."""
        kept = np.flatnonzero(mask)
        if len(kept) == len(mask):
            return self
        t, x, y, p = (column[mask] for column in self[:4])
        return EventColumns(t, x, y, p, np.searchsorted(kept, self.offsets))

    def inside(self, sensor_size: tuple[int, int, int]) -> EventColumns:
        """Return the events that lie on a sensor of this width and height."""
        x, y = self.x, self.y
        return self.keep((x >= 0) & (y >= 0) & (x < sensor_size[0]) & (y < sensor_size[1]))

    def sorted(self) -> EventColumns:
        """Return the events of each recording in the order of their times; equal ones as before."""
        row = self.row
        if not np.any((np.diff(self.t) < 0) & (np.diff(row) == 0)):
            return self
        order = np.lexsort((self.t, row))
        t, x, y, p = (column[order] for column in self[:4])
        return EventColumns(t, x, y, p, self.offsets)

    def span(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the first and the last time of each recording, shape (B,); 0 where it is empty."""
        first, last = np.zeros((2, self.batch), dtype=np.int64)
        filled = self.lengths > 0
        first[filled] = self.t[self.offsets[:-1][filled]]
        last[filled] = self.t[self.offsets[1:][filled] - 1]
        return first, last

    def shifted(
        self, offsets: NDArray[np.int64], sensor_size: tuple[int, int, int]
    ) -> EventColumns:
        """Move recording ``i`` by ``offsets[i]`` = (dx, dy) pixels; what leaves the sensor is lost.

        Parameters
        ----------
        offsets : ndarray of int64, shape (B, 2)
            Shifts in pixels.
        sensor_size
            Width, height and polarities of the sensor.
        """
        dx, dy = np.repeat(offsets.astype(self.x.dtype), self.lengths, axis=0).T
        return self._replace(x=self.x + dx, y=self.y + dy).inside(sensor_size)
