"""A trivial baseline: a random spiking network that stays frozen, and a readout that is trained.

Sizes, initial weights and homeostasis are those of the trained network, so that the difference is
what learning of the hidden blocks brings. The readouts, of which the validation split chooses:

    voltage    logistic regression on the last layer's rectified voltage, averaged over time
    rate       logistic regression on its spike rates

A third one, where the last block alone learns by the same rule, is
:class:`~spikeprop.experiments.forward.Forward` with ``freeze="hidden"``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spikeprop.datasets import Binning
from spikeprop.experiments.forward import Forward, ForwardConfig
from spikeprop.experiments.linear import Floats, linear
from spikeprop.experiments.recordings import Recordings, Split, loader
from spikeprop.neurons import reset

__all__ = ["FrozenResult", "frozen_network", "random_features"]


class FrozenResult(NamedTuple):
    """Accuracies from 0 to 1 of the readout that did better in validation, and its name."""

    test: float
    validation: float
    readout: str


def frozen_network(
    recordings: Recordings,
    binning: Binning,
    split: Split,
    tuning: Split,
    hidden: Sequence[int],
    *,
    config: ForwardConfig | None = None,
    seed: int = 0,
) -> FrozenResult:
    """Choose readout and regularisation on ``tuning``, fit on ``split``'s training part, and test.

    Parameters
    ----------
    recordings : Recordings
        The data.
    binning : Binning
        How recordings are cut into time steps.
    split, tuning : Split
        What the figure is for, and what choices are made on.
    hidden : sequence of int
        Sizes of the layers.
    config : ForwardConfig, optional
        Neurons, delays and the firing rate that homeostasis aims at.
    seed : int
        Seed of the weights.
    """
    features = random_features(recordings, binning, split.train, hidden, config=config, seed=seed)
    results = {
        name: linear(values, recordings.targets, split, tuning) for name, values in features.items()
    }
    name = max(results, key=lambda key: results[key].validation)
    return FrozenResult(results[name].test, results[name].validation, name)


def random_features(
    recordings: Recordings,
    binning: Binning,
    train: NDArray[np.int64],
    hidden: Sequence[int],
    *,
    config: ForwardConfig | None = None,
    epochs: int = 3,
    seed: int = 0,
) -> dict[str, Floats]:
    """Return the last layer's mean rectified voltage and spike rate, ``(N, units)`` each.

    ``epochs`` passes over ``train`` without learning let homeostasis set the thresholds.
    """
    sizes = (recordings.inputs, *hidden, len(recordings.classes))
    frozen = Forward(sizes, replace(config or ForwardConfig(), freeze="all"), steps=1, seed=seed)
    batches = loader(recordings, train, binning, batch_size=50, seed=seed)
    for epoch in range(1, epochs + 1):
        batches.set_epoch(epoch)
        for x, label in batches:
            frozen.update(x, label)
    everything = loader(recordings, np.arange(len(recordings)), binning, batch_size=100)
    parts = [_last_layer(frozen.learner.net, x) for x, _ in everything]
    return {
        "voltage": np.concatenate([voltage for voltage, _ in parts]),
        "rate": np.concatenate([rate_ for _, rate_ in parts]),
    }


@torch.no_grad()
def _last_layer(net: nn.Module, x: Tensor) -> tuple[Floats, Floats]:
    neuron = list(net.children())[-1]
    voltage, spikes = torch.zeros(()), torch.zeros(())
    reset(net)
    for x_t in x:
        spikes = spikes + net(x_t)
        mem = neuron.mem
        assert isinstance(mem, Tensor)
        voltage = voltage + mem.clamp_min(0)
    reset(net)
    return (voltage / len(x)).numpy(), (spikes / len(x)).numpy()
