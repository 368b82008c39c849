"""Many arrays handed to compiled code at once: a table of where they are and how large.

To take an array as an argument costs compiled code about a tenth of a microsecond, and a step of a
live stream some dozens of them for each block; a table of addresses costs the same as one. Whoever
fills a table keeps the arrays alive, and in their place, for as long as it is used.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeprop.kernels import available, kernel

__all__ = ["WIDTH", "cube", "entries", "matrix", "plain_array_at", "vector"]

Array = NDArray[Any]

#: Numbers of an entry: the address, and three dimensions.
WIDTH = 4


def entries(arrays: Sequence[Array]) -> Array:
    """Return the table's row for C-contiguous arrays of up to three dimensions.

    Raises
    ------
    ValueError
        If an array is not contiguous.
    """
    row = np.zeros(WIDTH * len(arrays), np.int64)
    for place, array in enumerate(arrays):
        if not array.flags.c_contiguous:
            raise ValueError(f"array {place} of the table is not contiguous")
        row[WIDTH * place] = array.__array_interface__["data"][0]
        row[WIDTH * place + 1 : WIDTH * place + 1 + array.ndim] = array.shape
    return row


def plain_array_at(address: int, shape: tuple[int, ...], dtype: Any) -> Any:
    """Return the array at an address, as compiled code does."""
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    kept = (ctypes.c_byte * count).from_address(int(address)) if count else b""
    return np.frombuffer(kept, dtype=dtype).reshape(shape)


def _compiled() -> Any:  # pragma: no cover - machine code
    import numba
    from numba import types
    from numba.extending import intrinsic

    module: Any = numba
    carray = module.carray

    @intrinsic
    def as_pointer(typing: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(types.voidptr))

        return types.voidptr(address), generate

    pointer: Any = as_pointer

    @module.njit  # type: ignore[untyped-decorator]
    def array_at(address: Any, shape: Any, dtype: Any) -> Any:
        return carray(pointer(address), shape, dtype)

    return array_at


array_at: Any = _compiled() if available() else plain_array_at


@kernel
def vector(row: Array, place: int, like: Array) -> Array:
    """Return the array of one dimension at a place of the table's row, of ``like``'s type."""
    at = WIDTH * place
    found: Array = array_at(row[at], (row[at + 1],), like.dtype)
    return found


@kernel
def matrix(row: Array, place: int, like: Array) -> Array:
    """Return the array of two dimensions at a place of the table's row, of ``like``'s type."""
    at = WIDTH * place
    found: Array = array_at(row[at], (row[at + 1], row[at + 2]), like.dtype)
    return found


@kernel
def cube(row: Array, place: int, like: Array) -> Array:
    """Return the array of three dimensions at a place of the table's row, of ``like``'s type."""
    at = WIDTH * place
    found: Array = array_at(row[at], (row[at + 1], row[at + 2], row[at + 3]), like.dtype)
    return found
