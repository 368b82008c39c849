"""Codes along the time axis: how a class's code becomes an input that changes from step to step.

A code ``c`` (one-hot, say) gives ``c_t`` for each step of a period, after which it begins anew; the
signal's current is ``S c_t``. Every code here has the mean of ``c`` over its period (rate and
pattern: in expectation), or the length of ``c`` at each step (phases), so that one scale of ``S``
serves them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

__all__ = ["Constant", "Latency", "Pattern", "Phases", "Rate", "TimeCode"]


@runtime_checkable
class TimeCode(Protocol):
    """Any object with this method will do.

    Codes with more entries than ``c`` have a whole number of them for each, in its place.
    """

    def draw(self, codes: Tensor, generator: torch.Generator) -> Tensor:
        """Return ``c_t`` ``(P, C, D)`` over a period of P steps for codes ``(C, D)``."""
        ...


@dataclass(frozen=True)
class Constant:
    """The same at every step, ``c_t = c``."""

    def draw(self, codes: Tensor, generator: torch.Generator) -> Tensor:
        """Return one step."""
        return codes[None]


@dataclass(frozen=True)
class _Period:
    """A code with a period.

    Parameters
    ----------
    period : int
        Time steps after which it repeats, at least 1.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """

    period: int = 20

    def __post_init__(self) -> None:
        if self.period < 1:
            raise ValueError(f"period has to be at least 1, got {self.period}")


@dataclass(frozen=True)
class Latency(_Period):
    """One spike, the earlier the larger the entry: at step ``1 + round((1 - |c| / max) (P - 1))``.

    Its size is ``P sign(c) max``, for the same mean; an entry of 0 never fires. One-hot codes all
    fire at the first step of the period.
    """

    def draw(self, codes: Tensor, generator: torch.Generator) -> Tensor:
        """Return the period."""
        size = codes.abs()
        steps = ((1 - size / size.max().clamp_min(1e-12)) * (self.period - 1)).round().long()
        at = torch.arange(self.period)[:, None, None] == steps
        return at * codes * self.period


@dataclass(frozen=True)
class _Drawn(_Period):
    """Spikes drawn once, with a probability.

    Parameters
    ----------
    period : int
        Time steps after which it repeats, at least 1.
    rate : float
        Spikes per step, above 0 and at most 1.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """

    rate: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.rate <= 1.0:
            raise ValueError(f"rate has to be above 0 and at most 1, got {self.rate}")


@dataclass(frozen=True)
class Rate(_Drawn):
    """Each entry of the code fires at a rate: ``c_t = c 1[fires] / rate``."""

    def draw(self, codes: Tensor, generator: torch.Generator) -> Tensor:
        """Return the period."""
        fires = torch.rand((self.period, *codes.shape), generator=generator) < self.rate
        return fires * codes / self.rate


@dataclass(frozen=True)
class Pattern(_Drawn):
    """A random spike pattern per class over all D entries, whatever its code: ``1[fires] / rate``.

    Classes then differ in *when* their inputs fire, and not in which.
    """

    def draw(self, codes: Tensor, generator: torch.Generator) -> Tensor:
        """Return the period."""
        fires = torch.rand((self.period, *codes.shape), generator=generator) < self.rate
        return fires.to(codes.dtype) / self.rate


@dataclass(frozen=True)
class Phases(_Period):
    r"""A signal that passes from one phase to the next: ``c_t = c`` with a weight for each phase.

    Entry ``j`` of ``c`` becomes the K entries ``c_j w_k(t)``, of unit length together:

    .. math::

        w_k(t) \propto \max\Big(0,\, 1 - \Big|k - (K - 1) \frac{t - 1}{P - 1}\Big|\Big),
        \quad k = 0, \ldots, K - 1

    ``S`` then gives a class a current of its own in each phase, and from phase to phase the one
    turns into the other. What a neuron has to tell apart is what happens *now*, and the order of
    what happens is in the signal; recordings have to last one period, as those that are cut into a
    fixed number of time steps do.

    Parameters
    ----------
    period : int
        Time steps P of a recording.
    count : int
        Number of phases K, at least 2.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """

    count: int = 6

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.count < 2:
            raise ValueError(f"count has to be at least 2 phases, got {self.count}")

    def draw(self, codes: Tensor, generator: torch.Generator) -> Tensor:
        """Return the period."""
        now = torch.linspace(0.0, self.count - 1.0, self.period, dtype=codes.dtype)
        weights = (1.0 - (torch.arange(self.count) - now[:, None]).abs()).clamp_min(0.0)
        weights = weights / weights.norm(dim=1, keepdim=True)
        return torch.einsum("pk,cd->pcdk", weights, codes).flatten(2)
