r"""What most three-factor rules share: a trained linear readout of the last block, outside of it.

.. math::

    z_t = \kappa z_{t-1} + s^L_t, \quad y_t = W^{out} z_t + b^{out}, \quad
    \epsilon_t = \text{softmax}(y_t) - y^*, \quad
    \Delta W^{out}_t \propto -\epsilon_t \otimes z_t

(the delta rule; cross-entropy at every time step, averaged over the batch). The readout belongs to
the learner: the network is not changed. Its logits are what every block reports.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from spikeprop.homeostasis import Homeostasis
from spikeprop.losses import cross_entropy
from spikeprop.rules.describing import settings
from spikeprop.rules.pseudo import FastSigmoid, PseudoDerivative, as_pseudo
from spikeprop.rules.three_factor import Lesson, Step, ThreeFactorRule, View

__all__ = ["ReadoutRule", "draw_readout", "random_feedback"]


@dataclass(frozen=True)
class ReadoutRule(ThreeFactorRule):
    """Base of the rules with a trained readout.

    Parameters
    ----------
    num_classes : int
        Number of classes C, at least 2.
    kappa : float
        Decay of the readout's low-pass per time step, from 0 (none) to below 1.
    surrogate : PseudoDerivative or str
        Stands for the derivative of a spike, where the rule needs one; by its name, too, such as
        ``"fast-sigmoid:25"``.
    homeostasis : Homeostasis or float, optional
        Control of the thresholds after each sequence, or its rate; None for none.
    stream_homeostasis : Homeostasis, optional
        The same, a little at each step of a stream.
    first_step : int
        First time step that is learned from, at least 1 (T_l of S-TLLR); eligibilities and the
        readout's low-pass run from the start.
    readout_gain : float
        What the readout's logits are multiplied by, above 0. An optimiser such as Adam, whose steps
        do not know the size of a gradient, then moves the readout so many times as fast as the
        network.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """

    num_classes: int
    kappa: float = 0.9
    surrogate: PseudoDerivative | None = FastSigmoid()  # noqa: RUF009 - frozen
    homeostasis: Homeostasis | None = None
    stream_homeostasis: Homeostasis | None = None
    first_step: int = 1
    readout_gain: float = 1.0

    def __post_init__(self) -> None:
        if self.num_classes < 2:
            raise ValueError(f"num_classes has to be at least 2, got {self.num_classes}")
        if not 0.0 <= self.kappa < 1.0:
            raise ValueError(f"kappa has to be at least 0 and below 1, got {self.kappa}")
        if self.first_step < 1:
            raise ValueError(f"first_step has to be at least 1, got {self.first_step}")
        if not self.readout_gain > 0.0:
            raise ValueError(f"readout_gain has to be above 0, got {self.readout_gain}")
        set_parts(self)

    def draw(self, shapes: Sequence[torch.Size], generator: torch.Generator) -> dict[str, Tensor]:
        """Draw the readout, as ``nn.Linear`` is drawn."""
        drawn = draw_readout(self.num_classes, shapes[-1].numel(), generator)
        return {name: value / self.readout_gain for name, value in drawn.items()}

    def learned(self, tensors: dict[str, Tensor]) -> list[str]:
        """Return the readout's names."""
        return [name for name in tensors if name.startswith("readout.")]

    def learn(self, step: Step) -> Lesson:
        """Read out, and let the error and the block's own state make the modulators."""
        for view in step.views:
            self.observe(view)
        last = step.views[-1]
        z = last.follow("readout", last.spk, self.kappa)
        gain = self.readout_gain
        bias = gain * step.tensors["readout.bias"].detach()
        y = nn.functional.linear(z, self.readout(step), bias)
        logits = [y] * len(step.views)
        if step.labels is None:
            return Lesson([y.new_zeros(())] * len(step.views), logits, [], {})
        value, error = cross_entropy(y, step.labels)
        signals = self.signals(step, error)
        deltas = [self.modulate(v, signal) for v, signal in zip(step.views, signals, strict=True)]
        gradients = {
            "readout.weight": gain * error.T @ z,
            "readout.bias": gain * error.sum(dim=0),
        }
        return Lesson([value] * len(step.views), logits, deltas, gradients)

    def top(self, step: Step, error: Tensor) -> Tensor:
        """Return the error at the last block's spikes of this step, through the readout."""
        return error @ self.readout(step)

    def readout(self, step: Step) -> Tensor:
        """Return the weights from the last block's low-passed spikes to the logits, ``(C, F)``."""
        return self.readout_gain * step.tensors["readout.weight"].detach()

    @abstractmethod
    def signals(self, step: Step, error: Tensor) -> list[Tensor]:
        """Return the learning signal of each block, dLoss/dspikes or what stands for it ``(B, F)``.

        ``error`` is dLoss/dlogits ``(B, C)``.
        """

    def observe(self, view: View) -> None:
        """Move running values of the rule's own on by a step, with or without labels."""

    def modulate(self, view: View, signal: Tensor) -> tuple[Tensor, ...]:
        """Return the modulator of each eligibility: the signal times the pseudo-derivative."""
        return (signal * view.psi,)

    def config(self) -> dict[str, Any]:
        """Return the rule's name and hyper-parameters."""
        return settings(self)


def set_parts(rule: Any) -> None:
    """Make parts of what a frozen rule was given as words and numbers.

    A surrogate by its name, homeostasis by its rate: command line and search know nothing else.
    """
    for name in ("homeostasis", "stream_homeostasis"):
        given = getattr(rule, name)
        if isinstance(given, int | float) and not isinstance(given, bool):
            object.__setattr__(rule, name, Homeostasis(target=float(given)))
    pseudo = as_pseudo(rule.surrogate)
    if pseudo is None and rule.constraints is not None and rule.constraints.surrogate:
        raise ValueError(f"{type(rule).__name__} needs a surrogate, got None")
    object.__setattr__(rule, "surrogate", pseudo)


def draw_readout(num_classes: int, features: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Draw ``readout.weight`` ``(C, F)``, uniform within ``1 / sqrt(F)``, and a bias of zeros."""
    weight = 2.0 * torch.rand((num_classes, features), generator=generator) - 1.0
    return {
        "readout.weight": weight / math.sqrt(features),
        "readout.bias": torch.zeros(num_classes),
    }


def random_feedback(
    shapes: Sequence[torch.Size], num_classes: int, scale: float, generator: torch.Generator
) -> dict[str, Tensor]:
    """Draw fixed feedback weights ``feedback.l`` ``(C, F_l)``, normal, of deviation ``scale``."""
    return {
        f"feedback.{block}": scale * torch.randn((num_classes, shape.numel()), generator=generator)
        for block, shape in enumerate(shapes)
    }
