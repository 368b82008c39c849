"""LIF with an absolute refractory period: after a spike the voltage is held, and cannot fire.

One step, with a countdown ``rest`` and the reset signal of neurons that were free to fire,
R_t = H(mem_{t-1} - threshold) * 1[rest_{t-1} = 0]:

    rest_t = refractory * R_t + max(rest_{t-1} - 1, 0) * (1 - R_t)
    mem_t  = the voltage after its reset, held                              # while rest_t > 0
    mem_t  = beta * mem_{t-1} + current_t - R_t * threshold                 # else: as in lif.py
    spk_t  = H(mem_t - threshold) * 1[rest_t = 0]

where the reset takes the voltage to (1 - R_t) * mem_{t-1} ("zero") or mem_{t-1} - R_t * threshold
("subtract"). Input that arrives meanwhile is lost. Gerstner et al., "Neuronal Dynamics", 2014,
section 1.3.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from torch import Tensor

from spikeprop.neurons import namesakes
from spikeprop.neurons.arguments import Values, as_parameter
from spikeprop.neurons.base import StepFunction
from spikeprop.neurons.eligibility import LinearFilter, make_filter
from spikeprop.neurons.firing import Firing, FiringNeuron, fire, reset_signal


class RefractoryState(NamedTuple):
    """State of a neuron with a refractory period.

    Attributes
    ----------
    rest, mem : torch.Tensor
        Steps for which the neuron is still held, and voltage, ``(rows, *features)``.
    """

    rest: Tensor
    mem: Tensor


class RefractoryParameters(NamedTuple):
    """All that a step needs besides current and state.

    Attributes
    ----------
    beta, refractory : torch.Tensor
        Decay per step, in [0, 1], and steps of a refractory period; scalar or per neuron.
    firing : Firing
        Threshold, reset and the other options.
    """

    beta: Tensor
    refractory: Tensor
    firing: Firing


def refractory_step(
    current: Tensor, state: RefractoryState, p: RefractoryParameters
) -> tuple[Tensor, RefractoryState]:
    """One step of the difference equation at the top of this file; touches no state.

    Parameters
    ----------
    current : torch.Tensor
        Input current, ``(rows, *features)``.
    state : RefractoryState
        The previous step's state, of the same shape and dtype; left as it is.
    p : RefractoryParameters
        The neuron's parameters, of the same dtype.

    Returns
    -------
    spk : torch.Tensor
        Spikes of this step, of the same shape and dtype.
    state : RefractoryState
        State of this step.
    """
    f, before = p.firing, state.rest.detach()
    reset = reset_signal(state.mem, f) * _is_zero(before)
    rest = reset * p.refractory + (1 - reset) * (before - 1).clamp_min(0)
    free_to_fire = _is_zero(rest)
    if f.reset == "zero":
        held = state.mem - reset * state.mem
        free = p.beta * held + current
    elif f.reset == "subtract":
        held = state.mem - reset * f.threshold
        free = p.beta * state.mem + current - reset * f.threshold
    else:
        held = state.mem
        free = p.beta * held + current
    mem = free_to_fire * free + (1 - free_to_fire) * held
    if f.state_quant is not None:
        mem = f.state_quant(mem)
    return fire(mem, f) * free_to_fire, RefractoryState(rest, mem)


def _is_zero(steps: Tensor) -> Tensor:
    """Give 1[steps = 0] for whole numbers, without a cast."""
    return (1 - steps).clamp_min(0)


class RefractoryLIF(FiringNeuron, namesakes.Leaky):
    """Leaky integrate-and-fire neuron with an absolute refractory period.

    The difference equation stands at the top of this file. A step is ``spk, rest, mem =
    neuron(current, rest, mem)``; see ``SpikingNeuron`` for state, ``unroll`` and ``signal``. While
    a neuron is held its voltage knows nothing of its current: eligibility is the local Jacobian,
    LIF's filter switched off and on neuron by neuron.

    Parameters
    ----------
    beta : float or torch.Tensor
        Decay of the voltage per time step, in [0, 1], scalar or per neuron.
    refractory : int or torch.Tensor
        Time steps for which a neuron is held after the step of its spike, scalar or per neuron.
    threshold : float or torch.Tensor
        Firing threshold, scalar or per neuron.
    reset_mechanism : {"zero", "subtract", "none"}
        What a spike does to the voltage.
    learn_beta : bool
        Make ``beta`` an ``nn.Parameter`` instead of a buffer.
    tau_mem : float or torch.Tensor
        In place of ``beta``, the time constant in milliseconds: ``beta = exp(-dt / tau_mem)``.
    dt : float
        With ``tau_mem``, the length of a time step in milliseconds.
    **options
        ``spike_grad``, ``init_hidden`` and the other options of ``FiringNeuron``.

    Raises
    ------
    TypeError
        As in ``LIF``.
    ValueError
        As in ``LIF``, or if ``refractory`` is not a whole number of steps.
    """

    refractory: Tensor
    rest: Tensor

    State = RefractoryState
    _per_neuron = ("beta", "refractory", "threshold", "graded_spikes_factor")

    def __init__(
        self,
        beta: Values | None = None,
        refractory: Values = 2,
        threshold: Values = 1.0,
        *,
        reset_mechanism: str = "zero",
        learn_beta: bool = False,
        tau_mem: Values | None = None,
        dt: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(threshold, reset_mechanism=reset_mechanism, **options)
        self._own_decay("beta", beta, "tau_mem", tau_mem, dt, learn_beta)
        steps = as_parameter("refractory", refractory)
        if not ((steps >= 0) & (steps == steps.round())).all():
            raise ValueError(
                f"refractory must be a whole number of time steps, 0 or more, but is "
                f"{steps.tolist()}"
            )
        self._own("refractory", steps)

    def step_function(self, current: Tensor) -> StepFunction:
        """Bind the parameters to ``refractory_step``; see ``SpikingNeuron.step_function``."""
        beta = self._fit("beta", current).clamp(0, 1)
        p = RefractoryParameters(beta, self._fit("refractory", current), self.firing(current))
        return partial(refractory_step, p=p)

    def _jacobian(self, current: Tensor, state: RefractoryState) -> LinearFilter:
        # Of the voltage: no current reaches the countdown but through spikes.
        step: Any = self.step_function(current)
        p: RefractoryParameters = step.keywords["p"]
        free = _is_zero(step(current, state)[1].rest)
        slope = 1 - free * (1 - p.beta)
        if p.firing.reset == "zero":
            slope = slope * (1 - reset_signal(state.mem, p.firing) * _is_zero(state.rest))
        return make_filter([[slope]], [free], [1.0])
