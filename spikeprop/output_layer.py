"""A locally trained output layer: one on each block's own evidence, by the delta rule.

    y = a W^T + b,     a the recordings' evidence as the local loss sees it
    error = (softmax(y) - onehot) / B    for classes;    (y - label) / B    for vectors
    dW = error^T a,    db = sum of error

Nothing goes back into the block: its own weights never see this error. It is what the signal
propagation tutorial calls a special case of comparing with class signals (section 3.2, step 4), and
what their library trains on detached features.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["draw_outputs", "output_gradients", "outputs"]


def draw_outputs(
    num_classes: int, shapes: Sequence[torch.Size], n_filters: int
) -> dict[str, Tensor]:
    """Return ``output.k.weight`` ``(C, F)`` and ``output.k.bias`` ``(C,)`` for each block, zero."""
    tensors = {}
    for block, shape in enumerate(shapes):
        tensors[f"output.{block}.weight"] = torch.zeros(num_classes, shape.numel() * n_filters)
        tensors[f"output.{block}.bias"] = torch.zeros(num_classes)
    return tensors


def outputs(block: int, a: Tensor, tensors: dict[str, Tensor]) -> Tensor:
    """Return ``y`` ``(..., B, C)``."""
    return (
        a @ tensors[f"output.{block}.weight"].detach().T + tensors[f"output.{block}.bias"].detach()
    )


def output_gradients(
    block: int, a: Tensor, labels: Tensor, tensors: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Return the gradients of a block's output layer, by name."""
    y = outputs(block, a, tensors)
    if labels.is_floating_point():
        error = y - labels
    else:
        error = torch.softmax(y, dim=1)
        error[torch.arange(len(labels), device=y.device), labels] -= 1.0
    error = error / len(labels)
    return {f"output.{block}.weight": error.T @ a, f"output.{block}.bias": error.sum(dim=0)}
