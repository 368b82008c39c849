"""One function that reads a recording of any format; see :mod:`spikeprop.datasets.formats`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from spikeprop.datasets.events import EVENT_DTYPE, Events
from spikeprop.datasets.formats import (
    aedat2,
    aedat3,
    aedat4,
    arrays,
    atis_bin,
    dat,
    event_stream,
    hdf5,
    mat,
    raw,
    rosbag,
    text,
)
from spikeprop.datasets.formats.prophesee import raw_format, read_header
from spikeprop.datasets.formats.source import DamageError, SensorSize, Source, Stream

MAX_EVENTS = 1 << 26
"""Events that :func:`read_recording` takes by default: 67 million, 2 GiB."""

_Open = Callable[[Source], Stream]
FORMATS: dict[str, _Open] = {
    "aedat2": aedat2.open_aedat2,
    "aedat3": aedat3.open_aedat3,
    "aedat4": aedat4.open_aedat4,
    "raw": raw.open_raw,
    "dat": dat.open_dat,
    "bin": atis_bin.open_atis_bin,
    "es": event_stream.open_event_stream,
    "npy": arrays.open_npy,
    "npz": arrays.open_npz,
    "hdf5": hdf5.open_hdf5,
    "mat": mat.open_mat,
    "text": text.open_text,
    "rosbag": rosbag.open_rosbag,
}
_ORDERED = ("npy", "npz", "hdf5", "text")
_SUFFIXES = {".bin": "bin", ".csv": "text", ".txt": "text", ".tsv": "text"}
SUFFIXES = (
    *(".aedat", ".aedat4", ".raw", ".dat", ".bin", ".es", ".npy", ".npz", ".h5", ".hdf5"),
    *(".mat", ".csv", ".txt", ".tsv", ".bag"),
)
"""How names of recordings usually end."""
_MAGICS = {
    aedat2.MAGIC: "aedat2",
    aedat3.MAGIC: "aedat3",
    aedat4.MAGIC[:12]: "aedat4",
    event_stream.MAGIC: "es",
    arrays.MAGIC: "npy",
    arrays.ZIP_MAGIC: "npz",
    hdf5.MAGIC: "hdf5",
    mat.MAGIC: "mat",
    rosbag.MAGIC: "rosbag",
}


class DamageWarning(UserWarning):
    """A file is damaged, and only what comes before the damage was read."""


class Recording(NamedTuple):
    """What a file holds.

    Attributes
    ----------
    events : ndarray
        Fields x, y (pixels), t (microseconds) and p (polarity), sorted in t.
    sensor_size : tuple of int, or None
        Width, height and number of polarities; None where the file does not say.
    format : str
        Name of the format, a key of ``FORMATS``.
    """

    events: Events
    sensor_size: SensorSize
    format: str


def format_of(path: str | os.PathLike[str]) -> str:
    """Tell the format of a file by its first bytes and its name.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is empty, or nothing here reads it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    with Source(path) as source:
        if source.size == 0:
            raise ValueError(f"{path}: at byte 0: the file is empty")
        head = source.read(64)
        suffix = path.suffix.lower()
        for magic, name in _MAGICS.items():
            if head.startswith(magic):
                return name
        version = aedat2.aedat_version(head.split(b"\n")[0] + b"\n")
        if version is not None:
            raise ValueError(f"{path}: {aedat2.refuse_version(version)}")
        if head.startswith(b"% ") and suffix not in _SUFFIXES:
            source.seek(0)
            encoding, _ = raw_format(read_header(source))
            return "raw" if encoding is not None or suffix == ".raw" else "dat"
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    if suffix == ".dat" or suffix == ".raw":
        return suffix[1:]
    raise ValueError(
        f"{path}: at byte 0: these bytes belong to no format known here ({head[:12]!r}), and the "
        f"name does not end in {', '.join(_SUFFIXES)}, {'.dat or .raw'}"
    )


@contextmanager
def open_recording(
    path: str | os.PathLike[str], *, format: str | None = None, order: str | None = None
) -> Iterator[Stream]:
    """Open a recording, to take its events piece by piece in constant memory.

    Use as a context manager; parameters as in :func:`read_recording`. Events come in the order of
    the file. Iterating raises :class:`DamageError` where the file is damaged.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is damaged at its beginning, or of no known format.
    """
    path = Path(path)
    if order is not None and (sorted(order) != sorted("txyp")):
        raise ValueError(f"order must name the columns t, x, y, p, as 'txyp' does; got {order!r}")
    if format is None:
        format = format_of(path)
    elif format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    elif not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    with Source(path) as source:
        try:
            if order is not None and format in _ORDERED:
                stream = FORMATS[format](source, order)  # type: ignore[call-arg]
            else:
                stream = FORMATS[format](source)
        except DamageError as damage:
            raise ValueError(f"{path}: {damage}") from None
        yield stream


def read_recording(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    order: str | None = None,
    max_events: int = MAX_EVENTS,
    strict: bool = False,
    from_zero: bool = False,
) -> Recording:
    """Read a recording of any format.

    Parameters
    ----------
    path
        The file.
    format
        A key of ``FORMATS``; None tells by the file.
    order
        Which column is what, such as ``"txyp"``, for arrays and tables without names; None finds
        out.
    max_events
        Take no more events than this; a file with more is an error. An event takes 32 bytes.
    strict
        Raise where a file is damaged after some events, too.
    from_zero
        Let time begin with the first event.

    Returns
    -------
    Recording
        Events in the order of time: events of equal time keep their order in the file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is of no known format, damaged before its first event (or at all, where
        ``strict`` is given), empty, or holds too many events. The message names the file and, for
        damage, the byte.

    Warns
    -----
    DamageWarning
        If the file is damaged after some events: those are returned.
    """
    path = Path(path)
    pieces: list[Events] = []
    count = 0
    damage: DamageError | None = None
    with open_recording(path, format=format, order=order) as stream:
        try:
            for piece in stream.events:
                count += len(piece)
                if count > max_events:
                    raise ValueError(
                        f"{path}: holds more than {max_events:,} events, which would take more "
                        f"than {max_events * EVENT_DTYPE.itemsize >> 20:,} MiB; raise max_events, "
                        "or take it piece by piece with open_recording"
                    )
                if len(piece):
                    pieces.append(piece)
        except DamageError as found:
            damage = found
        sensor = stream.sensor_size
    if damage is not None and (strict or count == 0):
        raise ValueError(f"{path}: {damage}") from None
    if count == 0:
        raise ValueError(f"{path}: empty recording: the file holds no event")
    events = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
    if damage is not None:
        warnings.warn(
            f"{path}: {damage}; the {count:,} events before it are used",
            DamageWarning,
            stacklevel=2,
        )
    if np.any(np.diff(events["t"]) < 0):
        events = events[np.argsort(events["t"], kind="stable")]
    if from_zero:
        events["t"] -= events["t"][0]
    return Recording(events, sensor, format or format_of(path))
