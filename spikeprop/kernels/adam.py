"""Adam's step in one pass over memory, as ``torch.optim.Adam`` makes it.

    m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2
    w <- w - lr / (1 - b1^t) * m / (sqrt(v / (1 - b2^t)) + eps)

Kingma and Ba, arXiv 1412.6980.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeprop.kernels import kernel
from spikeprop.kernels.lanes import lanes, prefetch
from spikeprop.kernels.sparse import sum_rows
from spikeprop.kernels.vector import TILE, add_rows

Array = NDArray[Any]

#: Inputs by which weights and moments are sent for ahead.
AHEAD = 2

__all__ = ["corrections", "step", "step_products", "step_row"]


@kernel
def step(
    weights: Array,
    first_moment: Array,
    second_moment: Array,
    gradient: Array,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    t: float,
    first: int,
    last: int,
) -> None:
    """Step on the entries ``first`` to ``last`` of flat arrays; ``t`` counts from 1."""
    w, m, v, g = (
        weights[first:last],
        first_moment[first:last],
        second_moment[first:last],
        gradient[first:last],
    )
    size, root = corrections(lr, beta1, beta2, t)
    step_row(w, m, v, g, beta1, beta2, size, root, eps)


@kernel
def corrections(lr: float, beta1: float, beta2: float, t: float) -> tuple[float, float]:
    """Return what the count of steps makes of the rate, and of the second moment's root."""
    return lr / (1.0 - beta1**t), 1.0 / math.sqrt(1.0 - beta2**t)


@kernel
def step_row(
    w: Array,
    m: Array,
    v: Array,
    g: Array,
    beta1: float,
    beta2: float,
    size: float,
    root: float,
    eps: float,
) -> None:
    """Make one row's step; ``size`` and ``root`` are the step's :func:`corrections`."""
    kind = w.dtype.type
    b1, b2 = kind(beta1), kind(beta2)
    c1, c2 = kind(1.0 - beta1), kind(1.0 - beta2)
    scale, over, small = kind(size), kind(root), kind(eps)
    for i in range(w.size):
        a = b1 * m[i] + c1 * g[i]
        b = b2 * v[i] + c2 * g[i] * g[i]
        m[i] = a
        v[i] = b
        w[i] -= scale * a / (np.sqrt(b) * over + small)


@kernel
def step_products(
    pointers: Array,
    rows: Array,
    values: Array,
    tables: Array,
    gradients: Array,
    held: Array,
    weights: Array,
    first_moment: Array,
    second_moment: Array,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    t: float,
    first_column: int,
    last_column: int,
) -> None:
    """Step on the gradient that :func:`spikeprop.kernels.sparse.sum_products` would give.

    That is, added to the sum of the ``held`` ones of ``gradients`` ``(any number, inputs,
    outputs)``; it is not written anywhere. Inputs without an event, a gradient or a moment stay as
    they are, which is what the step says. Weights and moments come from far away: they are sent for
    in time.
    """
    inputs, wide = weights.shape[0], tables.shape[2]
    part, zeros = np.empty(TILE, weights.dtype), np.zeros(TILE, weights.dtype)
    size, root = corrections(lr, beta1, beta2, t)
    kind = weights.dtype.type
    b1, b2, c1, c2 = kind(beta1), kind(beta2), kind(1.0 - beta1), kind(1.0 - beta2)
    scale, over, small = kind(size), kind(root), kind(eps)
    for first in range(first_column, last_column, TILE):
        width = min(TILE, last_column - first)
        table, column = tables[first // wide], first % wide
        whole = width == TILE and values.size == 0
        for j in range(inputs):
            w = weights[j, first : first + width]
            m = first_moment[j, first : first + width]
            v = second_moment[j, first : first + width]
            if j + AHEAD < inputs:
                for n in range(first, first + width, lanes(weights)):
                    prefetch(weights[j + AHEAD], n)
                    prefetch(first_moment[j + AHEAD], n)
                    prefetch(second_moment[j + AHEAD], n)
                    for k in range(held.size):
                        prefetch(gradients[held[k], j + AHEAD], n)
            i, end = pointers[j], pointers[j + 1]
            moved = held.size > 0 or i < end
            if not moved:
                for n in range(width):
                    moved |= (m[n] != 0) | (v[n] != 0)
                if not moved:
                    continue
            for k in range(held.size):
                more = gradients[held[k], j, first : first + width]
                for n in range(width):
                    part[n] = more[n] if k == 0 else part[n] + more[n]
            if not whole:
                sum_rows(
                    table, column, rows, values, i, end, held.size == 0, part[:width]
                )  # fmt: skip
            elif held.size == 0:
                add_rows(table, column, rows, i, end, zeros, 0, part)
            elif i < end:
                add_rows(table, column, rows, i, end, part, 0, part)
            for n in range(width):  # what step_row does, without its call
                a = b1 * m[n] + c1 * part[n]
                b = b2 * v[n] + c2 * part[n] * part[n]
                m[n] = a
                v[n] = b
                w[n] -= scale * a / (np.sqrt(b) * over + small)
