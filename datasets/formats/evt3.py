"""Prophesee RAW, EVT 3.0: words of 16 bits, little-endian, that change a state.

::

    bits 15..12 type, 11..0 content
    0  row y (bits 10..0)                         2  event at x (10..0), polarity (11)
    3  base x and polarity of vectors, as in 2    4  12 pixels from the base: which have an event;
    5  the same for 8 pixels                         then the base moves on by 12 (8)
    6  lower 12 bits of the time                  8  upper 12 bits of the time

Other types are skipped, and events before the first row, time or base. An upper time that changes
sets the lower one to zero until it comes. Time wraps round every 16.8 s, which is undone.

The state before each word is found for a whole block at once: the last word of a type is a running
maximum over positions.

Source: https://docs.prophesee.ai/stable/data/encoding_formats/evt3.html.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from spikeprop.datasets.events import Events
from spikeprop.datasets.formats.source import SensorSize, Source, Unwrap, checked

ROW, SINGLE, BASE, VECTOR_12, VECTOR_8, TIME_LOW, TIME_HIGH = 0, 2, 3, 4, 5, 6, 8
_Ints = NDArray[np.int64]


def evt3_events(source: Source, sensor: SensorSize) -> Iterator[Events]:
    """Decode EVT 3.0 from the source's position on."""
    decoder = _Decoder()
    for offset, block in source.records(2, 1 << 18):
        x, y, t, p, place = decoder(block.view("<u2").astype(np.int64))
        yield from checked(x, y, t, p, sensor, place * 2 + offset)


class _Decoder:
    """The state that goes from one block of words to the next; -1 is not known yet."""

    def __init__(self) -> None:
        self.row = self.base = self.polarity = self.high = -1
        self.low = 0
        self.unwrap = Unwrap(12)

    def __call__(self, word: _Ints) -> tuple[_Ints, _Ints, _Ints, _Ints, _Ints]:
        """Return columns x, y, t, p of the events of a block, and the word that each comes from."""
        kind, content = word >> 12, word & 0xFFF
        row = _latest(kind == ROW, content & 0x7FF, self.row)
        time = self._time(kind, content)
        width = np.where(kind == VECTOR_12, 12, np.where(kind == VECTOR_8, 8, 0))
        base, polarity = self._base(kind, content, width)
        known = (row >= 0) & (time >= 0)
        single = np.flatnonzero((kind == SINGLE) & known)
        vector = np.flatnonzero((width > 0) & known & (base >= 0))
        bits = content[vector, None] >> np.arange(12) & 1
        bits[width[vector] == 8, 8:] = 0
        which, pixel = np.nonzero(bits)
        vector = vector[which]
        place = np.concatenate([single, vector])
        x = np.concatenate([content[single] & 0x7FF, base[vector] + pixel])
        p = np.concatenate([content[single] >> 11, polarity[vector]])
        order = np.argsort(place, kind="stable")
        place = place[order]
        self.row = int(row[-1])
        return x[order], row[place], time[place], p[order], place

    def _base(self, kind: _Ints, content: _Ints, width: _Ints) -> tuple[_Ints, _Ints]:
        """Return base x and polarity of vectors before each word."""
        moved = np.cumsum(width) - width
        is_base = kind == BASE
        start = _latest(is_base, (content & 0x7FF) - moved, self.base)
        polarity = _latest(is_base, content >> 11, self.polarity)
        known = np.maximum.accumulate(is_base) | (self.base >= 0)
        base = np.where(known, start + moved, -1)
        self.base = int(base[-1] + width[-1]) if base[-1] >= 0 else -1
        self.polarity = int(polarity[-1])
        return base, polarity

    def _time(self, kind: _Ints, content: _Ints) -> _Ints:
        """Return the time at each word in microseconds; negative before the first upper part."""
        is_high = kind == TIME_HIGH
        high = _latest(is_high, self._unwrapped(is_high, content), self.high)
        before = np.concatenate([[self.high], high[:-1]])
        cleared = is_high & (high != before)
        is_low = kind == TIME_LOW
        low = _latest(is_low | cleared, np.where(is_low, content, 0), self.low)
        self.high, self.low = int(high[-1]), int(low[-1])
        return np.where(high >= 0, high << 12 | low, -1)

    def _unwrapped(self, is_high: NDArray[np.bool_], content: _Ints) -> _Ints:
        values = np.zeros_like(content)
        values[is_high] = self.unwrap(content[is_high])
        return values


def _latest(given: NDArray[np.bool_], values: _Ints, before: int) -> _Ints:
    """Return at each place the last value given up to there, or ``before``."""
    place = np.maximum.accumulate(np.where(given, np.arange(len(values)), -1))
    return np.where(place >= 0, values[place], before)
