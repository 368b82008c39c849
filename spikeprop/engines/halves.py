r"""Products in float32 on tensor cores, which take halves: of a synapse's inputs and weights.

With both factors in two halves each (:mod:`spikeprop.kernels.triton_halves`),

    2^(s_a + s_b) a b = high_a high_b + 2^-11 (high_a low_b + low_a high_b) + O(2^-22)

and one term of the three falls away where a factor is made of spikes, which halves hold exactly.
Products of halves are exact in float32, in which they are summed; a tensor core cuts sums off where
float32 arithmetic rounds them, so that no more than ``TERMS`` products are left to it at a time
(Ootomo and Yokota, arXiv 2203.03341). On an H200 three such products take a fifth of the time of
one in float32, which has tensor cores of its own for no more than 11 bits (TF32).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikeprop.engines.buffers import Buffers
from spikeprop.engines.chain import Link, flatten_rows
from spikeprop.engines.products import Backward, DenseProduct, constant
from spikeprop.kernels import spans

__all__ = ["HalvedProduct", "Halves", "add_product", "halves_of", "in_halves", "pays"]

#: Products summed within a tensor core.
TERMS = 4096
#: Multiply-adds of a product from which halves pay.
FEWEST = 1 << 34
#: Weights that are in halves at a time.
MOST_WEIGHTS = 1 << 26
#: What the largest number is scaled to, as a power of two: float16 ends at 2^16.
TOP = 14


class Halves(NamedTuple):
    """A matrix in two halves.

    Attributes
    ----------
    high, low : Tensor
        float16; ``low`` is None where ``high`` is exact.
    shift : int
        The power of two that the matrix is scaled by.
    """

    high: Tensor
    low: Tensor | None
    shift: int

    @property
    def t(self) -> Halves:
        """The transposed matrix."""
        return Halves(self.high.t(), None if self.low is None else self.low.t(), self.shift)


def halves_of(x: Tensor, buffers: Buffers, name: str) -> Halves:
    """Split a contiguous float32 matrix; valid until the same name is taken again."""
    from spikeprop.kernels import triton_halves

    largest, exact = triton_halves.survey(x)
    shift = 0
    if not exact:
        shift = max(-100, min(100, TOP - math.frexp(largest)[1]))
    high = buffers.take(f"{name}.high", tuple(x.shape), torch.float16, x.device)
    low = None
    if not exact:
        low = buffers.take(f"{name}.low", tuple(x.shape), torch.float16, x.device)
    triton_halves.halve(x, 2.0**shift, high, low)
    return Halves(high, low, shift)


def add_product(out: Tensor, a: Halves, b: Halves, times: float = 1.0) -> None:
    """Add the product of two matrices, and a number, to ``out``, the smallest terms first."""
    from spikeprop.kernels.triton_halves import LOW_SHIFT

    scale = times * 2.0 ** -(a.shift + b.shift)
    if b.low is not None:
        _add(out, a.high, b.low, scale * 2.0**-LOW_SHIFT)
    if a.low is not None:
        _add(out, a.low, b.high, scale * 2.0**-LOW_SHIFT)
    for k in range(0, a.high.shape[1], TERMS):
        _add(out, a.high[:, k : k + TERMS], b.high[k : k + TERMS], scale)


def _add(out: Tensor, a: Tensor, b: Tensor, scale: float) -> None:
    if out.device.type == "cpu":  # for tests: torch has halves that give float32 on CUDA alone
        out.addmm_(a.float(), b.float(), alpha=scale)
    else:
        torch.addmm(out, a, b, out_dtype=torch.float32, alpha=scale, out=out)


def in_halves(link: Link) -> bool:
    """Tell whether a synapse's products can be made of halves.

    That is a ``Linear`` in float32 on a CUDA device with Triton, where PyTorch was not allowed to
    be less precise than float32 (``torch.set_float32_matmul_precision``) and is 2.8 or later.
    """
    from spikeprop import kernels

    module: Any = link.block.synapse
    return (
        type(module) is nn.Linear
        and module.weight.dtype == torch.float32
        and module.weight.is_contiguous()
        and kernels.triton_runs_on(module.weight.device)
        and torch.get_float32_matmul_precision() == "highest"
        and hasattr(torch.ops.aten.addmm, "dtype_out")
    )


def pays(rows: int, weight: Tensor) -> bool:
    """Tell whether a product of so many rows with a weight is large enough for halves."""
    return rows * weight.numel() >= FEWEST


class HalvedProduct(DenseProduct):
    """A ``Linear`` synapse whose large products are made of halves."""

    def __init__(
        self, link: Link, n_rows: int, filters: int, buffers: Buffers, *, learns: bool
    ) -> None:
        super().__init__(link, n_rows, filters, learns=learns)
        self._buffers = buffers
        self._weights: Halves | None = None
        self._halved: Halves | None = None

    def _run(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1]) if x.dim() == 3 and not constant(x) else x[:0]
        self._halved = None
        if not pays(len(rows), self.module.weight):
            return super()._run(x)
        self._halved = halves_of(rows.contiguous(), self._buffers, self._name("x"))
        weight, size = self.module.weight.detach(), self.module.out_features
        out = self._buffers.take("products", (len(rows), size), rows.dtype, rows.device).zero_()
        if self.module.bias is not None:
            out += self.module.bias.detach()
        if weight.numel() <= MOST_WEIGHTS:
            if self._weights is None:
                self._weights = halves_of(weight, self._buffers, self._name("w"))
            add_product(out, self._halved, self._weights.t)
        else:
            for a, b in spans(size, -(-weight.numel() // MOST_WEIGHTS)):
                part = halves_of(weight[a:b], self._buffers, "halves.w")
                add_product(out[:, a:b], self._halved, part.t)
        made = out.view(*x.shape[:2], -1)
        return flatten_rows(made, tuple(module for module, _ in self.block.chain))

    def _name(self, what: str) -> str:
        return f"halves.{what}.{self.block.index}"

    def _add_inputs(self, x: Tensor, backward: Backward) -> None:
        rows = backward.rows
        if self._halved is None or len(rows) != len(self._halved.high):
            super()._add_inputs(x, backward)
            return
        at_synapse = self._at_synapse(rows).flatten(1).contiguous()
        found = halves_of(at_synapse, self._buffers, "halves.g")
        add_product(self._fill_zeros(), found.t, self._halved)

    def clear_gradients(self) -> None:
        """Start the next sum; the weights have changed."""
        super().clear_gradients()
        self._weights = None
