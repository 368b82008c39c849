"""Event sets whose recordings are files: any folder of classes, and what published sets share."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeprop.datasets.events import EventDataset, Events
from spikeprop.datasets.files import data_root
from spikeprop.datasets.formats import read_recording
from spikeprop.datasets.formats.reading import SUFFIXES
from spikeprop.datasets.splits import hashed_split

SCANNED = 64
Reader = Callable[[Path], Events]


class RecordingFiles(EventDataset):
    """A set of files, each one recording; any format of :mod:`spikeprop.datasets.formats`.

    Parameters
    ----------
    paths
        The files.
    targets
        Label of each.
    train, classes, sensor_size, duration
        As in :class:`EventDataset`.
    groups
        Group of each, or None.
    order
        Which column is what in arrays and tables without names, such as ``"txyp"``.
    reader
        Reads a file in place of ``read_recording(path, order=order, from_zero=True)``.

    Raises
    ------
    ValueError
        When a recording is damaged at its beginning, or has an event outside the sensor.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        targets: Sequence[int] | NDArray[np.int64],
        *,
        train: bool,
        classes: Sequence[str],
        sensor_size: tuple[int, int, int],
        duration: int,
        groups: Sequence[int] | None = None,
        order: str | None = None,
        reader: Reader | None = None,
    ) -> None:
        super().__init__(
            train=train, classes=classes, sensor_size=sensor_size, duration=int(duration)
        )
        self.paths = list(paths)
        self.targets = np.asarray(targets, dtype=np.int64)
        self.groups = None if groups is None else np.asarray(groups, dtype=np.int64)
        self.order, self.reader = order, reader

    def _recording(self, index: int) -> Events:
        path = self.paths[index]
        if self.reader is not None:
            events = self.reader(path)
        else:
            events = read_recording(path, order=self.order, from_zero=True).events
        check_sensor(events, self.sensor_size, path)
        return events


def check_sensor(events: Events, sensor_size: tuple[int, int, int], path: Path) -> None:
    """Raise ValueError if an event lies outside the sensor."""
    for name, limit in zip("xyp", sensor_size, strict=True):
        low, high = (int(events[name].min()), int(events[name].max())) if len(events) else (0, 0)
        if low < 0 or high >= limit:
            raise ValueError(
                f"{path}: {name} reaches from {low} to {high}; the sensor of {sensor_size[0]} x "
                f"{sensor_size[1]} pixels and {sensor_size[2]} polarities allows 0 to {limit - 1}"
            )


def class_folders(folder: Path, suffixes: Sequence[str] = SUFFIXES) -> dict[str, list[Path]]:
    """List the recordings in each sub-folder: classes and files in the order of their names.

    Hidden files and folders, and folders without recordings, are left out.
    """
    found: dict[str, list[Path]] = {}
    for sub in sorted(path for path in folder.iterdir() if path.is_dir()):
        if sub.name.startswith("."):
            continue
        files = [path for path in sub.iterdir() if path.suffix.lower() in suffixes]
        files = sorted(path for path in files if not path.name.startswith(".") and path.is_file())
        if files:
            found[sub.name] = files
    return found


def labelled(found: dict[str, list[Path]], classes: Sequence[str]) -> tuple[list[Path], list[int]]:
    """Return paths and labels, class by class.

    Raises
    ------
    ValueError
        If a folder is none of the classes.
    """
    number = {name: index for index, name in enumerate(classes)}
    wrong = sorted(set(found) - set(number))
    if wrong:
        raise ValueError(f"the folder {wrong[0]!r} is none of the classes {', '.join(classes)}")
    pairs = [(path, number[name]) for name in classes for path in found.get(name, [])]
    return [path for path, _ in pairs], [label for _, label in pairs]


class EventFolder(RecordingFiles):
    """Any folder of recordings sorted into classes.

    ``<root>/train/<class>/<recording>`` and ``<root>/test/<class>/<recording>``; or
    ``<root>/<class>/<recording>`` alone, which is split by the hash of each recording's name
    (:func:`spikeprop.datasets.splits.hashed_split`): the same everywhere, in whatever order files
    are listed. Formats may be mixed.

    Parameters
    ----------
    root
        The folder.
    train
        The training or the test split.
    sensor_size
        Width, height and number of polarities; None takes what the files say, or as much as the
        events of 64 recordings of both splits need.
    duration
        Nominal duration in microseconds; None takes that of the longest of those recordings.
    test_fraction
        Share of the test split of a folder that is not split.
    seed
        Seed of that split.
    order
        Which column is what in arrays and tables without names, such as ``"txyp"``.

    Raises
    ------
    FileNotFoundError
        If the folder, or recordings in it, are missing.
    ValueError
        If an argument is out of range.
    """

    name = "folder"

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        train: bool = True,
        *,
        sensor_size: tuple[int, int, int] | None = None,
        duration: int | None = None,
        test_fraction: float = 0.2,
        seed: int = 0,
        order: str | None = None,
    ) -> None:
        folder = data_root(root)
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: no such folder")
        splits = _find_splits(folder, test_fraction, seed)
        chosen = splits["train" if train else "test"]
        if not chosen:
            raise FileNotFoundError(
                f"{folder} holds no recordings; expected <class>/<recording>, or train/<class>/... "
                f"and test/<class>/..., with names that end in {', '.join(SUFFIXES)}"
            )
        classes = sorted({name for split in splits.values() for name in split})
        paths, targets = labelled(chosen, classes)
        if sensor_size is None or duration is None:
            everything = [path for s in splits.values() for files in s.values() for path in files]
            size, longest = measure(everything, order)
            sensor_size = size if sensor_size is None else sensor_size
            duration = longest if duration is None else duration
        super().__init__(
            paths,
            targets,
            train=train,
            classes=classes,
            sensor_size=sensor_size,
            duration=duration,
            order=order,
        )
        self.name = folder.name or "folder"


def _find_splits(folder: Path, fraction: float, seed: int) -> dict[str, dict[str, list[Path]]]:
    given = {path.name.lower(): path for path in folder.iterdir() if path.is_dir()}
    if "train" in given and "test" in given:
        return {name: class_folders(given[name]) for name in ("train", "test")}
    found = class_folders(folder)
    pairs = [(name, path) for name, files in found.items() for path in files]
    names = [f"{name}/{path.name}" for name, path in pairs]
    labels = [name for name, _ in pairs]
    splits: dict[str, dict[str, list[Path]]] = {"train": {}, "test": {}}
    if pairs:
        for split, indices in zip(splits, hashed_split(names, labels, fraction, seed), strict=True):
            for index in indices:
                splits[split].setdefault(labels[index], []).append(pairs[index][1])
    return splits


def measure(paths: Sequence[Path], order: str | None = None) -> tuple[tuple[int, int, int], int]:
    """Return the sensor and the longest duration of up to 64 recordings, spread over the set."""
    chosen = np.unique(np.linspace(0, len(paths) - 1, min(SCANNED, len(paths))).round().astype(int))
    named: tuple[int, int, int] | None = None
    needed, longest = np.zeros(3, dtype=np.int64), 1
    for index in chosen:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = read_recording(paths[index], order=order)
        named = named or found.sensor_size
        events = found.events
        needed = np.maximum(needed, [int(events[name].max()) + 1 for name in "xyp"])
        longest = max(longest, int(events["t"][-1] - events["t"][0]) + 1)
    needed[2] = max(needed[2], 2)
    if named is not None and all(a >= b for a, b in zip(named, needed, strict=True)):
        return named, longest
    return (int(needed[0]), int(needed[1]), int(needed[2])), longest


def note_part(dataset: Any, found: int, all_of_it: int, title: str) -> None:
    """Say in ``partial`` and ``note`` how much of a published split there is."""
    kind = "training" if dataset.train else "test"
    dataset.partial = found != all_of_it
    if dataset.partial:
        dataset.note = f"part of {title}: {found:,} of {all_of_it:,} {kind} recordings"
