"""Adam's step in Triton: the equations of :mod:`spikeprop.kernels.adam`, one launch a parameter.

What changes from step to step is read from the device, so that a launch can be recorded. Import it
only where :func:`spikeprop.kernels.triton_runs_on` says so.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from spikeprop.kernels.triton_neuron import as_scalar

__all__ = ["step"]

#: Numbers that one program steps on.
BLOCK = 1024


def step(
    weights: Tensor,
    gradient: Tensor,
    sizes: Tensor,
    first_moment: Tensor,
    second_moment: Tensor,
    beta1: float,
    beta2: float,
    eps: float,
) -> None:
    """Step once, in place.

    Parameters
    ----------
    weights, gradient : Tensor
        Contiguous, of one shape and type, and so the moments.
    sizes : Tensor
        ``lr / (1 - beta1^t)`` and ``1 / sqrt(1 - beta2^t)``, of the weights' type.
    first_moment, second_moment : Tensor
        Moments.
    beta1, beta2, eps : float
        The optimiser's.
    """
    numbers = (beta1, beta2, 1.0 - beta1, 1.0 - beta2, eps)
    count = weights.numel()
    _step[(triton.cdiv(count, BLOCK),)](
        weights, gradient, first_moment, second_moment,
        *[as_scalar(number, weights) for number in numbers], sizes, count, BLOCK=BLOCK,
    )  # fmt: skip


@triton.jit  # type: ignore[untyped-decorator]
def _step(  # type: ignore[no-untyped-def]
    weights, gradient, moment, power, beta1, beta2, rest1, rest2, eps, sizes, count,
    BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = i < count
    g = tl.load(gradient + i, mask=inside, other=0.0)
    m = tl.load(beta1) * tl.load(moment + i, mask=inside, other=0.0) + tl.load(rest1) * g
    v = tl.load(beta2) * tl.load(power + i, mask=inside, other=0.0) + tl.load(rest2) * g * g
    tl.store(moment + i, m, mask=inside)
    tl.store(power + i, v, mask=inside)
    move = tl.load(sizes) * m / (tl.sqrt(v) * tl.load(sizes + 1) + tl.load(eps))
    tl.store(weights + i, tl.load(weights + i, mask=inside, other=0.0) - move, mask=inside)
