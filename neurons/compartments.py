"""Two-compartment LIF: a soma that fires, and an apical dendrite that takes the learning signal.

One step, with R as in ``lif.py`` and the signal's current s_t (zero for the rows of a recording):

    apical_t = alpha * (apical_{t-1} + s_t)
    mem_t    = beta * mem_{t-1} + current_t + coupling * (apical_{t-1} + s_t) - R_t * threshold
    spk_t    = H(mem_t - threshold)

("zero" puts the voltage back to 0 before the step.) Input arrives at the soma; what a network is to
learn arrives at the apical dendrite, which integrates it on a time constant of its own and passes
it on to the soma: the division of labour of Guerguiev et al., "Towards deep learning with
segregated dendrites", eLife 6, 2017.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikeprop.neurons import namesakes
from spikeprop.neurons.arguments import Values, as_parameter
from spikeprop.neurons.base import StepFunction
from spikeprop.neurons.firing import Firing, FiringNeuron, after_reset, fire, reset_signal


class CompartmentState(NamedTuple):
    """State of a two-compartment neuron.

    Attributes
    ----------
    apical, mem : torch.Tensor
        Voltage of the apical dendrite and of the soma, ``(rows, *features)``.
    """

    apical: Tensor
    mem: Tensor


class CompartmentParameters(NamedTuple):
    """All that a step needs besides current and state; tensors are scalar or per neuron.

    Attributes
    ----------
    alpha, beta : torch.Tensor
        Decay per step of the apical dendrite and of the soma, in [0, 1].
    coupling : torch.Tensor
        How strongly the dendrite drives the soma.
    firing : Firing
        Threshold, reset and the other options.
    """

    alpha: Tensor
    beta: Tensor
    coupling: Tensor
    firing: Firing


def compartment_step(
    current: Tensor, state: CompartmentState, p: CompartmentParameters
) -> tuple[Tensor, CompartmentState]:
    """One step of the difference equation at the top of this file; touches no state.

    Parameters
    ----------
    current : torch.Tensor
        Input current of the soma, ``(rows, *features)``.
    state : CompartmentState
        The previous step's state, of the same shape and dtype, with the signal already added to
        ``apical``; left as it is.
    p : CompartmentParameters
        The neuron's parameters, of the same dtype.

    Returns
    -------
    spk : torch.Tensor
        Spikes of this step, of the same shape and dtype.
    state : CompartmentState
        State of this step.
    """
    f = p.firing
    mem = after_reset(p.beta * state.mem, reset_signal(state.mem, f), f)
    mem = mem + current + p.coupling * state.apical
    if f.state_quant is not None:
        mem = f.state_quant(mem)
    return fire(mem, f), CompartmentState(p.alpha * state.apical, mem)


class TwoCompartmentLIF(FiringNeuron, namesakes.Leaky):
    """Leaky integrate-and-fire neuron with an apical compartment for the learning signal.

    The difference equation stands at the top of this file. A step is ``spk, apical, mem =
    neuron(current, apical, mem, signal=...)``: the rows of ``signal`` join the batch behind the
    recording's, as everywhere, but their current enters the apical dendrite. A signal for the
    recording's own rows (top-down feedback, say) is added to ``apical`` before the step. See
    ``SpikingNeuron`` for state and ``unroll``. The eligibility filter of the input synapse is the
    soma's, ``beta``, and exact.

    Parameters
    ----------
    alpha : float or torch.Tensor
        Decay of the apical voltage per time step, in [0, 1], scalar or per neuron.
    beta : float or torch.Tensor
        Decay of the somatic voltage per time step, likewise.
    coupling : float or torch.Tensor
        What a unit of apical voltage adds to the somatic one in a step.
    threshold : float or torch.Tensor
        Firing threshold, scalar or per neuron.
    learn_alpha, learn_beta, learn_coupling : bool
        Make the parameter an ``nn.Parameter`` instead of a buffer.
    tau_apical, tau_mem : float or torch.Tensor
        In place of ``alpha``, ``beta``: the time constants in milliseconds, ``exp(-dt / tau)``.
    dt : float
        With time constants, the length of a time step in milliseconds.
    **options
        ``spike_grad``, ``init_hidden``, ``reset_mechanism`` and the other options of
        ``FiringNeuron``.

    Raises
    ------
    TypeError
        As in ``LIF``.
    ValueError
        As in ``LIF``.
    """

    alpha: Tensor
    coupling: Tensor
    apical: Tensor

    State = CompartmentState
    exact = True
    _per_neuron = ("alpha", "beta", "coupling", "threshold", "graded_spikes_factor")

    def __init__(
        self,
        alpha: Values | None = None,
        beta: Values | None = None,
        coupling: Values = 1.0,
        threshold: Values = 1.0,
        *,
        learn_alpha: bool = False,
        learn_beta: bool = False,
        learn_coupling: bool = False,
        tau_apical: Values | None = None,
        tau_mem: Values | None = None,
        dt: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(threshold, **options)
        self._own_decay("alpha", alpha, "tau_apical", tau_apical, dt, learn_alpha)
        self._own_decay("beta", beta, "tau_mem", tau_mem, dt, learn_beta)
        self._own("coupling", as_parameter("coupling", coupling), learn_coupling)

    def step_function(self, current: Tensor) -> StepFunction:
        """Bind the parameters to ``compartment_step``; see ``SpikingNeuron.step_function``."""
        alpha, beta = (self._fit(name, current).clamp(0, 1) for name in ("alpha", "beta"))
        coupling = self._fit("coupling", current)
        p = CompartmentParameters(alpha, beta, coupling, self.firing(current))
        return partial(compartment_step, p=p)

    def _join(self, current: Tensor, signal: Tensor) -> Tensor:
        return torch.cat((current, torch.zeros_like(signal)))

    def _admit(self, state: CompartmentState, signal: Tensor) -> CompartmentState:
        rows = state.apical.shape[0] - signal.shape[0]
        driven = torch.cat((state.apical[:rows], state.apical[rows:] + signal))
        return state._replace(apical=driven)
