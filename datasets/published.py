"""Published sets of camera recordings, one file a recording.

N-Caltech101, CIFAR10-DVS, DVS-Lip, ASL-DVS and POKER-DVS. Where a set has no official split, the
hashed split of :func:`spikeprop.datasets.splits.hashed_split` with seed 0 stands in, and ``note``
says so.
"""

from __future__ import annotations

import os
import string
from pathlib import Path
from typing import Any

from spikeprop.datasets.events import Events
from spikeprop.datasets.fetching import RemoteFile
from spikeprop.datasets.files import data_root
from spikeprop.datasets.formats import read_recording
from spikeprop.datasets.obtaining import Part, obtain
from spikeprop.datasets.recording_files import (
    RecordingFiles,
    class_folders,
    labelled,
    note_part,
)
from spikeprop.datasets.splits import hashed_split

Root = str | os.PathLike[str] | None


class _Published(RecordingFiles):
    """What the sets below share; their attributes say the rest.

    Parameters
    ----------
    root
        Data folder; None for ``$SPIKEPROP_DATA`` or ``~/.cache/spikeprop``.
    train
        The training or the test split.
    duration
        Nominal duration of a recording in microseconds; None for that of the set.
    download
        Fetch the set where it is missing, if it can be fetched.

    Raises
    ------
    FileNotFoundError
        If the recordings are missing and cannot be fetched; the message says what to put where.
    ValueError
        If a folder is none of the classes. Damaged recordings raise it when they are read.
    """

    title: str
    parts: dict[str, Part]
    suffixes: tuple[str, ...]
    recordings: dict[str, int]
    slow = True
    column_order: str | None = None
    test_fraction: float | None = None

    def __init__(
        self,
        root: Root = None,
        train: bool = True,
        duration: int | None = None,
        download: bool = True,
    ) -> None:
        split = "train" if train else "test"
        part = self.parts.get(split, self.parts.get("all"))
        assert part is not None
        folder = obtain(
            data_root(root), part, lambda place: self._find(place, split), fetch=download
        )
        found = class_folders(folder, self.suffixes)
        if not found:
            raise FileNotFoundError(f"{folder} holds no recordings; expected {part.layout}")
        classes = self._classes(found)
        paths, targets = labelled(found, classes)
        count = len(paths)
        if self.test_fraction is not None:
            names = [f"{path.parent.name}/{path.stem}" for path in paths]
            chosen = hashed_split(names, targets, self.test_fraction)[0 if train else 1]
            paths, targets = [paths[i] for i in chosen], [targets[i] for i in chosen]
        super().__init__(
            paths,
            targets,
            train=train,
            classes=classes,
            sensor_size=self.sensor_size,
            duration=self.duration if duration is None else duration,
            order=self.column_order,
            reader=self._read,
        )
        whole = self.recordings.get(split) or self.recordings["all"]
        note_part(self, count, whole, self.title)
        if self.test_fraction is not None:
            share = f"{100 * self.test_fraction:g} %"
            rule = f"no official split: {share} of each class by hash (seed 0) are the test part"
            self.note = "; ".join(note for note in (self.note, rule) if note)

    def _find(self, place: Path, split: str) -> Path | None:
        raise NotImplementedError

    def _classes(self, found: dict[str, list[Path]]) -> list[str]:
        return list(type(self).classes)

    def _read(self, path: Path) -> Events:
        return read_recording(path, order=self.column_order, from_zero=True).events


def _with_any(places: list[Path], pattern: str) -> Path | None:
    """Return the first place that holds a file of this pattern."""
    return next((place for place in places if any(place.glob(pattern))), None)


class NCaltech101(_Published):
    """N-Caltech101 (Orchard et al. 2015): 8,709 recordings of 101 classes, 300 ms each.

    240 x 180 pixels, five bytes an event. No official split: a fifth of each class by hash. Classes
    are the folders there are, in the order of their names.
    """

    name, title = "ncaltech101", "N-Caltech101"
    sensor_size = (240, 180, 2)
    duration = 300_000
    suffixes = (".bin",)
    recordings = {"all": 8_709}  # noqa: RUF012 - never changed
    test_fraction = 0.2
    parts = {  # noqa: RUF012
        "all": Part(
            "N-Caltech101",
            "NCaltech101",
            "recordings as Caltech101/<class>/image_NNNN.bin",
            (
                RemoteFile(
                    "N-Caltech101-archive.zip",
                    (
                        "https://data.mendeley.com/public-files/datasets/cy6cvx3ryv/files/"
                        "36b5c52a-b49d-4853-addb-a836a8883e49/file_downloaded",
                    ),
                    "66201824eabb0239c7ab992480b50ba3",
                ),
            ),
            inner=True,
        )
    }

    def _find(self, place: Path, split: str) -> Path | None:
        inner = [place / "Caltech101", place / "N-Caltech101-archive" / "Caltech101"]
        return _with_any(inner, "*/*.bin")

    def _classes(self, found: dict[str, list[Path]]) -> list[str]:
        return sorted(found)


class CIFAR10DVS(_Published):
    """CIFAR10-DVS (Li et al. 2017): 10,000 recordings of ten classes, about 1.3 s each.

    128 x 128 pixels; AEDAT 4, as tonic's copy has it, or the original AEDAT 2. No official split:
    a tenth of each class by hash.
    """

    name, title = "cifar10dvs", "CIFAR10-DVS"
    sensor_size = (128, 128, 2)
    duration = 1_300_000
    suffixes = (".aedat4", ".aedat")
    recordings = {"all": 10_000}  # noqa: RUF012
    test_fraction = 0.1
    classes = [  # noqa: RUF012
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    ]
    parts = {  # noqa: RUF012
        "all": Part(
            "CIFAR10-DVS",
            "CIFAR10DVS",
            "recordings as <class>/cifar10_<class>_N.aedat4",
            (
                RemoteFile(
                    "CIFAR10DVS.zip",
                    (
                        "https://api.figshare.com/v2/file/download/38023437",
                        "https://figshare.com/ndownloader/files/38023437",
                    ),
                    "ce3a4a0682dc0943703bd8f749a7701c",
                    size=11_200_000_000,
                ),
            ),
            inner=True,
        )
    }

    def _find(self, place: Path, split: str) -> Path | None:
        return _with_any([place], "airplane/*.aedat*") or _with_any([place], "truck/*.aedat*")


class DVSLip(_Published):
    """DVS-Lip (Tan et al. 2022): 14,896 + 4,975 recordings of lips that speak 100 words.

    128 x 128 pixels. The archive has to be fetched by hand from Google Drive.
    """

    name, title = "dvslip", "DVS-Lip"
    sensor_size = (128, 128, 2)
    duration = 2_000_000
    suffixes = (".npy",)
    recordings = {"train": 14_896, "test": 4_975}  # noqa: RUF012
    parts = {  # noqa: RUF012
        "all": Part(
            "DVS-Lip",
            "DVSLip",
            "recordings as DVS-Lip/train/<word>/N.npy and DVS-Lip/test/<word>/N.npy",
            (
                RemoteFile(
                    "DVS-Lip.zip",
                    (),
                    "2dcb959255122d4cdeb6094ca282494b",
                    page="https://drive.google.com/file/d/1dBEgtmctTTWJlWnuWxFtk8gfOdVVpkQ0/view",
                ),
            ),
        )
    }

    def _find(self, place: Path, split: str) -> Path | None:
        return _with_any([place / "DVS-Lip" / split], "*/*.npy")

    def _classes(self, found: dict[str, list[Path]]) -> list[str]:
        # The words of both splits are the same; those of the training split name the classes.
        folder = next(iter(found.values()))[0].parents[2] / "train"
        return sorted(set(class_folders(folder, self.suffixes)) | set(found))


class ASLDVS(_Published):
    """ASL-DVS (Bi et al. 2019): 100,800 recordings of 24 letters signed by hand, about 100 ms each.

    240 x 180 pixels, MATLAB files whose y counts from the bottom. No official split: a fifth of
    each letter by hash.
    """

    name, title = "asldvs", "ASL-DVS"
    sensor_size = (240, 180, 2)
    duration = 200_000
    suffixes = (".mat",)
    recordings = {"all": 100_800}  # noqa: RUF012
    test_fraction = 0.2
    classes = [letter for letter in string.ascii_lowercase if letter not in "jz"]  # noqa: RUF012
    parts = {  # noqa: RUF012
        "all": Part(
            "ASL-DVS",
            "ASLDVS",
            "recordings as <letter>/<letter>_NNNN.mat",
            (
                RemoteFile(
                    "ASLDVS.zip",
                    ("https://www.dropbox.com/sh/ibq0jsicatn7l6r/AACNrNELV56rs1YInMWUs9CAa?dl=1",),
                    "33f8b87bf45edc0bfed0de41822279b9",
                ),
            ),
            inner=True,
        )
    }

    def _find(self, place: Path, split: str) -> Path | None:
        return _with_any([place], "a/*.mat") or _with_any([place], "y/*.mat")

    def _read(self, path: Path) -> Events:
        events = super()._read(path)
        events["y"] = self.sensor_size[1] - 1 - events["y"]
        return events


class PokerDVS(_Published):
    """POKER-DVS (Serrano-Gotarredona, Linares-Barranco 2015): 48 + 20 card symbols, four classes.

    35 x 35 pixels, 10 to 30 ms each, as cut by tonic: arrays of t, x, y, p.
    """

    name, title = "pokerdvs", "POKER-DVS"
    sensor_size = (35, 35, 2)
    duration = 20_000
    slow = False
    suffixes = (".npy",)
    recordings = {"train": 48, "test": 20}  # noqa: RUF012
    column_order = "txyp"
    classes = ["club", "heart", "diamond", "spade"]  # noqa: RUF012
    parts: dict[str, Part] = {  # noqa: RUF012
        split: Part(
            f"The {word} split of POKER-DVS",
            "POKERDVS",
            f"recordings as pips_{split}/<cl, he, di or sp>/N.npy",
            (
                RemoteFile(
                    f"pips_{split}.tar.gz",
                    tuple(
                        f"https://github.com/neuromorphs/tonic/raw/{branch}/tonic/datasets/"
                        f"pips_{split}.tar.gz"
                        for branch in ("develop", "main")
                    ),
                    md5,
                ),
            ),
        )
        for split, word, md5 in (
            ("train", "training", "412bcfb96826e4fcb290558e8c150aae"),
            ("test", "test", "eef2bf7d0d3defae89a6fa98b07c17af"),
        )
    }

    def __init__(self, root: Root = None, train: bool = True, **options: Any) -> None:
        super().__init__(root, train, **options)
        self.classes = list(type(self).classes)

    def _find(self, place: Path, split: str) -> Path | None:
        inner = [place / f"pips_{split}", place / "pokerdvs" / f"pips_{split}"]
        return _with_any(inner, "*/*.npy")

    def _classes(self, found: dict[str, list[Path]]) -> list[str]:
        return ["cl", "he", "di", "sp"]
