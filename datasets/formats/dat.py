"""Prophesee DAT: a text header, two bytes that say what an event is, then events of 8 bytes.

::

    % Height 240                                   and more lines that begin with %
    uint8 type, uint8 size of an event (8)
    uint32 time in microseconds, uint32 address: bits 13..0 x, 27..14 y, 31..28 polarity

Little-endian. Type 0 (2D events) and 12 (contrast detection) are alike. Times wrap round after
2**32 us, which is undone.

Source: https://docs.prophesee.ai/stable/data/file_formats/dat.html.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from spikeprop.datasets.events import Events
from spikeprop.datasets.formats.prophesee import read_header, sensor_size
from spikeprop.datasets.formats.source import (
    DamageError,
    SensorSize,
    Source,
    Stream,
    Unwrap,
    checked,
)

TYPES = (0, 12)
EVENT_BYTES = 8


def open_dat(source: Source) -> Stream:
    """Open a recording; see :mod:`spikeprop.datasets.formats` for what may be raised."""
    sensor = sensor_size(read_header(source), {})
    start = source.position
    kind, size = source.exactly(2, "what an event is")
    if kind not in TYPES or size != EVENT_BYTES:
        raise DamageError(
            start,
            f"events of type {kind} with {size} bytes cannot be read; types 0 and 12, 8 bytes",
        )
    return Stream(sensor, _events(source, sensor))


def _events(source: Source, sensor: SensorSize) -> Iterator[Events]:
    unwrap = Unwrap(32)
    for offset, block in source.records(EVENT_BYTES):
        words = block.view("<u4").reshape(-1, 2).astype(np.int64)
        address = words[:, 1]
        # Bits 29 to 31 carry other flags in some recordings: only the lowest is the polarity.
        x, y, p = address & 0x3FFF, address >> 14 & 0x3FFF, address >> 28 & 1
        place = np.arange(len(words)) * EVENT_BYTES + offset
        yield from checked(x, y, unwrap(words[:, 0]), p, sensor, place)
