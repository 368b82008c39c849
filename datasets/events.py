"""Recordings as arrays of events, what can be done to them, and the base class of event sets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

if TYPE_CHECKING:
    from spikeprop.datasets.loader import EventLoader

Events: TypeAlias = NDArray[np.void]
"""A structured array with the fields x, y (pixels), t (microseconds) and p (polarity)."""

EVENT_DTYPE = np.dtype([("x", np.int64), ("y", np.int64), ("t", np.int64), ("p", np.int64)])

FIRST_SACCADE_US = 100_000
"""Events before this time belong to the first saccade (tonic's rule)."""


def make_events(x: Any, y: Any, t: Any, p: Any) -> Events:
    """Put four integer arrays of equal length together into one array of events."""
    events = np.empty(len(t), dtype=EVENT_DTYPE)
    events["x"], events["y"], events["t"], events["p"] = x, y, t, p
    return events


def first_saccade(events: Events) -> Events:
    """Keep the events of the first of three saccades: those before 100 ms."""
    return events[events["t"] < FIRST_SACCADE_US]


def stabilize(events: Events) -> Events:
    """Undo the camera's saccades, so that the digit stands still in the middle of the sensor.

    The image of N-MNIST moves along a triangle, 105 ms a side: from (0, 0) to (3.5, 7) to (7, 0)
    pixels and back. Each event is moved against that, and by (4, 2) pixels into the middle. Events
    that leave the 34 x 34 sensor are dropped. The same numbers as
    ``tonic.datasets.nmnist.stabilize`` (tested), which changes its argument; this does not.

    Parameters
    ----------
    events
        Events of one recording, with the sensor of N-MNIST, 34 x 34.

    Returns
    -------
    ndarray
        A new array of events, in the same order.

    Source: G. Orchard et al., "Converting static image datasets to spiking neuromorphic datasets
    using saccades", 2015, and the data set's page.
    """
    t = events["t"]
    # Offsets in 1/30000 pixel, in which 1 us of the triangle is a whole number on both axes.
    moved_x = np.where(t <= 210_000, t, 2 * 105_000 - 2 * (t - 210_000))
    moved_y = 2 * np.where(t <= 105_000, t, np.where(t <= 210_000, 210_000 - t, 0))
    x = ((events["x"] + 4) * 30_000 - moved_x) / 30_000
    y = ((events["y"] + 2) * 30_000 - moved_y) / 30_000
    inside = (x >= 0) & (y >= 0) & (x <= 33) & (y <= 33)
    return make_events(np.round(x[inside]), np.round(y[inside]), t[inside], events["p"][inside])


def shift_events(events: Events, dx: int, dy: int, sensor_size: tuple[int, int, int]) -> Events:
    """Move events by whole pixels; those that leave the sensor are dropped."""
    x, y = events["x"] + dx, events["y"] + dy
    inside = (x >= 0) & (y >= 0) & (x < sensor_size[0]) & (y < sensor_size[1])
    return make_events(x[inside], y[inside], events["t"][inside], events["p"][inside])


class EventDataset(Dataset[tuple[Events, int]]):
    """A map-style set of labelled recordings; its items are ``(events, label)``.

    Sub-classes set the attributes below and give ``_recording(index)``.

    Attributes
    ----------
    name : str
        Name of the set.
    sensor_size : tuple of int
        Width, height and number of polarities.
    classes : list of str
        Name of every class.
    targets : ndarray of int64, shape (N,)
        Label of every recording.
    duration : int
        Nominal duration of a recording in microseconds: 315,000, or 100,000 with
        ``first_saccade_only``. Single recordings may be longer.
    partial : bool
        True if this is only part of the published set.
    note : str or None
        What a report about results on this set has to mention.
    """

    name: str = "events"
    sensor_size: tuple[int, int, int] = (34, 34, 2)
    targets: NDArray[np.int64]
    partial: bool = False
    note: str | None = None

    def __init__(
        self, *, train: bool, first_saccade_only: bool = False, stabilize: bool = False
    ) -> None:
        self.classes = [str(digit) for digit in range(10)]
        self.train = bool(train)
        self.first_saccade_only = bool(first_saccade_only)
        self.stabilize = bool(stabilize)
        self.duration = FIRST_SACCADE_US if first_saccade_only else 315_000

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Events, int]:
        count = len(self)
        if not -count <= index < count:
            raise IndexError(f"index {index} is out of range for {count} recordings")
        index %= count
        events = self._recording(index)
        if self.first_saccade_only:
            events = first_saccade(events)
        if self.stabilize:
            events = stabilize(events)
        return events, int(self.targets[index])

    def __repr__(self) -> str:
        split = "train" if self.train else "test"
        note = f", {self.note}" if self.note else ""
        return f"{type(self).__name__}({split}, {len(self)} recordings{note})"

    def _recording(self, index: int) -> Events:
        raise NotImplementedError

    @classmethod
    def loader(
        cls,
        root: str | os.PathLike[str] | None = None,
        train: bool = True,
        *,
        batch_size: int = 64,
        time_window: int | None = 15_000,
        n_time_bins: int | None = None,
        event_count: int | None = None,
        binary: bool = True,
        shift: int = 0,
        shuffle: bool | None = None,
        seed: int = 0,
        first_saccade_only: bool = False,
        stabilize: bool = False,
        sparse: bool = False,
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> EventLoader:
        """Open the set and return a loader of ``(x (T, B, P, H, W) float32, labels (B,) int64)``.

        Parameters
        ----------
        root
            Data folder; None for ``$SPIKEPROP_DATA`` or ``~/.cache/spikeprop``.
        train
            The training or the test split.
        batch_size
            Recordings in a batch.
        time_window, n_time_bins, event_count, binary
            Time bins; see :class:`spikeprop.datasets.Binning`.
        shift
            Random shift of each training recording by up to this many pixels on each axis; the
            test split is never shifted.
        shuffle
            Random order; None means in training only.
        seed
            Seed of order and shifts.
        first_saccade_only
            Only the events before 100 ms.
        stabilize
            Undo the camera's saccades.
        sparse, num_workers, pin_memory
            How batches come; see :func:`spikeprop.datasets.make_loader`.

        Raises
        ------
        FileNotFoundError
            If the data are missing.
        ValueError, TypeError
            If an argument is out of its range.
        """
        from spikeprop.datasets.binning import Binning
        from spikeprop.datasets.loader import make_loader

        binning = Binning(time_window, n_time_bins, event_count, binary)
        build: Any = cls  # sub-classes take a root first, which this class does not
        dataset = build(
            root, train=train, first_saccade_only=first_saccade_only, stabilize=stabilize
        )
        return make_loader(
            dataset,
            batch_size=batch_size,
            binning=binning,
            shuffle=train if shuffle is None else shuffle,
            seed=seed,
            shift=shift if train else 0,
            sparse=sparse,
            num_workers=num_workers,
            pin_memory=pin_memory,
        )
