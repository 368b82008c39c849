"""An event-driven first layer for BPTT: what a sceptic would ask for, "give BPTT your kernels too".

The forward product and the weight's gradient read the events alone. Nothing else of BPTT gets
cheaper: the hidden layers need the gradient of their input, which is dense.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from spikeprop.datasets.sparse import EventBatch

__all__ = ["EventLinear"]


class EventLinear(nn.Module):
    """A ``Linear`` that takes an :class:`EventBatch` and gives ``(T, B, outputs)``.

    Parameters
    ----------
    linear : nn.Linear
        Its weight and bias are used.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, events: Any) -> Tensor:
        """Return the currents of all time steps."""
        rows: Tensor = _Product.apply(self.weight, events)  # type: ignore[no-untyped-call]
        steps = events.time_steps
        return rows.view(-1, steps, rows.shape[1]).transpose(0, 1) + self.bias

    def __call__(self, events: Any) -> Tensor:
        """Return the currents of all time steps."""
        result: Tensor = super().__call__(events)
        return result


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, events: EventBatch) -> Tensor:
        ctx.matrix, ctx.inputs = _matrix(events, weight.shape[1]), weight.shape[1]
        return ctx.matrix @ weight.T.contiguous()  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        transposed = ctx.matrix.to_sparse_csc()
        by_input = torch.sparse_csr_tensor(
            transposed.ccol_indices(),
            transposed.row_indices(),
            transposed.values(),
            (ctx.inputs, len(gradient)),
        )
        return (by_input @ gradient.contiguous()).T.contiguous(), None


def _matrix(events: EventBatch, inputs: int) -> Tensor:
    values = events.values if events.values is not None else torch.ones(len(events.channels))
    return torch.sparse_csr_tensor(
        events.offsets, events.channels.long(), values, (len(events.offsets) - 1, inputs)
    )
