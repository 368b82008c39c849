r"""ROS 1 bags, version 2.0: the ``EventArray`` messages of one topic.

::

    #ROSBAG V2.0\n
    records: uint32 length and header, uint32 length and data; a header is fields, each uint32
        length and name=value; op 2 message, 5 chunk of records (none, bz2 or lz4), 7 connection
    EventArray (dvs_msgs, prophesee_event_msgs): header (uint32 sequence, time, string), uint32
        height, uint32 width, uint32 number; per event uint16 x, uint16 y, time, uint8 polarity
    time: uint32 seconds, uint32 nanoseconds

Of several topics of that type the first is read. Other records are skipped. Ours, since tonic's
reader (importRosbag 1.0.4) fails with NumPy 2 and holds whole bags in memory.

Source: http://wiki.ros.org/Bags/Format/2.0, and the message definitions of rpg_dvs_ros.
"""

from __future__ import annotations

import bz2
import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from spikeprop.datasets.events import Events
from spikeprop.datasets.formats.source import DamageError, SensorSize, Source, Stream, checked

MAGIC = b"#ROSBAG V2.0\n"
MESSAGE, CHUNK, CONNECTION = 2, 5, 7
TYPES = (b"dvs_msgs/EventArray", b"prophesee_event_msgs/EventArray")
CHUNK_LIMIT = 1 << 28
_EVENT = np.dtype([("x", "<u2"), ("y", "<u2"), ("s", "<u4"), ("ns", "<u4"), ("p", "u1")])


class _Message(NamedTuple):
    offset: int
    sensor: SensorSize
    events: np.ndarray


def open_rosbag(source: Source) -> Stream:
    """Open a recording; see :mod:`spikeprop.datasets.formats` for what may be raised."""
    source.read(len(MAGIC))
    messages = _messages(source)
    first = next(messages, None)
    if first is None:
        raise DamageError(0, f"the bag holds no message of type {b' or '.join(TYPES).decode()}")
    return Stream(first.sensor, _events(first, messages))


def _events(first: _Message, others: Iterator[_Message]) -> Iterator[Events]:
    for message in _chain(first, others):
        rows = message.events
        t = rows["s"].astype(np.int64) * 1_000_000 + rows["ns"].astype(np.int64) // 1000
        yield from checked(
            rows["x"].astype(np.int64),
            rows["y"].astype(np.int64),
            t,
            (rows["p"] != 0).astype(np.int64),
            first.sensor,
            message.offset,
        )


def _chain(first: _Message, others: Iterator[_Message]) -> Iterator[_Message]:
    yield first
    yield from others


def _messages(source: Source) -> Iterator[_Message]:
    topics: dict[int, bool] = {}
    while source.left:
        start = source.position
        fields = _fields(source.exactly(_length(source, "a header"), "a header"), start)
        size = _length(source, "a record")
        op = (fields.get(b"op") or b"\0")[:1]
        if op == bytes([CHUNK]):
            plain = fields.get(b"compression", b"none") == b"none"
            data = source.read(size) if plain else source.exactly(size, "a chunk")
            yield from _in_chunk(_unpack(fields, data, start), topics, start)
            if len(data) < size:
                raise DamageError(start, f"a chunk of {size} bytes is cut off")
        elif op in (bytes([MESSAGE]), bytes([CONNECTION])):
            data = source.exactly(size, "a record")
            yield from _record(op[0], fields, data, topics, start)
        else:
            if size > source.left:
                raise DamageError(
                    start, f"a record of {size} bytes is cut off: {source.left} are left"
                )
            source.seek(source.position + size)


def _length(source: Source, what: str) -> int:
    (length,) = struct.unpack("<I", source.exactly(4, f"the length of {what}"))
    return int(length)


def _unpack(fields: dict[bytes, bytes], data: bytes, start: int) -> bytes:
    compression = fields.get(b"compression", b"none")
    try:
        if compression == b"none":
            return data
        if compression == b"bz2":
            unpacked = bz2.BZ2Decompressor().decompress(data, CHUNK_LIMIT)
        elif compression == b"lz4":
            import lz4.frame

            unpacked = lz4.frame.LZ4FrameDecompressor().decompress(data, max_length=CHUNK_LIMIT)
        else:
            raise DamageError(start, f"a chunk is compressed by {compression!r}")
    except DamageError:
        raise
    except Exception as error:  # each library has errors of its own
        raise DamageError(start, f"a chunk cannot be unpacked: {error}") from None
    if len(unpacked) >= CHUNK_LIMIT:
        raise DamageError(start, f"a chunk unpacks to {CHUNK_LIMIT} bytes or more")
    return unpacked


def _in_chunk(data: bytes, topics: dict[int, bool], start: int) -> Iterator[_Message]:
    place = 0
    while place < len(data):
        head, place = _piece(data, place, start)
        body, place = _piece(data, place, start)
        fields = _fields(head, start)
        yield from _record((fields.get(b"op") or b"\0")[0], fields, body, topics, start)


def _piece(data: bytes, place: int, start: int) -> tuple[bytes, int]:
    if place + 4 > len(data):
        raise DamageError(start, "a record in a chunk is cut off")
    (length,) = struct.unpack_from("<I", data, place)
    end = place + 4 + length
    if end > len(data):
        raise DamageError(
            start, f"a record in a chunk has {length} bytes, of which some are missing"
        )
    return data[place + 4 : end], end


def _fields(data: bytes, start: int) -> dict[bytes, bytes]:
    fields, place = {}, 0
    while place < len(data):
        field, place = _piece(data, place, start)
        name, mark, value = field.partition(b"=")
        if not mark:
            raise DamageError(start, f"a field of a header has no name: {field[:40]!r}")
        fields[name] = value
    return fields


def _record(
    op: int, fields: dict[bytes, bytes], data: bytes, topics: dict[int, bool], start: int
) -> Iterator[_Message]:
    if op not in (MESSAGE, CONNECTION):
        return
    number = fields.get(b"conn", b"")
    if len(number) != 4:
        raise DamageError(start, "a record has no number of its connection")
    connection = int.from_bytes(number, "little")
    if op == CONNECTION:
        if connection not in topics and len(topics) < 10_000:
            wanted = _fields(data, start).get(b"type") in TYPES
            topics[connection] = wanted and not any(topics.values())
    elif topics.get(connection):
        yield _event_array(data, start)


def _event_array(data: bytes, start: int) -> _Message:
    """Read one message: a header with a name of any length, the size, the events."""
    try:
        (name,) = struct.unpack_from("<I", data, 12)
        height, width, count = struct.unpack_from("<III", data, 16 + name)
        events = np.frombuffer(data, dtype=_EVENT, count=count, offset=28 + name)
    except (struct.error, ValueError, OverflowError) as error:
        raise DamageError(start, f"an EventArray message is damaged: {error}") from None
    known = 0 < width < 1 << 16 and 0 < height < 1 << 16
    return _Message(start, (width, height, 2) if known else None, events)
