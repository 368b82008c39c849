"""Batch norm in a forward-learning network.

While a network learns, its batch norms compute with their running statistics: they are then linear
in their input, every update stays exact, and a stream of single samples is served as well. The
statistics themselves follow the recordings (never the signal rows) once per ``update``. Scale and
shift are trained by the same local loss as the synapse that the norm belongs to.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["batch_norms", "following_statistics"]


def batch_norms(net: nn.Module) -> list[nn.BatchNorm1d | nn.BatchNorm2d]:
    """Return the batch norms of ``net``."""
    return [m for m in net.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))]


@contextmanager
def following_statistics(net: nn.Module, n_recordings: int) -> Iterator[None]:
    """Update the running statistics of every batch norm from what passes through meanwhile.

    Parameters
    ----------
    net : nn.Module
        The network; its batch norms are in evaluation mode.
    n_recordings : int
        Rows of the batch that count; signal rows stand behind them.
    """
    sums: dict[nn.Module, list[Tensor]] = {}

    def note(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        x = inputs[0][:n_recordings].detach()
        dims = [0, *range(2, x.dim())]
        mean, square = x.mean(dim=dims), x.square().mean(dim=dims)
        sums.setdefault(module, []).append(torch.stack([mean, square, torch.ones_like(mean)]))
        if len(sums[module]) > 1:
            sums[module] = [sums[module][0] + sums[module][1]]

    norms = batch_norms(net)
    handles = [norm.register_forward_pre_hook(note) for norm in norms]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    for norm in norms:
        if norm not in sums or norm.running_mean is None or norm.running_var is None:
            continue
        mean, square, steps = sums[norm][0]
        mean, square = mean / steps, square / steps
        assert norm.num_batches_tracked is not None, "it comes with the running mean"
        norm.num_batches_tracked += 1
        momentum = norm.momentum
        weight = 1.0 / float(norm.num_batches_tracked) if momentum is None else momentum
        norm.running_mean.lerp_(mean, weight)
        norm.running_var.lerp_(square - mean.square(), weight)
