r"""Feedback alignment and direct feedback alignment: the error comes back by fixed random weights.

.. math::

    \text{FA:}\quad L^l_t = \big(L^{l+1}_t \odot \psi^{l+1}_t\big) B_{l+1}, \qquad
    \text{DFA:}\quad L^l_t = \epsilon_t B_l, \qquad
    \Delta W^l_t \propto -(L^l_t \odot \psi^l_t) \otimes \bar x^l_t

``B_{l+1}`` has the shape of the synapse above and takes its place on the way down, that of the
readout included; DFA's ``B_l`` leads from the output error straight to each layer. The eligibility
is the presynaptic trace with the neuron's decay (the papers have no time; the same reading as in
S-TLLR's and e-prop's comparisons with DFA).

Sources: Lillicrap, Cownden, Tweed, Akerman, "Random synaptic feedback weights support error
backpropagation for deep learning", Nat. Commun. 7, 13276, 2016, equations (1) to (3); Nokland,
"Direct feedback alignment provides learning in deep neural networks", NeurIPS 2016, equation (7).

Local in time: yes. Local in space: no. Surrogate: yes. FA goes down by autograd within the step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from spikeprop.rules.base import Constraints
from spikeprop.rules.readout_rule import ReadoutRule, random_feedback
from spikeprop.rules.three_factor import Eligibility, Step, Trace

__all__ = ["DFA", "FeedbackAlignment"]


@dataclass(frozen=True)
class FeedbackAlignment(ReadoutRule):
    """Feedback alignment.

    Parameters
    ----------
    feedback_scale : float
        Standard deviation of the random matrix that takes the readout's place on the way down.
    **options
        Those of ``ReadoutRule``.
    """

    constraints: ClassVar[Constraints | None] = Constraints(
        local_in_time=True,
        local_in_space=False,
        surrogate=True,
        feedback="random, layer by layer",
        layerwise=False,
        changes_network="readout",
        memory="B I + I F",
        multiply_adds="3 B I F",
        source="Lillicrap et al., Nat. Commun. 7, 13276 (2016)",
        phases="forward and back in every step",
    )
    search: ClassVar[Mapping[str, Sequence[Any]]] = {
        "lr": (1e-3, 3e-4, 3e-3),
        "dropout": (0.0, 0.2),
        "surrogate": ("fast-sigmoid", "triangle"),
        "homeostasis": (None, 0.1),
    }
    path: ClassVar[str] = "random"

    feedback_scale: float = 0.1

    @property
    def eligibilities(self) -> tuple[Eligibility, ...]:
        """The presynaptic trace."""
        return (Trace(),)

    def draw(self, shapes: Sequence[torch.Size], generator: torch.Generator) -> dict[str, Tensor]:
        """Draw the readout and the matrix in its place; the engine draws those of the synapses."""
        own = super().draw(shapes, generator)
        last = random_feedback(shapes[-1:], self.num_classes, self.feedback_scale, generator)
        seed = torch.randint(2**20, (), generator=generator)
        return own | {"feedback.readout": last["feedback.0"], "feedback.seed": seed.float()}

    def signals(self, step: Step, error: Tensor) -> list[Tensor]:
        """Return the error, carried down by random weights."""
        return step.transport(error @ step.tensors["feedback.readout"])


@dataclass(frozen=True)
class DFA(FeedbackAlignment):
    """Direct feedback alignment; parameters as :class:`FeedbackAlignment`."""

    constraints: ClassVar[Constraints | None] = Constraints(
        local_in_time=True,
        local_in_space=False,
        surrogate=True,
        feedback="random, error",
        layerwise=False,
        changes_network="readout",
        memory="B I + C F",
        multiply_adds="B I F + B C F",
        source="Nokland, NeurIPS 2016",
    )
    path: ClassVar[str] = "none"

    def draw(self, shapes: Sequence[torch.Size], generator: torch.Generator) -> dict[str, Tensor]:
        """Draw the readout, and ``B`` for every block."""
        own = ReadoutRule.draw(self, shapes, generator)
        return own | random_feedback(shapes, self.num_classes, self.feedback_scale, generator)

    def signals(self, step: Step, error: Tensor) -> list[Tensor]:
        """Return the error through each block's ``B``."""
        return [error @ step.tensors[f"feedback.{view.index}"] for view in step.views]
