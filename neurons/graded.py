"""Graded spikes: spikes that carry a number.

GradedLIF sends its voltage along with the spike, with the voltage of ``lif.py``:

    spk_t = mem_t * H(mem_t - threshold)

as on chips whose spikes have a payload (Davies et al., "Advancing neuromorphic computing with
Loihi", Proc. IEEE 109(5), 2021). With the reset to zero, the default, a neuron thus hands on
exactly what it has gathered. GradedSpikes scales the spikes of a layer by learned numbers,
``y = weights * x`` (snnTorch's module of that name).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from spikeprop.neurons import namesakes
from spikeprop.neurons.arguments import Values, as_parameter
from spikeprop.neurons.base import StepFunction
from spikeprop.neurons.firing import FiringNeuron
from spikeprop.neurons.lif import LIFParameters, lif_step
from spikeprop.neurons.stateful import MemState


def graded_step(current: Tensor, state: MemState, p: LIFParameters) -> tuple[Tensor, MemState]:
    """One step of the difference equation at the top of this file; touches no state.

    Parameters
    ----------
    current : torch.Tensor
        Input current, ``(rows, *features)``.
    state : MemState
        The previous step's voltage, of the same shape and dtype; left as it is.
    p : LIFParameters
        The neuron's parameters, of the same dtype.

    Returns
    -------
    spk : torch.Tensor
        Graded spikes of this step, of the same shape and dtype.
    state : MemState
        Voltage of this step.
    """
    spk, state = lif_step(current, state, p)
    return spk * state.mem, state


class GradedLIF(FiringNeuron, namesakes.Leaky):
    """Leaky integrate-and-fire neuron whose spikes carry its voltage.

    The difference equation stands at the top of this file; see ``SpikingNeuron`` for state,
    ``unroll`` and ``signal``. The eligibility filter is LIF's, and exact.

    Parameters
    ----------
    beta : float or torch.Tensor
        Decay of the voltage per time step, in [0, 1], scalar or per neuron.
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
        As in ``LIF``.
    """

    exact = True

    def __init__(
        self,
        beta: Values | None = None,
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

    def step_function(self, current: Tensor) -> StepFunction:
        """Bind the parameters to ``graded_step``; see ``SpikingNeuron.step_function``."""
        beta = self._fit("beta", current).clamp(0, 1)
        return partial(graded_step, p=LIFParameters(beta, self.firing(current)))


class GradedSpikes(nn.Module):
    """Learned sizes of a layer's spikes, ``y = weights * x``; drop-in for snnTorch's module.

    It is linear, keeps no state, and stands behind a neuron.

    Parameters
    ----------
    size : int
        Number of neurons; the weights have shape ``(size, 1)``, as in snnTorch, and so scale the
        last but one dimension of their input.
    constant_factor : float, optional
        What all weights are to begin with; otherwise they are drawn from [0.5, 1.5).

    Raises
    ------
    TypeError
        If ``constant_factor`` is not numeric.
    ValueError
        If ``size`` is below 1, or ``constant_factor`` is not finite.
    """

    def __init__(self, size: int, constant_factor: float | None = None) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"size must be at least 1, but is {size}")
        self.size = size
        if constant_factor:
            weights = torch.ones(size, 1) * as_parameter("constant_factor", constant_factor)
        else:
            weights = torch.rand(size, 1) + 0.5
        self.weights = nn.Parameter(weights)

    def forward(self, x: Tensor) -> Tensor:
        """Scale the spikes.

        Parameters
        ----------
        x : torch.Tensor
            Spikes, ``(..., size, 1)`` or what broadcasts with it.

        Returns
        -------
        torch.Tensor
            Graded spikes.
        """
        return x * self.weights
