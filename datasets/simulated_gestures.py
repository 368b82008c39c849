"""SimulatedGestures: eleven arm gestures of simulated people, in the form of DVS Gesture."""

from __future__ import annotations

import hashlib
import os

import numpy as np
from numpy.typing import NDArray

from spikeprop.datasets._gesture_kernel import SIDE
from spikeprop.datasets.binning import positive_int
from spikeprop.datasets.columns import EventColumns
from spikeprop.datasets.events import EventDataset, Events
from spikeprop.datasets.gestures import GESTURES, MIRRORED, perform
from spikeprop.datasets.store_writer import Progress, stored

__all__ = ["SimulatedGestures"]

SEED = 2017
CHECKSUMS = {
    "train": "dba368e9695b8b248fc8976e1914df467ee705174bd58e152b1914b99fdd216e",
    "test": "2067b6bb4ff9b8d52bf8a26867929f20c396d5182a506ec1a548e8dd28fe3bb8",
}
"""Checksums of the set as it is by default, the same on every machine."""

_RECIPE = "simulated-gestures 1"  # another number where the same settings give other events


class SimulatedGestures(EventDataset):
    """Eleven gestures of simulated people: 1,100 recordings to train and 264 to test.

    128 x 128 pixels, two polarities, microseconds; 5 to 7 s and some 280,000 events each, as in DVS
    Gesture. What tells the gestures apart is the direction and the order in time of their movements
    (:mod:`spikeprop.datasets.gestures`): of 264 test recordings, a linear classifier on their sum
    over time gets 23 % right, its best setting chosen in hindsight.
    The people of the training split (25) and of the test split (6) are different ones; each makes
    every gesture four times, in four lights.

    The recordings are made on first use, in some minutes, and kept in an event store in the data
    folder (2.1 GB to train, 0.5 GB to test); a checksum in this file says that they are the same on
    every machine.

    Parameters
    ----------
    root
        Data folder; None for ``$SPIKEPROP_DATA`` or ``~/.cache/spikeprop``.
    train
        The training or the test split.
    people, takes
        Make a smaller (or larger) set, for trials: people in the two splits, and recordings of each
        of them a gesture. ``partial`` is then True.
    num_workers
        Processes that simulate, the first time; None for all cores.
    progress
        Called with the number of recordings made and that of all, the first time.

    Attributes
    ----------
    groups : ndarray of int64, shape (N,)
        The person of each recording: hold out whole people for validation.
    mirrored : tuple of int
        The class that each one becomes when the image is flipped left to right.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range.
    OSError
        If the recordings cannot be kept.
    RuntimeError
        If this machine makes other events than the published ones (both checksums are shown).
    """

    name = "simulated-gestures"
    sensor_size = (SIDE, SIDE, 2)
    duration = 6_000_000
    mirrored = MIRRORED

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        train: bool = True,
        people: tuple[int, int] = (25, 6),
        takes: int = 4,
        num_workers: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        super().__init__(train=train, classes=GESTURES)
        counts = [positive_int("people", count) for count in people]
        if len(counts) != 2:
            raise ValueError(f"people must be two numbers (train, test), got {people!r}")
        takes = positive_int("takes", takes)
        first, count = (0, counts[0]) if train else (counts[0], counts[1])
        scenes = _Scenes(first, count, takes)
        self.partial = (tuple(counts), takes) != ((25, 6), 4)
        if self.partial:
            self.note = f"SimulatedGestures of {counts[0]} + {counts[1]} people, {takes} takes each"
        if num_workers is None:
            cores = os.cpu_count() or 1
            num_workers = cores if len(scenes) > 64 and cores > 1 else 0
        self._store = stored(
            scenes, root, source=scenes.source(), num_workers=num_workers, progress=progress
        )
        self.targets, self.groups = scenes.targets, scenes.groups
        self.checksum = self._store.checksum
        published = CHECKSUMS["train" if train else "test"]
        if not self.partial and self.checksum != published:
            raise RuntimeError(
                f"the recordings made on this machine have checksum {self.checksum}, the published "
                f"ones {published}; results would not be comparable. Please report this, with the "
                f"version of numpy ({np.__version__})."
            )

    def columns(self, indices: NDArray[np.int64]) -> EventColumns:
        """Return several recordings at once."""
        return self._store.columns(indices)

    def _recording(self, index: int) -> Events:
        return self._store[index][0]


class _Scenes:
    """The recordings before they are made: by person, take and gesture."""

    name, sensor_size = SimulatedGestures.name, SimulatedGestures.sensor_size
    duration = SimulatedGestures.duration

    def __init__(self, first: int, people: int, takes: int) -> None:
        self.classes = list(GESTURES)
        person, take, gesture = np.indices((people, takes, len(GESTURES))).reshape(3, -1)
        self.groups: NDArray[np.int64] = person + first
        self.takes: NDArray[np.int64] = take
        self.targets: NDArray[np.int64] = gesture

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Events, int]:
        return self.columns(np.array([index])).events(0), int(self.targets[index])

    def columns(self, indices: NDArray[np.int64]) -> EventColumns:
        """Simulate several recordings."""
        packed = [
            perform(SEED, int(self.groups[i]), int(self.targets[i]), int(self.takes[i]))
            for i in indices
        ]
        offsets = np.zeros(len(packed) + 1, dtype=np.int64)
        np.cumsum([len(part) for part in packed], out=offsets[1:])
        words = np.concatenate(packed)
        return EventColumns(words >> 15, words >> 1 & 127, words >> 8 & 127, words & 1, offsets)

    def source(self) -> str:
        """Return a key of everything that the recordings depend on."""
        text = repr((_RECIPE, SEED, self.groups.tolist(), self.takes.tolist()))
        return hashlib.sha256(text.encode()).hexdigest()
