"""Applies homeostasis to the thresholds of a network's neurons."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from spikeprop.blocks import Block
from spikeprop.engines.passage import Passage, Seen
from spikeprop.homeostasis import Homeostasis
from spikeprop.membranes import has_threshold, set_thresholds

__all__ = ["StreamRates", "give_thresholds", "keep_rates", "thresholds_of"]


def give_thresholds(blocks: Sequence[Block]) -> None:
    """Give every spiking neuron a threshold of its own, per channel in a convolutional layer."""
    for block in blocks:
        if has_threshold(block.neuron):
            thresholds_of(block)


def keep_rates(control: Homeostasis, passage: Passage[Seen]) -> None:
    """Move the thresholds once, by the rates of a batch of whole sequences."""
    for item in passage.blocks:
        if has_threshold(item.block.neuron):
            threshold = thresholds_of(item.block)
            rate = _rate(item.spike_sum, passage.n_recordings * item.t, threshold)
            control.adjust_(threshold, rate)


class StreamRates:
    """Moves the thresholds a little at each time step of a stream, by leaky averages of the rates.

    Parameters
    ----------
    control : Homeostasis
        Its ``smoothing`` is the weight of the newest time step.
    """

    def __init__(self, control: Homeostasis) -> None:
        self._control = control
        self._rates: dict[int, Tensor] = {}

    def follow(self, passage: Passage[Seen]) -> None:
        """Take note of the last step's spikes, and move the thresholds."""
        for item in passage.blocks:
            if not has_threshold(item.block.neuron):
                continue
            threshold = thresholds_of(item.block)
            now = _rate(item.spikes, passage.n_recordings, threshold)
            # It starts at the target: the first steps, before any neuron can fire, move nothing.
            start = torch.full_like(now, self._control.target)
            rate = self._rates.setdefault(item.block.index, start)
            rate.lerp_(now, self._control.smoothing)
            self._control.adjust_(threshold, rate)


def thresholds_of(block: Block) -> Tensor:
    """Give a spiking block thresholds of its own, if it has none, and return them."""
    channels, *space = block.features
    return set_thresholds(block.neuron, torch.Size([channels, *[1] * len(space)]))


def _rate(spikes: Tensor | float, of: int, threshold: Tensor) -> Tensor:
    """Return spikes per neuron and step, shaped as the thresholds and as exact as they are."""
    rate = torch.as_tensor(spikes).to(threshold.dtype) / of
    dims = tuple(range(1, threshold.dim()))
    return rate.mean(dim=dims, keepdim=True) if dims else rate
