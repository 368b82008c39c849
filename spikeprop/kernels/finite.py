"""Whether large arrays of numbers are finite, in one look at them."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from spikeprop.kernels import kernel

__all__ = ["total"]


@kernel
def total(numbers: NDArray[Any]) -> float:
    """Return the sum of numbers in whatever order: not finite if one of them is not."""
    found: float = numbers.dtype.type(0)
    for i in range(numbers.size):
        found += numbers[i]
    return found
