"""A small spiking classification problem: each class fires its own inputs more often."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spikeprop.neurons import LIF

CLASSES, INPUTS = 3, 24


def recordings(n: int = 60, steps: int = 8, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Events ``(T, n, 24)`` and labels ``(n,)``; classes cannot be told from their total rate."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % CLASSES
    rates = torch.full((CLASSES, INPUTS), 0.15)
    for c in range(CLASSES):
        rates[c, c * 8 : (c + 1) * 8] = 0.4
    return (torch.rand(steps, n, INPUTS, generator=generator) < rates[labels]).float(), labels


def network(seed: int = 0, hidden: int = 32, init_hidden: bool = True) -> nn.Sequential:
    """Two blocks, one time step a call."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(INPUTS, hidden),
        LIF(beta=0.9, init_hidden=init_hidden),
        nn.Linear(hidden, hidden),
        LIF(beta=0.9, init_hidden=init_hidden),
    )
