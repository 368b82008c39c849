"""Text tables: one event a line, separated by commas, semicolons, tabs or spaces.

A first line of names says which column is what (:mod:`spikeprop.datasets.formats.columns`), in any
order and among others; lines that begin with ``#`` or ``%`` are skipped, and the last of those
before the data may be that line of names. Without names there are four columns, and their order is
found from the first lines. Times with fractions are seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from spikeprop.datasets.events import Events
from spikeprop.datasets.formats.columns import events_from, find_columns, guess_order, time_unit
from spikeprop.datasets.formats.source import DamageError, SensorSize, Source, Stream

LINE_LIMIT = 1024
BLOCK_LINES = 1 << 15
_SIZE = re.compile(rb"#\s*(\d{1,5})x(\d{1,5})x(\d{1,2})\s*")


def open_text(source: Source, order: str | None = None) -> Stream:
    """Open a recording; see :mod:`spikeprop.datasets.formats` for what may be raised."""
    names: list[str] | None = None
    sensor: SensorSize = None
    while True:
        start = source.position
        line = source.line(LINE_LIMIT)
        if not line:
            raise DamageError(start, "the file holds no line of numbers")
        text = line.strip()
        fields = _split(text.lstrip(b"#%").strip())
        if not text or not _numbers(fields):
            if not text.startswith((b"#", b"%")) and text and len(line) >= LINE_LIMIT:
                raise DamageError(start, f"a line is longer than {LINE_LIMIT} bytes")
            size = _SIZE.fullmatch(text)
            if size is not None:
                sensor = int(size[1]), int(size[2]), int(size[3])
            heads = [field.decode("latin-1") for field in fields]
            if find_columns(heads) is not None:
                names = heads
            elif not text.startswith((b"#", b"%")) and text:
                raise DamageError(
                    start, f"expected numbers or the names x, y, t, p, got {text[:60]!r}"
                )
            continue
        if not text.startswith((b"#", b"%")):
            break
    source.seek(start)
    if sensor is not None and min(sensor) < 1:
        sensor = None
    return Stream(sensor, _events(source, names, order))


def _split(text: bytes) -> list[bytes]:
    mark = next((mark for mark in (b",", b";", b"\t") if mark in text), None)
    return [field.strip() for field in text.split(mark)]


def _numbers(fields: list[bytes]) -> bool:
    try:
        [float(field) for field in fields]
    except ValueError:
        return False
    return True


def _events(source: Source, names: list[str] | None, order: str | None) -> Iterator[Events]:
    places: dict[str, int] | None = None
    unit: float | None = None
    if names is not None:
        found = find_columns(names)
        assert found is not None
        places = {column: names.index(name) for column, name in found.items()}
    elif order is not None:
        places = {column: place for place, column in enumerate(order)}
    while source.left:
        offset = source.position
        table, damage = _table(source)
        if len(table):
            if places is None:
                guessed = guess_order(table)
                if guessed is None:
                    raise DamageError(
                        offset,
                        "which column is what is not clear; name them in the first line, or give "
                        "order='txyp'",
                    )
                places = {column: place for place, column in enumerate(guessed)}
            if max(places.values()) >= table.shape[1]:
                raise DamageError(
                    offset, f"the lines have {table.shape[1]} columns, not {len(names or '1234')}"
                )
            columns = {column: table[:, place] for column, place in places.items()}
            if unit is None:
                unit = time_unit(names[places["t"]] if names else "t", columns["t"])
            try:
                events = events_from(columns, unit=unit)
            except ValueError as error:
                raise DamageError(offset, str(error)) from None
            yield events
        if damage is not None:
            raise damage


def _table(source: Source) -> tuple[NDArray[np.float64], DamageError | None]:
    """Read the next lines as a table; with them what is wrong with the line after."""
    rows: list[list[float]] = []
    width = None
    for _ in range(BLOCK_LINES):
        here = source.position
        line = source.line(LINE_LIMIT)
        text = line.strip()
        if not line:
            break
        if not text or text.startswith((b"#", b"%")):
            continue
        try:
            row = [float(field) for field in _split(text)]
        except ValueError:
            return _array(rows), DamageError(here, f"expected numbers, got {text[:60]!r}")
        width = width or len(row)
        if len(row) != width or width < 4:
            return _array(rows), DamageError(
                here, f"expected {max(4, width)} numbers in a line, got {len(row)}"
            )
        rows.append(row)
    return _array(rows), None


def _array(rows: list[list[float]]) -> NDArray[np.float64]:
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(rows[0]) if rows else 0)
