"""What the benchmarks run on: batches of events, and weights that make the layers fire alike.

Synthetic batches: each input line ``i`` is active in a time step with probability

    p_i = min(1, density * exp(z_i - 1/2)),   z_i normal (0, 1),

independently: log-normal rates, no saccades and no spatial structure. Recorded batches are real
N-MNIST files cut into T time steps; their density is what it is and is stated beside the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from spikeprop.datasets import NMNIST
from spikeprop.datasets.binning import Binning
from spikeprop.datasets.sparse import EventBatch
from spikeprop.datasets.sparse_binning import bin_events_sparse

__all__ = ["BETA", "DENSITIES", "RATE", "Batch", "firing_rates", "recorded", "synthetic", "weights"]

#: Decay factor of the voltage per time step, on every side.
BETA = 0.95
#: Spikes per hidden neuron and time step that the weights are scaled for.
RATE = 0.07
#: Density of the synthetic input for each number of time steps: the longer, the sparser, as when
#: the same recording is cut into finer steps.
DENSITIES = {30: 0.05, 100: 0.02, 300: 0.007, 1000: 0.0025}


class Batch:
    """A batch both as events and, made once when first asked for, as a dense tensor.

    Parameters
    ----------
    events : EventBatch
        The recordings.
    label : Tensor
        Classes ``(B,)``.
    source : str
        What the events are.
    """

    def __init__(self, events: EventBatch, label: Tensor, source: str) -> None:
        self.events, self.label, self.source = events, label, source
        self._dense: Tensor | None = None

    @property
    def dense(self) -> Tensor:
        """``(T, B, inputs)``, float32; made before anything is timed."""
        if self._dense is None:
            self._dense = self.events.to_dense().flatten(2)
        return self._dense


def synthetic(
    steps: int, batch: int, inputs: int, density: float, classes: int, seed: int = 0
) -> Batch:
    """Draw a batch of independent spikes with log-normal rates.

    Raises
    ------
    ValueError
        If ``density`` is not between 0 and 1.
    """
    if not 0.0 <= density <= 1.0:
        raise ValueError(f"density has to be between 0 and 1, got {density}")
    random = np.random.default_rng(seed)
    rates = np.minimum(1.0, density * np.exp(random.standard_normal(inputs) - 0.5))
    counts, channels = [], []
    for _ in range(batch):
        row, channel = np.nonzero(random.random((steps, inputs), dtype=np.float32) < rates)
        counts.append(np.bincount(row, minlength=steps))
        channels.append(channel.astype(np.int32))
    return Batch(
        _events(np.concatenate(counts), np.concatenate(channels), steps, (inputs,)),
        torch.from_numpy(random.integers(classes, size=batch)),
        f"synthetic, {100 * density:g} %",
    )


def recorded(folder: Path, steps: int, batch: int, seed: int = 0) -> Batch:
    """Take real N-MNIST training recordings at random, each cut into ``steps`` equal time steps.

    Raises
    ------
    FileNotFoundError
        If ``folder`` holds no N-MNIST files.
    ValueError
        If it holds fewer than ``batch``.
    """
    files = NMNIST(folder, train=True, download=False)
    if len(files) < batch:
        raise ValueError(f"{folder} holds {len(files)} training recordings, {batch} are asked for")
    chosen = np.random.default_rng(seed).choice(len(files), batch, replace=False)
    items = [files[int(i)] for i in chosen]
    events = bin_events_sparse(
        [events for events, _ in items],
        Binning(n_time_bins=steps),
        files.sensor_size,
        files.duration,
    )
    events = events._replace(features=torch.Size((int(np.prod(events.features)),)))
    labels = torch.tensor([label for _, label in items])
    return Batch(events, labels, f"N-MNIST, {100 * events.density:.2g} %")


def _events(
    counts: np.ndarray, channels: np.ndarray, steps: int, features: Sequence[int]
) -> EventBatch:
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return EventBatch(
        torch.from_numpy(offsets),
        torch.from_numpy(channels),
        None,
        steps,
        torch.Size(features),
    )


@torch.no_grad()
def weights(sizes: Sequence[int], batch: Batch, rate: float = RATE, seed: int = 0) -> list[Tensor]:
    """Draw weights, each layer scaled until it fires at ``rate`` on the batch's first recordings.

    Uniform in +-1 / sqrt(inputs), as ``nn.Linear`` draws them, times the layer's gain. Both sides
    of a comparison start from them.

    Parameters
    ----------
    sizes : sequence of int
        Inputs and hidden layers.
    batch : Batch
        What the network will see.
    rate : float
        Spikes per neuron and time step.
    seed : int
        Seed of the draw.
    """
    generator = torch.Generator().manual_seed(seed)
    x = _head(batch, 16)
    found = []
    for inputs, outputs in pairwise(sizes):
        weight = torch.empty(outputs, inputs).uniform_(-1, 1, generator=generator)
        weight /= inputs**0.5
        current = x @ weight.T
        low, high = 1e-3, 1e4
        for _ in range(18):  # halves the logarithm of the gain's interval to 1e-4 of it
            gain = (low * high) ** 0.5
            low, high = (gain, high) if _fire(gain * current).mean() < rate else (low, gain)
        x = _fire(gain * current)
        found.append(gain * weight)
    return found


@torch.no_grad()
def firing_rates(batch: Batch, matrices: Sequence[Tensor]) -> list[float]:
    """Return the firing rate of every layer on the whole batch."""
    x, rates = _head(batch, batch.events.batch), []
    for weight in matrices:
        x = _fire(x @ weight.T)
        rates.append(float(x.mean()))
    return rates


def _head(batch: Batch, count: int) -> Tensor:
    """Return the first recordings, dense."""
    events = batch.events
    rows = min(count, events.batch) * events.time_steps
    part = events._replace(
        offsets=events.offsets[: rows + 1], channels=events.channels[: int(events.offsets[rows])]
    )
    return part.to_dense().flatten(2)


def _fire(current: Tensor) -> Tensor:
    """Spikes of LIF neurons with soft reset and threshold 1 for currents ``(T, B, N)``."""
    mem = torch.zeros_like(current[0])
    spikes = torch.empty_like(current)
    reset = mem
    for t, now in enumerate(current):
        mem = BETA * mem + now - reset
        reset = (mem > 1.0).to(mem.dtype)
        spikes[t] = reset
    return spikes
