r"""OTTT: online training through time, presynaptic traces and spatial backpropagation.

.. math::

    \hat a^l[t] = \lambda \hat a^l[t-1] + s^l[t], \quad
    \nabla_{W^l} L[t] = g_{u^{l+1}}[t]\, \hat a^l[t]^\top, \quad
    g_{u^l}[t] = \frac{\partial L[t]}{\partial s^N[t]}
    \prod_i \frac{\partial s^{i+1}[t]}{\partial s^i[t]}\, \frac{\partial s^l[t]}{\partial u^l[t]}

``lambda`` is the neuron's decay; the derivatives of spikes are pseudo-derivatives; the loss of each
time step is credited at that step.

Source: Xiao, Meng, Zhang, He, Lin, "Online training through time for spiking neural networks",
NeurIPS 2022, section 4.1, equations (4) to (7). For other neurons than LIF the trace is their own
sub-threshold filter.

Local in time: yes. Local in space: no (backpropagation through the layers at each step, by
autograd within the step). Surrogate: yes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from spikeprop.rules.base import Constraints
from spikeprop.rules.pseudo import PseudoDerivative, Sigmoid
from spikeprop.rules.readout_rule import ReadoutRule
from spikeprop.rules.three_factor import Eligibility, Step, Trace

__all__ = ["OTTT"]


@dataclass(frozen=True)
class OTTT(ReadoutRule):
    """Online training through time; parameters as ``ReadoutRule``."""

    constraints: ClassVar[Constraints | None] = Constraints(
        local_in_time=True,
        local_in_space=False,
        surrogate=True,
        feedback="symmetric, spatial backpropagation",
        layerwise=False,
        changes_network="readout",
        memory="B I",
        multiply_adds="2 B I F",
        source="Xiao et al., NeurIPS 2022",
        phases="forward and back in every step",
    )
    search: ClassVar[Mapping[str, Sequence[Any]]] = {
        "lr": (1e-3, 3e-4, 3e-3),
        "dropout": (0.0, 0.2),
        "surrogate": ("sigmoid:4", "fast-sigmoid:10"),
        "homeostasis": (None, 0.1),
    }
    path: ClassVar[str] = "symmetric"

    surrogate: PseudoDerivative | None = Sigmoid(4.0)  # noqa: RUF009 - frozen

    @property
    def eligibilities(self) -> tuple[Eligibility, ...]:
        """The presynaptic trace."""
        return (Trace(),)

    def signals(self, step: Step, error: Tensor) -> list[Tensor]:
        """Return the error, carried down through readout and network."""
        return step.transport(self.top(step, error))
