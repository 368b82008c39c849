r"""Batch contrast: each recording picks, among the signals of the whole batch, those like its own.

Row ``b`` of the batch has the evidence ``h_b`` and a signal of evidence ``s_b``; ``c_b`` is that
signal at the block's *input*. The similarities of the inputs say what those of the outputs should
be:

.. math::

    Y = h s^\top / \tau, \quad y = \hat c\, \hat c^\top, \quad \hat c = c / \lVert c \rVert, \quad
    L = -\frac{1}{B} \sum_{bj} T_{bj} \log \operatorname{softmax}(Y_b)_j

with the targets ``T`` made of ``y`` or of distances between the ``c``: the maximum (all that equal
it), one of those at random, the ``k`` largest, or a softmax of distances. In closed form,

.. math::

    \frac{\partial L}{\partial Y_{bj}} =
        \frac{1}{B}\Bigl(\operatorname{softmax}(Y_b)_j \sum_i T_{bi} - T_{bj}\Bigr)

Sources: the losses ``input_target_max_all``, ``..._max_rand`` and ``..._topk`` of the signal
propagation authors' library (no temperature, ``T`` not divided by ``k``); the soft distance is that
of Traces Propagation. The library takes plain dot products of ``c``, which its layer norms have
made equally long; spikes are not, hence the norm here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from spikeprop.losses import (
    SMALLEST_NORM,
    Cosine,
    Dot,
    LocalLoss,
    LossValue,
    check_tau,
    directions,
    through_directions,
)

__all__ = ["BatchContrast", "Maximum", "RandomMaximum", "SoftDistance", "Targets", "TopK"]


@runtime_checkable
class Targets(Protocol):
    """What the similarities of a batch's signals should be, from those signals at the input."""

    def __call__(self, context: Tensor) -> Tensor:
        """Return ``T`` ``(B, B)`` for the input signals ``context`` ``(B, D)``."""
        ...


def _similarities(context: Tensor) -> Tensor:
    """Cosines of all pairs; those that are equal but for rounding become equal."""
    unit = context / context.norm(dim=1, keepdim=True).clamp_min(SMALLEST_NORM)
    return torch.round(unit @ unit.T * 2.0**16)


@dataclass(frozen=True)
class Maximum:
    """Every signal that is as like the own one as any: ``T = 1[y = max_j y]``."""

    def __call__(self, context: Tensor) -> Tensor:
        """Return the targets."""
        y = _similarities(context)
        return (y == y.amax(dim=1, keepdim=True)).to(context.dtype)


@dataclass(frozen=True)
class RandomMaximum:
    """One of those, drawn anew each time (from torch's generator, which a learner seeds)."""

    def __call__(self, context: Tensor) -> Tensor:
        """Return the targets."""
        among = Maximum()(context)
        return torch.zeros_like(among).scatter_(1, torch.multinomial(among, 1), 1.0)


@dataclass(frozen=True)
class TopK:
    """The ``k`` signals that are most like the own one; all of them where there are fewer.

    Parameters
    ----------
    k : int
        At least 1; the authors' examples have 6.

    Raises
    ------
    ValueError
        If ``k`` is below 1.
    """

    k: int = 6

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k has to be at least 1, got {self.k}")

    def __call__(self, context: Tensor) -> Tensor:
        """Return the targets."""
        y = _similarities(context)
        best = y.topk(min(self.k, len(y)), dim=1).indices
        return context.new_zeros(y.shape).scatter_(1, best, 1.0)


@dataclass(frozen=True)
class SoftDistance:
    """Graded by distance: ``T = softmax_j(-|c_b - c_j| / scale)``; made for vectors as targets.

    Parameters
    ----------
    scale : float
        Distance over which a target falls to ``1 / e``, above 0.

    Raises
    ------
    ValueError
        If ``scale`` is not above 0.
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        if not self.scale > 0.0:
            raise ValueError(f"scale has to be above 0, got {self.scale}")

    def __call__(self, context: Tensor) -> Tensor:
        """Return the targets."""
        squares = context.square().sum(dim=1)
        distances = (squares[:, None] + squares - 2.0 * context @ context.T).clamp_min(0).sqrt()
        return torch.softmax(-distances / self.scale, dim=1)


@dataclass(frozen=True)
class BatchContrast:
    """Cross-entropy of a batch's recordings with the batch's signals.

    Parameters
    ----------
    targets : Targets
        :class:`Maximum`, :class:`RandomMaximum`, :class:`TopK`, :class:`SoftDistance`, or a
        function of your own.
    tau : float
        Temperature, above 0; the authors have none (1).
    cosine : bool
        Compare centred directions, as :class:`~spikeprop.losses.Cosine` does, and not by plain dot
        products.

    Raises
    ------
    ValueError
        If ``tau`` is not above 0.
    TypeError
        If ``targets`` is no function.
    """

    targets: Targets = Maximum()
    tau: float = 1.0
    cosine: bool = False

    def __post_init__(self) -> None:
        check_tau(self.tau)
        if not callable(self.targets):
            raise TypeError(f"targets has to be such as Maximum() or TopK(k), got {self.targets!r}")

    def __call__(
        self, h: Tensor, s: Tensor, labels: Tensor, context: Tensor | None = None
    ) -> LossValue:
        """Return value, logits ``(B, C)`` and both gradients.

        Row ``b`` of the batch has the signal ``s[labels[b]]``, whose input is
        ``context[labels[b]]``; without ``context`` (C, D) all signals differ equally.
        """
        if context is None:
            context = torch.eye(len(s), dtype=h.dtype, device=h.device)
        wanted = self.targets(context[labels])
        h_dir, h_inv = directions(h) if self.cosine else (h, None)
        s_dir, s_inv = directions(s) if self.cosine else (s, None)
        logits = h_dir @ s_dir.T / self.tau
        log_p = torch.log_softmax(logits[:, labels], dim=1)
        value = -(wanted * log_p).sum(dim=1).mean()
        gradient = log_p.exp() * wanted.sum(dim=1, keepdim=True) - wanted
        delta = torch.zeros_like(logits).index_add_(1, labels, gradient / (len(labels) * self.tau))
        delta_h, delta_s = delta @ s_dir, delta.T @ h_dir
        if h_inv is not None and s_inv is not None:
            delta_h = through_directions(delta_h, h_dir, h_inv)
            delta_s = through_directions(delta_s, s_dir, s_inv)
        return LossValue(value, logits, delta_h, delta_s)

    def logits(self, h: Tensor, s: Tensor) -> Tensor:
        """Return the scores ``(B, C)``."""
        return self._direct.logits(h, s)

    def linear_readout(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """Return a linear layer on ``h`` with the same argmax."""
        return self._direct.linear_readout(s)

    @property
    def _direct(self) -> LocalLoss:
        """The label-direct loss with the same similarities."""
        return Cosine(self.tau) if self.cosine else Dot(self.tau)
