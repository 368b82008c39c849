r"""e-prop: eligibility propagation, with symmetric or random feedback of the output error.

.. math::

    \Delta W_{ji} = -\eta \sum_t L_j^t\, \bar e_{ji}^t, \quad
    \bar e^t = \kappa \bar e^{t-1} + e^t, \quad
    e_{ji}^t = \psi_j^t\, \bar z_i^t \;\text{(LIF)}, \quad
    L_j^t = \sum_k B_{jk} (\pi_k^t - \pi_k^{*,t})

``z_bar`` is the presynaptic trace with the neuron's decay; a reset is held as an input. For an
adaptive neuron the slow component of the eligibility vector joins, ``e = psi (z_bar - beta
eps_a)``: here it is read off the neuron's own step (:class:`OwnState`), so that it is right for
every neuron with a state of its own.

Source: Bellec, Scherr, Subramoney et al., "A solution to the learning dilemma for recurrent
networks of spiking neurons", Nat. Commun. 11, 3625, 2020, equations (1), (4), (5), (22) to (25) and
(28). The paper has one recurrent layer. Readings taken here for several: with symmetric feedback a
lower block gets its signal through the weights above it and their pseudo-derivatives, within the
time step; with random feedback every block has a ``B`` of its own.

``filtered=False`` leaves the low-pass out of the eligibility of LIF layers (exact for ``kappa=0``),
which then costs a trace an input instead of one a synapse.

Local in time: yes. Local in space: no, the output error is broadcast (``"symmetric"``: through the
weights). Surrogate: yes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from spikeprop.rules.base import ONCE, Constraints
from spikeprop.rules.pseudo import PseudoDerivative, Triangle
from spikeprop.rules.readout_rule import ReadoutRule, random_feedback
from spikeprop.rules.three_factor import Eligibility, OwnState, Step, Trace, View

__all__ = ["EProp", "EPropRandom"]


@dataclass(frozen=True)
class EProp(ReadoutRule):
    """e-prop with symmetric feedback.

    Parameters
    ----------
    filtered : bool
        Whether the eligibility has the readout's low-pass, a value a synapse and row.
    **options
        Those of :class:`~spikeprop.rules.readout_rule.ReadoutRule`.
    """

    constraints: ClassVar[Constraints | None] = Constraints(
        local_in_time=True,
        local_in_space=False,
        surrogate=True,
        feedback="symmetric, error",
        layerwise=False,
        changes_network="readout",
        memory="B I F (B I unfiltered, LIF)",
        multiply_adds="3 B I F + B F F",
        source="Bellec et al., Nat. Commun. 11, 3625 (2020)",
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
    filtered: bool = True

    @property
    def eligibilities(self) -> tuple[Eligibility, ...]:
        """The neuron's own state; for ``filtered=False`` its trace, which LIF layers share."""
        return (OwnState(self.kappa) if self.filtered else Trace(),)

    def signals(self, step: Step, error: Tensor) -> list[Tensor]:
        """Return the error carried down through readout and network."""
        return step.transport(error @ self.readout(step))

    def modulate(self, view: View, signal: Tensor) -> tuple[Tensor, ...]:
        """Return the signal; the own state's eligibility holds the pseudo-derivative already.

        That eligibility is a mean over time, with ``1 - kappa`` of each new value, and the readout
        a sum.
        """
        return (signal / (1.0 - self.kappa) if self.filtered else signal * view.psi,)


@dataclass(frozen=True)
class EPropRandom(EProp):
    """e-prop with random feedback ("broadcast"): ``B`` of each block is drawn once.

    Parameters
    ----------
    feedback_scale : float
        Standard deviation of ``B``.
    **options
        Those of :class:`EProp`.
    """

    constraints: ClassVar[Constraints | None] = Constraints(
        local_in_time=True,
        local_in_space=False,
        surrogate=True,
        feedback="random, error",
        layerwise=False,
        changes_network="readout",
        memory="B I F (B I unfiltered, LIF)",
        multiply_adds="3 B I F + B C F",
        source="Bellec et al., Nat. Commun. 11, 3625 (2020)",
    )
    path: ClassVar[str] = "none"

    feedback_scale: float = 0.1

    def draw(self, shapes: Sequence[torch.Size], generator: torch.Generator) -> dict[str, Tensor]:
        """Draw the readout, and ``B`` for every block."""
        own = super().draw(shapes, generator)
        return own | random_feedback(shapes, self.num_classes, self.feedback_scale, generator)

    def signals(self, step: Step, error: Tensor) -> list[Tensor]:
        """Return the error through each block's ``B``."""
        return [error @ step.tensors[f"feedback.{view.index}"] for view in step.views]
