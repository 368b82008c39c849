"""A sum of numbers is finite only if they are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikeprop.kernels import finite


@given(
    size=st.integers(0, 300),
    place=st.integers(0, 299),
    value=st.sampled_from([None, math.nan, math.inf, -math.inf]),
    kind=st.sampled_from([np.float32, np.float64]),
)
def test_the_sum_shows_any_number_that_is_not_finite(
    size: int, place: int, value: float | None, kind: Any
) -> None:
    numbers = np.random.default_rng(size).standard_normal(size).astype(kind)
    hurt = value is not None and place < size
    if hurt:
        numbers[place] = value
    found = finite.total(numbers)
    assert math.isfinite(found) != hurt
    if not hurt:
        assert found == pytest.approx(float(numbers.sum(dtype=np.float64)), abs=1e-4)


def test_infinities_do_not_cancel() -> None:
    numbers = np.zeros(100, np.float32)
    numbers[[7, 80]] = math.inf, -math.inf
    assert math.isnan(finite.total(numbers))
