"""Leaky integrator (LI): a readout that never spikes.

mem_t = beta * mem_{t-1} + current_t
"""

from __future__ import annotations

from functools import partial

from torch import Tensor

from spikeprop.neurons.arguments import Values, as_decay
from spikeprop.neurons.base import SpikingNeuron, StepFunction
from spikeprop.neurons.shapes import check_fits


def li_step(current: Tensor, mem: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
    """One step of the difference equation at the top of this file; touches no state.

    Parameters
    ----------
    current : torch.Tensor
        Input current, ``(rows, *features)``.
    mem : torch.Tensor
        The previous step's voltage, of the same shape and dtype; left as it is.
    beta : torch.Tensor
        Decay per step, in [0, 1], scalar or per neuron, of the same dtype.

    Returns
    -------
    mem, mem : torch.Tensor
        This step's voltage, twice: once where a LIF gives its spikes.
    """
    mem = (beta * mem).add_(current)
    return mem, mem


class LI(SpikingNeuron):
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

    Raises
    ------
    TypeError
        If ``beta`` is not numeric.
    ValueError
        If ``beta`` is a number outside [0, 1], or NaN, infinite or empty.
    """

    def __init__(
        self,
        beta: Values,
        init_hidden: bool = False,
        learn_beta: bool = False,
        output: bool = False,
    ) -> None:
        super().__init__(init_hidden=init_hidden, output=output)
        self._own("beta", as_decay(beta), learn_beta)
        # For snnTorch's tools, which ask every Leaky.
        self._reset_mechanism = "none"

    def step_function(self, current: Tensor) -> StepFunction:
        """Bind ``beta`` to ``li_step``; see ``SpikingNeuron.step_function``."""
        beta = self.decay()
        check_fits("beta", beta, current.shape)
        return partial(li_step, beta=beta.to(current.dtype))

    def extra_repr(self) -> str:
        """Show what distinguishes one layer from another."""
        shape = tuple(self.beta.shape)
        beta = f"{self.beta.item():g}" if self.beta.numel() == 1 else f"tensor{shape}"
        return f"beta={beta}, init_hidden={self.init_hidden}"
