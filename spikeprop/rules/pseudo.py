r"""Pseudo-derivatives: what some rules put in place of a spike's derivative.

A spike is the Heaviside step of ``x``, the voltage minus the threshold in force. ``FastSigmoid``,
``ATan`` and ``Sigmoid`` are the surrogates of snnTorch in closed form (``snntorch.surrogate``);
``Triangle`` is the one of Bellec et al., "A solution to the learning dilemma for recurrent networks
of spiking neurons", Nat. Commun. 11, 3625, 2020:

.. math::

    \text{FastSigmoid: } \frac{1}{(k |x| + 1)^2} \quad
    \text{ATan: } \frac{\alpha / 2}{1 + (\pi \alpha x / 2)^2} \quad
    \text{Sigmoid: } k\,\sigma(k x)\,\sigma(-k x) \quad
    \text{Triangle: } \gamma \max(0, 1 - |x| / w)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from spikeprop.names import meant

__all__ = [
    "PSEUDO_DERIVATIVES",
    "ATan",
    "FastSigmoid",
    "PseudoDerivative",
    "Sigmoid",
    "Triangle",
    "as_pseudo",
]


@runtime_checkable
class PseudoDerivative(Protocol):
    """A function of the voltage minus the threshold, of its shape."""

    def __call__(self, x: Tensor) -> Tensor:
        """Return what stands for the derivative of a spike."""
        ...


@dataclass(frozen=True)
class FastSigmoid:
    """snnTorch's ``fast_sigmoid``, of slope k above 0."""

    slope: float = 25.0

    def __post_init__(self) -> None:
        _above_zero("slope", self.slope)

    def __call__(self, x: Tensor) -> Tensor:
        """Return ``1 / (k |x| + 1)^2``."""
        return (self.slope * x.abs() + 1.0).square().reciprocal()


@dataclass(frozen=True)
class ATan:
    """snnTorch's ``atan``, of steepness alpha above 0."""

    alpha: float = 2.0

    def __post_init__(self) -> None:
        _above_zero("alpha", self.alpha)

    def __call__(self, x: Tensor) -> Tensor:
        """Return ``alpha / 2 / (1 + (pi alpha x / 2)^2)``."""
        return self.alpha / 2 / ((math.pi / 2 * self.alpha * x).square() + 1.0)


@dataclass(frozen=True)
class Sigmoid:
    """snnTorch's ``sigmoid``, of slope k above 0."""

    slope: float = 4.0

    def __post_init__(self) -> None:
        _above_zero("slope", self.slope)

    def __call__(self, x: Tensor) -> Tensor:
        """Return ``k sigma(k x) sigma(-k x)``."""
        return self.slope * torch.sigmoid(self.slope * x) * torch.sigmoid(-self.slope * x)


@dataclass(frozen=True)
class Triangle:
    """The triangle of e-prop: height gamma and half-width, both above 0."""

    gamma: float = 0.3
    width: float = 1.0

    def __post_init__(self) -> None:
        _above_zero("gamma", self.gamma)
        _above_zero("width", self.width)

    def __call__(self, x: Tensor) -> Tensor:
        """Return ``gamma max(0, 1 - |x| / width)``."""
        return self.gamma * (1.0 - x.abs() / self.width).clamp_min(0.0)


#: By the names that the command line uses.
PSEUDO_DERIVATIVES: dict[str, type[FastSigmoid | ATan | Sigmoid | Triangle]] = {
    "fast-sigmoid": FastSigmoid,
    "atan": ATan,
    "sigmoid": Sigmoid,
    "triangle": Triangle,
}


def as_pseudo(given: PseudoDerivative | str | None) -> PseudoDerivative | None:
    """Return a pseudo-derivative from itself or from its name, ``NAME`` or ``NAME:NUMBER``.

    Raises
    ------
    ValueError
        For an unknown name (near ones are listed), or what cannot be called.
    """
    if given is None or not isinstance(given, str):
        if given is not None and not callable(given):
            raise ValueError(f"surrogate has to be a function such as FastSigmoid(), got {given!r}")
        return given
    name, colon, number = given.partition(":")
    if name not in PSEUDO_DERIVATIVES:
        raise ValueError(
            f"surrogate has to be one of {', '.join(PSEUDO_DERIVATIVES)}, got {name!r}"
            f"{meant(name, PSEUDO_DERIVATIVES)}"
        )
    try:
        return PSEUDO_DERIVATIVES[name](*((float(number),) if colon else ()))
    except ValueError as error:
        raise ValueError(f"surrogate has to be NAME or NAME:NUMBER, got {given!r}") from error


def _above_zero(name: str, value: float) -> None:
    if not value > 0.0:
        raise ValueError(f"{name} has to be above 0, got {value}")
