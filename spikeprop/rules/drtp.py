r"""DRTP: direct random target projection; ETLP: the same beside an eligibility, on events.

.. math::

    \text{DRTP:}\quad \delta^l_t = -(B_l\, y^*) \odot \psi(u^l_t), \qquad
    \Delta W^l_t \propto -\delta^l_t \otimes \bar x^l_t

The hidden layers never see an error: the one-hot label stands for its sign. The eligibility (not in
the paper, whose networks have no time) is the presynaptic trace with the neuron's decay, as in
ETLP: ``e_ij = psi_j (eps_pre_i)``. ETLP applies the update at teaching events, which arrive at
random with a probability a time step; a neuron's adaptation joins its eligibility through the
neuron's own state.

Sources: Frenkel, Lefebvre, Bol, "Learning without feedback: fixed random learning signals allow for
feedforward training of deep neural networks", Front. Neurosci. 15, 2021, section 2; Quintana,
Perez-Pena, Galindo, Neftci, Chicca, Khacef, "ETLP: event-based three-factor local plasticity for
online learning with neuromorphic hardware", Neuromorph. Comput. Eng. 4, 2024, equations (7), (8),
(10), (11), algorithm 1.

Local in time: yes. Local in space: yes (the label is broadcast). Surrogate: yes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from spikeprop.rules.base import Constraints
from spikeprop.rules.pseudo import PseudoDerivative, Triangle
from spikeprop.rules.readout_rule import ReadoutRule, random_feedback
from spikeprop.rules.three_factor import Eligibility, OwnState, Step, Trace, View

__all__ = ["DRTP", "ETLP", "project_target"]


def project_target(step: Step) -> list[Tensor]:
    """Return ``-B_l y* / batch`` for each block, where ``B_l`` is ``feedback.l``."""
    assert step.labels is not None, "signals are asked for where there are labels"
    rows = [step.tensors[f"feedback.{view.index}"][step.labels] for view in step.views]
    return [-row / len(row) for row in rows]


@dataclass(frozen=True)
class DRTP(ReadoutRule):
    """Direct random target projection.

    Parameters
    ----------
    feedback_scale : float
        Standard deviation of ``B``.
    **options
        Those of ``ReadoutRule``.
    """

    constraints: ClassVar[Constraints | None] = Constraints(
        local_in_time=True,
        local_in_space=True,
        surrogate=True,
        feedback="random, label",
        layerwise=False,
        changes_network="readout",
        memory="B I",
        multiply_adds="B I F",
        source="Frenkel et al., Front. Neurosci. 15 (2021)",
    )
    search: ClassVar[Mapping[str, Sequence[Any]]] = {
        "lr": (3e-4, 1e-4, 1e-3),
        "dropout": (0.0, 0.2),
        "surrogate": ("triangle", "fast-sigmoid:10"),
        "homeostasis": (None, 0.1),
    }

    surrogate: PseudoDerivative | None = Triangle()  # noqa: RUF009 - frozen
    feedback_scale: float = 0.1

    @property
    def eligibilities(self) -> tuple[Eligibility, ...]:
        """The presynaptic trace."""
        return (Trace(),)

    def draw(self, shapes: Sequence[torch.Size], generator: torch.Generator) -> dict[str, Tensor]:
        """Draw the readout, and ``B`` for every block."""
        own = super().draw(shapes, generator)
        return own | random_feedback(shapes, self.num_classes, self.feedback_scale, generator)

    def signals(self, step: Step, error: Tensor) -> list[Tensor]:
        """Return the label's projection, against which the loss falls."""
        return project_target(step)


@dataclass(frozen=True)
class ETLP(DRTP):
    """Event-based three-factor local plasticity.

    Parameters
    ----------
    trigger : float
        Probability of a teaching event at a time step, above 0 and at most 1.
    **options
        Those of :class:`DRTP`.

    Raises
    ------
    ValueError
        If ``trigger`` is outside its range.
    """

    constraints: ClassVar[Constraints | None] = Constraints(
        local_in_time=True,
        local_in_space=True,
        surrogate=True,
        feedback="random, label",
        layerwise=False,
        changes_network="readout",
        memory="B I (LIF), B I F (adaptive)",
        multiply_adds="B I F",
        source="Quintana et al., Neuromorph. Comput. Eng. 4 (2024)",
    )

    trigger: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.trigger <= 1.0:
            raise ValueError(f"trigger has to be above 0 and at most 1, got {self.trigger}")

    @property
    def eligibilities(self) -> tuple[Eligibility, ...]:
        """The neuron's own state, which is the shared trace for a LIF layer."""
        return (OwnState(),)

    def signals(self, step: Step, error: Tensor) -> list[Tensor]:
        """Return the label's projection at a teaching event, and nothing between two of them."""
        signals = project_target(step)
        event = self.trigger == 1.0 or bool(torch.rand(()) < self.trigger)
        return signals if event else [torch.zeros_like(signal) for signal in signals]

    def modulate(self, view: View, signal: Tensor) -> tuple[Tensor, ...]:
        """Return the signal; the eligibility holds the pseudo-derivative already."""
        return (signal,)
