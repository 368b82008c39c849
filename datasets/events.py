"""Recordings as arrays of events, what can be done to them, and the base class of event sets."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

if TYPE_CHECKING:
    from spikeprop.datasets.loader import EventLoader

Events: TypeAlias = NDArray[np.void]
"""A structured array with the fields x, y (pixels), t (microseconds) and p (polarity)."""

EVENT_DTYPE = np.dtype([("x", np.int64), ("y", np.int64), ("t", np.int64), ("p", np.int64)])


def make_events(x: Any, y: Any, t: Any, p: Any) -> Events:
    """Put four integer arrays of equal length together into one array of events."""
    events = np.empty(len(t), dtype=EVENT_DTYPE)
    events["x"], events["y"], events["t"], events["p"] = x, y, t, p
    return events


def shift_events(events: Events, dx: int, dy: int, sensor_size: tuple[int, int, int]) -> Events:
    """Move events by whole pixels; those that leave the sensor are dropped."""
    x, y = events["x"] + dx, events["y"] + dy
    inside = (x >= 0) & (y >= 0) & (x < sensor_size[0]) & (y < sensor_size[1])
    return make_events(x[inside], y[inside], events["t"][inside], events["p"][inside])


class EventDataset(Dataset[tuple[Events, int]]):
    """A map-style set of labelled recordings; its items are ``(events, label)``.

    Sub-classes take a data folder first (see :meth:`loader`), set ``targets`` and give
    ``_recording(index)``; everything else has a default.

    Parameters
    ----------
    train
        The training or the test split.
    classes
        Name of every class; None where the sub-class sets it itself.
    sensor_size
        Width, height and number of polarities; None for that of the class.
    duration
        Nominal duration of a recording in microseconds; None for that of the class. Single
        recordings may be shorter or longer.

    Attributes
    ----------
    name : str
        Name of the set.
    sensor_size, classes, duration, train
        As above.
    targets : ndarray of int64, shape (N,)
        Label of every recording.
    groups : ndarray of int64, shape (N,), or None
        Who or what was recorded (the person, in DVS Gesture), where a validation part should hold
        other groups than the training part.
    slow : bool
        Whether recordings take so long to read that a store is worth making before training.
    partial : bool
        True if this is only part of the published set.
    note : str or None
        What a report about results on this set has to mention.
    """

    name: str = "events"
    sensor_size: tuple[int, int, int] = (34, 34, 2)
    duration: int = 1_000_000
    classes: list[str]
    targets: NDArray[np.int64]
    groups: NDArray[np.int64] | None = None
    slow: bool = False
    partial: bool = False
    note: str | None = None

    def __init__(
        self,
        *,
        train: bool,
        classes: Sequence[str] | None = None,
        sensor_size: tuple[int, int, int] | None = None,
        duration: int | None = None,
    ) -> None:
        self.train = bool(train)
        if classes is not None:
            self.classes = list(classes)
        if sensor_size is not None:
            self.sensor_size = sensor_size
        if duration is not None:
            self.duration = duration

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Events, int]:
        count = len(self)
        if not -count <= index < count:
            raise IndexError(f"index {index} is out of range for {count} recordings")
        index %= count
        return self._recording(index), int(self.targets[index])

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
        sparse: bool = False,
        num_workers: int = 0,
        pin_memory: bool = False,
        **options: Any,
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
        sparse, num_workers, pin_memory
            How batches come; see :func:`spikeprop.datasets.make_loader`.
        **options
            What else the set takes, such as ``first_saccade_only``.

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
        dataset = build(root, train=train, **options)
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
