r"""SLTT: spatial learning through time; temporal paths of the gradient are left out.

.. math::

    \nabla_{W^l} L = \sum_t \frac{\partial L[t]}{\partial s^l[t]}
    \frac{\partial s^l[t]}{\partial u^l[t]}\, s^{l-1}[t]^\top

OTTT with ``lambda = 0``. Source: Meng, Xiao, Yan, Wang, Lin, Luo, "Towards memory- and
time-efficient backpropagation for training spiking neural networks", ICCV 2023, section 4.2,
algorithm 1. (Its variant SLTT-K, a backward pass at K steps only, is not offered.)

Local in time: yes. Local in space: no (backpropagation through the layers at each step, by
autograd within the step). Surrogate: yes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from spikeprop.rules.base import Constraints
from spikeprop.rules.ottt import OTTT
from spikeprop.rules.pseudo import PseudoDerivative, Triangle
from spikeprop.rules.three_factor import Eligibility, Trace

__all__ = ["SLTT"]


@dataclass(frozen=True)
class SLTT(OTTT):
    """Spatial learning through time; parameters as ``ReadoutRule``."""

    constraints: ClassVar[Constraints | None] = Constraints(
        local_in_time=True,
        local_in_space=False,
        surrogate=True,
        feedback="symmetric, spatial backpropagation",
        layerwise=False,
        changes_network="readout",
        memory="B I (the input alone)",
        multiply_adds="2 B I F",
        source="Meng et al., ICCV 2023",
        phases="forward and back in every step",
    )
    search: ClassVar[Mapping[str, Sequence[Any]]] = {
        "lr": (1e-3, 3e-4, 3e-3),
        "dropout": (0.0, 0.2),
        "surrogate": ("triangle:1", "fast-sigmoid:10"),
        "homeostasis": (None, 0.1),
    }

    surrogate: PseudoDerivative | None = Triangle(1.0)  # noqa: RUF009 - frozen

    @property
    def eligibilities(self) -> tuple[Eligibility, ...]:
        """The presynaptic input of the step."""
        return (Trace(0.0),)
