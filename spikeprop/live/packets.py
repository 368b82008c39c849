"""The packets of a live stream: events, labels, and the end. Little-endian.

::

    bytes 0..3    "SPKE"
    byte 4        version, 1
    byte 5        kind: 0 events, 1 label, 2 end of the stream
    bytes 6..7    uint16 number of events n; 0 in other kinds
    bytes 8..15   uint64 sequence number: 0, 1, 2, ... over all packets of a stream
    bytes 16..23  uint64 time in microseconds: events count from it, a label holds from it on
    events        n times 8 bytes: uint32 time since then (us), uint16 x, uint16 y * 2 + polarity
    label         int32 class, from 0; -1 is "no label from now on"
    last 4 bytes  CRC-32 (that of zlib) of all bytes before

A datagram is one packet, of at most 8,000 events. TCP and standard input carry packets one after
another. What is damaged there is skipped up to the next packet that is whole.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from spikeprop.datasets import Events, make_events

MAGIC = b"SPKE"
VERSION = 1
EVENTS, LABEL, END = 0, 1, 2
MAX_EVENTS = 8_000
HEAD = struct.Struct("<4sBBHQQ")
TAIL = 4
_EVENT = np.dtype([("dt", "<u4"), ("x", "<u2"), ("yp", "<u2")])
_BODY = {LABEL: 4, END: 0}


class Packet(NamedTuple):
    """One packet.

    Attributes
    ----------
    kind : int
        ``EVENTS``, ``LABEL`` or ``END``.
    number : int
        Sequence number.
    time : int
        Microseconds.
    events : ndarray or None
        Fields x, y, t (microseconds, absolute) and p.
    label : int or None
        Class; None where there is none.
    """

    kind: int
    number: int
    time: int
    events: Events | None = None
    label: int | None = None


def encode_events(number: int, events: Events) -> bytes:
    """Make a packet of up to 8,000 events.

    Raises
    ------
    ValueError
        If there are more, or a value does not fit.
    """
    if len(events) > MAX_EVENTS:
        raise ValueError(f"a packet holds {MAX_EVENTS:,} events at most, got {len(events):,}")
    base = int(events["t"].min()) if len(events) else 0
    limits = {"x": 1 << 16, "y": 1 << 15, "p": 2}
    for name, limit in limits.items():
        if len(events) and not (events[name].min() >= 0 and events[name].max() < limit):
            raise ValueError(f"events[{name!r}] must lie from 0 to {limit - 1}")
    if base < 0 or (len(events) and int(events["t"].max()) - base >= 1 << 32):
        raise ValueError("events['t'] must be 0 or more, and span less than 2**32 microseconds")
    rows = np.empty(len(events), dtype=_EVENT)
    rows["dt"], rows["x"] = events["t"] - base, events["x"]
    rows["yp"] = events["y"] << 1 | events["p"]
    return _packet(EVENTS, len(events), number, base, rows.tobytes())


def encode_label(number: int, time: int, label: int | None) -> bytes:
    """Make a packet that says which class is seen from ``time`` on; None is unknown."""
    return _packet(LABEL, 0, number, time, struct.pack("<i", -1 if label is None else label))


def encode_end(number: int, time: int = 0) -> bytes:
    """Make the packet that ends a stream."""
    return _packet(END, 0, number, time, b"")


def _packet(kind: int, count: int, number: int, time: int, body: bytes) -> bytes:
    data = HEAD.pack(MAGIC, VERSION, kind, count, number, time) + body
    return data + struct.pack("<I", zlib.crc32(data))


def length_of(head: bytes) -> int | None:
    """Return how long the packet with this head is, or None if it is no head."""
    magic, version, kind, count, _, _ = HEAD.unpack(head[: HEAD.size])
    if magic != MAGIC or version != VERSION:
        return None
    if kind == EVENTS:
        if count > MAX_EVENTS:
            return None
        return HEAD.size + int(count) * _EVENT.itemsize + TAIL
    if kind not in _BODY or count:
        return None
    return HEAD.size + _BODY[kind] + TAIL


def parse(data: bytes) -> Packet | None:
    """Read one packet; None if it is malformed in any way."""
    if len(data) < HEAD.size + TAIL or length_of(data) != len(data):
        return None
    if zlib.crc32(data[:-TAIL]) != int.from_bytes(data[-TAIL:], "little"):
        return None
    _, _, kind, _, number, time = HEAD.unpack_from(data)
    if time >= 1 << 62:
        return None
    body = data[HEAD.size : -TAIL]
    if kind == EVENTS:
        rows = np.frombuffer(body, dtype=_EVENT)
        t = rows["dt"].astype(np.int64) + time
        yp = rows["yp"].astype(np.int64)
        return Packet(kind, number, time, make_events(rows["x"], yp >> 1, t, yp & 1))
    if kind == LABEL:
        (label,) = struct.unpack("<i", body)
        return Packet(kind, number, time, None, None if label < 0 else label)
    return Packet(kind, number, time)


class Splitter:
    """Cuts a stream of bytes (TCP, standard input) into packets; skips what is damaged.

    Attributes
    ----------
    malformed : int
        How often something was skipped.
    """

    def __init__(self) -> None:
        self.malformed = 0
        self._left = b""
        self._lost = False

    def feed(self, data: bytes) -> Iterator[Packet]:
        """Yield the packets that are whole with the next bytes."""
        left = self._left + data
        place = 0
        while len(left) - place >= HEAD.size:
            length = length_of(left[place : place + HEAD.size])
            packet = None
            if length is not None:
                if len(left) - place < length:
                    break
                packet = parse(left[place : place + length])
            if packet is not None:
                assert length is not None
                self._lost = False
                place += length
                yield packet
                continue
            # Not a packet: on to the next place that may be one. A run of damage counts once.
            self.malformed += not self._lost
            self._lost = True
            following = left.find(MAGIC, place + 1)
            place = following if following >= 0 else max(place + 1, len(left) - len(MAGIC) + 1)
        self._left = left[place:]

    def close(self) -> None:
        """Count what is left at the end as damage."""
        self.malformed += bool(self._left) and not self._lost
        self._left = b""
