"""Our side of a comparison: the same hidden layers, learned in forward passes only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from spikeprop.experiments.bptt import cosine
from spikeprop.homeostasis import Homeostasis
from spikeprop.learner import ForwardLearner
from spikeprop.losses import Cosine
from spikeprop.neurons import LIF
from spikeprop.rules import SigProp
from spikeprop.shapes import drawn_delays

__all__ = ["Forward", "ForwardConfig"]

FROZEN = ("none", "hidden", "all")


@dataclass(frozen=True)
class ForwardConfig:
    """Hyper-parameters of signal propagation in the experiments.

    Parameters
    ----------
    lr : float
        Step size of Adam at the start; it falls to zero along a half cosine.
    tau : float
        Temperature of the cosine loss.
    dropout : float
        Share of spikes (input included) dropped while training, 0 to below 1.
    rate : float
        Firing rate that homeostasis aims at, in spikes per neuron and time step.
    update_every : int
        Time steps between two updates.
    beta : float
        Decay factor of the voltage per time step.
    lags : tuple of int
        Delays in time steps, of which each input of a layer has one, drawn at random.
    predict_from : {"last", "vote"}
        Last block, or all blocks.
    potential : {"free", "membrane"}
        What the loss sees: the voltage as if no spike had reset it, or the voltage itself.
    freeze : {"none", "hidden", "all"}
        Leave all blocks but the last, or all of them, as they were drawn (homeostasis still sets
        their thresholds).

    Raises
    ------
    ValueError
        If ``freeze`` is something else; the library checks the other parameters.
    """

    lr: float = 1e-4
    tau: float = 0.07
    dropout: float = 0.0
    rate: float = 0.1
    update_every: int = 1
    beta: float = 0.5
    lags: tuple[int, ...] = (0, 3)
    predict_from: str = "last"
    potential: str = "free"
    freeze: str = "none"

    def __post_init__(self) -> None:
        if self.freeze not in FROZEN:
            raise ValueError(f"freeze has to be one of {FROZEN}, got {self.freeze!r}")


class Forward:
    """Trains a fully connected spiking network by signal propagation.

    Parameters
    ----------
    sizes : sequence of int
        Inputs, hidden layers, classes. There is no weight for the classes: they are read from the
        last hidden layer by their signals.
    config : ForwardConfig
        Hyper-parameters.
    steps : int
        Number of calls of ``update`` in all, over which the step size falls to zero.
    seed : int
        Seed of the initial weights, of the class signals and of dropout.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        config: ForwardConfig | None = None,
        *,
        steps: int,
        seed: int = 0,
    ) -> None:
        config = config or ForwardConfig()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = network(sizes[:-1], config)
        self.learner = ForwardLearner(
            net,
            SigProp(
                num_classes=sizes[-1],
                loss=Cosine(config.tau),
                homeostasis=Homeostasis(target=config.rate),
                predict_from=config.predict_from,
                potential=config.potential,
            ),
            optimizer=lambda parameters: _optimizer(parameters, config),
            scheduler=lambda optimizer: cosine(optimizer, steps),
            update_every=config.update_every,
            seed=seed,
        )

    def update(self, x: Tensor, label: Tensor) -> float:
        """Learn from a batch ``(T, B, *features)``, ``(B,)``; return the last block's loss."""
        return float(self.learner.update(x, label).loss[-1])

    def predict(self, x: Tensor) -> Tensor:
        """Return the class of each recording, ``(B,)``."""
        return self.learner.predict(x)

    def accuracy(self, data: Iterable[tuple[Tensor, Tensor]]) -> float:
        """Return the share of right predictions on batches of ``(x, label)``."""
        return self.learner.evaluate(data).accuracy

    def block_accuracy(self, data: Iterable[tuple[Tensor, Tensor]]) -> list[float]:
        """Return the same read from each block alone."""
        accuracies: list[float] = self.learner.evaluate(data).block_accuracy.tolist()
        return accuracies


def _optimizer(parameters: list[nn.Parameter], config: ForwardConfig) -> torch.optim.Optimizer:
    if config.freeze == "all":  # a learner refuses a network without anything to train
        return torch.optim.SGD(parameters, lr=0.0)
    return torch.optim.Adam(parameters, lr=config.lr, fused=True)


def network(sizes: Sequence[int], config: ForwardConfig) -> nn.Sequential:
    """Return the plain network: flatten, then ``Delay``, ``Linear`` and ``LIF`` for each layer."""
    layers: list[nn.Module] = [nn.Flatten()]
    pairs = list(pairwise(sizes))
    for i, (inputs, outputs) in enumerate(pairs):
        if config.dropout:
            layers.append(nn.Dropout(config.dropout))
        synapse = nn.Linear(inputs, outputs)
        synapse.requires_grad_(config.freeze != "hidden" or i == len(pairs) - 1)
        layers += drawn_delays(config.lags, (inputs,))
        layers += [synapse, LIF(config.beta, init_hidden=True)]
    return nn.Sequential(*layers)
