r"""AEDAT 4: flatbuffers in compressed packets, as DV records them.

::

    #!AER-DAT4.0\r\n
    uint32 length, then a flatbuffer "IOHE": compression (0 none, 1 and 2 LZ4, 3 and 4 zstd), place
        of the table of packets or -1, and an XML text that names streams and sensors
    packets: int32 stream, int32 size, then so many bytes, compressed: uint32 length and a
        flatbuffer; "EVTS" holds a vector of events of 16 bytes: int64 t, int16 x, int16 y, bool on

Packets of frames, inertial samples and triggers are skipped. Decompression stops at 64 MiB a
packet, so a small file cannot fill the memory. Ours rather than a library's: of what reads AEDAT 4,
``aedat`` needs its own native build and ``dv-processing`` has no wheel for all systems.

Source: "AEDAT 4.0", https://docs.inivation.com/software/software-advanced-usage/file-formats/
aedat-4.0.html; flatbuffers' internals, https://flatbuffers.dev/internals/.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator

import numpy as np

from spikeprop.datasets.events import Events
from spikeprop.datasets.formats.source import (
    DamageError,
    SensorSize,
    Source,
    Stream,
    checked,
)

MAGIC = b"#!AER-DAT4.0\r\n"
PACKET_LIMIT = 1 << 26
_EVENT = np.dtype(
    {
        "names": ["t", "x", "y", "on"],
        "formats": ["<i8", "<i2", "<i2", "u1"],
        "offsets": [0, 8, 10, 12],
        "itemsize": 16,
    }
)
Decompress = Callable[[bytes], bytes]


def open_aedat4(source: Source) -> Stream:
    """Open a recording; see :mod:`spikeprop.datasets.formats` for what may be raised."""
    source.read(len(MAGIC))
    start = source.position
    (length,) = struct.unpack("<I", source.exactly(4, "the length of the header"))
    head = source.exactly(length, "the header")
    try:
        table = _Table(head, b"IOHE")
        compression = table.number(0, "<i", 0)
        end = table.number(1, "<q", -1)
        info = table.text(2)
    except ValueError as error:
        raise DamageError(start, f"the header is damaged: {error}") from None
    if compression not in DECOMPRESS:
        raise DamageError(start, f"compression {compression} is unknown; 0 to 4 are")
    stop = end if source.position <= end <= source.size else source.size
    sensor = _sensor(info)
    return Stream(sensor, _events(source, sensor, DECOMPRESS[compression], stop))


def _sensor(info: str) -> SensorSize:
    """Find the size of the first event stream in the XML text."""
    stream = re.search(r'key="typeIdentifier"[^>]*>EVTS<(.*)', info, re.DOTALL)
    text = stream[1] if stream else info
    width, height = (re.search(rf'key="size{axis}"[^>]*>(\d{{1,5}})<', text) for axis in ("X", "Y"))
    if width is None or height is None:
        return None
    return int(width[1]), int(height[1]), 2


def _events(
    source: Source, sensor: SensorSize, decompress: Decompress, stop: int
) -> Iterator[Events]:
    while source.position < stop:
        start = source.position
        _, size = struct.unpack("<ii", source.exactly(8, "a packet header"))
        if size < 0:
            raise DamageError(start, f"a packet has the size {size}")
        data = source.exactly(size, "a packet")
        try:
            packet = decompress(data)
        except Exception as error:  # each library has errors of its own
            raise DamageError(start, f"a packet cannot be decompressed: {error}") from None
        if len(packet) >= PACKET_LIMIT:
            raise DamageError(start, f"a packet unpacks to {PACKET_LIMIT} bytes or more")
        if len(packet) < 12:
            raise DamageError(start, f"a packet unpacks to {len(packet)} bytes")
        if packet[8:12] != b"EVTS":
            continue
        try:
            found = _Table(packet[4:], b"EVTS").vector(0, _EVENT)
        except ValueError as error:
            raise DamageError(start, f"a packet is damaged: {error}") from None
        x, y = found["x"].astype(np.int64), found["y"].astype(np.int64)
        p = (found["on"] != 0).astype(np.int64)
        yield from checked(x, y, found["t"], p, sensor, start)


class _Table:
    """The root table of a flatbuffer, read with every place checked."""

    def __init__(self, data: bytes, identifier: bytes) -> None:
        self.data = data
        if data[4:8] != identifier:
            raise ValueError(f"expected a flatbuffer {identifier!r}, got {data[4:8]!r}")
        self.start = self._read("<I", 0)
        self.vtable = self.start - self._read("<i", self.start)
        self.fields = self._read("<H", self.vtable) // 2 - 2

    def _read(self, form: str, place: int) -> int:
        if not 0 <= place <= len(self.data) - struct.calcsize(form):
            raise ValueError(f"an offset points to byte {place} of {len(self.data)}")
        value: int = struct.unpack_from(form, self.data, place)[0]
        return value

    def _field(self, index: int) -> int | None:
        if index >= self.fields:
            return None
        offset = self._read("<H", self.vtable + 4 + 2 * index)
        return self.start + offset if offset else None

    def number(self, index: int, form: str, default: int) -> int:
        """Return a scalar field."""
        place = self._field(index)
        return default if place is None else self._read(form, place)

    def vector(self, index: int, kind: np.dtype[np.void] | np.dtype[np.uint8]) -> np.ndarray:
        """Return a field that is a vector."""
        place = self._field(index)
        if place is None:
            return np.empty(0, dtype=kind)
        place += self._read("<I", place)
        count = self._read("<I", place)
        if place + 4 + count * kind.itemsize > len(self.data):
            raise ValueError(f"a vector of {count} entries reaches beyond the packet")
        return np.frombuffer(self.data, dtype=kind, count=count, offset=place + 4)

    def text(self, index: int) -> str:
        """Return a field that is a string."""
        return self.vector(index, np.dtype(np.uint8)).tobytes().decode("utf-8", "replace")


def _lz4(data: bytes) -> bytes:
    import lz4.frame

    packet: bytes = lz4.frame.LZ4FrameDecompressor().decompress(data, max_length=PACKET_LIMIT)
    return packet


def _zstd(data: bytes) -> bytes:
    import io

    import zstandard

    with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(
        io.BytesIO(data)
    ) as file:
        return file.read(PACKET_LIMIT)


DECOMPRESS: dict[int, Decompress] = {0: lambda data: data, 1: _lz4, 2: _lz4, 3: _zstd, 4: _zstd}
