"""SaccadeDigits: 1,797 handwritten digits seen by a simulated event camera; needs no download.

The images are those bundled with scikit-learn (8 x 8, UCI "Optical Recognition of Handwritten
Digits"), the camera is :mod:`spikeprop.datasets.camera`. Recordings are made once, in seconds, and
kept in the data folder; a checksum in this file says that they are the same on every machine.
"""

from __future__ import annotations

import hashlib
import os
import warnings
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spikeprop.datasets.camera import Camera, record, unpack
from spikeprop.datasets.columns import EventColumns
from spikeprop.datasets.events import Events, make_events
from spikeprop.datasets.files import data_root, write_atomically
from spikeprop.datasets.saccades import SaccadeSet
from spikeprop.datasets.splits import hold_out

CAMERA = Camera()
FILE = "saccade_digits_v1.npz"
SHA256 = "5c22768d33d97e75841e40146a82bec4703519c46ee194995f7e3e8aa0622117"
N_TEST = 397
SPLIT_SEED = 2015

_Arrays = dict[str, NDArray[np.generic]]


class SaccadeDigits(SaccadeSet):
    """The embedded event set: 1,400 recordings to train and 397 to test, ten classes.

    34 x 34 pixels, two polarities, microseconds, three saccades of 105 ms: the same kind of data as
    N-MNIST. Every recording has its own start, rotation, shear, size, contrast and noise; every
    pixel its own thresholds. The split is stratified and seeded
    (:func:`spikeprop.datasets.splits.hold_out`).

    Parameters
    ----------
    root
        Data folder; None for ``$SPIKEPROP_DATA`` or ``~/.cache/spikeprop``. The recordings are
        kept there as ``saccade_digits_v1.npz``; a file that is missing or damaged is made anew.
    train
        The training or the test split.
    first_saccade_only
        Only the events before 100 ms.
    stabilize
        Undo the camera's saccades.

    Raises
    ------
    RuntimeError
        If this machine makes other events than the published ones (both checksums are shown).
    """

    name = "saccade-digits"

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        train: bool = True,
        first_saccade_only: bool = False,
        stabilize: bool = False,
    ) -> None:
        super().__init__(train=train, first_saccade_only=first_saccade_only, stabilize=stabilize)
        arrays = load_or_make(data_root(root) / FILE)
        labels = arrays["labels"].astype(np.int64)
        chosen = hold_out(labels, N_TEST, SPLIT_SEED)[0 if train else 1]
        parts = np.split(arrays["events"], arrays["ends"][:-1].astype(np.int64))
        self._packed = [parts[index].astype(np.uint32) for index in chosen]
        self.targets = labels[chosen]

    def columns(self, indices: NDArray[np.int64]) -> EventColumns:
        """Return several recordings at once."""
        if self.first_saccade_only or self.stabilize:
            return EventColumns.from_list([self[int(index)][0] for index in indices])
        parts = [self._packed[index] for index in indices]
        x, y, t, p = unpack(np.concatenate(parts))
        offsets = np.zeros(len(parts) + 1, dtype=np.int64)
        np.cumsum([len(part) for part in parts], out=offsets[1:])
        return EventColumns(t, x, y, p, offsets)

    def _recording(self, index: int) -> Events:
        return make_events(*unpack(self._packed[index]))


def load_or_make(path: Path) -> _Arrays:
    """Read the recordings from ``path`` if they are intact there; else make and keep them.

    Returns
    -------
    dict of ndarray
        ``events`` (uint32, packed, all recordings one after the other), ``ends`` (int64, where each
        recording ends in them), ``labels`` (int64).
    """
    arrays = _read(path)
    if arrays is not None:
        return arrays
    arrays = make()
    found = checksum(arrays)
    if found != SHA256:
        raise RuntimeError(
            f"the recordings made on this machine have sha256 {found}, the published ones {SHA256};"
            " results would not be comparable. Please report this, with the versions of numpy"
            f" ({np.__version__}) and scikit-learn."
        )
    try:
        write_atomically(path, lambda file: np.savez(file, **arrays), parents=True)  # type: ignore[arg-type]
    except OSError as error:
        warnings.warn(
            f"SaccadeDigits could not be kept in {path} ({error}); it will be made anew next time",
            stacklevel=3,
        )
    return arrays


def make() -> _Arrays:
    """Record all 1,797 digits (seconds); see :func:`load_or_make` for what comes out."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    recordings = record(digits.images.astype(np.int64), CAMERA)
    return {
        "events": np.concatenate(recordings),
        "ends": np.cumsum([len(recording) for recording in recordings], dtype=np.int64),
        "labels": digits.target.astype(np.int64),
    }


def checksum(arrays: _Arrays) -> str:
    """Return the sha256 of the recordings, the same on big- and little-endian machines."""
    digest = hashlib.sha256()
    for name, kind in (("events", "<u4"), ("ends", "<i8"), ("labels", "<i8")):
        digest.update(np.ascontiguousarray(arrays[name], dtype=kind).tobytes())
    return digest.hexdigest()


def _read(path: Path) -> _Arrays | None:
    """Read the file, or return None if it is missing or not what it should be."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays: _Arrays = {name: file[name] for name in ("events", "ends", "labels")}
        return arrays if checksum(arrays) == SHA256 else None
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile):
        return None
