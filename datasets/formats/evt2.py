"""Prophesee RAW, EVT 2.0 and 2.1: words of 32 or 64 bits, little-endian.

::

    EVT 2.0: bits 31..28 type
        0 and 1   event, OFF and ON: bits 27..22 low time, 21..11 x, 10..0 y
        8         bits 27..0: time from bit 6 on
    EVT 2.1: bits 63..60 type
        0 and 1   32 pixels in a row, OFF and ON: bits 59..54 low time, 53..43 x of the first,
                  42..32 y, 31..0 which of them have an event
        8         bits 59..32: time from bit 6 on

Other types (triggers, continued and vendor words) are skipped, and events before the first time.
Time wraps round after 2**34 us, which is undone. EVT 2.1 with ``endianness=legacy`` has the two
halves of a word swapped.

Source: https://docs.prophesee.ai/stable/data/encoding_formats/evt2.html and evt21.html.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from spikeprop.datasets.events import Events
from spikeprop.datasets.formats.source import SensorSize, Source, Unwrap, checked

TIME_HIGH = 8


class _Clock:
    """The time of each word, from the words that carry its upper bits."""

    def __init__(self) -> None:
        self.unwrap = Unwrap(28)
        self.high = -1

    def __call__(self, is_high: NDArray[np.bool_], high: NDArray[np.int64]) -> NDArray[np.int64]:
        """Upper part of the time of each word; negative before the first."""
        known = np.concatenate([[self.high], self.unwrap(high[is_high])])
        now = known[np.cumsum(is_high)]
        self.high = int(known[-1])
        return now


def evt2_events(source: Source, sensor: SensorSize) -> Iterator[Events]:
    """Decode EVT 2.0 from the source's position on."""
    clock = _Clock()
    for offset, block in source.records(4):
        word = block.view("<u4").astype(np.int64)
        kind = word >> 28
        high = clock(kind == TIME_HIGH, word & 0x0FFF_FFFF)
        place = np.flatnonzero((kind <= 1) & (high >= 0))
        word = word[place]
        t = high[place] << 6 | word >> 22 & 0x3F
        where = place * 4 + offset
        yield from checked(word >> 11 & 0x7FF, word & 0x7FF, t, kind[place], sensor, where)


def evt21_events(source: Source, sensor: SensorSize, *, legacy: bool) -> Iterator[Events]:
    """Decode EVT 2.1 from the source's position on."""
    clock = _Clock()
    for offset, block in source.records(8, 1 << 17):
        halves = block.view("<u4").reshape(-1, 2).astype(np.int64)
        low, up = (halves[:, 1], halves[:, 0]) if legacy else (halves[:, 0], halves[:, 1])
        kind = up >> 28
        high = clock(kind == TIME_HIGH, up & 0x0FFF_FFFF)
        place = np.flatnonzero((kind <= 1) & (high >= 0))
        bits = low[place, None] >> np.arange(32) & 1
        word, pixel = np.nonzero(bits)
        place = place[word]
        up = up[place]
        t = high[place] << 6 | up >> 22 & 0x3F
        where = place * 8 + offset
        yield from checked((up >> 11 & 0x7FF) + pixel, up & 0x7FF, t, kind[place], sensor, where)
