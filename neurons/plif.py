"""Parametric LIF (PLIF): the time constant is learned, through a sigmoid.

One step, with R as in ``lif.py`` and k = sigmoid(w), w learned:

    mem_t = mem_{t-1} + k * (current_t - mem_{t-1}) - R_t * threshold       # "subtract"
    mem_t = (1 - R_t) * (1 - k) * mem_{t-1} + k * current_t                 # "zero", the default
    spk_t = H(mem_t - threshold)

so that the decay factor is beta = 1 - k. ``decay_input=False`` adds the current with a gain of 1,
as LIF does. Fang et al., "Incorporating learnable membrane time constant to enhance learning of
spiking neural networks", ICCV 2021, where 1 / k is the time constant in steps of an Euler form.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from spikeprop.neurons import namesakes
from spikeprop.neurons.arguments import Values, as_decay, as_parameter
from spikeprop.neurons.base import StepFunction
from spikeprop.neurons.eligibility import LinearFilter, make_filter
from spikeprop.neurons.firing import FiringNeuron
from spikeprop.neurons.lif import LIFParameters, lif_step
from spikeprop.neurons.stateful import MemState


def plif_step(
    current: Tensor, state: MemState, gain: Tensor, p: LIFParameters
) -> tuple[Tensor, MemState]:
    """One step of the difference equation at the top of this file; touches no state.

    Parameters
    ----------
    current : torch.Tensor
        Input current, ``(rows, *features)``.
    state : MemState
        The previous step's voltage, of the same shape and dtype; left as it is.
    gain : torch.Tensor
        What the current is multiplied with: k, or 1.
    p : LIFParameters
        The neuron's parameters, with ``beta = 1 - k``, of the same dtype.

    Returns
    -------
    spk : torch.Tensor
        Spikes of this step, of the same shape and dtype.
    state : MemState
        Voltage of this step.
    """
    return lif_step(gain * current, state, p)


class PLIF(FiringNeuron, namesakes.Leaky):
    """Leaky integrate-and-fire neuron that learns its time constant.

    The difference equation stands at the top of this file; see ``SpikingNeuron`` for state,
    ``unroll`` and ``signal``. The eligibility filter is exact; its decay and gain are
    differentiable in ``w``.

    Parameters
    ----------
    init_tau : float or torch.Tensor
        ``1 / k`` to begin with, in time steps, above 1; scalar or per neuron.
    decay_input : bool
        Whether the current is multiplied with k.
    threshold : float or torch.Tensor
        Firing threshold, scalar or per neuron.
    learn_tau : bool
        Make ``w`` an ``nn.Parameter`` (default) instead of a buffer.
    reset_mechanism : {"zero", "subtract", "none"}
        What a spike does to the voltage.
    beta : float or torch.Tensor
        In place of ``init_tau``, the decay factor to begin with, in (0, 1).
    tau_mem : float or torch.Tensor
        In place of both, the time constant in milliseconds: ``beta = exp(-dt / tau_mem)``.
    dt : float
        With ``tau_mem``, the length of a time step in milliseconds.
    **options
        ``spike_grad``, ``init_hidden`` and the other options of ``FiringNeuron``.

    Raises
    ------
    TypeError
        As in ``LIF``, or if more than one of ``init_tau``, ``beta`` and ``tau_mem`` is given.
    ValueError
        As in ``LIF``, or if ``init_tau`` is not above 1 (``beta`` not in (0, 1)).
    """

    w: Tensor

    exact = True
    _per_neuron = ("w", "threshold", "graded_spikes_factor")

    def __init__(
        self,
        init_tau: Values | None = None,
        decay_input: bool = True,
        threshold: Values = 1.0,
        *,
        learn_tau: bool = True,
        reset_mechanism: str = "zero",
        beta: Values | None = None,
        tau_mem: Values | None = None,
        dt: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(threshold, reset_mechanism=reset_mechanism, **options)
        if sum(value is not None for value in (init_tau, beta, tau_mem)) > 1:
            raise TypeError("give at most one of init_tau, beta and tau_mem")
        if beta is None and tau_mem is None:
            tau = as_parameter("init_tau", 2.0 if init_tau is None else init_tau)
            if not (tau > 1).all():
                raise ValueError(f"init_tau must be above 1 time step, but is {tau.tolist()}")
            decay = 1 - 1 / tau
        else:
            decay = as_decay(beta, tau_mem, dt)
            if not ((decay > 0) & (decay < 1)).all():
                raise ValueError(f"beta must lie between 0 and 1, but is {decay.tolist()}")
        self.decay_input = decay_input
        self._own("w", torch.log((1 - decay) / decay), learn_tau)

    def decay(self) -> Tensor:
        """Give the factor by which the voltage decays in a step, ``1 - sigmoid(w)``."""
        return torch.sigmoid(-self.w)

    def _gain(self) -> Tensor:
        return torch.sigmoid(self.w) if self.decay_input else torch.ones_like(self.w)

    def step_function(self, current: Tensor) -> StepFunction:
        """Bind the parameters to ``plif_step``; see ``SpikingNeuron.step_function``."""
        self._fit("w", current)
        decay, gain = self.decay().to(current.dtype), self._gain().to(current.dtype)
        return partial(plif_step, gain=gain, p=LIFParameters(decay, self.firing(current)))

    def filter(self) -> LinearFilter:
        """Give the filter of the voltage; see ``SpikingNeuron.filter``."""
        return make_filter([[self.decay()]], [self._gain()], [1.0])
