"""AEDAT 2: address and time of each event, big-endian, after a header of ``#`` lines.

::

    #!AER-DAT2.0                                  and more lines that begin with #
    uint32 address, uint32 time in microseconds   for every event

The address depends on the chip. DVS128 (16 bits): bit 15 marks no pixel but an external event, bits
14..8 are y, 7..1 are x, and bit 0 is 0 for ON, 1 for OFF; both axes begin at the far corner of the
image that this reader gives (x to the right, y down). DAVIS (32 bits): bit 31 marks samples of
frames and of the inertial sensor, bit 10 external events, bits 30..22 are y from the bottom, 21..12
x from the right, bit 11 is 1 for ON.

Source: "AEDAT file formats", https://docs.inivation.com/software/software-advanced-usage/
file-formats/aedat-2.0.html, and the chip classes of jAER.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from spikeprop.datasets.events import Events
from spikeprop.datasets.formats.source import (
    DamageError,
    SensorSize,
    Source,
    Stream,
    Unwrap,
    checked,
)

MAGIC = b"#!AER-DAT2.0"
CHIPS = {"DAVIS346": (346, 260, 2), "DAVIS240": (240, 180, 2), "DVS128": (128, 128, 2)}
_RECORD = np.dtype([("address", ">u4"), ("t", ">u4")])
_Columns = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]


def open_aedat2(source: Source) -> Stream:
    """Open a recording; see :mod:`spikeprop.datasets.formats` for what may be raised."""
    header = "\n".join(source.comments(b"#"))
    sensor = chip_size(header)
    if sensor is None:
        start = source.position
        _, data = next(source.records(_RECORD.itemsize), (0, np.empty(0, dtype=np.uint8)))
        source.seek(start)
        sensor = _guess_chip(data.view(_RECORD)["address"])
    return Stream(sensor, _events(source, sensor))


def _guess_chip(address: NDArray[np.uint32]) -> tuple[int, int, int]:
    """Tell the chip: DVS128, what most older files come from, leaves half of an address empty."""
    if not np.any(address >> 16):
        return CHIPS["DVS128"]
    pixels = address[address & 0x8000_0400 == 0]
    large = ((pixels >> 12 & 0x3FF) >= 240) | ((pixels >> 22 & 0x1FF) >= 180)
    return CHIPS["DAVIS346"] if np.any(large) else CHIPS["DAVIS240"]


def chip_size(header: str) -> SensorSize:
    """Return the sensor that a header names, or None."""
    for line in header.splitlines():
        if not re.search(r"AEChip|HardwareInterface|Source", line):
            continue
        for name, size in CHIPS.items():
            if re.search(name, line, re.IGNORECASE):
                return size
    return None


def _events(source: Source, chip: tuple[int, int, int]) -> Iterator[Events]:
    unwrap = Unwrap(32)
    decode = _dvs128 if chip == CHIPS["DVS128"] else _davis
    for offset, block in source.records(_RECORD.itemsize):
        records = block.view(_RECORD)
        x, y, p, pixel = decode(records["address"].astype(np.int64), chip)
        t = unwrap(records["t"])
        place = np.flatnonzero(pixel) * _RECORD.itemsize + offset
        yield from checked(x[pixel], y[pixel], t[pixel], p[pixel], chip, place)


def _dvs128(address: NDArray[np.int64], chip: tuple[int, int, int]) -> _Columns:
    x = 127 - (address >> 1 & 0x7F)
    y = 127 - (address >> 8 & 0x7F)
    return x, y, 1 - (address & 1), address & 0x8000 == 0


def _davis(address: NDArray[np.int64], chip: tuple[int, int, int]) -> _Columns:
    x = chip[0] - 1 - (address >> 12 & 0x3FF)
    y = chip[1] - 1 - (address >> 22 & 0x1FF)
    return x, y, address >> 11 & 1, address & 0x8000_0400 == 0


def aedat_version(line: bytes) -> str | None:
    """Return the version that the first line of an AEDAT file names, such as ``"3.1"``."""
    found = re.match(rb"#!AER-DAT(\d\.\d)\r?\n", line)
    return found[1].decode() if found else None


def refuse_version(version: str) -> DamageError:
    """Return the error for a version that nothing here reads."""
    return DamageError(
        0, f"AEDAT version {version} is not supported; versions 2.0, 3.1 and 4.0 are"
    )
