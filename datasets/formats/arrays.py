"""NumPy files: ``.npy`` and ``.npz``, never with pickled objects.

A structured array with fields for x, y, t and p (:mod:`spikeprop.datasets.formats.columns` knows
their names), an array (N, 4) whose columns can be told apart, or in a ``.npz`` four arrays of one
length. Also ``sensor_size`` (width, height, polarities), as :func:`write_recording` writes it.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeprop.datasets.events import Events
from spikeprop.datasets.formats.columns import events_from, find_columns, guess_order, time_unit
from spikeprop.datasets.formats.source import (
    BLOCK_BYTES,
    DamageError,
    SensorSize,
    Source,
    Stream,
)

MAGIC = b"\x93NUMPY"
ZIP_MAGIC = b"PK\x03\x04"
MEMBER_LIMIT = 1 << 32


def open_npy(source: Source, order: str | None = None) -> Stream:
    """Open a ``.npy`` file; see :mod:`spikeprop.datasets.formats` for what may be raised."""
    shape, fortran, kind = _header(source.read(1 << 16), 0)
    start = _data_start(source)
    source.seek(start)
    if kind.names is None:
        return Stream(None, _plain(source, shape, fortran, kind, order))
    found = find_columns(kind.names)
    if found is None or len(shape) != 1:
        raise DamageError(
            0, f"expected one array of fields x, y, t, p; got shape {shape}, fields {kind.names}"
        )
    return Stream(None, _structured(source, shape[0], kind, found))


def _structured(
    source: Source, count: int, kind: np.dtype[Any], names: dict[str, str]
) -> Iterator[Events]:
    unit: float | None = None
    if kind.itemsize == 0:
        raise DamageError(0, "the fields have no bytes")
    per_block = max(1, BLOCK_BYTES // kind.itemsize)
    while count:
        start = source.position
        number = min(count, per_block, source.left // kind.itemsize)
        if number == 0:
            raise DamageError(
                start, f"the file ends here, {count} events before the end of the array"
            )
        rows = np.frombuffer(source.read(number * kind.itemsize), dtype=kind)
        columns = {column: rows[name] for column, name in names.items()}
        if unit is None:
            unit = time_unit(names["t"], columns["t"])
        try:
            events = events_from(columns, unit=unit)
        except ValueError as error:
            raise DamageError(start, str(error)) from None
        yield events
        count -= number


def _plain(
    source: Source, shape: tuple[int, ...], fortran: bool, kind: np.dtype[Any], order: str | None
) -> Iterator[Events]:
    if len(shape) != 2 or shape[1] != 4 or kind.kind not in "iuf":
        raise DamageError(0, f"expected an array (N, 4) of numbers, got shape {shape}, {kind}")
    start = source.position
    size = shape[0] * 4 * kind.itemsize
    if fortran and size > source.left:
        raise DamageError(start, f"an array of {size} bytes is cut off: {source.left} are left")
    rows = source.left // (4 * kind.itemsize)
    data = np.frombuffer(source.read(min(shape[0], rows) * 4 * kind.itemsize), dtype=kind)
    table = data.reshape((4, -1)).T if fortran else data.reshape((-1, 4))
    try:
        yield plain_events(table, order)
    except ValueError as error:
        raise DamageError(start, str(error)) from None
    if len(table) < shape[0]:
        raise DamageError(
            source.position, f"the file ends {shape[0] - len(table)} events too early"
        )


def plain_events(table: NDArray[Any], order: str | None) -> Events:
    """Make events of an array (N, 4), in the given order of columns or one that can be told.

    Raises
    ------
    ValueError
        If the order is not clear, or values make no events.
    """
    if order is None:
        order = guess_order(table) if len(table) else "xytp"
    if order is None:
        raise ValueError(
            "which of the four columns is what is not clear; name them, as in order='txyp'"
        )
    return events_from({name: table[:, index] for index, name in enumerate(order)})


def open_npz(source: Source, order: str | None = None) -> Stream:
    """Open a ``.npz`` file; see :mod:`spikeprop.datasets.formats` for what may be raised."""
    try:
        with zipfile.ZipFile(source.path) as archive:
            arrays = {
                name.removesuffix(".npy"): _member(archive, name)
                for name in archive.namelist()[:64]
                if name.endswith(".npy")
            }
    except DamageError:
        raise
    except Exception as error:  # zipfile and zlib raise many kinds on bad input
        raise DamageError(0, f"the archive is damaged: {error}") from None
    sensor = _sensor(arrays.pop("sensor_size", None))
    found = find_columns(list(arrays))
    try:
        if found is not None:
            columns = {column: arrays[name] for column, name in found.items()}
            return Stream(
                sensor, iter([events_from(columns, unit=time_unit(found["t"], columns["t"]))])
            )
        for array in arrays.values():
            names = find_columns(array.dtype.names or ())
            if names is not None and array.ndim == 1:
                columns = {column: array[name] for column, name in names.items()}
                return Stream(sensor, iter([events_from(columns)]))
            if array.dtype.names is None and array.ndim == 2 and array.shape[1] == 4:
                return Stream(sensor, iter([plain_events(array, order)]))
    except ValueError as error:
        raise DamageError(0, str(error)) from None
    raise DamageError(0, f"the arrays {', '.join(sorted(arrays)) or '(none)'} hold no x, y, t, p")


def _sensor(array: NDArray[Any] | None) -> SensorSize:
    if array is None or array.shape != (3,) or array.dtype.kind not in "iu":
        return None
    width, height, polarities = (int(value) for value in array)
    return (width, height, polarities) if min(width, height, polarities) > 0 else None


def _member(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    with archive.open(name) as file:
        shape, fortran, kind = _header(head := file.read(1 << 16), 0)
        size = math.prod(shape) * kind.itemsize
        if size > MEMBER_LIMIT or size > archive.getinfo(name).file_size:
            raise DamageError(0, f"{name} says that it holds {size} bytes, and does not")
        start = _start(head)
        data = head[start:] + file.read(max(0, size - (len(head) - start)))
    if len(data) < size:
        raise DamageError(0, f"{name} is cut off: {len(data)} of {size} bytes")
    array = np.frombuffer(data, dtype=kind, count=math.prod(shape))
    return array.reshape(shape, order="F" if fortran else "C")


def _header(data: bytes, offset: int) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read a ``.npy`` header: shape, whether columns come first, type."""
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, fortran, kind = read(file)
    except Exception as error:  # the text is parsed by Python's own parser, with its own errors
        raise DamageError(offset, f"the header is damaged: {error}") from None
    if kind.hasobject:
        raise DamageError(offset, "the array holds Python objects, which are never loaded")
    if any(length < 0 for length in shape):
        raise DamageError(offset, f"the array has the shape {shape}")
    return shape, fortran, kind


def _start(head: bytes) -> int:
    length = 2 if head[6] == 1 else 4
    return 8 + length + int.from_bytes(head[8 : 8 + length], "little")


def _data_start(source: Source) -> int:
    source.seek(0)
    return _start(source.read(12))
