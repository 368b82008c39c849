"""Recordings for experiments: read once, split the same way for every method, and fingerprinted."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spikeprop.datasets import (
    NMNIST,
    Binning,
    EventDataset,
    Events,
    SaccadeDigits,
    kfold,
    make_loader,
    split_validation,
)
from spikeprop.datasets.loader import EventLoader

__all__ = ["DATASETS", "Recordings", "Split", "load", "loader", "splits", "tuning_split"]

DATASETS = ("saccade-digits", "nmnist")


class Recordings:
    """Train and test part of an event set, one after the other, in memory.

    Parameters
    ----------
    train, test : EventDataset
        The two parts.

    Attributes
    ----------
    targets : ndarray of int64, shape (N,)
        Labels, those of ``train`` first.
    n_train : int
        How many of them are ``train``.
    """

    def __init__(self, train: EventDataset, test: EventDataset) -> None:
        self.name = train.name
        self.note = train.note
        self.sensor_size, self.classes = train.sensor_size, train.classes
        self.duration = train.duration
        self.n_train = len(train)
        self.targets: NDArray[np.int64] = np.concatenate([train.targets, test.targets])
        self._items = [part[i] for part in (train, test) for i in range(len(part))]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> tuple[Events, int]:
        return self._items[index]

    @property
    def inputs(self) -> int:
        """Input channels of a network: pixels times polarities."""
        return int(np.prod(self.sensor_size))

    def fingerprint(self) -> str:
        """Return a sha256 of all events and labels: which data a result belongs to."""
        digest = hashlib.sha256(np.ascontiguousarray(self.targets, dtype="<i8").tobytes())
        for events, _ in self._items:
            for name in "xytp":
                digest.update(np.ascontiguousarray(events[name], dtype="<i8").tobytes())
        return digest.hexdigest()

    def first(self, train: int, test: int) -> Recordings:
        """Return the same with only some recordings of each class in either part, for trials."""
        kept = []
        for start, stop, count in ((0, self.n_train, train), (self.n_train, len(self), test)):
            for label in np.unique(self.targets):
                members = np.flatnonzero(self.targets[start:stop] == label) + start
                kept.append(members[:count])
            if start == 0:
                n_train = sum(len(part) for part in kept)
        chosen = np.concatenate(kept)
        part = object.__new__(Recordings)
        part.__dict__.update(self.__dict__)
        part._items = [self._items[i] for i in chosen]
        part.targets, part.n_train = self.targets[chosen], n_train
        return part


@dataclass(frozen=True)
class Split:
    """What one training run learns from and is measured on: indices into the recordings."""

    name: str
    train: NDArray[np.int64]
    test: NDArray[np.int64]


def load(name: str, data_dir: Path | None = None) -> Recordings:
    """Read a data set.

    Parameters
    ----------
    name : {"saccade-digits", "nmnist"}
        Which.
    data_dir : Path, optional
        Its data folder; None for the default one.

    Raises
    ------
    ValueError
        For another name.
    FileNotFoundError
        If its files are missing.
    """
    if name not in DATASETS:
        raise ValueError(f"dataset has to be one of {DATASETS}, got {name!r}")
    kind = SaccadeDigits if name == "saccade-digits" else NMNIST
    return Recordings(kind(root=data_dir, train=True), kind(root=data_dir, train=False))


def splits(recordings: Recordings, folds: int, seeds: int) -> list[Split]:
    """Return the runs to make: one per fold of the pooled set, or the set's own split per seed.

    With the set's own split, all of its training part is trained on in the end (tuning held a part
    of it out); the runs then differ in their seed alone.
    """
    if folds:
        return [
            Split(f"fold {k}", train, test)
            for k, (train, test) in enumerate(kfold(recordings.targets, folds, seed=0))
        ]
    train, test = np.split(np.arange(len(recordings)), [recordings.n_train])
    return [Split(f"seed {seed}", train, test) for seed in range(seeds)]


def tuning_split(recordings: Recordings, split: Split, fraction: float) -> Split:
    """Take a validation part out of a run's training part; its test part is never touched."""
    train, held_out = split_validation(recordings.targets[split.train], fraction, seed=0)
    return Split(f"tuning on {split.name}", split.train[train], split.train[held_out])


def loader(
    recordings: Recordings,
    indices: Sequence[int] | NDArray[np.int64],
    binning: Binning,
    *,
    batch_size: int,
    seed: int | None = None,
    shift: int = 0,
    sparse: bool = False,
) -> EventLoader:
    """Make a loader: shuffled and augmented if a seed is given, in order if not."""
    return make_loader(
        recordings,
        batch_size=batch_size,
        binning=binning,
        shuffle=seed is not None,
        seed=seed or 0,
        shift=shift,
        indices=indices,
        sparse=sparse,
    )
