"""N-MNIST: the handwritten digits of MNIST, recorded with an event camera that moves."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spikeprop.datasets.bin_format import read_events
from spikeprop.datasets.events import Events
from spikeprop.datasets.fetching import RemoteFile
from spikeprop.datasets.files import data_root
from spikeprop.datasets.obtaining import Part, obtain
from spikeprop.datasets.saccades import SaccadeSet

_FILES = "https://data.mendeley.com/public-files/datasets/468j46mzdv/files/"
TRAIN = RemoteFile(
    "train.zip",
    (_FILES + "39c25547-014b-4137-a934-9d29fa53c7a0/file_downloaded",),
    "20959b8e626244a1b502305a9e6e2031",
    size=1_000_000_000,
)
TEST = RemoteFile(
    "test.zip",
    (_FILES + "05a4d654-7e03-4c15-bdfa-9bb2bcbea494/file_downloaded",),
    "69ca8762b2fe404d9b9bad1103e97832",
    size=170_000_000,
)
PARTS = {
    "train": Part(
        "The training split of N-MNIST",
        "NMNIST",
        "recordings as Train/<digit 0..9>/*.bin",
        (TRAIN,),
    ),
    "test": Part(
        "The test split of N-MNIST", "NMNIST", "recordings as Test/<digit 0..9>/*.bin", (TEST,)
    ),
}
RECORDINGS = {"train": 60_000, "test": 10_000}


class NMNIST(SaccadeSet):
    """N-MNIST (Orchard et al. 2015): 60,000 recordings to train and 10,000 to test, ten classes.

    34 x 34 pixels, two polarities, microseconds, three saccades of 105 ms, about 4,100 events each.
    A few recordings last longer than the nominal 315 ms. Recordings are ordered by digit, then by
    file name.

    Parameters
    ----------
    root
        Data folder; None for ``$SPIKEPROP_DATA`` or ``~/.cache/spikeprop``. The recordings are
        ``Train/<digit>/*.bin`` and ``Test/<digit>/*.bin`` in it, or in a folder ``NMNIST`` in it
        (where tonic puts them). Part of the set will do: then ``partial`` is True, and ``note``
        says how much it is.
    train
        The training or the test split.
    first_saccade_only
        Only the events before 100 ms.
    stabilize
        Undo the camera's saccades.
    download
        Where the split's folder is missing: unpack ``train.zip`` / ``test.zip`` if it lies in the
        data folder, else download it (about 1 GB / 170 MB).

    Raises
    ------
    FileNotFoundError
        If the recordings are missing and cannot be fetched; the message says which files to put
        where.
    ValueError
        If the folder holds recordings of something that is not a digit 0..9, or ``train.zip`` /
        ``test.zip`` there is not the published one. Damaged recordings raise it when they are read.

    Source: G. Orchard, A. Jayawant, G. Cohen, N. Thakor, "Converting static image datasets to
    spiking neuromorphic datasets using saccades", Frontiers in Neuroscience 9:437, 2015.
    """

    name = "nmnist"
    slow = True

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        train: bool = True,
        first_saccade_only: bool = False,
        stabilize: bool = False,
        download: bool = True,
    ) -> None:
        super().__init__(train=train, first_saccade_only=first_saccade_only, stabilize=stabilize)
        split = "train" if train else "test"
        folder = obtain(
            data_root(root),
            PARTS[split],
            lambda place: find_split(place, split.capitalize()),
            fetch=download,
        )
        self.paths, self.targets = list_recordings(folder)
        found, all_of_it = len(self.paths), RECORDINGS[split]
        self.partial = found != all_of_it
        if self.partial:
            kind = "training" if train else "test"
            self.note = f"part of N-MNIST: {found:,} of {all_of_it:,} {kind} recordings"

    def _recording(self, index: int) -> Events:
        return read_events(self.paths[index], self.sensor_size)


def find_split(folder: Path, split: str) -> Path | None:
    """Return the folder of a split (``Train``, ``Test``), if it is there."""
    return folder / split if (folder / split).is_dir() else None


def list_recordings(split: Path) -> tuple[list[Path], NDArray[np.int64]]:
    """List ``<digit>/*.bin`` and the labels, by digit and file name.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If a folder with recordings is not called 0..9.
    """
    paths: list[Path] = []
    labels: list[int] = []
    for folder in sorted(p for p in split.iterdir() if p.is_dir() and not p.name.startswith(".")):
        recordings = sorted(p for p in folder.glob("*.bin") if not p.name.startswith("."))
        if not recordings:
            continue
        if folder.name not in [str(digit) for digit in range(10)]:
            raise ValueError(
                f"{folder}: label {folder.name!r} is out of range; N-MNIST's folders are 0 to 9"
            )
        paths += recordings
        labels += [int(folder.name)] * len(recordings)
    if not paths:
        raise FileNotFoundError(
            f"{split} holds no recordings; expected {split}{os.sep}<digit 0..9>{os.sep}*.bin"
        )
    return paths, np.array(labels, dtype=np.int64)
