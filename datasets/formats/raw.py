"""Prophesee RAW files: a text header that names the encoding, then EVT 2.0, 2.1 or 3.0."""

from __future__ import annotations

from spikeprop.datasets.formats.evt2 import evt2_events, evt21_events
from spikeprop.datasets.formats.evt3 import evt3_events
from spikeprop.datasets.formats.prophesee import raw_format, read_header, sensor_size
from spikeprop.datasets.formats.source import DamageError, Source, Stream


def open_raw(source: Source) -> Stream:
    """Open a recording; see :mod:`spikeprop.datasets.formats` for what may be raised."""
    header = read_header(source)
    encoding, options = raw_format(header)
    sensor = sensor_size(header, options)
    if encoding == "EVT2":
        return Stream(sensor, evt2_events(source, sensor))
    if encoding == "EVT21":
        legacy = options.get("endianness") == "legacy"
        return Stream(sensor, evt21_events(source, sensor, legacy=legacy))
    if encoding == "EVT3":
        return Stream(sensor, evt3_events(source, sensor))
    named = "no encoding (a line such as '% evt 3.0')" if encoding is None else f"{encoding!r}"
    raise DamageError(0, f"the header names {named}; EVT2, EVT2.1 and EVT3 can be read")
