"""MATLAB files (level 5), by SciPy: structures or variables with fields for x, y, t and p.

Found are a structure such as ``TD`` (ATIS; x, y, ts or t, p), four variables of these names
(ASL-DVS: x, y, ts, pol), and ``aedat.data.polarity`` (x, y, timeStamp, polarity); see
:mod:`spikeprop.datasets.formats.columns` for the names. MATLAB counts from 1: where no coordinate
is 0, both start at 1 and are moved to 0; polarities 1 and 2 become 0 and 1.

A matrix of numbers in the place of events (ST-MNIST: ``spiketrain``, one row a taxel and the times
in seconds last) holds spikes: see :func:`_spike_train`.

SciPy unpacks variables whole, so their unpacked size is measured first and may be at most 1 GiB.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeprop.datasets.events import Events, make_events
from spikeprop.datasets.formats.columns import events_from, find_columns, time_unit
from spikeprop.datasets.formats.source import DamageError, Source, Stream

MAGIC = b"MATLAB 5.0 MAT-file"
HEADER_BYTES = 128
UNPACKED_LIMIT = 1 << 30
_COMPRESSED = 15
Columns = Mapping[str, NDArray[Any]]


def open_mat(source: Source) -> Stream:
    """Open a recording; see :mod:`spikeprop.datasets.formats` for what may be raised."""
    _measure(source)
    from scipy.io import loadmat

    try:
        variables = loadmat(source.path, squeeze_me=True, struct_as_record=True)
    except Exception as error:  # SciPy raises many kinds on bad input
        raise DamageError(HEADER_BYTES, f"the variables cannot be read: {error}") from None
    named = {name: value for name, value in variables.items() if not name.startswith("__")}
    # Beside TD, the events, recordings of ATIS cameras hold EM, exposure measurements.
    named = dict(sorted(named.items(), key=lambda item: item[0] != "TD"))
    try:
        for columns in _tables(named):
            return Stream(None, iter([_from_matlab(columns)]))
        if "spiketrain" in named:
            return _spike_train(np.asarray(named["spiketrain"]))
    except (ValueError, TypeError, OverflowError) as error:
        raise DamageError(HEADER_BYTES, f"{error}") from None
    raise DamageError(
        HEADER_BYTES, f"the variables {', '.join(sorted(named)) or '(none)'} hold no x, y, t, p"
    )


def _measure(source: Source) -> None:
    """Refuse variables that unpack to more than the limit, or are cut off."""
    head = source.exactly(HEADER_BYTES, "the header")
    order = {b"IM": "<", b"MI": ">"}.get(head[126:128])
    if order is None:
        raise DamageError(126, f"the mark of the byte order is {head[126:128]!r}")
    total = 0
    while source.left >= 8:
        start = source.position
        kind, size = struct.unpack(order + "II", source.read(8))
        if size > source.left:
            raise DamageError(
                start, f"a variable of {size} bytes is cut off: {source.left} are left"
            )
        if kind != _COMPRESSED:
            total += size
            source.seek(source.position + size)
        else:
            total += _unpacked(source, size, start, UNPACKED_LIMIT - total)
        if total > UNPACKED_LIMIT:
            raise DamageError(start, f"variables unpack to more than {UNPACKED_LIMIT} bytes")


def _unpacked(source: Source, size: int, start: int, limit: int) -> int:
    unpack, total = zlib.decompressobj(), 0
    data = b""
    try:
        while (data or size) and total <= limit:
            if not data:
                data = source.read(min(size, 1 << 18))
                size -= len(data)
            total += len(unpack.decompress(data, 1 << 20))
            data = unpack.unconsumed_tail
    except zlib.error as error:
        raise DamageError(start, f"a variable cannot be unpacked: {error}") from None
    return total


def _tables(values: Mapping[str, Any], depth: int = 0) -> Iterator[Columns]:
    """All sets of four columns in variables and structures, outermost first."""
    found = find_columns(list(values))
    if found is not None:
        columns = {column: np.atleast_1d(values[name]) for column, name in found.items()}
        yield {**columns, "_unit": np.array(time_unit(found["t"], columns["t"]))}
    if depth == 4:
        return
    for value in values.values():
        if isinstance(value, np.ndarray) and value.dtype.names and value.size == 1:
            record = value.reshape(-1)[0]
            yield from _tables({name: record[name] for name in value.dtype.names}, depth + 1)
        elif isinstance(value, np.void) and value.dtype.names:
            yield from _tables({name: value[name] for name in value.dtype.names}, depth + 1)


def _from_matlab(columns: Columns) -> Events:
    events = events_from({name: columns[name] for name in "xytp"}, unit=float(columns["_unit"]))
    if len(events) and min(events["x"].min(), events["y"].min()) > 0:
        events["x"] -= 1
        events["y"] -= 1
    if len(events) and events["p"].min() >= 1 and events["p"].max() == 2:
        events["p"] -= 1
    return events


def _spike_train(table: NDArray[Any]) -> Stream:
    """Read ST-MNIST's touches: rows 0..99 are the taxels of a 10 x 10 skin, the last row the times.

    A column is a moment in seconds; 1 and -1 mark which taxels spiked, on touch and on release.
    """
    if table.ndim != 2 or table.shape[0] != 101 or table.dtype.kind not in "iuf":
        raise ValueError(f"spiketrain is no matrix of 101 rows, but has shape {table.shape}")
    moment, taxel = np.nonzero(table[:-1].T)
    value = table[taxel, moment]
    seconds = table[-1][moment].astype(np.float64)
    if len(seconds) and not np.all(np.abs(seconds) < 1e9):
        raise ValueError("spiketrain holds times that are not finite")
    t = np.round(seconds * 1e6).astype(np.int64)
    events = make_events(taxel % 10, taxel // 10, t, (value > 0).astype(np.int64))
    return Stream((10, 10, 2), iter([events]))
