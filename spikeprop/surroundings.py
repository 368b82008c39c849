"""What surrounds a pass through a network: modes of its modules, and random numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from spikeprop.norms import batch_norms

__all__ = ["mode", "randomness"]


@contextmanager
def mode(net: nn.Module, *, training: bool) -> Iterator[None]:
    """Set dropout by ``training`` meanwhile; batch norms always use their running statistics."""
    before = [(module, module.training) for module in net.modules()]
    net.train(training)
    for norm in batch_norms(net):
        norm.eval()
    try:
        yield
    finally:
        for module, was in before:
            module.training = was


@contextmanager
def randomness(seed: int, update: int, device: torch.device) -> Iterator[None]:
    """Make dropout a function of seed and update meanwhile, whatever else is drawn elsewhere."""
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        words = np.random.SeedSequence((seed, update)).generate_state(1)
        torch.manual_seed(int(words[0]))
        yield
