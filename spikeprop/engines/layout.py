"""Where weights lie in memory: event-driven products read one input's weights at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["input_major"]


def input_major(module: nn.Linear, optimizer: torch.optim.Optimizer | None) -> None:
    """Lay a ``Linear``'s weight, and what its optimiser keeps of it, column by column.

    Shape, values and identity of the parameter stay; only its strides change, and only once. What
    an optimiser keeps is laid alike, since fused optimisers walk through memory in step.
    """
    weight = module.weight
    if not weight.detach().t().is_contiguous():
        weight.data = _transposed(weight.detach())
    if optimizer is None:
        return
    state: dict[str, Any] = optimizer.state.get(weight, {})
    for name, value in state.items():
        same = isinstance(value, Tensor) and value.shape == weight.shape
        if same and not value.t().is_contiguous():
            state[name] = _transposed(value)


def _transposed(matrix: Tensor) -> Tensor:
    """Return the same matrix with columns contiguous."""
    return matrix.t().contiguous().t()
