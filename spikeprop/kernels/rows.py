"""Row by row work on evidence: directions, and gradients taken back through them."""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray

from spikeprop.kernels import kernel

Array = NDArray[Any]

__all__ = ["directions", "through_directions"]


@kernel
def directions(
    z: Array,
    first_row: int,
    rectify: bool,
    smallest: float,
    out: Array,
    inverse: Array,
    first_step: int,
    last_step: int,
) -> None:
    """``out = (a - mean(a)) / norm`` and ``inverse = 1 / norm`` (0 where there is no direction).

    ``a`` is ``max(z, 0)`` or ``z`` itself. ``z`` is ``(L, R, F)``, of which the rows from
    ``first_row`` on go to ``out`` ``(L, rows, F)``.
    """
    size = z.shape[2]
    kind = z.dtype.type
    zero = kind(0)
    for step in range(first_step, last_step):
        for r in range(out.shape[1]):
            row, o = z[step, first_row + r], out[step, r]
            total = zero
            if rectify:
                for i in range(size):
                    a = row[i] if row[i] > zero else zero
                    o[i] = a
                    total += a
            else:
                for i in range(size):
                    a = row[i]
                    o[i] = a
                    total += a
            mean = total / kind(size)
            square = zero
            for i in range(size):
                a = o[i] - mean
                o[i] = a
                square += a * a
            norm = kind(math.sqrt(square))
            scale = kind(1) / norm if norm > kind(smallest) else zero
            inverse[step, r] = scale
            for i in range(size):
                o[i] *= scale


@kernel
def through_directions(
    delta: Array,
    direction: Array,
    along: Array,
    inverse: Array,
    z: Array,
    first_row: int,
    rectify: bool,
    first_step: int,
    last_step: int,
) -> None:
    """``z <- (delta - along * direction) * inverse``, times ``1[z > 0]`` if rectified.

    Rows of ``z`` from ``first_row`` on; the other arrays are ``(L, rows, F)`` or ``(L, rows)``.
    """
    size = z.shape[2]
    zero = z.dtype.type(0)
    for step in range(first_step, last_step):
        for r in range(delta.shape[1]):
            d, n, o = delta[step, r], direction[step, r], z[step, first_row + r]
            scale = inverse[step, r]
            part = along[step, r] * scale
            if rectify:
                for i in range(size):
                    value = d[i] * scale - n[i] * part
                    o[i] = value if o[i] > zero else zero
            else:
                for i in range(size):
                    o[i] = d[i] * scale - n[i] * part
