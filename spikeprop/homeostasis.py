"""Homeostasis: each neuron moves its own threshold until it fires at a wanted rate.

Once a sequence, or a step of a stream::

    threshold *= exp(gain * clip(rate / target - 1, -1, 1)),   kept within [low, high]

It is local to the neuron. Without it the rectified rules fall silent layer by layer, and the next
block starves.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Homeostasis"]


@dataclass(frozen=True)
class Homeostasis:
    """Multiplicative control of the thresholds.

    Parameters
    ----------
    target : float
        Wanted mean number of spikes per neuron and time step, above 0 and at most 1.
    gain : float
        Largest change of the logarithm of a threshold per call.
    low, high : float
        Bounds of the thresholds, ``0 < low <= high``.
    smoothing : float
        Only for streams, where a call is one time step: weight of the newest step in the leaky
        average that stands for the rate.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """

    target: float = 0.1
    gain: float = 0.1
    low: float = 0.05
    high: float = 5.0
    smoothing: float = 0.02

    def __post_init__(self) -> None:
        if not 0.0 < self.target <= 1.0:
            raise ValueError(f"target has to be above 0 and at most 1, got {self.target}")
        if not self.gain >= 0.0:
            raise ValueError(f"gain has to be at least 0, got {self.gain}")
        if not 0.0 < self.low <= self.high:
            raise ValueError(
                f"low and high have to obey 0 < low <= high, got {self.low}, {self.high}"
            )
        if not 0.0 < self.smoothing <= 1.0:
            raise ValueError(f"smoothing has to be above 0 and at most 1, got {self.smoothing}")

    def adjust_(self, threshold: Tensor, rate: Tensor) -> None:
        """Move ``threshold`` in place.

        Parameters
        ----------
        threshold : Tensor
            One threshold per neuron, or per channel.
        rate : Tensor
            Spikes per neuron (or neuron of the channel) and time step, shaped as ``threshold``.
        """
        pressure = (rate / self.target - 1.0).clamp_(-1.0, 1.0)
        threshold.mul_(pressure.mul_(self.gain).exp_()).clamp_(self.low, self.high)
