r"""DECOLLE: deep continuous local learning, a fixed random readout and an error in each layer.

.. math::

    Y^l_t = G^l S^l_t, \quad
    \Delta W^l_t \propto -\big( (G^{l\top}\, \text{error}^l_t) \odot \psi(U^l_t) \big) \otimes P^l_t

with the presynaptic trace ``P`` (the neuron's own filter), and the cross-entropy over ``Y`` as the
local loss. Source: Kaiser, Mostafa, Neftci, "Synaptic plasticity dynamics for deep continuous local
learning (DECOLLE)", Front. Neurosci. 14, 424, 2020, equations (8) to (11). Readings taken: the
paper's loss is the smooth L1 to a one-hot target, cross-entropy here, as in every rule beside it
(``loss="mse"`` for the squared distance of the paper's derivation); its regularisers, which keep
voltages and rates in range, are left to homeostasis; the class is read by the trained output layer
that the authors' code offers.

Local in time: yes. Local in space: yes. Surrogate: yes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from spikeprop.losses import cross_entropy
from spikeprop.rules.base import Constraints
from spikeprop.rules.readout_rule import ReadoutRule, random_feedback
from spikeprop.rules.three_factor import Eligibility, Step, Trace

__all__ = ["DECOLLE"]


@dataclass(frozen=True)
class DECOLLE(ReadoutRule):
    """Deep continuous local learning.

    Parameters
    ----------
    feedback_scale : float
        Standard deviation of ``G``.
    loss : {"cross-entropy", "mse"}
        Local loss.
    **options
        Those of ``ReadoutRule``.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """

    constraints: ClassVar[Constraints | None] = Constraints(
        local_in_time=True,
        local_in_space=True,
        surrogate=True,
        feedback="none (fixed readout in the layer)",
        layerwise=False,
        changes_network="readout",
        memory="B I",
        multiply_adds="B I F + 2 B C F",
        source="Kaiser et al., Front. Neurosci. 14, 424 (2020)",
    )
    search: ClassVar[Mapping[str, Sequence[Any]]] = {
        "lr": (1e-3, 3e-4, 3e-3),
        "dropout": (0.0, 0.2),
        "surrogate": ("fast-sigmoid", "triangle"),
        "feedback_scale": (0.3, 0.1),
        "homeostasis": (None, 0.1),
    }

    feedback_scale: float = 0.3
    loss: str = "cross-entropy"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss not in ("cross-entropy", "mse"):
            raise ValueError(f"loss has to be cross-entropy or mse, got {self.loss!r}")

    @property
    def eligibilities(self) -> tuple[Eligibility, ...]:
        """The presynaptic trace."""
        return (Trace(),)

    def draw(self, shapes: Sequence[torch.Size], generator: torch.Generator) -> dict[str, Tensor]:
        """Draw the readout, and ``G`` for every block."""
        own = super().draw(shapes, generator)
        return own | random_feedback(shapes, self.num_classes, self.feedback_scale, generator)

    def signals(self, step: Step, error: Tensor) -> list[Tensor]:
        """Return each layer's own error, back through its own fixed readout."""
        assert step.labels is not None, "signals are asked for where there are labels"
        found = []
        for view in step.views:
            readout = step.tensors[f"feedback.{view.index}"]
            y = view.spk @ readout.T
            if self.loss == "mse":
                own = (y - nn.functional.one_hot(step.labels, y.shape[1])) / len(y)
            else:
                own = cross_entropy(y, step.labels)[1]
            found.append(own @ readout)
        return found
