"""Evidence: the voltage seen through a filter over time, which is what a local loss compares.

Every filter here is a weighted step towards the newest value,

    v_t = v_{t-1} + w_t (z_t - v_{t-1}),    v_0 = 0,

and differs from its neighbours by the weight ``w_t`` alone. It is linear in ``z``, so that the very
same filter applied to the eligibility trace gives ``e_t = d v_t / d W`` (design notes,
"Equations"). Several filters side by side give one feature per neuron and filter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

__all__ = ["Evidence", "Instantaneous", "Leaky", "RunningMean", "as_filters", "evidence_of"]


@runtime_checkable
class Evidence(Protocol):
    """A filter over time, given by its weight at each time step."""

    def weight(self, t: int) -> float:
        """Return ``w_t`` for the time step ``t``, counted from 1."""
        ...


@dataclass(frozen=True)
class Instantaneous:
    """No filter: the loss sees the voltage of the present time step, ``w_t = 1``."""

    def weight(self, t: int) -> float:
        """Return ``w_t = 1``."""
        return 1.0


@dataclass(frozen=True)
class RunningMean:
    """Mean of the voltage since the sequence began, ``w_t = 1 / t``.

    Made for recordings that end: in a stream without an end ``1 / t`` stops learning, use
    :class:`Leaky` there.
    """

    def weight(self, t: int) -> float:
        """Return ``w_t = 1 / t``."""
        return 1.0 / t


@dataclass(frozen=True)
class Leaky:
    """Leaky average, ``w_t = alpha``, with a memory of about ``1 / alpha`` time steps.

    Parameters
    ----------
    alpha : float
        Weight of the newest value, above 0 and at most 1.

    Raises
    ------
    ValueError
        If ``alpha`` is outside (0, 1].
    """

    alpha: float = 0.7

    def __post_init__(self) -> None:
        if not 0.0 < self.alpha <= 1.0:
            raise ValueError(f"alpha has to be above 0 and at most 1, got {self.alpha}")

    def weight(self, t: int) -> float:
        """Return ``w_t = alpha``."""
        return self.alpha


def as_filters(evidence: Evidence | tuple[Evidence, ...]) -> tuple[Evidence, ...]:
    """Return ``evidence`` as a tuple of filters.

    Raises
    ------
    TypeError
        If something in it is not an :class:`Evidence`.
    ValueError
        If the tuple is empty.
    """
    filters = evidence if isinstance(evidence, tuple) else (evidence,)
    if not filters:
        raise ValueError("evidence is an empty tuple; give at least one filter, e.g. RunningMean()")
    for item in filters:
        if not isinstance(item, Evidence):
            raise TypeError(
                f"evidence has to be made of filters such as RunningMean(), Instantaneous() or "
                f"Leaky(alpha), got {item!r}"
            )
    return filters


def evidence_of(word: str) -> Evidence | tuple[Evidence, ...]:
    """Return the filter that a word names, or several side by side.

    Parameters
    ----------
    word : str
        ``running-mean``, ``instantaneous`` or ``leaky:ALPHA``; several joined by ``+``, as in
        ``running-mean+leaky:0.5``.

    Raises
    ------
    ValueError
        If a part is none of these.
    """
    filters: list[Evidence] = []
    for part in word.split("+"):
        name, _, number = part.partition(":")
        if part == "running-mean":
            filters.append(RunningMean())
        elif part == "instantaneous":
            filters.append(Instantaneous())
        elif name == "leaky":
            try:
                filters.append(Leaky(float(number)) if number else Leaky())
            except ValueError as error:
                raise ValueError(
                    f"evidence 'leaky:ALPHA' needs ALPHA above 0 and at most 1, got {part!r}"
                ) from error
        else:
            raise ValueError(
                f"evidence must be running-mean, instantaneous or leaky:ALPHA, or several joined "
                f"by '+', got {part!r}"
            )
    return filters[0] if len(filters) == 1 else tuple(filters)
