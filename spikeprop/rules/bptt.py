r"""Surrogate-gradient backpropagation through time, whole or truncated: the bound of the others.

.. math::

    \nabla_W \; \text{CE}\Big(\frac1T \sum_t y_t,\; y^*\Big), \quad
    y_t = W^{out} z_t + b^{out}, \quad z_t = \kappa z_{t-1} + s^L_t

by autograd through the whole unrolled network, each spike differentiated by a surrogate and resets
held as inputs (as in snnTorch). Truncated: the same over windows of ``window`` steps, after each of
which the state is cut off the graph and the weights move.

Sources: Neftci, Mostafa, Zenke, IEEE Signal Process. Mag. 36, 51, 2019; Eshraghian et al., Proc.
IEEE 111, 1016, 2023; truncation, Williams and Peng, Neural Comput. 2, 490, 1990.

Local in time: no (truncated: within a window). Local in space: no. Surrogate: yes. Memory grows
with the number of time steps differentiated. ``update_every`` does not apply: weights cannot move
within what is differentiated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from spikeprop.homeostasis import Homeostasis
from spikeprop.rules.base import Constraints, Rule
from spikeprop.rules.describing import settings
from spikeprop.rules.pseudo import FastSigmoid, PseudoDerivative
from spikeprop.rules.readout_rule import draw_readout, set_parts

__all__ = ["BPTT", "TBPTT"]


@dataclass(frozen=True)
class BPTT(Rule):
    """Backpropagation through time.

    Parameters
    ----------
    num_classes : int
        Number of classes C, at least 2.
    kappa : float
        Decay of the readout's low-pass per time step, from 0 (none) to below 1.
    surrogate : PseudoDerivative
        Stands for the derivative of a spike.
    window : int, optional
        Time steps that are differentiated together; None for the whole sequence.
    homeostasis, stream_homeostasis : Homeostasis, optional
        Control of the thresholds; None for none.
    first_step : int
        First time step whose logits the loss sees, at least 1.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """

    constraints: ClassVar[Constraints | None] = Constraints(
        local_in_time=False,
        local_in_space=False,
        surrogate=True,
        feedback="symmetric, through space and time",
        layerwise=False,
        changes_network="readout",
        memory="T B (I + F)",
        multiply_adds="2 B I F",
        source="Neftci et al., IEEE Signal Process. Mag. 36 (2019)",
        phases="forward, then back through all steps",
    )
    search: ClassVar[Mapping[str, Sequence[Any]]] = {
        "lr": (2e-3, 4e-3, 1e-3),
        "dropout": (0.0, 0.2),
        "surrogate": ("fast-sigmoid:25", "fast-sigmoid:10"),
        "homeostasis": (None, 0.1),
    }

    num_classes: int
    kappa: float = 0.9
    surrogate: PseudoDerivative = FastSigmoid()  # noqa: RUF009 - frozen
    window: int | None = None
    homeostasis: Homeostasis | None = None
    stream_homeostasis: Homeostasis | None = None
    first_step: int = 1

    def __post_init__(self) -> None:
        if self.num_classes < 2:
            raise ValueError(f"num_classes has to be at least 2, got {self.num_classes}")
        if not 0.0 <= self.kappa < 1.0:
            raise ValueError(f"kappa has to be at least 0 and below 1, got {self.kappa}")
        if self.window is not None and self.window < 1:
            raise ValueError(f"window has to be at least 1, or None, got {self.window}")
        if self.first_step < 1:
            raise ValueError(f"first_step has to be at least 1, got {self.first_step}")
        set_parts(self)

    def draw(self, shapes: Sequence[torch.Size], generator: torch.Generator) -> dict[str, Tensor]:
        """Draw the readout, as ``nn.Linear`` is drawn."""
        return draw_readout(self.num_classes, shapes[-1].numel(), generator)

    def learned(self, tensors: dict[str, Tensor]) -> list[str]:
        """Return the readout's names."""
        return list(tensors)

    def config(self) -> dict[str, Any]:
        """Return the rule's name and hyper-parameters."""
        return settings(self)


@dataclass(frozen=True)
class TBPTT(BPTT):
    """Truncated backpropagation through time; parameters as :class:`BPTT`."""

    constraints: ClassVar[Constraints | None] = Constraints(
        local_in_time=False,
        local_in_space=False,
        surrogate=True,
        feedback="symmetric, through space and window",
        layerwise=False,
        changes_network="readout",
        memory="window B (I + F)",
        multiply_adds="2 B I F",
        source="Williams and Peng, Neural Comput. 2, 490 (1990)",
        phases="forward, then back, window by window",
    )

    window: int | None = 5
