"""The baseline: surrogate-gradient BPTT of the same architecture, in snnTorch.

    delay, Linear, Leaky, ..., delay, Linear(H, classes), Leaky without reset as readout
    loss = cross-entropy of the readout's voltage averaged over time (or of its spike count)

Layer by layer: a synapse sees the whole sequence in one matrix product, and only the neurons loop
over time. That is the same network and the same gradient as stepping through time with all layers,
and was measured faster on CPUs, so that the baseline is no straw man in time.

Source: J. K. Eshraghian et al., "Training spiking neural networks using lessons from deep
learning", Proceedings of the IEEE 111, 2023; the tutorials of snnTorch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import snntorch as snn
import torch
from snntorch import surrogate
from torch import Tensor, nn

from spikeprop.shapes import drawn_delays

__all__ = ["BPTT", "BPTTConfig", "SpikingMLP", "cosine", "over_time"]

READOUTS = ("membrane", "count")


@dataclass(frozen=True)
class BPTTConfig:
    """Hyper-parameters of the baseline.

    Parameters
    ----------
    lr : float
        Step size of Adam at the start; it falls to zero along a half cosine.
    slope : float
        Slope of the fast sigmoid that stands for the derivative of a spike.
    dropout : float
        Share of spikes (input included) dropped while training, 0 to below 1.
    readout : {"membrane", "count"}
        What the cross-entropy sees: the readout's voltage averaged over time, or its spike count.
    beta : float
        Decay factor of the voltage per time step.
    lags : tuple of int
        Delays in time steps, of which each input of a layer has one, drawn at random.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """

    lr: float = 1e-3
    slope: float = 25.0
    dropout: float = 0.0
    readout: str = "membrane"
    beta: float = 0.5
    lags: tuple[int, ...] = (0, 3)

    def __post_init__(self) -> None:
        if not self.lr > 0.0:
            raise ValueError(f"lr has to be above 0, got {self.lr}")
        if not self.slope > 0.0:
            raise ValueError(f"slope has to be above 0, got {self.slope}")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout has to be at least 0 and below 1, got {self.dropout}")
        if self.readout not in READOUTS:
            raise ValueError(f"readout has to be one of {READOUTS}, got {self.readout!r}")


class SpikingMLP(nn.Module):
    """Fully connected layers of leaky neurons, a leaky readout last.

    Parameters
    ----------
    sizes : sequence of int
        Inputs, hidden layers, classes.
    config : BPTTConfig
        Neurons, readout and dropout.

    Raises
    ------
    ValueError
        If fewer than two sizes are given.
    """

    def __init__(self, sizes: Sequence[int], config: BPTTConfig) -> None:
        super().__init__()
        if len(sizes) < 2:
            raise ValueError(f"sizes has to name inputs and classes at least, got {list(sizes)}")
        pairs = list(pairwise(sizes))
        self.synapses = nn.ModuleList(nn.Linear(a, b) for a, b in pairs)
        self.delays = [drawn_delays(config.lags, (inputs,)) for inputs, _ in pairs]
        # A readout that is read by its voltage integrates undisturbed: it does not reset.
        last = "none" if config.readout == "membrane" else "subtract"
        resets = ["subtract"] * (len(pairs) - 1) + [last]
        self.neurons = nn.ModuleList(
            snn.Leaky(
                beta=config.beta,
                spike_grad=surrogate.fast_sigmoid(slope=config.slope),
                reset_mechanism=reset,
            )
            for reset in resets
        )
        self.dropout = nn.Dropout(config.dropout)
        self.readout = config.readout

    def forward(self, x: Tensor) -> Tensor:
        """Return class scores ``(B, C)`` for recordings ``x`` ``(T, B, *features)``."""
        signal = x.flatten(2)
        for delays, synapse, neuron in zip(self.delays, self.synapses, self.neurons, strict=True):
            signal = self.dropout(signal)
            for delay in delays:  # one or none
                signal, _ = delay.unroll(signal)
            spikes, voltages = over_time(neuron, synapse(signal))
            signal = torch.stack(spikes)
        if self.readout == "count":
            return signal.sum(dim=0)
        return torch.stack(voltages).mean(dim=0)


def over_time(neuron: Any, currents: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Run a neuron over currents ``(T, B, N)``; return its spikes and voltages step by step."""
    spikes, voltages = [], []
    mem: Tensor = neuron.reset_mem()  # without it snnTorch goes on from the previous batch
    for current in currents:
        spk, mem = neuron(current, mem)
        spikes.append(spk)
        voltages.append(mem)
    return spikes, voltages


class BPTT:
    """Trains a :class:`SpikingMLP` by backpropagation through time.

    Parameters
    ----------
    sizes : sequence of int
        Inputs, hidden layers, classes.
    config : BPTTConfig
        Hyper-parameters.
    steps : int
        Number of updates in all, over which the step size falls to zero.
    seed : int
        Seed of the initial weights and of dropout.
    """

    def __init__(
        self, sizes: Sequence[int], config: BPTTConfig | None = None, *, steps: int, seed: int = 0
    ) -> None:
        chosen = config or BPTTConfig()
        self._begin(lambda: SpikingMLP(sizes, chosen), chosen.lr, steps, seed)

    @classmethod
    def of(cls, make: Callable[[], nn.Module], lr: float, *, steps: int, seed: int = 0) -> BPTT:
        """Return one that trains another network, from ``(T, B, ...)`` to class scores ``(B, C)``.

        ``make`` draws it, after the seed has been set.
        """
        made = cls.__new__(cls)
        made._begin(make, lr, steps, seed)
        return made

    def _begin(self, make: Callable[[], nn.Module], lr: float, steps: int, seed: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = make()
            self._random_state = torch.get_rng_state()
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=lr, fused=True)
        self.scheduler = cosine(self.optimizer, steps)

    def update(self, x: Tensor, label: Tensor) -> float:
        """Learn from a batch ``(T, B, *features)``, ``(B,)``; return its loss."""
        self.net.train()
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self._random_state)
            loss = nn.functional.cross_entropy(self.net(x), label)
            self._random_state = torch.get_rng_state()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.scheduler.step()
        return loss.item()

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """Return the class of each recording, ``(B,)``."""
        self.net.eval()
        scores: Tensor = self.net(x)
        return scores.argmax(dim=1)

    def accuracy(self, data: Iterable[tuple[Tensor, Tensor]]) -> float:
        """Return the share of right predictions on batches of ``(x, label)``."""
        right, samples = 0, 0
        for x, label in data:
            right += int((self.predict(x) == label).sum())
            samples += len(label)
        return right / samples


def cosine(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """Let the step size fall to zero along half a cosine over ``steps`` updates, like ``fit``."""
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.5 * (1.0 + math.cos(math.pi * min(step / steps, 1.0)))
    )
