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

__all__ = ["corrections", "step", "step_row"]

#: Entries whose gradients are summed at a time, in the first-level cache.
CHUNK = 2048


@kernel
def step(
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
    """Step on the entries ``first`` to ``last`` of flat arrays; ``t`` counts from 1.

    The gradient is the sum of the ``held`` ones of ``gradients`` ``(any number, entries)``.
    """
    size, root = corrections(lr, beta1, beta2, t)
    summed = np.empty(CHUNK, weights.dtype)
    for begin in range(first, last, CHUNK):
        end = min(begin + CHUNK, last)
        g = summed[: end - begin]
        g[:] = 0
        for k in range(held.size):
            more = gradients[held[k], begin:end]
            for i in range(g.size):
                g[i] += more[i]
        step_row(
            weights[begin:end], first_moment[begin:end], second_moment[begin:end], g, beta1,
            beta2, size, root, eps,
        )  # fmt: skip


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
