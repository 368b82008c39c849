"""Stochastic LIF: it fires by chance, the more likely the higher its voltage (escape noise).

One step, with the reset of ``lif.py`` driven by the spikes of the last step, R_t = spk_{t-1}:

    mem_t = beta * mem_{t-1} + current_t - R_t * threshold                  # "subtract"
    mem_t = beta * (1 - R_t) * mem_{t-1} + current_t                        # "zero"
    p_t   = 1 - exp(-rate * exp((mem_t - threshold) / width))
    spk_t = 1 with probability p_t, else 0

``rate`` is the expected number of spikes in a step at threshold, ``width`` the softness of the
threshold: Gerstner et al., "Neuronal Dynamics", 2014, section 9.1. Under backpropagation through
time a spike has the derivative of its probability.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikeprop.neurons import namesakes
from spikeprop.neurons.arguments import Values, as_positive
from spikeprop.neurons.base import StepFunction
from spikeprop.neurons.firing import Firing, FiringNeuron, after_reset


class SpikingState(NamedTuple):
    """State of a neuron whose last spikes matter.

    Attributes
    ----------
    spk, mem : torch.Tensor
        Spikes and voltage, ``(rows, *features)``.
    """

    spk: Tensor
    mem: Tensor


class EscapeParameters(NamedTuple):
    """All that a step needs besides current, state and chance; tensors scalar or per neuron.

    Attributes
    ----------
    beta : torch.Tensor
        Decay per step, in [0, 1].
    rate, width : torch.Tensor
        Spikes a step at threshold, and softness of the threshold.
    firing : Firing
        Threshold, reset and the other options.
    """

    beta: Tensor
    rate: Tensor
    width: Tensor
    firing: Firing


def escape_step(
    current: Tensor, state: SpikingState, uniform: Tensor, p: EscapeParameters
) -> tuple[Tensor, SpikingState]:
    """One step of the difference equation at the top of this file; touches no state.

    Parameters
    ----------
    current : torch.Tensor
        Input current, ``(rows, *features)``.
    state : SpikingState
        The previous step's state, of the same shape and dtype; left as it is.
    uniform : torch.Tensor
        Random numbers in [0, 1), of the same shape: a neuron fires where they are below p.
    p : EscapeParameters
        The neuron's parameters, of the same dtype.

    Returns
    -------
    spk : torch.Tensor
        Spikes of this step, of the same shape and dtype.
    state : SpikingState
        State of this step.
    """
    f = p.firing
    reset = (state.spk.detach() > 0).to(current.dtype)
    mem = after_reset(p.beta * state.mem, reset, f) + current
    if f.state_quant is not None:
        mem = f.state_quant(mem)
    spk = spikes_by_chance(mem, uniform, p) * f.factor
    return spk, SpikingState(spk, mem)


def spikes_by_chance(mem: Tensor, uniform: Tensor, p: EscapeParameters) -> Tensor:
    """Draw spikes, with the derivative of their probability.

    Parameters
    ----------
    mem : torch.Tensor
        Voltage, ``(rows, *features)``.
    uniform : torch.Tensor
        Random numbers in [0, 1), of the same shape.
    p : EscapeParameters
        The neuron's parameters.

    Returns
    -------
    torch.Tensor
        0 or 1, of the voltage's shape and dtype.
    """
    # Beyond e^80 a spike is certain, and the exponential's derivative would overflow.
    hazard = p.rate * torch.exp(((mem - p.firing.threshold) / p.width).clamp_max(80.0))
    chance = -torch.expm1(-hazard)
    drawn = (uniform < chance.detach()).to(mem.dtype)
    return drawn + (chance - chance.detach()) if torch.is_grad_enabled() else drawn


class StochasticLIF(FiringNeuron, namesakes.Leaky):
    """Leaky integrate-and-fire neuron with escape noise.

    The difference equation stands at the top of this file. A step is ``spk, mem = neuron(current,
    spk, mem)``, as for a recurrent neuron: the last spikes cannot be told from the voltage and are
    part of the state. Its random numbers are torch's global ones, ``torch.manual_seed`` repeats
    them. See ``SpikingNeuron`` for ``unroll`` and ``signal``. Spikes are inputs to the voltage, so
    the eligibility filter is LIF's, and exact.

    Parameters
    ----------
    beta : float or torch.Tensor
        Decay of the voltage per time step, in [0, 1], scalar or per neuron.
    threshold : float or torch.Tensor
        Voltage at which ``rate`` spikes are expected in a step.
    rate : float or torch.Tensor
        That number, above 0.
    width : float or torch.Tensor
        Change of the voltage that changes the rate by a factor of e, above 0.
    learn_beta : bool
        Make ``beta`` an ``nn.Parameter`` instead of a buffer.
    tau_mem : float or torch.Tensor
        In place of ``beta``, the time constant in milliseconds: ``beta = exp(-dt / tau_mem)``.
    dt : float
        With ``tau_mem``, the length of a time step in milliseconds.
    **options
        ``init_hidden``, ``reset_mechanism`` and other options of ``FiringNeuron``; there is no
        surrogate to choose, and no inhibition.

    Raises
    ------
    TypeError
        As in ``LIF``, or if ``spike_grad``, ``surrogate_disable`` or ``inhibition`` is given.
    ValueError
        As in ``LIF``, or if ``rate`` or ``width`` is not positive.
    """

    rate: Tensor
    width: Tensor
    spk: Tensor

    State = SpikingState
    exact = True
    _per_neuron = ("beta", "rate", "width", "threshold", "graded_spikes_factor")

    def __init__(
        self,
        beta: Values | None = None,
        threshold: Values = 1.0,
        rate: Values = 1.0,
        width: Values = 0.1,
        *,
        learn_beta: bool = False,
        tau_mem: Values | None = None,
        dt: float = 1.0,
        **options: Any,
    ) -> None:
        if refused := sorted({"spike_grad", "surrogate_disable", "inhibition"} & set(options)):
            raise TypeError(f"StochasticLIF fires by chance and takes no {refused[0]}")
        super().__init__(threshold, **options)
        self._own_decay("beta", beta, "tau_mem", tau_mem, dt, learn_beta)
        self._own("rate", as_positive("rate", rate))
        self._own("width", as_positive("width", width))

    def step_function(self, current: Tensor) -> StepFunction:
        """Bind the parameters to ``escape_step``; see ``SpikingNeuron.step_function``."""
        beta = self._fit("beta", current).clamp(0, 1)
        rate, width = self._fit("rate", current), self._fit("width", current)
        return partial(_drawing, p=EscapeParameters(beta, rate, width, self.firing(current)))


def _drawing(
    current: Tensor, state: SpikingState, p: EscapeParameters
) -> tuple[Tensor, SpikingState]:
    return escape_step(current, state, torch.rand_like(current), p)
