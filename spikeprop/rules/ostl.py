r"""OSTL and OSTTP: online spatio-temporal learning, and the same with target projection.

.. math::

    \epsilon^{t} = \frac{d s^t}{d s^{t-1}} \epsilon^{t-1} + \frac{\partial s^t}{\partial W}, \quad
    e^{t} = \frac{\partial y^t}{\partial s^t} \epsilon^{t}, \quad
    \Delta W^l \propto -\sum_t L_l^t e_l^t

with state ``s`` (voltage) and output ``y`` (spikes) of a unit; ``ds/ds`` holds the reset, through
the spike's pseudo-derivative: for a soft reset ``ds_t/ds_{t-1} = beta - threshold psi_{t-1}``. The
learning signal ``L_l`` of OSTL is the error backpropagated through the layers within the time step,
that of OSTTP a fixed random projection of the target, ``L_l^t = -B_l y*^t``.

Sources: Bohnstingl, Wozniak, Pantazi, Eleftheriou, "Online spatio-temporal learning in deep neural
networks", IEEE TNNLS 2022 (arXiv 2007.12723), equations (6) to (11); Ortner, Pes, Gentinetta,
Frenkel, Pantazi, "Online spatio-temporal learning with target projection", AICAS 2023, equations
(8), (9) and (11). Readings taken: recurrent spikes from other neurons count as inputs (no full
``ds/ds`` within a layer, as for deep networks of feed-forward units); neurons with more state than
a voltage have their own state's derivatives without the reset; OSTTP's sign makes the update follow
the target, as in DRTP.

Local in time: yes. Local in space: OSTL no, OSTTP yes (labels are broadcast). Surrogate: yes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from spikeprop.homeostasis import Homeostasis
from spikeprop.rules.base import ONCE, Constraints
from spikeprop.rules.drtp import project_target
from spikeprop.rules.pseudo import PseudoDerivative, Triangle
from spikeprop.rules.readout_rule import ReadoutRule, random_feedback
from spikeprop.rules.three_factor import Eligibility, OwnState, Step, View

__all__ = ["OSTL", "OSTTP"]


@dataclass(frozen=True)
class OSTL(ReadoutRule):
    """Online spatio-temporal learning; parameters as ``ReadoutRule``."""

    constraints: ClassVar[Constraints | None] = Constraints(
        local_in_time=True,
        local_in_space=False,
        surrogate=True,
        feedback="symmetric, spatial backpropagation",
        layerwise=False,
        changes_network="readout",
        memory="B I F",
        multiply_adds="3 B I F",
        source="Bohnstingl et al., IEEE TNNLS (2022)",
        phases="forward and back in every step",
    )
    search: ClassVar[Mapping[str, Sequence[Any]]] = {
        "lr": (3e-3, 1e-3, 6e-3),
        "dropout": (0.0, 0.2),
        "surrogate": ("triangle", "fast-sigmoid:10"),
        "homeostasis": (None, 0.1),
    }
    path: ClassVar[str] = "symmetric"
    update_every: ClassVar[int] = ONCE  # more often it keeps a trace a synapse and recording

    surrogate: PseudoDerivative | None = Triangle()  # noqa: RUF009 - frozen

    @property
    def eligibilities(self) -> tuple[Eligibility, ...]:
        """The unit's own state, reset included."""
        return (OwnState(reset=True),)

    def signals(self, step: Step, error: Tensor) -> list[Tensor]:
        """Return the error, carried down through readout and network."""
        return step.transport(self.top(step, error))

    def modulate(self, view: View, signal: Tensor) -> tuple[Tensor, ...]:
        """Return the signal; the eligibility holds the pseudo-derivative already."""
        return (signal,)


@dataclass(frozen=True)
class OSTTP(OSTL):
    """OSTL with target projection.

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
        memory="B I F",
        multiply_adds="3 B I F",
        source="Ortner et al., AICAS 2023",
    )
    search: ClassVar[Mapping[str, Sequence[Any]]] = {
        "lr": (3e-4, 1e-3, 3e-3),
        "dropout": (0.0, 0.2),
        "surrogate": ("triangle", "fast-sigmoid:10"),
        "homeostasis": (0.1, None),
        "readout_gain": (100.0, 30.0, 10.0),
    }
    path: ClassVar[str] = "none"

    homeostasis: Homeostasis | None = Homeostasis()  # noqa: RUF009 - frozen
    readout_gain: float = 100.0
    feedback_scale: float = 0.1

    def draw(self, shapes: Sequence[torch.Size], generator: torch.Generator) -> dict[str, Tensor]:
        """Draw the readout, and ``B`` for every block."""
        own = super().draw(shapes, generator)
        return own | random_feedback(shapes, self.num_classes, self.feedback_scale, generator)

    def signals(self, step: Step, error: Tensor) -> list[Tensor]:
        """Return the label's projection, against which the loss falls."""
        return project_target(step)
