"""Vectors are NumPy's slices, at any place in memory and with any entries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from spikeprop import kernels
from spikeprop.kernels import lanes
from spikeprop.kernels.lanes import (
    above,
    aligned,
    exponential,
    greatest,
    list_above,
    load,
    prefetch,
    root,
    spread,
    store,
    total,
    whole,
)

pytestmark = pytest.mark.skipif(not kernels.available(), reason="needs numba")


@kernels.kernel
def call(a, b, places, out):  # type: ignore[no-untyped-def]
    """Intrinsics can only be called from compiled code."""
    twos = spread(a.dtype.type(2))
    sums, n, count = spread(a.dtype.type(0)), 0, 0
    while n < whole(a):
        prefetch(out, n)
        x, y = load(a, n), load(b, n)
        store(out, n, above(x, y, x * y - twos, root(x * x) / twos + twos))
        count = list_above(x, y, n, places, count)
        sums = sums + x
        n += lanes_of(a)
    return count, total(sums)


lanes_of = lanes.lanes


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shift", [0, 1, 5])
@pytest.mark.parametrize("size", [0, 7, 16, 45])
def test_vectors_are_slices(dtype: type, shift: int, size: int) -> None:
    random = np.random.default_rng(size)
    a, b = random.standard_normal((2, size + shift)).astype(dtype)[:, shift:]
    a[::6] = np.nan
    places, out = np.full(size + 1, -1, np.int32), np.full(size + 8, 7, dtype)
    a, b = a.copy(), b.copy()
    count, sums = call(a, b, places, out[shift : shift + size])
    whole_part = size - size % (64 // a.itemsize)
    x, y = a[:whole_part], b[:whole_part]
    listed = np.nonzero(x > y)[0]
    assert count == len(listed)
    np.testing.assert_array_equal(places[:count], listed)
    np.testing.assert_allclose(
        out[shift : shift + whole_part],
        np.where(x > y, x * y - 2, np.sqrt(x * x) / 2 + 2),
        rtol=1e-5,
    )
    assert (out[shift + whole_part :] == 7).all()
    assert np.isnan(sums) == bool(np.isnan(x).any())


def test_sums_are_sums() -> None:
    a = np.arange(32, dtype=np.float32)
    _, sums = call(a, a, np.empty(33, np.int32), np.empty(32, np.float32))
    assert sums == a.sum()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_begin_at_vectors(dtype: type) -> None:
    found: Any = aligned(3, 32, np.empty(0, dtype))
    assert found.shape == (3, 32)
    assert found.dtype == dtype
    assert found.ctypes.data % lanes.WIDE == 0


@kernels.kernel
def apply(a, out):  # type: ignore[no-untyped-def]
    """Put the exponentials of vectors into ``out``, and return the greatest entry of the first."""
    for n in range(0, whole(a), lanes_of(a)):
        store(out, n, exponential(load(a, n)))
    return greatest(load(a, 0))


@pytest.mark.parametrize(("dtype", "close"), [(np.float32, 2e-7), (np.float64, 4e-16)])
def test_exponentials_have_as_many_digits_as_their_type(dtype: type, close: float) -> None:
    low, high = lanes.EXPONENTS[np.dtype(dtype).itemsize]
    a = np.linspace(low, high, 3200).astype(dtype)
    out = np.empty_like(a)
    assert apply(a, out) == a[: 64 // a.itemsize].max()
    np.testing.assert_allclose(out, np.exp(a.astype(np.longdouble)), rtol=close)
    np.testing.assert_allclose(out, lanes.PLAIN["exponential"](a), rtol=close)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exponentials_beyond_what_fits(dtype: type) -> None:
    low, high = lanes.EXPONENTS[np.dtype(dtype).itemsize]
    a = np.array([-1e30, -np.inf, 1e30, np.inf, np.nan, low, high, 0.0] * 2, dtype)
    out = np.empty_like(a)
    apply(a, out)
    wanted = np.exp(np.array([low, low, high, high, np.nan, low, high, 0.0] * 2, dtype))
    np.testing.assert_allclose(out, wanted, rtol=2e-7)
