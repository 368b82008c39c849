"""DVS Gesture (Amir et al. 2017): 11 hand and arm gestures of 29 people under 5 lights.

From either of two forms of the set:

- the original: ``DvsGesture/userNN_LIGHT.aedat`` (AEDAT 3.1, one recording of all gestures) and
  ``userNN_LIGHT_labels.csv`` (columns class 1..11, startTime_usec, endTime_usec). Cut into samples
  by the labels: 1,176 to train and 288 to test;
- tonic's: ``ibmGestureTrain/userNN_LIGHT/LABEL.npy`` and ``ibmGestureTest/...``, an array (N, 4) of
  x, y, p and t in milliseconds. Some samples were dropped there: 1,077 to train and 264 to test.

People 1 to 23 are the training split, 24 to 29 the test split. So validate on other people too:
``groups`` holds the person, and ``split_validation`` then holds out whole people.

Source: A. Amir et al., "A low power, fully event-based gesture recognition system", CVPR 2017; the
README of the set; tonic's ``DVSGesture`` for the form and the checksums of its files.
"""

from __future__ import annotations

import csv
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from spikeprop.datasets.events import EventDataset, Events, make_events
from spikeprop.datasets.fetching import RemoteFile
from spikeprop.datasets.files import data_root
from spikeprop.datasets.formats import read_recording
from spikeprop.datasets.obtaining import Part, obtain
from spikeprop.datasets.recording_files import check_sensor

CLASSES = (
    *("hand clapping", "right hand wave", "left hand wave", "right arm clockwise"),
    *("right arm counter-clockwise", "left arm clockwise", "left arm counter-clockwise"),
    *("arm roll", "air drums", "air guitar", "other gestures"),
)
TEST_USERS = range(24, 30)
TONIC_SAMPLES = {"train": 1_077, "test": 264}
ORIGINAL_SAMPLES = {"train": 1_176, "test": 288}
_API = "https://api.figshare.com/v2/file/download/"
_PAGE = "https://figshare.com/ndownloader/files/"
_HINT = (
    "The original recordings (DvsGesture.tar.gz) are on https://research.ibm.com/interactive/"
    "dvsgesture/; unpack them there too."
)


def _part(title: str, name: str, number: int, md5: str, size: int) -> Part:
    file = RemoteFile(f"{name}.tar.gz", (f"{_API}{number}", f"{_PAGE}{number}"), md5, size=size)
    layout = f"tonic's {name}/userNN_LIGHT/LABEL.npy, or the original DvsGesture/userNN_LIGHT.aedat"
    return Part(title, "DVSGesture", layout, (file,), hint=_HINT)


PARTS = {
    "train": _part(
        "The training split of DVS Gesture",
        "ibmGestureTrain",
        38022171,
        "3a8f0d4120a166bac7591f77409cb105",
        2_400_000_000,
    ),
    "test": _part(
        "The test split of DVS Gesture",
        "ibmGestureTest",
        38020584,
        "56070e45dadaa85fff82e0fbfbc06de5",
        691_000_000,
    ),
}


class Sample(NamedTuple):
    """One gesture: its file, label, person, and when it is in the file (us; None for all of it)."""

    path: Path
    label: int
    user: int
    span: tuple[int, int] | None


class DVSGesture(EventDataset):
    """DVS Gesture; see the module. 128 x 128 pixels, two polarities, samples of about 6 s.

    Samples are ordered by file and time. Reading samples of the original form in another order than
    that reads whole recordings again and again: convert it once (:func:`stored` and the command
    line's training do).

    Parameters
    ----------
    root
        Data folder; None for ``$SPIKEPROP_DATA`` or ``~/.cache/spikeprop``. Either form of the set
        may lie in it, in ``DVSGesture`` or ``DvsGesture`` in it. Part will do: ``note`` says how
        much it is.
    train
        The training (people 1 to 23) or the test split (24 to 29).
    duration
        Nominal duration of a sample in microseconds.
    download
        Download tonic's form (2.4 GB / 691 MB) where neither is there.

    Attributes
    ----------
    groups : ndarray of int64
        The person of each sample, 1 to 29.

    Raises
    ------
    FileNotFoundError
        If the recordings are missing and cannot be fetched; the message says what to put where.
    ValueError
        If a table of labels is damaged. Damaged recordings raise it when they are read.
    """

    name = "dvsgesture"
    sensor_size = (128, 128, 2)
    duration = 6_000_000

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        train: bool = True,
        duration: int | None = None,
        download: bool = True,
    ) -> None:
        super().__init__(train=train, classes=CLASSES, duration=duration)
        split = "train" if train else "test"
        folder = obtain(
            data_root(root), PARTS[split], lambda place: _find(place, split), fetch=download
        )
        self.original = any(folder.glob("*.aedat"))
        self.samples = (_original if self.original else _from_tonic)(folder, train)
        self.paths = sorted({sample.path for sample in self.samples})
        self.slow = self.original
        self.targets = np.array([sample.label for sample in self.samples], dtype=np.int64)
        self.groups = np.array([sample.user for sample in self.samples], dtype=np.int64)
        count = (ORIGINAL_SAMPLES if self.original else TONIC_SAMPLES)[split]
        self.partial = len(self.samples) != count
        form = "original" if self.original else "tonic"
        whole = f"of {count:,}" if self.partial else "all"
        self.note = f"DVS Gesture ({form} form): {len(self.samples):,} {split} samples, {whole}"

    def _recording(self, index: int) -> Events:
        sample = self.samples[index]
        if sample.span is None:
            events = _read_tonic(sample.path)
        else:
            start, stop = sample.span
            whole = _read_original(sample.path)
            first, last = np.searchsorted(whole["t"], (start, stop))
            events = whole[first:last].copy()
            events["t"] -= start
        check_sensor(events, self.sensor_size, sample.path)
        return events


def _find(folder: Path, split: str) -> Path | None:
    for place in (folder / "DvsGesture", folder):
        if any(place.glob("user*_*.aedat")):
            return place
    place = folder / f"ibmGesture{split.capitalize()}"
    return place if place.is_dir() else None


def _user(name: str) -> int:
    found = re.match(r"user(\d+)_", name)
    return int(found[1]) if found else -1


def _from_tonic(folder: Path, train: bool) -> list[Sample]:
    samples = []
    for place in sorted(path for path in folder.iterdir() if _user(path.name) > 0):
        files = [path for path in place.glob("*.npy") if path.stem.isdecimal()]
        for path in sorted(files, key=lambda path: int(path.stem)):
            if int(path.stem) >= len(CLASSES):
                raise ValueError(f"{path}: label {path.stem} is out of range: labels are 0 to 10")
            samples.append(Sample(path, int(path.stem), _user(place.name), None))
    if not samples:
        raise FileNotFoundError(f"{folder} holds no samples userNN_LIGHT/LABEL.npy")
    return samples


def _original(folder: Path, train: bool) -> list[Sample]:
    samples = []
    for path in sorted(folder.glob("user*_*.aedat")):
        user = _user(path.name)
        if (user in TEST_USERS) == train or not 1 <= user <= 29:
            continue
        table = path.with_name(f"{path.stem}_labels.csv")
        samples += [
            Sample(path, label, user, (start, stop)) for label, start, stop in read_labels(table)
        ]
    if not samples:
        who = "users 1 to 23" if train else "users 24 to 29"
        raise FileNotFoundError(f"{folder} holds no recordings of {who}")
    return samples


def read_labels(path: Path) -> list[tuple[int, int, int]]:
    """Read a table of labels: ``(label 0..10, start, stop)`` in microseconds, by time.

    Raises
    ------
    FileNotFoundError
        If it is missing.
    ValueError
        If a line makes no sense; the message names the file and the line.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; the recording beside it needs its labels")
    rows = []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        for number, row in enumerate(csv.reader(file), 1):
            if not row or (number == 1 and not row[0].strip().isdecimal()):
                continue
            try:
                label, start, stop = (int(value) for value in row[:3])
                if not (1 <= label <= len(CLASSES) and 0 <= start < stop):
                    raise ValueError
            except ValueError:
                raise ValueError(
                    f"{path}: line {number}: expected class 1 to 11, start and later end in "
                    f"microseconds, got {','.join(row)[:60]!r}"
                ) from None
            rows.append((label - 1, start, stop))
    return sorted(rows, key=lambda row: row[1])


@lru_cache(maxsize=1)
def _read_original(path: Path) -> Events:
    # A recording has eleven samples or so, which are usually read one after the other.
    return read_recording(path, format="aedat3").events


def _read_tonic(path: Path) -> Events:
    events = read_recording(path, order="xypt").events
    return make_events(events["x"], events["y"], events["t"] * 1000, events["p"])
