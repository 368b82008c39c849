r"""STSF: spiking-time sparse feedback, a broadcast error that meets pairs of spikes.

.. math::

    \Delta w^l_t \propto -\delta^l_t \odot s^{post}_t \otimes s^{pre}_t, \quad
    \delta^l_t = \epsilon_t G_l

``G_l`` is fixed, random and sparse: every hidden neuron hears of one class alone, so that no
multiplication is needed to select its error. The postsynaptic factor is the spike itself ("vanilla
STDP"): no surrogate. The output layer's own spike is taken as 1, which is the delta rule of the
readout here.

Source: He et al., "STSF: spiking time sparse feedback learning for spiking neural networks", IEEE
TNNLS 2025 (abstract), and for the equations, which the abstract does not state, the trainer that
NeuroTrain (arXiv 2605.15058) wrote after it: entries uniform within ``sqrt(F / C)`` there; their
scale is a parameter here.

Local in time: yes. Local in space: no (the error is broadcast). Surrogate: no.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from spikeprop.homeostasis import Homeostasis
from spikeprop.rules.base import Constraints
from spikeprop.rules.pseudo import PseudoDerivative
from spikeprop.rules.readout_rule import ReadoutRule
from spikeprop.rules.three_factor import Eligibility, Step, Trace, View

__all__ = ["STSF"]


@dataclass(frozen=True)
class STSF(ReadoutRule):
    """Spiking-time sparse feedback.

    Parameters
    ----------
    feedback_scale : float
        Bound of the uniform feedback weights.
    **options
        Those of ``ReadoutRule``.
    """

    constraints: ClassVar[Constraints | None] = Constraints(
        local_in_time=True,
        local_in_space=False,
        surrogate=False,
        feedback="random, error, sparse",
        layerwise=False,
        changes_network="readout",
        memory="B I (the input alone)",
        multiply_adds="B I F",
        source="He et al., IEEE TNNLS (2025)",
    )
    search: ClassVar[Mapping[str, Sequence[Any]]] = {
        "lr": (3e-5, 1e-5, 1e-4),
        "dropout": (0.0, 0.2),
        "readout_gain": (100.0, 30.0, 300.0),
    }

    surrogate: PseudoDerivative | None = None
    homeostasis: Homeostasis | None = Homeostasis()  # noqa: RUF009 - frozen
    readout_gain: float = 100.0  # with a small step for the hidden weights, a normal one for it
    feedback_scale: float = 1.0

    @property
    def eligibilities(self) -> tuple[Eligibility, ...]:
        """The presynaptic spikes of the step."""
        return (Trace(0.0),)

    def draw(self, shapes: Sequence[torch.Size], generator: torch.Generator) -> dict[str, Tensor]:
        """Draw the readout, and ``G`` with one entry for each neuron."""
        own = super().draw(shapes, generator)
        for block, shape in enumerate(shapes):
            features = shape.numel()
            heard = torch.randint(self.num_classes, (features,), generator=generator)
            value = self.feedback_scale * (2.0 * torch.rand(features, generator=generator) - 1.0)
            matrix = torch.zeros((self.num_classes, features))
            matrix[heard, torch.arange(features)] = value
            own[f"feedback.{block}"] = matrix
        return own

    def signals(self, step: Step, error: Tensor) -> list[Tensor]:
        """Return the error through each block's sparse ``G``."""
        return [error @ step.tensors[f"feedback.{view.index}"] for view in step.views]

    def modulate(self, view: View, signal: Tensor) -> tuple[Tensor, ...]:
        """Return the signal where the neuron fires."""
        return (signal * view.spk,)
