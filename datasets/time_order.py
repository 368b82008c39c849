"""Windows of recordings, half of them played backward: a task that only order in time decides."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeprop.datasets._random import below, permutation, raw
from spikeprop.datasets.binning import positive_int
from spikeprop.datasets.columns import EventColumns
from spikeprop.datasets.events import EventDataset, Events
from spikeprop.datasets.store import EventStore

__all__ = ["TimeOrder"]

_OFFSET, _REVERSED = range(2)


class TimeOrder(EventDataset):
    """A window of every recording, forward or backward in time; the class says which, too.

    Cut at a random place, so that no time of a window means anything by itself; half of the windows
    of each class, drawn at random, are played backward. In equal bins a backward window has the
    very bins of the forward one in the other order: what sums over time cannot tell the two apart.
    Class ``c`` of the recordings becomes ``c`` (forward) or ``C + c`` (backward).

    Parameters
    ----------
    recordings : EventDataset or EventStore
        What the windows are cut from.
    window : int
        Duration of a window in microseconds, at most that of the recordings; choose a multiple of
        the time step.
    seed : int
        Seed of places and directions; they depend on it and the recording's index alone.

    Raises
    ------
    ValueError, TypeError
        If ``window`` is no integer from 1 to the recordings' duration.
    """

    name = "time-order"

    def __init__(
        self, recordings: EventDataset | EventStore, window: int = 150_000, seed: int = 0
    ) -> None:
        window = positive_int("window", window)
        if window > recordings.duration:
            raise ValueError(
                f"window must be at most the recordings' {recordings.duration} us, got {window}"
            )
        classes = [*recordings.classes, *(f"{name}, backward" for name in recordings.classes)]
        super().__init__(
            train=getattr(recordings, "train", True),  # a store does not know its part
            classes=classes,
            sensor_size=recordings.sensor_size,
            duration=window,
        )
        self.recordings, self.seed = recordings, seed
        count = len(recordings)
        words = raw((seed, _OFFSET), count)
        self.offsets = below(words, recordings.duration - window + 1)
        self.backward = _half_of_each(recordings.targets, seed)
        self.targets = recordings.targets + len(recordings.classes) * self.backward
        self.groups = recordings.groups
        self.note = f"windows of {window} us of {recordings.name}, half of them backward"

    def columns(self, indices: NDArray[np.int64]) -> EventColumns:
        """Return several windows at once."""
        indices = np.asarray(indices)
        whole = self._columns(indices)
        t = np.asarray(whole.t, dtype=np.int64) - np.repeat(self.offsets[indices], whole.lengths)
        kept = (t >= 0) & (t < self.duration)
        lengths = np.bincount(whole.row[kept], minlength=whole.batch)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        parts: list[NDArray[Any]] = [t[kept], whole.x[kept], whole.y[kept], whole.p[kept]]
        for row in np.flatnonzero(self.backward[indices]):
            part = slice(offsets[row], offsets[row + 1])
            for values in parts:
                values[part] = values[part][::-1].copy()
            parts[0][part] = self.duration - 1 - parts[0][part]
        return EventColumns(parts[0], parts[1], parts[2], parts[3], offsets)

    def _columns(self, indices: NDArray[np.int64]) -> EventColumns:
        many = getattr(self.recordings, "columns", None)
        if many is not None:
            found: EventColumns = many(indices)
            return found
        return EventColumns.from_list([self.recordings[int(i)][0] for i in indices])

    def _recording(self, index: int) -> Events:
        return self.columns(np.array([index])).events(0)


def _half_of_each(targets: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return 1 for half of the recordings of each class (the larger half of an odd number)."""
    chosen = np.zeros(len(targets), dtype=np.int64)
    for label in np.unique(targets):
        members = np.flatnonzero(targets == label)
        order = permutation((seed, _REVERSED, int(label)), len(members))
        chosen[members[order[: (len(members) + 1) // 2]]] = 1
    return chosen
