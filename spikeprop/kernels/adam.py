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

Array = NDArray[Any]

__all__ = ["corrections", "step", "step_on_tiles", "step_row"]


@kernel
def step(
    gradient: Array,
    weights: Array,
    first_moment: Array,
    second_moment: Array,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    t: float,
    first: int,
    last: int,
) -> None:
    """Step on the entries ``first`` to ``last`` of flat arrays; ``t`` counts from 1."""
    size, root = corrections(lr, beta1, beta2, t)
    step_row(
        weights[first:last], first_moment[first:last], second_moment[first:last],
        gradient[first:last], beta1, beta2, size, root, eps,
    )  # fmt: skip


@kernel
def step_on_tiles(
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
    first: int,
    last: int,
) -> None:
    """Step on rows ``first`` to ``last`` of weights and moments ``(inputs, outputs)``.

    The gradient is the sum of the ``held`` ones of ``gradients``, each in tiles of columns
    ``(tiles, inputs, width)``.
    """
    size, root = corrections(lr, beta1, beta2, t)
    outputs, width = weights.shape[1], gradients.shape[3]
    g = np.empty(outputs, weights.dtype)
    for j in range(first, last):
        g[:] = 0
        for k in range(held.size):
            for tile in range(gradients.shape[1]):
                more, part = gradients[held[k], tile, j], g[tile * width : (tile + 1) * width]
                for i in range(part.size):
                    part[i] += more[i]
        step_row(weights[j], first_moment[j], second_moment[j], g, beta1, beta2, size, root, eps)


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
