"""Blocks of a product are that product, whatever is left over beside them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeprop import kernels
from spikeprop.kernels.blocks import HEIGHT, add_matrix

pytestmark = pytest.mark.skipif(not kernels.available(), reason="needs numba")


@settings(deadline=None)  # the first call compiles
@given(
    rows=st.integers(0, 3 * HEIGHT),
    terms=st.integers(0, 150),
    begin=st.sampled_from([0, 1, 16]),
    columns=st.integers(0, 150),
    beside=st.integers(0, 3),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 99),
)
def test_a_matrix_is_added_to_its_place(
    rows: int, terms: int, begin: int, columns: int, beside: int, dtype: type, seed: int
) -> None:
    random = np.random.default_rng(seed)
    factors = random.standard_normal((rows, terms)).astype(dtype)
    table = random.standard_normal((terms, columns + beside)).astype(dtype)
    out = random.standard_normal((rows, begin + columns + beside)).astype(dtype)
    wanted = out.astype(np.float64)
    wanted[:, begin : begin + columns] += factors.astype(np.float64) @ table[:, :columns]
    add_matrix(factors, table, out, begin, begin + columns)
    close = 1e-4 if dtype is np.float32 else 1e-12
    np.testing.assert_allclose(out, wanted, rtol=close, atol=close)
