"""Signal propagation on a network without spikes: a plain ReLU MLP with batch norm, 784-256-256.

    python -m spikeprop.experiments.discrete --data-dir DIR

The network is left as it is. A ReLU is a neuron without memory (``mem_t = current_t``), so that one
time step is the whole sequence and the update at that step is that of the discrete rule:
``h_i = f(W_i h_{i-1})``, ``t_i = f(W_i t_{i-1})``, a loss between the two, nothing behind it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from spikeprop.evidence import Instantaneous
from spikeprop.experiments import stills
from spikeprop.learner import ForwardLearner, OptimizerFactory
from spikeprop.rules import SigProp

__all__ = ["build", "main"]


def build(seed: int, optimizer: OptimizerFactory) -> ForwardLearner:
    """Return the network in a learner."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Flatten(),
        nn.Linear(784, 256),
        nn.BatchNorm1d(256),
        nn.ReLU(),
        nn.Linear(256, 256),
        nn.BatchNorm1d(256),
        nn.ReLU(),
    )
    rule = SigProp(10, evidence=Instantaneous(), homeostasis=None)
    return ForwardLearner(net, rule, optimizer=optimizer, seed=seed)


def main(arguments: Sequence[str] | None = None) -> float:
    """Run the command, and return the mean test accuracy."""
    run = stills.Run(build, steps=1, epochs=15, batch_size=100, lr=1e-3)
    return stills.main("Signal propagation on a ReLU network.", run, arguments)


if __name__ == "__main__":
    main()
