"""HDF5 files, by h5py: the common layouts.

A group with data sets for x, y, t and p, such as ``/events`` (DSEC, RPG) or the root; a compound
data set with these fields, such as ``/CD/events`` (Prophesee); or a data set (N, 4), such as
``/davis/left/events`` (MVSEC). The first of them, outermost and in the order of the names, is read.
``t_offset`` beside the times is added to them; an attribute ``unit`` (or ``units``) on the times
may say s, ms, us or ns; ``geometry``, ``sensor_size`` or ``width`` and ``height`` name the sensor.

Prophesee's own compression (ECF) needs its plugin. Damaged files can hang the library, so it runs
in a process of its own (:mod:`spikeprop.datasets.formats.apart`). HDF5 is a file system in a file,
so damage has no place of its own: errors name byte 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeprop.datasets.events import Events
from spikeprop.datasets.formats.apart import apart
from spikeprop.datasets.formats.arrays import plain_events
from spikeprop.datasets.formats.columns import events_from, find_columns, guess_order, time_unit
from spikeprop.datasets.formats.source import DamageError, SensorSize, Source, Stream

MAGIC = b"\x89HDF\r\n\x1a\n"
ROWS = 1 << 17
NODES = 10_000
_UNITS = {"s": 1e6, "ms": 1e3, "us": 1.0, "µs": 1.0, "ns": 1e-3}


def open_hdf5(source: Source, order: str | None = None) -> Stream:
    """Open a recording; see :mod:`spikeprop.datasets.formats` for what may be raised."""
    return apart(lambda: _open(source, order))


def _open(source: Source, order: str | None) -> Stream:
    import h5py

    try:
        file = h5py.File(source.path, "r")
        found = _find(file)
        sensor = _sensor(file)
    except DamageError:
        raise
    except Exception as error:  # h5py passes on whatever the C library says
        raise DamageError(0, f"the file cannot be read: {error}") from None
    if found is None:
        file.close()
        raise DamageError(0, "no group or data set holds x, y, t, p")
    return Stream(sensor, _guard(found, file, order))


def _guard(found: Any, file: Any, order: str | None) -> Iterator[Events]:
    """Turn the library's errors into damage, and close the file at the end."""
    try:
        yield from _events(found, order)
    except DamageError:
        raise
    except Exception as error:
        raise DamageError(0, f"the events cannot be read: {error}") from None
    finally:
        file.close()


def _find(file: Any) -> Any:
    """Return the first group or data set that holds events, outermost first."""
    import h5py

    level, seen = [file], 0
    while level and seen < NODES:
        following: list[Any] = []
        for node in level:
            seen += 1
            if isinstance(node, h5py.Dataset):
                names = node.dtype.names or ()
                if node.ndim == 1 and find_columns(names) is not None:
                    return node
                if node.ndim == 2 and node.shape[1] == 4 and node.dtype.kind in "iuf":
                    return node
                continue
            if find_columns([name for name in node if _is_column(node, name)]) is not None:
                return node
            following += [node[name] for name in sorted(node) if name in node]
        level = following
    return None


def _is_column(group: Any, name: str) -> bool:
    import h5py

    return isinstance(group.get(name), h5py.Dataset) and group[name].ndim == 1


def _events(found: Any, order: str | None) -> Iterator[Events]:
    import h5py

    if isinstance(found, h5py.Dataset) and found.dtype.names is None:
        for start in range(0, found.shape[0], ROWS):
            table = found[start : start + ROWS]
            if order is None and start == 0:
                order = guess_order(table)
            yield plain_events(table, order)
        return
    names = found.dtype.names if isinstance(found, h5py.Dataset) else list(found)
    columns = find_columns(names)
    assert columns is not None
    lengths = {
        len(found) if isinstance(found, h5py.Dataset) else len(found[columns[c]]) for c in "xytp"
    }
    if len(lengths) != 1:
        raise ValueError(f"x, y, t, p have the lengths {sorted(lengths)}")
    (count,) = lengths
    unit, offset = _time(found, columns["t"])
    for start in range(0, count, ROWS):
        stop = min(start + ROWS, count)
        if isinstance(found, h5py.Dataset):
            rows = found[start:stop]
            piece: dict[str, NDArray[Any]] = {c: rows[name] for c, name in columns.items()}
        else:
            piece = {c: found[name][start:stop] for c, name in columns.items()}
        if unit is None:
            unit = time_unit(columns["t"], piece["t"])
        events = events_from(piece, unit=unit)
        events["t"] += offset
        yield events


def _time(found: Any, name: str) -> tuple[float | None, int]:
    """Return the unit of the times in microseconds, if named, and what is to be added."""
    import h5py

    node = found if isinstance(found, h5py.Dataset) else found[name]
    said = node.attrs.get("unit", node.attrs.get("units"))
    said = said.decode() if isinstance(said, bytes) else said
    unit = _UNITS.get(str(said).strip()) if said is not None else None
    parent = found.parent if isinstance(found, h5py.Dataset) else found
    for place in (parent, parent.parent):
        if isinstance(place.get("t_offset"), h5py.Dataset) and place["t_offset"].size == 1:
            return unit, int(np.asarray(place["t_offset"][()]).reshape(-1)[0])
    return unit, 0


def _sensor(file: Any) -> SensorSize:
    attributes = {str(name).lower(): value for name, value in list(file.attrs.items())[:100]}
    size = attributes.get("sensor_size")
    if size is not None and np.size(size) == 3:
        width, height, polarities = (int(value) for value in np.ravel(size))
    elif "width" in attributes and "height" in attributes:
        width, height, polarities = int(attributes["width"]), int(attributes["height"]), 2
    elif "geometry" in attributes:
        text = attributes["geometry"]
        text = text.decode() if isinstance(text, bytes) else str(text)
        parts = text.lower().split("x")
        if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
            return None
        width, height, polarities = int(parts[0]), int(parts[1]), 2
    else:
        return None
    if not (0 < width < 1 << 16 and 0 < height < 1 << 16 and 0 < polarities < 256):
        return None
    return width, height, polarities
