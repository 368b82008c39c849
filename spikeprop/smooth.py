r"""Smooth functions of the voltage, for a loss on ``f(mem)`` ("SP Surrogate").

The function stands for the spike where the local loss looks, and nowhere else: spikes themselves
are never differentiated, and the gradient never leaves the block,

.. math::

    a = f(v - \theta), \qquad \delta = \frac{\partial L}{\partial a}\, f'(v - \theta)

Each ``f'`` here is what the snnTorch surrogate of the same name puts in the place of a spike's
derivative; ``f`` is its integral. Source: "SP Surrogate" in Kohan, Rietman and Siegelmann, arXiv
2204.01723, and the authors' tutorial (section 3.4).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

__all__ = ["ATan", "FastSigmoid", "Sigmoid", "Smooth"]


@runtime_checkable
class Smooth(Protocol):
    """A function and its derivative; any object with this method will do."""

    def __call__(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``f`` and ``f'`` at ``v``, both of its shape."""
        ...


@dataclass(frozen=True)
class _Steep:
    """A function with a steepness, centred where a neuron fires.

    Parameters
    ----------
    slope : float
        snnTorch's parameter of the same surrogate (its ``alpha`` for the arctangent), above 0.
    centre : float
        Voltage at which it is steepest: the threshold.

    Raises
    ------
    ValueError
        If ``slope`` is not above 0.
    """

    slope: float = 2.0
    centre: float = 1.0

    def __post_init__(self) -> None:
        if not self.slope > 0.0:
            raise ValueError(f"slope has to be above 0, got {self.slope}")


@dataclass(frozen=True)
class ATan(_Steep):
    r""":math:`f(u) = \arctan(\pi u \alpha / 2)/\pi + 1/2`, ``f'`` = (α/2) / (1 + (π u α / 2)²)."""

    def __call__(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``f`` and ``f'``."""
        u = (v - self.centre) * (math.pi / 2 * self.slope)
        return torch.atan(u) / math.pi + 0.5, self.slope / 2 / (1.0 + u.square())


@dataclass(frozen=True)
class FastSigmoid(_Steep):
    """``f(u) = u / (1 + k |u|)``, ``f' = 1 / (1 + k |u|)^2``."""

    slope: float = 25.0

    def __call__(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``f`` and ``f'``."""
        u = v - self.centre
        shrink = 1.0 / (1.0 + self.slope * u.abs())
        return u * shrink, shrink.square()


@dataclass(frozen=True)
class Sigmoid(_Steep):
    """``f(u) = 1 / (1 + exp(-k u))``, ``f' = k f (1 - f)``."""

    slope: float = 25.0

    def __call__(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``f`` and ``f'``."""
        f = torch.sigmoid((v - self.centre) * self.slope)
        return f, self.slope * f * (1.0 - f)
