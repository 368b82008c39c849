"""Second-order LIF: the synaptic current is an exponential filter of its own (Synaptic).

One step, with R as in ``lif.py``:

    syn_t = alpha * syn_{t-1} + current_t
    mem_t = beta * mem_{t-1} + syn_t - R_t * threshold              # "subtract", the default
    mem_t = (1 - R_t) * (beta * mem_{t-1} + syn_t)                  # "zero"
    mem_t = beta * mem_{t-1} + syn_t                                # "none"
    spk_t = H(mem_t - threshold)

The convention of Eshraghian et al., "Training spiking neural networks using lessons from deep
learning", Proc. IEEE 111(9), 2023 (snnTorch's ``Synaptic``): the voltage sees this step's synaptic
current, with a gain of 1.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

from torch import Tensor

from spikeprop.neurons import namesakes
from spikeprop.neurons.arguments import Values
from spikeprop.neurons.base import StepFunction
from spikeprop.neurons.eligibility import LinearFilter, make_filter
from spikeprop.neurons.firing import (
    Firing,
    FiringNeuron,
    after_reset,
    fire,
    reset_now,
    reset_signal,
)


class SynapticState(NamedTuple):
    """State of a neuron with a synaptic current.

    Attributes
    ----------
    syn, mem : torch.Tensor
        Synaptic current and membrane voltage, ``(rows, *features)``.
    """

    syn: Tensor
    mem: Tensor


class SynapticParameters(NamedTuple):
    """All that a step needs besides current and state.

    Attributes
    ----------
    alpha, beta : torch.Tensor
        Decay per step of the synaptic current and of the voltage, in [0, 1], scalar or per neuron.
    firing : Firing
        Threshold, reset and the other options.
    """

    alpha: Tensor
    beta: Tensor
    firing: Firing


def synaptic_step(
    current: Tensor, state: SynapticState, p: SynapticParameters, also: Tensor | None = None
) -> tuple[Tensor, SynapticState]:
    """One step of the difference equation at the top of this file; touches no state.

    Parameters
    ----------
    current : torch.Tensor
        Input current, ``(rows, *features)``.
    state : SynapticState
        The previous step's state, of the same shape and dtype; left as it is.
    p : SynapticParameters
        The neuron's parameters, of the same dtype.
    also : torch.Tensor, optional
        A second current, added to the first one (a layer's own spikes, for instance).

    Returns
    -------
    spk : torch.Tensor
        Spikes of this step, of the same shape and dtype.
    state : SynapticState
        State of this step.
    """
    f = p.firing
    syn = (p.alpha * state.syn).add_(current)
    if also is not None:
        # In this place, for snnTorch's rounding.
        syn = syn + also
    mem = (p.beta * state.mem).add_(syn)
    reset = reset_signal(state.mem, f)
    mem = after_reset(mem, reset, f)
    if f.state_quant is not None:
        mem, syn = f.state_quant(mem), f.state_quant(syn)
    spk = fire(mem, f)
    if not f.reset_delay and f.reset != "none":
        mem = reset_now(mem, spk, reset, f)
    return spk, SynapticState(syn, mem)


def synaptic_filter(alpha: Tensor, beta: Tensor) -> LinearFilter:
    """Give the sub-threshold dynamics of (syn, mem) as a linear filter.

    Parameters
    ----------
    alpha, beta : torch.Tensor
        Decay per step, in [0, 1], scalar or per neuron.

    Returns
    -------
    LinearFilter
        With two variables.
    """
    return make_filter([[alpha, 0.0], [alpha, beta]], [1.0, 1.0], [0.0, 1.0])


class Synaptic(FiringNeuron, namesakes.Synaptic):
    """Leaky integrate-and-fire neuron with a synaptic current; drop-in for ``snntorch.Synaptic``.

    The difference equation stands at the top of this file. A step is ``spk, syn, mem =
    synaptic(current, syn, mem)``. Arguments, numbers and ``state_dict`` keys are those of
    ``snntorch.Synaptic`` 1.0; see ``SpikingNeuron`` for state, ``unroll`` and ``signal``. The
    eligibility filter is exact: two variables, the synaptic current's and the voltage's.

    Parameters
    ----------
    alpha : float or torch.Tensor
        Decay of the synaptic current per time step, in [0, 1], scalar or per neuron. Values of a
        tensor outside are clamped in the step.
    beta : float or torch.Tensor
        Decay of the voltage per time step, likewise.
    learn_alpha, learn_beta : bool
        Make ``alpha``, ``beta`` an ``nn.Parameter`` instead of a buffer.
    tau_syn, tau_mem : float or torch.Tensor
        In place of ``alpha``, ``beta``: the time constants in milliseconds, ``exp(-dt / tau)``.
    dt : float
        With time constants, the length of a time step in milliseconds.
    threshold, spike_grad, surrogate_disable, init_hidden, inhibition, learn_threshold
        As in ``LIF``.
    reset_mechanism, state_quant, output, reset_delay
        As in ``LIF``.

    Raises
    ------
    TypeError
        As in ``LIF``.
    ValueError
        As in ``LIF``.
    """

    alpha: Tensor
    syn: Tensor

    State = SynapticState
    exact = True
    _per_neuron = ("alpha", "beta", "threshold", "graded_spikes_factor")

    def __init__(
        self,
        alpha: Values | None = None,
        beta: Values | None = None,
        threshold: Values = 1.0,
        spike_grad: Callable[[Tensor], Tensor] | None = None,
        surrogate_disable: bool = False,
        init_hidden: bool = False,
        inhibition: bool = False,
        learn_alpha: bool = False,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        reset_mechanism: str = "subtract",
        state_quant: Callable[[Tensor], Tensor] | Literal[False] | None = False,
        output: bool = False,
        reset_delay: bool = True,
        *,
        tau_syn: Values | None = None,
        tau_mem: Values | None = None,
        dt: float = 1.0,
    ) -> None:
        super().__init__(
            threshold, spike_grad, surrogate_disable, init_hidden, inhibition, learn_threshold,
            reset_mechanism, state_quant, output,
        )  # fmt: skip
        self.reset_delay = reset_delay
        # In snnTorch's order, which an optimiser's checkpoint knows them by.
        self._own_decay("beta", beta, "tau_mem", tau_mem, dt, learn_beta)
        self._own_decay("alpha", alpha, "tau_syn", tau_syn, dt, learn_alpha)

    def step_function(self, current: Tensor) -> StepFunction:
        """Bind the parameters to ``synaptic_step``; see ``SpikingNeuron.step_function``."""
        alpha, beta = (self._fit(name, current).clamp(0, 1) for name in ("alpha", "beta"))
        return partial(synaptic_step, p=SynapticParameters(alpha, beta, self.firing(current)))

    def filter(self) -> LinearFilter:
        """Give the filter of (syn, mem); see ``SpikingNeuron.filter``."""
        return synaptic_filter(self.alpha.clamp(0, 1), self.decay())

    def init_synaptic(self) -> Any:
        """Do as ``reset_mem``; snnTorch's older name of it."""
        return self.reset_mem()
