"""The paper's static benchmark: conv 20C3-MP2-40C3-MP2-128 of integrate-and-fire neurons, T = 4.

    python -m spikeprop.experiments.static --data-dir DIR --seeds 0 1 2

Direct coding: the image is the current at each of the four steps. One update an image, when it has
been seen. The figures reported for the paper's network are 2.63 % test error on MNIST and 10.68 %
on Fashion-MNIST for SP Voltage, 1.01 % and 9.51 % for SP Surrogate (after a table quoted by others,
see the documentation's page on signal propagation). Here by default the tuned recipe, without any
surrogate.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn

from spikeprop.evidence import RunningMean
from spikeprop.experiments import stills
from spikeprop.learner import ForwardLearner, OptimizerFactory
from spikeprop.neurons import IF
from spikeprop.rules import Rule, SigProp, SPSurrogate, SPVoltage

__all__ = ["build", "main"]

STEPS = 4
#: Four steps of one picture, neurons without a leak: the mean of all steps is the evidence.
RECIPES: dict[str, Callable[[int], Rule]] = {
    "sigprop": partial(SigProp, evidence=RunningMean()),
    "sp-voltage": SPVoltage,
    "sp-surrogate": SPSurrogate,
}


def build(seed: int, optimizer: OptimizerFactory, rule: str = "sigprop") -> ForwardLearner:
    """Return the network in a learner."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(1, 20, 3, padding=1),
        IF(init_hidden=True),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 40, 3, padding=1),
        IF(init_hidden=True),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(40 * 7 * 7, 128),
        IF(init_hidden=True),
    )
    return ForwardLearner(
        net, RECIPES[rule](10), optimizer=optimizer, update_every=STEPS, seed=seed
    )


def main(arguments: Sequence[str] | None = None) -> float:
    """Run the command, and return the mean test accuracy."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--rule", choices=tuple(RECIPES), default="sigprop")
    given, rest = parser.parse_known_args(arguments)
    run = stills.Run(
        partial(build, rule=given.rule), steps=STEPS, epochs=4, batch_size=100, lr=1e-3
    )
    about = f"The static benchmark by --rule {given.rule} (one of {', '.join(RECIPES)})."
    return stills.main(about, run, rest)


if __name__ == "__main__":
    main()
