"""Sums of rows in vector registers are the plain loop's, at any place in memory."""

from __future__ import annotations

import numpy as np
import pytest

from spikeprop import kernels
from spikeprop.kernels import sparse
from spikeprop.kernels.vector import LANES, TILE, add_lanes, add_rows, add_scaled

pytestmark = pytest.mark.skipif(not kernels.available(), reason="needs numba")


@kernels.kernel
def call(table, column, index, first, last, start, offset, row):  # type: ignore[no-untyped-def]
    """Intrinsics can only be called from compiled code."""
    add_rows(table, column, index, first, last, start, offset, row)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("events", [0, 1, 7, 40])
@pytest.mark.parametrize("shift", [0, 1, 3])
def test_rows_are_summed(dtype: type, events: int, shift: int) -> None:
    random = np.random.default_rng(0)
    table = random.standard_normal((30, TILE + 9)).astype(dtype)
    index = random.integers(30, size=events + 2).astype(np.int32)
    start = random.standard_normal(TILE + 5).astype(dtype)
    room = np.full(TILE + 8, 7.0, dtype)
    row = room[shift : shift + TILE]  # not aligned to anything
    call(table, 9, index, 1, 1 + events, start, 5, row)
    expected = start[5:].copy()
    for channel in index[1 : 1 + events]:
        expected += table[channel, 9:]
    np.testing.assert_array_equal(row, expected)
    assert (room[:shift] == 7.0).all()
    assert (room[shift + TILE :] == 7.0).all()


@kernels.kernel
def call_scaled(  # type: ignore[no-untyped-def]
    lanes, table, column, index, factors, first, last, start, offset, row
):
    """Intrinsics can only be called from compiled code."""
    if lanes:
        add_lanes(table, column, index, factors, first, last, start, offset, row)
    else:
        add_scaled(table, column, index, factors, first, last, start, offset, row)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("events", [0, 1, 7, 40])
@pytest.mark.parametrize("lanes", [False, True])
def test_scaled_rows_are_summed(dtype: type, events: int, lanes: bool) -> None:
    random = np.random.default_rng(0)
    width = LANES if lanes else TILE
    table = random.standard_normal((30, width + 9)).astype(dtype)
    index = random.integers(30, size=events + 2).astype(np.int32)
    factors = random.standard_normal(events + 2).astype(dtype)
    start = random.standard_normal(width + 5).astype(dtype)
    room = np.full(width + 8, 7.0, dtype)
    row = room[3 : 3 + width]  # not aligned to anything
    call_scaled(lanes, table, 9, index, factors, 1, 1 + events, start, 5, row)
    expected = start[5:].astype(np.float64)
    for i in range(1, 1 + events):
        expected += np.float64(factors[i]) * table[index[i], 9:]
    np.testing.assert_allclose(row, expected, rtol=0, atol=50 * np.finfo(dtype).eps)
    assert (room[:3] == 7.0).all()
    assert (room[3 + width :] == 7.0).all()


def test_the_sum_may_begin_with_the_row_itself() -> None:
    table = np.ones((3, TILE), np.float32)
    row = np.full(TILE, 2.0, np.float32)
    call(table, 0, np.array([0, 2], np.int32), 0, 2, row, 0, row)
    assert (row == 4.0).all()


@pytest.mark.parametrize("outputs", [TILE, 2 * TILE, TILE + 37, 5])
@pytest.mark.parametrize("with_values", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_gather_is_a_product(
    outputs: int, with_values: bool, with_bias: bool, packed: bool
) -> None:
    random = np.random.default_rng(1)
    steps, rows, inputs = 3, 4, 50
    x = random.standard_normal((steps, rows, inputs)) * (random.random((steps, rows, inputs)) < 0.2)
    if not with_values:
        x = (x != 0).astype(float)
    counts = (x != 0).sum(axis=2).reshape(-1)
    ends = np.cumsum(counts).reshape(steps, rows)
    starts = ends - counts.reshape(steps, rows)
    channels = np.nonzero(x)[2].astype(np.int32)
    values = x[x != 0] if with_values else np.empty(0)
    weights = random.standard_normal((inputs, outputs))
    bias = random.standard_normal(outputs) if with_bias else np.empty(0)
    out = np.full((steps, rows, outputs), np.nan)
    tile = np.zeros((inputs, TILE))
    for first in range(0, outputs, TILE):
        last = min(first + TILE, outputs)
        table, column = (tile, 0) if packed else (weights, first)
        sparse.pack(weights, first, last, tile)
        arrays = (starts, ends, channels, values, table, column, bias, out)
        sparse.gather(*arrays, 0, 1, first, last)
        sparse.gather(*arrays, 1, rows, first, last)
    expected = x @ weights + (bias if with_bias else 0.0)
    np.testing.assert_allclose(out, expected, rtol=1e-12, atol=1e-12)
