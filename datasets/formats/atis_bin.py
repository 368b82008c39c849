"""ATIS ``.bin``, five bytes an event: the files of N-MNIST and N-Caltech101.

The layout stands in :mod:`spikeprop.datasets.bin_format`. These files have no mark of their own, so
the name must end in ``.bin``, and say nothing about the sensor. An overflow record (y = 240) is no
event; later times are 2**13 us further on.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from spikeprop.datasets.bin_format import OVERFLOW_US, OVERFLOW_Y, RECORD_BYTES
from spikeprop.datasets.events import Events, make_events
from spikeprop.datasets.formats.source import Source, Stream


def open_atis_bin(source: Source) -> Stream:
    """Open a recording; see :mod:`spikeprop.datasets.formats` for what may be raised."""
    return Stream(None, _events(source))


def _events(source: Source) -> Iterator[Events]:
    overflows = 0
    for _, block in source.records(RECORD_BYTES):
        x, y, high, middle, low = block.reshape(-1, RECORD_BYTES).astype(np.int64).T
        overflow = y == OVERFLOW_Y
        turns = overflows + np.cumsum(overflow)
        overflows = int(turns[-1])
        t = ((high & 127) << 16 | middle << 8 | low) + OVERFLOW_US * turns
        event = ~overflow
        yield make_events(x[event], y[event], t[event], high[event] >> 7)
