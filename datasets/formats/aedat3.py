"""AEDAT 3.1: packets of events, little-endian, after a header of ``#`` lines.

::

    #!AER-DAT3.1                       and more lines that begin with #, up to
    #!END-HEADER
    packet header of 28 bytes: int16 type, int16 source, int32 event size, int32 offset of the time
        in an event, int32 time overflow, int32 capacity, int32 number, int32 valid ones
    polarity event (type 1) of 8 bytes: uint32 data, int32 time in microseconds
        data: bit 0 valid, bit 1 polarity, bits 2..16 y, bits 17..31 x, from the upper left
    time = overflow * 2**31 + time of the event

Packets of other types are skipped. The recordings of DVS Gesture are in this format.

Source: "AEDAT 3.1", https://docs.inivation.com/software/software-advanced-usage/file-formats/
aedat-3.1.html.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from spikeprop.datasets.events import Events
from spikeprop.datasets.formats.aedat2 import chip_size
from spikeprop.datasets.formats.source import (
    BLOCK_BYTES,
    HEADER_LIMIT,
    LINE_LIMIT,
    DamageError,
    SensorSize,
    Source,
    Stream,
    checked,
)

MAGIC = b"#!AER-DAT3.1"
END = "#!END-HEADER"
POLARITY = 1
HEADER = struct.Struct("<hhiiiiii")
_EVENT = np.dtype([("data", "<u4"), ("t", "<i4")])


def open_aedat3(source: Source) -> Stream:
    """Open a recording; see :mod:`spikeprop.datasets.formats` for what may be raised."""
    lines: list[str] = []
    while not lines or lines[-1] != END:
        start = source.position
        line = source.line(LINE_LIMIT)
        if not line.startswith(b"#") or not line.endswith(b"\n") or start > HEADER_LIMIT:
            # Some programs leave the end mark out; a packet header begins with its small type.
            if lines and line[:1] in (b"\x00", b"\x01", b"\x02", b"\x03"):
                source.seek(start)
                break
            raise DamageError(start, f"the header does not end with {END}")
        lines.append(line.decode("latin-1").rstrip("\r\n"))
    sensor = chip_size("\n".join(lines))
    return Stream(sensor, _events(source, sensor))


def _events(source: Source, sensor: SensorSize) -> Iterator[Events]:
    while source.left:
        start = source.position
        head = HEADER.unpack(source.exactly(HEADER.size, "a packet header"))
        kind, _, size, time_offset, overflow, capacity, number, valid = head
        if size <= 0 or not 0 <= valid <= number <= capacity or overflow < 0:
            raise DamageError(
                start,
                f"a packet header makes no sense: event size {size}, capacity {capacity}, number "
                f"{number}, valid {valid}, time overflow {overflow}",
            )
        if kind != POLARITY:
            if number * size > source.left:
                raise _cut_off(source, start, number, size)
            source.seek(source.position + number * size)
            continue
        if size != _EVENT.itemsize or time_offset != 4:
            raise DamageError(
                start,
                f"polarity events have 8 bytes and their time at 4, not {size} and {time_offset}",
            )
        left = number
        while left:
            offset = source.position
            count = min(left, source.left // size, BLOCK_BYTES // size)
            if count == 0:
                raise _cut_off(source, start, number, size)
            records = np.frombuffer(source.read(count * size), dtype=_EVENT)
            left -= count
            yield from _decode(records, overflow, sensor, offset)


def _cut_off(source: Source, start: int, number: int, size: int) -> DamageError:
    return DamageError(
        start,
        f"a packet of {number} events, {size} bytes each, is cut off: the file ends at byte "
        f"{source.size}",
    )


def _decode(
    records: np.ndarray, overflow: int, sensor: SensorSize, offset: int
) -> Iterator[Events]:
    data = records["data"].astype(np.int64)
    keep = (data & 1 == 1) & (records["t"] >= 0)
    place = np.flatnonzero(keep) * _EVENT.itemsize + offset
    data = data[keep]
    t = (overflow << 31) + records["t"][keep].astype(np.int64)
    x, y, p = data >> 17, data >> 2 & 0x7FFF, data >> 1 & 1
    return checked(x, y, t, p, sensor, place)
