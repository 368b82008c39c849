"""Leaky integrator (LI): a readout that never spikes.

mem_t = beta * mem_{t-1} + current_t
"""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor

from spikeprop.neurons import namesakes
from spikeprop.neurons.arguments import Values
from spikeprop.neurons.base import SpikingNeuron, StepFunction
from spikeprop.neurons.stateful import MemState


def li_step(current: Tensor, state: MemState, beta: Tensor) -> tuple[Tensor, MemState]:
    """One step of the difference equation at the top of this file; touches no state.

    Parameters
    ----------
    current : torch.Tensor
        Input current, ``(rows, *features)``.
    state : MemState
        The previous step's voltage, of the same shape and dtype; left as it is.
    beta : torch.Tensor
        Decay per step, in [0, 1], scalar or per neuron, of the same dtype.

    Returns
    -------
    mem : torch.Tensor
        This step's voltage, where a LIF gives its spikes.
    state : MemState
        The same once more.
    """
    mem = (beta * state.mem).add_(current)
    return mem, MemState(mem)


class LI(SpikingNeuron, namesakes.Leaky):
    """Leaky integrator: the readout layer that stands where a LIF would, and never spikes.

    Its voltage takes the spikes' place: a step gives ``(mem, mem)`` (the same tensor twice), and
    with ``init_hidden=True`` ``mem`` alone, so that loops and ``Sequential`` networks written for
    LIF run unchanged. (The same voltages come from ``snntorch.Leaky(reset_mechanism="none")``.)
    See ``SpikingNeuron`` for state, ``unroll`` and ``signal``. It has no threshold, and ``beta`` is
    all that its ``state_dict`` holds.

    Parameters
    ----------
    beta : float or torch.Tensor
        Decay of the voltage per time step, in [0, 1], scalar or per neuron. Values of a tensor
        outside are clamped in the step.
    init_hidden : bool
        Keep the voltage inside and return it once.
    learn_beta : bool
        Make ``beta`` an ``nn.Parameter`` instead of a buffer.
    output : bool
        With ``init_hidden``, return ``(mem, mem)`` all the same.
    tau_mem : float or torch.Tensor
        In place of ``beta``, the voltage's time constant in milliseconds: ``beta = exp(-dt /
        tau_mem)``.
    dt : float
        With ``tau_mem``, the length of a time step in milliseconds.

    Raises
    ------
    TypeError
        If ``beta`` is not numeric, or not exactly one of ``beta`` and ``tau_mem`` is given.
    ValueError
        If ``beta`` is a number outside [0, 1], or NaN, infinite or empty.
    """

    exact = True

    def __init__(
        self,
        beta: Values | None = None,
        init_hidden: bool = False,
        learn_beta: bool = False,
        output: bool = False,
        *,
        tau_mem: Values | None = None,
        dt: float = 1.0,
    ) -> None:
        super().__init__(init_hidden=init_hidden, output=output)
        self._own_decay("beta", beta, "tau_mem", tau_mem, dt, learn_beta)
        # For snnTorch's tools, which ask every Leaky.
        self._reset_mechanism = "none"

    def step_function(self, current: Tensor) -> StepFunction:
        """Bind ``beta`` to ``li_step``; see ``SpikingNeuron.step_function``."""
        return partial(li_step, beta=self._fit("beta", current).clamp(0, 1))

    def init_leaky(self) -> Any:
        """Do as ``reset_mem``; snnTorch's older name of it."""
        return self.reset_mem()

    def extra_repr(self) -> str:
        """Show what distinguishes one layer from another."""
        shape = tuple(self.beta.shape)
        beta = f"{self.beta.item():g}" if self.beta.numel() == 1 else f"tensor{shape}"
        return f"beta={beta}, init_hidden={self.init_hidden}"
