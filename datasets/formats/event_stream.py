"""Event Stream files (``.es``), version 2: bytes whose meaning depends on those before.

::

    "Event Stream", 3 bytes of version, 1 byte of type: 0 generic, 1 DVS, 2 ATIS, 4 colour
    uint16 width, uint16 height                  not in generic streams
    DVS     byte 0: time step * 2 + ON, then uint16 x, uint16 y; 0xff adds 127 us
    ATIS    byte 0: time step * 4 + ON * 2 + exposure, then x, y; 0xfd..0xff add 63 us, 1..3 times
    colour  byte 0: time step, then x, y, red, green, blue; 0xff adds 254 us
    generic byte 0: time step; bytes of size (7 bits each, the lowest says whether one more
            follows), then so many bytes of content; 0xff adds 254 us
    reset   0xfe (0xfc in ATIS), where an event could begin: nothing

ATIS exposure measurements are left out. Colour events have one polarity, 0. A generic stream has
times alone: its events lie in the one pixel of a sensor of 1 x 1, with one polarity. Where
y begins is not specified; recordings of known things stand upright if that is the top.

Where events begin depends on all bytes before, so those places are found by doubling: from the
places of the first ``n`` items and the map "n items further" follow the first ``2 n``.

Source: the specification, https://github.com/neuromorphicsystems/event_stream.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from spikeprop.datasets.events import Events, make_events
from spikeprop.datasets.formats.source import DamageError, Source, Stream, checked

MAGIC = b"Event Stream"
GENERIC, DVS, ATIS, COLOUR = 0, 1, 2, 4
_BYTES = {DVS: 5, ATIS: 5, COLOUR: 8}
_BLOCK = 1 << 16
_Ints = NDArray[np.int64]


def open_event_stream(source: Source) -> Stream:
    """Open a recording; see :mod:`spikeprop.datasets.formats` for what may be raised."""
    source.read(len(MAGIC))
    version = source.exactly(3, "the version")
    if version[0] != 2:
        text = ".".join(str(number) for number in version)
        raise DamageError(12, f"version {text} cannot be read; version 2 can")
    (kind,) = source.exactly(1, "the type")
    if kind == GENERIC:
        return Stream((1, 1, 1), _generic(source))
    if kind not in _BYTES:
        raise DamageError(15, f"streams of type {kind} hold no pixels' events; types 0, 1, 2, 4 do")
    width, height = np.frombuffer(source.exactly(4, "the sensor's size"), dtype="<u2").tolist()
    if not width or not height:
        raise DamageError(16, f"the sensor's size is {width} x {height}")
    sensor = (width, height, 1 if kind == COLOUR else 2)
    return Stream(sensor, _events(source, kind, sensor))


def follow(step: NDArray[np.intp], start: int) -> NDArray[np.intp]:
    """Follow ``place -> step[place]`` from ``start`` up to the end of the array.

    ``step`` rises: ``step[i] > i``. Returns the places visited.
    """
    end = len(step)
    jump = np.minimum(np.append(step, end), end)
    places = np.array([start])
    while places[-1] < end:
        places = np.concatenate([places, jump[places]])
        jump = jump[jump]
    return places[places < end]


def _events(source: Source, kind: int, sensor: tuple[int, int, int]) -> Iterator[Events]:
    size, t = _BYTES[kind], 0
    reset = 0xFC if kind == ATIS else 0xFE
    rest = b""
    while source.left:
        offset = source.position - len(rest)
        data = np.frombuffer(rest + source.read(_BLOCK), dtype=np.uint8)
        special = data >= reset
        starts = follow(np.arange(len(data)) + np.where(special, 1, size), 0)
        ends = starts + np.where(special[starts], 1, size)
        whole = starts[ends <= len(data)]
        rest = data[int(ends[len(whole) - 1]) if len(whole) else 0 :].tobytes()
        columns, t = _decode(data, whole, special[whole], kind, t)
        x, y, times, p, place = columns
        yield from checked(x, y, times, p, sensor, place + offset)
    if rest:
        raise DamageError(
            source.size - len(rest), f"the last event has {len(rest)} of {size} bytes"
        )


def _decode(
    data: NDArray[np.uint8], starts: _Ints, special: NDArray[np.bool_], kind: int, t: int
) -> tuple[tuple[_Ints, _Ints, _Ints, _Ints, _Ints], int]:
    first = data[starts].astype(np.int64)
    if kind == ATIS:
        step = np.where(special, (first & 3) * 63, first >> 2)
    elif kind == DVS:
        step = np.where(special, (first & 1) * 127, first >> 1)
    else:
        step = np.where(special, (first & 1) * 254, first)
    times = t + np.cumsum(step)
    after = int(times[-1]) if len(times) else t
    keep = ~special & (first & 1 == 0) if kind == ATIS else ~special
    place, first, times = starts[keep], first[keep], times[keep]
    x = data[place + 1] | data[place + 2].astype(np.int64) << 8
    y = data[place + 3] | data[place + 4].astype(np.int64) << 8
    p = first >> 1 & 1 if kind == ATIS else first & 1 if kind == DVS else np.zeros_like(first)
    return (x, y, times, p, place), after


def _generic(source: Source) -> Iterator[Events]:
    """Sizes vary, so event by event: such streams are sparse."""
    times: list[int] = []
    t = 0
    while source.left:
        start = source.position
        try:
            first = source.read(1)[0]
            if first >= 0xFE:
                t += 254 * (first & 1)
                continue
            length = _generic_length(source)
            if length > source.left:
                raise DamageError(
                    start, f"an event of {length} bytes is cut off: {source.left} are left"
                )
        except DamageError:
            yield _times_only(times)
            raise
        source.seek(source.position + length)
        t += first
        times.append(t)
        if len(times) == _BLOCK:
            yield _times_only(times)
            times = []
    yield _times_only(times)


def _generic_length(source: Source) -> int:
    length = 0
    for index in range(9):
        byte = source.exactly(1, "the size of an event")[0]
        length |= byte >> 1 << 7 * index
        if not byte & 1:
            return length
    raise DamageError(source.position, "the size of an event has more than nine bytes")


def _times_only(times: list[int]) -> Events:
    zero = np.zeros(len(times), dtype=np.int64)
    return make_events(zero, zero, np.array(times, dtype=np.int64), zero)
