"""The event store: all recordings of a split in one memory-mapped file.

::

    bytes 0..7      magic, "SPKEVENT"
    bytes 8..15     length of the header in bytes, uint64 little-endian
    bytes 16..47    SHA-256 of the header
    header          JSON: format, version, what the set is, where each column lies, checksums
    padding         to a multiple of 64
    body            columns t, x, y, p, then offsets, targets and groups; each aligned to 64 bytes

Recording ``i`` is the events ``offsets[i]`` to ``offsets[i + 1]``, its times counted from 0. Times
are 32 bits wide where that is enough, pixels 8 or 16. A file is written under another name and
moved into place when it is whole, on disk and its checksums are in the header, so a process that
is killed leaves no store, or the old one. Opening executes nothing and believes nothing: sizes and
offsets are checked, and the SHA-256 of every 16 MiB of the body.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from spikeprop.datasets.columns import EventColumns
from spikeprop.datasets.events import Events

__all__ = ["EventStore"]

MAGIC = b"SPKEVENT"
FORMAT, VERSION = "spikeprop-events", 1
HEAD = 48
ALIGN = 64
BLOCK = 1 << 24
HEADER_LIMIT = 1 << 26
COLUMNS = ("t", "x", "y", "p")
_TYPES = {
    "t": ("<u4", "<i8"),
    "x": ("|u1", "<u2"),
    "y": ("|u1", "<u2"),
    "p": ("|u1",),
    "offsets": ("<i8",),
    "targets": ("<i8",),
    "groups": ("<i8",),
}


class EventStore(Dataset[tuple[Events, int]]):
    """A stored split; what :func:`spikeprop.datasets.make_loader` reads fastest.

    Items are ``(events, label)``, as those of every event set; ``columns(indices)`` returns whole
    batches. Reading touches the recordings asked for and nothing else. Any number of processes may
    read one store; pickling sends the path, not the data.

    Parameters
    ----------
    path
        A file made by :func:`spikeprop.datasets.write_store`.
    verify
        Compare the checksums of the whole file (a second for a gigabyte or two). False checks the
        header, the size and the offsets only.

    Attributes
    ----------
    name, sensor_size, classes, targets, duration, note, partial
        As in :class:`spikeprop.datasets.EventDataset`.
    mapped : EventColumns
        All recordings as they lie in the file, in its own unsigned types; read-only.
    groups : ndarray of int64, shape (N,), or None
        Who or what a recording belongs to beside its class: the person, for a set of gestures.
    source : str
        What the store was made from; see :func:`spikeprop.datasets.stored`.
    checksum : str
        SHA-256 of all events, labels and groups: the same for the same recordings.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a store of this version, or damaged; the message names the file and what is
        wrong.
    """

    def __init__(self, path: str | os.PathLike[str], verify: bool = True) -> None:
        self.path = Path(path)
        header, start = read_header(self.path)
        body: NDArray[np.uint8] = np.memmap(self.path, np.uint8, "r", start, (header["size"],))
        if verify:
            _verify(self.path, body, header["sha256"])
        arrays = {name: _view(body, spec) for name, spec in header["columns"].items()}
        self.offsets: NDArray[np.int64] = arrays["offsets"].astype(np.int64)
        t, x, y, p = (np.asarray(arrays[name]) for name in COLUMNS)
        self.mapped = EventColumns(t, x, y, p, self.offsets)
        self.targets: NDArray[np.int64] = arrays["targets"].astype(np.int64)
        groups = arrays.get("groups")
        self.groups: NDArray[np.int64] | None = None if groups is None else groups.astype(np.int64)
        if len(self.offsets) == 0 or (
            self.offsets[0] != 0
            or self.offsets[-1] != len(arrays["t"])
            or np.any(np.diff(self.offsets) < 0)
        ):
            raise ValueError(f"{self.path}: damaged: its offsets do not rise from 0 to the events")
        if len(self.targets) != len(self.offsets) - 1:
            raise ValueError(f"{self.path}: damaged: it has more or fewer labels than recordings")
        about = header["set"]
        self.name: str = about["name"]
        self.classes: list[str] = about["classes"]
        self.sensor_size: tuple[int, int, int] = tuple(about["sensor_size"])
        self.duration: int = about["duration"]
        self.note: str | None = about["note"]
        self.partial: bool = about["partial"]
        self.source: str = about["source"]
        self.checksum = hashlib.sha256("".join(header["sha256"]).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Events, int]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} recordings")
        index %= len(self)
        return self.columns(np.array([index])).events(0), int(self.targets[index])

    def __repr__(self) -> str:
        note = f", {self.note}" if self.note else ""
        return f"EventStore({self.name}, {len(self)} recordings{note})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, False)

    def columns(self, indices: NDArray[np.int64]) -> EventColumns:
        """Return several recordings at once, copied out of the file.

        Parameters
        ----------
        indices : ndarray of int, shape (B,)
            Which, ``0 .. len(self) - 1``.
        """
        return self.spans(self.offsets[indices], self.offsets[np.asarray(indices) + 1])

    def view(self, index: int) -> EventColumns:
        """Return one recording without copying it: read-only, in the file's own unsigned types.

        It costs microseconds whatever the length; parts that nobody looks at are never read.
        """
        part = slice(int(self.offsets[index]), int(self.offsets[index + 1]))
        t, x, y, p = (column[part] for column in self.mapped[:4])
        return EventColumns(t, x, y, p, np.array([0, len(t)]))

    def spans(self, starts: NDArray[np.int64], stops: NDArray[np.int64]) -> EventColumns:
        """Return the events ``starts[i]`` to ``stops[i]`` of the file as recording ``i``."""
        return self.mapped.taken(starts, stops)


def pack(header: Mapping[str, Any]) -> bytes:
    """Return the bytes before the body."""
    text = json.dumps(header).encode()
    head = MAGIC + len(text).to_bytes(8, "little") + hashlib.sha256(text).digest() + text
    return head + b"\0" * (-len(head) % ALIGN)


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """Return the checked header of a store, and where its body starts.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a store of this version, or truncated.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
        if len(head) < HEAD or head[:8] != MAGIC:
            raise ValueError(f"{path}: not an event store: it does not begin with {MAGIC!r}")
        length = int.from_bytes(head[8:16], "little")
        size = os.fstat(file.fileno()).st_size
        if length > min(size, HEADER_LIMIT):
            raise ValueError(f"{path}: damaged at byte 8: a header of {length} bytes")
        text = file.read(length)
    if hashlib.sha256(text).digest() != head[16:]:
        raise ValueError(f"{path}: damaged: its header does not have the checksum beside it")
    try:
        header = json.loads(text)
        if header["format"] != FORMAT:
            raise ValueError("another format")
        if header["version"] != VERSION:
            raise ValueError(
                f"it has version {header['version']}, and this spikeprop reads {VERSION}"
            )
        start = -(-(HEAD + length) // ALIGN) * ALIGN
        _check(header)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not an event store of this version: {error}") from None
    if size != start + header["size"]:
        raise ValueError(
            f"{path}: damaged: {size} bytes long, and its header says {start + header['size']}"
        )
    return header, start


def _check(header: dict[str, Any]) -> None:
    about, size = header["set"], header["size"]
    kinds = {"name": str, "classes": list, "sensor_size": list, "duration": int, "partial": bool}
    for name, kind in {**kinds, "source": str}.items():
        if not isinstance(about[name], kind):
            raise ValueError(f"{name} is {about[name]!r}")
    if len(about["sensor_size"]) != 3 or not all(type(v) is int for v in about["sensor_size"]):
        raise ValueError(f"sensor_size is {about['sensor_size']!r}")
    about.setdefault("note", None)
    if type(size) is not int or size < 1 or len(header["sha256"]) != -(-size // BLOCK):
        raise ValueError(f"size is {size!r}")
    columns = header["columns"]
    for name in (*COLUMNS, "offsets", "targets"):
        columns[name]
    for name, (kind, start, count) in columns.items():
        if kind not in _TYPES[name] or type(start) is not int or type(count) is not int:
            raise ValueError(f"column {name} is {columns[name]!r}")
        if start < 0 or count < 0 or start + count * np.dtype(kind).itemsize > size:
            raise ValueError(f"column {name} lies outside the file")
    if len({columns[name][2] for name in COLUMNS}) != 1:
        raise ValueError("its columns are not of one length")


def _view(body: NDArray[np.uint8], spec: list[Any]) -> NDArray[Any]:
    kind, start, count = spec
    stop = start + count * np.dtype(kind).itemsize
    # A plain array over the mapping: slicing a memmap object costs ten times as much.
    return np.asarray(body[start:stop]).view(kind)


def block_hashes(body: NDArray[np.uint8]) -> list[str]:
    """Return the SHA-256 of every block of the body, on all cores."""
    count = max(1, math.ceil(len(body) / BLOCK))

    def digest(index: int) -> str:
        return hashlib.sha256(body[index * BLOCK : (index + 1) * BLOCK].data).hexdigest()

    with ThreadPoolExecutor(min(count, os.cpu_count() or 1)) as pool:
        return list(pool.map(digest, range(count)))


def _verify(path: Path, body: NDArray[np.uint8], expected: list[str]) -> None:
    for index, (found, published) in enumerate(zip(block_hashes(body), expected, strict=True)):
        if found != published:
            raise ValueError(
                f"{path}: damaged: bytes {index * BLOCK} to {(index + 1) * BLOCK} of its body do "
                "not have the checksum that they were written with; delete the file to have it "
                "made anew"
            )
