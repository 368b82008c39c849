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

__all__ = ["step"]


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
    kind = weights.dtype.type
    b1, b2 = kind(beta1), kind(beta2)
    c1, c2 = kind(1.0 - beta1), kind(1.0 - beta2)
    size = kind(lr / (1.0 - beta1**t))
    root = kind(1.0 / math.sqrt(1.0 - beta2**t))
    small = kind(eps)
    w, m, v, g = (
        weights[first:last],
        first_moment[first:last],
        second_moment[first:last],
        gradient[first:last],
    )
    for i in range(last - first):
        a = b1 * m[i] + c1 * g[i]
        b = b2 * v[i] + c2 * g[i] * g[i]
        m[i] = a
        v[i] = b
        w[i] -= size * a / (np.sqrt(b) * root + small)
