"""The Hebbian update on a continuous-time network: rate neurons with a time constant, 784-256-256.

    python -m spikeprop.experiments.continuous --data-dir DIR

Each neuron follows ``tau du/dt = -u + W r`` by steps of dt, and sends the rate ``r = max(u, 0)``
on: a graded neuron with a threshold of 0 and no reset, whose weights are drawn times ``1 - beta``
for the gain of 1 that the equation has. The image is held for some steps while the network settles,
and learns once in each presentation by ``t_{i-1} (t_i - h_i)`` (:mod:`spikeprop.rules.hebbian`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from spikeprop.experiments import stills
from spikeprop.learner import ForwardLearner, OptimizerFactory
from spikeprop.neurons import GradedLIF
from spikeprop.rules.hebbian import Hebbian

__all__ = ["build", "main"]

STEPS = 5
#: Time constant in steps: what is left of a voltage after one is a half.
TAU = 1.0 / math.log(2.0)


def build(seed: int, optimizer: OptimizerFactory) -> ForwardLearner:
    """Return the network in a learner."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in ((784, 256), (256, 256)):
        rate = GradedLIF(tau_mem=TAU, threshold=0.0, reset_mechanism="none", init_hidden=True)
        linear = nn.Linear(inputs, outputs)
        with torch.no_grad():
            linear.weight *= 1.0 - rate.beta
            linear.bias.zero_()
        layers += [linear, rate]
    return ForwardLearner(nn.Sequential(*layers), Hebbian(10), optimizer=optimizer, seed=seed)


def main(arguments: Sequence[str] | None = None) -> float:
    """Run the command, and return the mean test accuracy."""
    run = stills.Run(build, steps=STEPS, epochs=8, batch_size=100, lr=1e-3)
    return stills.main("The Hebbian update on rate neurons.", run, arguments)


if __name__ == "__main__":
    main()
