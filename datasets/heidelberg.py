"""The Heidelberg spiking sets: SHD (spoken digits) and SSC (spoken commands).

HDF5 files with ``spikes/times`` (seconds) and ``spikes/units`` (0 to 699), an array for each
recording, ``labels`` and ``extra/keys``, the names of the classes. Units are x; there is one
polarity.

Source: B. Cramer, Y. Stradmann, J. Schemmel, F. Zenke, "The Heidelberg spiking data sets for the
systematic evaluation of spiking neural networks", IEEE TNNLS 33(7), 2022; https://zenkelab.org.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar

import numpy as np

from spikeprop.datasets.events import EventDataset, Events, make_events
from spikeprop.datasets.fetching import RemoteFile
from spikeprop.datasets.files import data_root
from spikeprop.datasets.obtaining import Part, obtain
from spikeprop.datasets.recording_files import note_part

_URL = "https://zenkelab.org/datasets/"


def _part(title: str, folder: str, name: str, md5: str) -> Part:
    file = RemoteFile(f"{name}.h5.zip", (f"{_URL}{name}.h5.zip",), md5)
    return Part(title, folder, f"the file {name}.h5", (file,))


class _Heidelberg(EventDataset):
    """What both sets share.

    Parameters
    ----------
    root
        Data folder; None for ``$SPIKEPROP_DATA`` or ``~/.cache/spikeprop``.
    train
        The training or the test split.
    split
        Name of a split instead: ``"train"``, ``"test"``, and for SSC ``"valid"``.
    download
        Fetch the file where it is missing.

    Raises
    ------
    FileNotFoundError
        If the file is missing and cannot be fetched; the message says what to put where.
    ValueError
        If the file is damaged, or there is no such split.
    """

    title: ClassVar[str]
    parts: ClassVar[dict[str, Part]]
    recordings: ClassVar[dict[str, int]]
    sensor_size = (700, 1, 1)

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        train: bool = True,
        split: str | None = None,
        download: bool = True,
    ) -> None:
        chosen = split or ("train" if train else "test")
        if chosen not in self.parts:
            raise ValueError(f"split must be one of {', '.join(self.parts)}, got {split!r}")
        super().__init__(train=chosen == "train")
        part = self.parts[chosen]
        name = part.files[0].name.removesuffix(".zip")
        self.path = obtain(
            data_root(root),
            part,
            lambda place: place / name if (place / name).is_file() else None,
            fetch=download,
        )
        self._open: tuple[int, Any] | None = None
        try:
            file = self._file()
            self.targets = np.asarray(file["labels"], dtype=np.int64)
            self.classes = [_text(name) for name in file["extra/keys"][()]]
            lengths = {len(file["spikes/times"]), len(file["spikes/units"]), len(self.targets)}
        except (KeyError, OSError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"{self.path} is damaged or no {self.title} file: {error}") from None
        if len(lengths) != 1:
            raise ValueError(f"{self.path} is damaged: its columns have the lengths {lengths}")
        note_part(self, len(self.targets), self.recordings[chosen], self.title)

    def _file(self) -> Any:
        # An open HDF5 file does not survive a fork: each process opens its own.
        if self._open is None or self._open[0] != os.getpid():
            import h5py

            self._open = os.getpid(), h5py.File(self.path, "r")
        return self._open[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None}

    def _recording(self, index: int) -> Events:
        try:
            file = self._file()
            seconds = np.asarray(file["spikes/times"][index], dtype=np.float64)
            units = np.asarray(file["spikes/units"][index], dtype=np.int64)
        except (OSError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"{self.path}: recording {index} is damaged: {error}") from None
        wrong = seconds.shape != units.shape or np.any(~(np.abs(seconds) < 1e6))
        if wrong or np.any((units < 0) | (units >= self.sensor_size[0])):
            raise ValueError(f"{self.path}: recording {index} is damaged: no times or no units")
        t = np.round(seconds * 1e6).astype(np.int64)
        zero = np.zeros_like(units)
        events = make_events(units, zero, t, zero)
        return events[np.argsort(t, kind="stable")] if np.any(np.diff(t) < 0) else events


class SHD(_Heidelberg):
    """Spiking Heidelberg Digits: 8,156 + 2,264 recordings, 20 classes, up to 1.4 s."""

    name, title = "shd", "SHD"
    duration = 1_400_000
    recordings = {"train": 8_156, "test": 2_264}  # noqa: RUF012 - never changed
    parts = {  # noqa: RUF012
        "train": _part(
            "The training split of SHD", "SHD", "shd_train", "f3252aeb598ac776c1b526422d90eecb"
        ),
        "test": _part(
            "The test split of SHD", "SHD", "shd_test", "1503a5064faa34311c398fb0a1ed0a6f"
        ),
    }


class SSC(_Heidelberg):
    """Spiking Speech Commands: 75,466 + 9,981 (valid) + 20,382 recordings, 35 classes, 1 s."""

    name, title = "ssc", "SSC"
    duration = 1_000_000
    recordings = {"train": 75_466, "valid": 9_981, "test": 20_382}  # noqa: RUF012
    parts = {  # noqa: RUF012
        split: _part(f"The {split} split of SSC", "SSC", f"ssc_{split}", md5)
        for split, md5 in (
            ("train", "d102be95e7144fcc0553d1f45ba94170"),
            ("valid", "b4eee3516a4a90dd0c71a6ac23a8ae43"),
            ("test", "a35ff1e9cffdd02a20eb850c17c37748"),
        )
    }


def _text(name: Any) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
