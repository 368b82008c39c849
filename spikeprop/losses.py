"""Local losses: how a block compares its evidence with that of the class signals.

A loss takes the evidence ``h`` of B recordings, the evidence ``s`` of C class signals and the
labels, and gives its value, the logits that a prediction is read from, and its gradient with
respect to both evidences in closed form (no autograd). Values are means over the B recordings.
The losses here take any number of time steps at once, as leading dimensions that all three share;
a loss says so with ``batched = True``, and one that does not is called step by step.

Sources: ``Dot`` (label-direct cross-entropy) and ``SquaredDistance`` are the losses of signal
propagation (Kohan, Rietman, Siegelmann, arXiv 2204.01723, and the authors' tutorial, which names
squared distance, dot product and cosine similarity). ``Cosine`` adds to the second of these a
centring of the features and a temperature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from spikeprop.kernels import cosine, share, spans, triton_runs_on, worth
from spikeprop.threads import kernel_threads

__all__ = ["Comparison", "Cosine", "Dot", "LocalLoss", "LossValue", "SquaredDistance"]

#: Below this norm a centred feature vector has no direction: it gives logits and gradients of zero.
SMALLEST_NORM = 1e-8


class LossValue(NamedTuple):
    """What a local loss says of one block at one time step.

    Attributes
    ----------
    value : Tensor
        Mean loss of the recordings, shape ``()``, or ``(T,)`` of T steps at once.
    logits : Tensor
        Score of each class for each recording, shape ``(B, C)``.
    delta_h, delta_s : Tensor
        Gradient of ``value`` with respect to ``h`` ``(B, F)`` and ``s`` ``(C, F)``.
    """

    value: Tensor
    logits: Tensor
    delta_h: Tensor
    delta_s: Tensor


class Comparison(NamedTuple):
    """A cosine loss in numbers, for compiled loops.

    Attributes
    ----------
    vectors : Tensor or None
        Fixed class vectors ``(C, F)``; None for those that follow the recordings.
    tau : float
        Temperature.
    rectify : bool
        Whether recordings are compared by ``max(evidence, 0)``.
    smallest : float
        Norm below which a vector has no direction.
    """

    vectors: Tensor | None
    tau: float
    rectify: bool
    smallest: float


class LocalLoss(Protocol):
    """What a rule asks of a loss; any object with these three methods will do."""

    def __call__(self, h: Tensor, s: Tensor, labels: Tensor) -> LossValue:
        """Return value, logits and both gradients; ``h (B, F)``, ``s (C, F)``, ``labels (B,)``."""
        ...

    def logits(self, h: Tensor, s: Tensor) -> Tensor:
        """Return the scores ``(B, C)`` alone, for a prediction."""
        ...

    def linear_readout(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``(weight (C, F), bias (C,))`` of a linear layer on ``h`` with the same argmax."""
        ...


def cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy, and its gradient at the logits, ``(softmax - onehot) / B``."""
    log_p = torch.log_softmax(logits, dim=-1)
    own = labels.unsqueeze(-1).expand(*logits.shape[:-1], 1)
    gradient = log_p.exp()
    gradient.scatter_add_(-1, own, gradient.new_full((), -1.0).expand(own.shape))
    return -log_p.gather(-1, own).squeeze(-1).mean(dim=-1), gradient.div_(len(labels))


def directions(z: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``(z - mean) / norm`` over the features, and ``1 / norm`` (0 where there is none)."""
    centred = z - z.mean(dim=-1, keepdim=True)
    norm = centred.norm(dim=-1, keepdim=True)
    inverse = torch.where(norm > SMALLEST_NORM, norm.reciprocal(), torch.zeros_like(norm))
    return centred * inverse, inverse


def through_directions(delta: Tensor, direction: Tensor, inverse: Tensor) -> Tensor:
    """Carry a gradient with respect to a direction back to the vector it was made of.

    ``delta`` is a mix of centred vectors here, so that the centring needs no term of its own.
    """
    along = (delta * direction).sum(dim=-1, keepdim=True)
    return (delta - along * direction) * inverse


@dataclass(frozen=True)
class Cosine:
    r"""Cross-entropy over cosine similarities of centred evidence.

    .. math::

        \hat h = \frac{h - \bar h}{\lVert h - \bar h \rVert}, \quad
        \hat s = \frac{s - \bar s}{\lVert s - \bar s \rVert}, \quad
        \text{logits} = \hat h \hat s^\top / \tau, \quad
        \delta = \frac{1}{B}\left(\operatorname{softmax}(\text{logits}) - \text{onehot}\right)

    .. math::

        \frac{\partial L}{\partial h} = \frac{1}{\tau \lVert h - \bar h \rVert}
            \left(\delta \hat s - (\delta \hat s \cdot \hat h)\, \hat h\right)

    and the same for ``s`` with :math:`\delta^\top \hat h`.

    Parameters
    ----------
    tau : float
        Temperature, above 0.

    Raises
    ------
    ValueError
        If ``tau`` is not above 0.
    """

    tau: float = 0.07
    batched: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_tau(self.tau)

    def __call__(self, h: Tensor, s: Tensor, labels: Tensor) -> LossValue:
        """Return value, logits and both gradients."""
        h_dir, h_inv = directions(h)
        s_dir, s_inv = directions(s)
        logits = h_dir @ s_dir.mT / self.tau
        value, delta = cross_entropy(logits, labels)
        delta /= self.tau
        return LossValue(
            value,
            logits,
            through_directions(delta @ s_dir, h_dir, h_inv),
            through_directions(delta.mT @ h_dir, s_dir, s_inv),
        )

    def in_numbers(self, vectors: Tensor | None, *, rectify: bool) -> Comparison:
        """Return what compiled loops need to know."""
        return Comparison(vectors, self.tau, rectify, SMALLEST_NORM)

    def overwrite(
        self, evidence: Tensor, labels: Tensor, vectors: Tensor | None, *, rectify: bool
    ) -> tuple[Tensor, Tensor]:
        """Put the modulators of T steps in place of the evidence; the same numbers, compiled.

        Parameters
        ----------
        evidence : Tensor
            ``(T, R, F)``, contiguous: B recordings, then C class signals, if any.
        labels : Tensor
            ``(B,)``.
        vectors : Tensor or None
            Fixed class vectors ``(C, F)``; None for those that follow the recordings.
        rectify : bool
            Whether recordings are compared by ``max(evidence, 0)``.

        Returns
        -------
        value, logits : Tensor
            ``(T,)`` and ``(T, B, C)``.
        """
        n, steps = len(labels), len(evidence)
        if triton_runs_on(evidence.device):
            return self._overwrite_on_device(evidence, labels, vectors, rectify)
        if vectors is None:
            classes = evidence.shape[1] - n
            fixed = evidence.new_empty(0, 0)
        else:
            classes = len(vectors)
            fixed = vectors
        value = evidence.new_empty(steps)
        logits = evidence.new_empty(steps, n, classes)
        arrays = (evidence.numpy(), fixed.contiguous().numpy(), labels.numpy())
        numbers = (self.tau, rectify, SMALLEST_NORM)
        threads = kernel_threads()
        calls = [
            (*arrays, *numbers, value.numpy(), logits.numpy(), first, last)
            for first, last in spans(steps, threads, worth(evidence[0].numel()))
        ]
        share(cosine.compare, calls, threads)
        return value, logits

    def _overwrite_on_device(
        self, evidence: Tensor, labels: Tensor, vectors: Tensor | None, rectify: bool
    ) -> tuple[Tensor, Tensor]:
        from spikeprop.kernels import triton_cosine

        steps, n = len(evidence), len(labels)
        fixed = None if vectors is None else directions(vectors)[0].contiguous()
        classes = evidence.shape[1] - n if fixed is None else len(fixed)
        value, logits = evidence.new_empty(steps, n), evidence.new_empty(steps, n, classes)
        numbers = (self.tau, rectify, SMALLEST_NORM)
        triton_cosine.compare(evidence, fixed, labels, *numbers, value, logits)
        return value.mean(dim=1), logits

    def logits(self, h: Tensor, s: Tensor) -> Tensor:
        """Return the scores ``(B, C)``."""
        return directions(h)[0] @ directions(s)[0].mT / self.tau

    def linear_readout(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """Return the centred, normalised class vectors: the norm of ``h`` moves no argmax."""
        return directions(s)[0] / self.tau, s.new_zeros(len(s))


@dataclass(frozen=True)
class Dot:
    r"""Label-direct cross-entropy over dot products, :math:`\text{logits} = h s^\top / \tau`.

    .. math::

        \frac{\partial L}{\partial h} = \frac{\delta s}{\tau}, \quad
        \frac{\partial L}{\partial s} = \frac{\delta^\top h}{\tau}, \quad
        \delta = \frac{1}{B}\left(\operatorname{softmax}(\text{logits}) - \text{onehot}\right)

    Parameters
    ----------
    tau : float
        Temperature, above 0; the paper has none (1).

    Raises
    ------
    ValueError
        If ``tau`` is not above 0.
    """

    tau: float = 1.0
    batched: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_tau(self.tau)

    def __call__(self, h: Tensor, s: Tensor, labels: Tensor) -> LossValue:
        """Return value, logits and both gradients."""
        logits = self.logits(h, s)
        value, delta = cross_entropy(logits, labels)
        delta /= self.tau
        return LossValue(value, logits, delta @ s, delta.mT @ h)

    def logits(self, h: Tensor, s: Tensor) -> Tensor:
        """Return the scores ``(B, C)``."""
        return h @ s.mT / self.tau

    def linear_readout(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """Return the class vectors themselves."""
        return s / self.tau, s.new_zeros(len(s))


@dataclass(frozen=True)
class SquaredDistance:
    r"""Squared distance to the signal of the own class.

    .. math::

        L = \frac{1}{B} \sum_b \lVert h_b - s_{y_b} \rVert^2, \quad
        \frac{\partial L}{\partial h_b} = \frac{2}{B}(h_b - s_{y_b}), \quad
        \frac{\partial L}{\partial s_c} = -\frac{2}{B} \sum_{b: y_b = c} (h_b - s_c)

    The nearest signal is the prediction. Nothing pushes classes apart, so that signals which go
    through learned weights can collapse onto each other: use it with ``signal="projection"``.
    """

    batched: ClassVar[bool] = True

    def __call__(self, h: Tensor, s: Tensor, labels: Tensor) -> LossValue:
        """Return value, logits and both gradients."""
        difference = h - s[..., labels, :]
        delta_h = difference * (2.0 / len(labels))
        delta_s = torch.zeros_like(s).index_add_(-2, labels, delta_h, alpha=-1.0)
        value = difference.square().sum(dim=-1).mean(dim=-1)
        return LossValue(value, self.logits(h, s), delta_h, delta_s)

    def logits(self, h: Tensor, s: Tensor) -> Tensor:
        """Return the negative squared distances ``(B, C)``."""
        squares = h.square().sum(dim=-1, keepdim=True) + s.square().sum(dim=-1).unsqueeze(-2)
        return 2.0 * (h @ s.mT) - squares

    def linear_readout(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``2 s`` and ``-|s|^2``: the square of ``h`` moves no argmax."""
        return 2.0 * s, -s.square().sum(dim=1)


def check_tau(tau: float) -> None:
    if not tau > 0.0:
        raise ValueError(f"tau has to be above 0, got {tau}")
