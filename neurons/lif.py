"""Leaky integrate-and-fire (LIF) and its limit without a leak (IF).

One step, with the Heaviside step H and the reset signal R of the voltage *before* the step:

    R_t   = H(mem_{t-1} - threshold)                                # detached, always
    mem_t = beta * mem_{t-1} + current_t - R_t * threshold          # "subtract", the default
    mem_t = beta * (1 - R_t) * mem_{t-1} + current_t                # "zero"
    mem_t = beta * mem_{t-1} + current_t                            # "none"
    spk_t = H(mem_t - threshold) * graded_spikes_factor

So a spike at t pulls the voltage down at t + 1 (``reset_delay=True``); ``reset_delay=False`` pulls
it down within the step. It is the exponential-Euler form of ``tau dmem/dt = -mem + current`` with
``beta = exp(-dt / tau)`` and the input's factor taken into the weights, and the convention of
Eshraghian et al., "Training spiking neural networks using lessons from deep learning",
Proc. IEEE 111(9), 2023 (snnTorch's ``Leaky``).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

from torch import Tensor

from spikeprop.neurons import namesakes
from spikeprop.neurons.arguments import Values
from spikeprop.neurons.base import StepFunction
from spikeprop.neurons.firing import Firing, FiringNeuron, fire, reset_now, reset_signal
from spikeprop.neurons.stateful import MemState


class LIFParameters(NamedTuple):
    """All that a step needs besides current and state.

    Attributes
    ----------
    beta : torch.Tensor
        Decay per step, in [0, 1], scalar or per neuron.
    firing : Firing
        Threshold, reset and the other options.
    """

    beta: Tensor
    firing: Firing


def lif_step(current: Tensor, state: MemState, p: LIFParameters) -> tuple[Tensor, MemState]:
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
        Spikes of this step, of the same shape and dtype.
    state : MemState
        Voltage of this step.
    """
    # In place only on the product made here, which autograd does not keep. The sums stay separate
    # operations: fused ones round differently from one place in a tensor to another, and a row's
    # numbers must not depend on the rows beside it. (The reset's own product is exact: 0 or 1.)
    (mem,), f = state, p.firing
    if f.reset == "none":
        new = (p.beta * mem).add_(current)
    elif f.reset == "subtract":
        reset = reset_signal(mem, f)
        new = (p.beta * mem).add_(current).addcmul_(reset, f.threshold, value=-1)
    else:
        reset = reset_signal(mem, f)
        new = (p.beta * mem.addcmul(reset, mem, value=-1)).add_(current)
    if f.state_quant is not None:
        new = f.state_quant(new)
    spk = fire(new, f)
    if not f.reset_delay and f.reset != "none":
        new = reset_now(new, spk, reset, f)
    return spk, MemState(new)


class LIF(FiringNeuron, namesakes.Leaky):
    """Leaky integrate-and-fire neuron; a drop-in for ``snntorch.Leaky``.

    The difference equation stands at the top of this file. Arguments, numbers, gradients under
    backpropagation through time and ``state_dict`` keys are those of ``snntorch.Leaky`` 1.0; a
    step without ``mem`` starts fresh, though, instead of going on from whatever came last. A
    checkpoint may hold one threshold (or beta) a neuron where the module was built with a number,
    and the other way round. See ``SpikingNeuron`` for state, ``unroll`` and ``signal``.

    Parameters
    ----------
    beta : float or torch.Tensor
        Decay of the voltage per time step, in [0, 1], scalar or per neuron. Values of a tensor
        outside are clamped in the step.
    threshold : float or torch.Tensor
        Firing threshold, scalar or per neuron, in units of ``current``.
    spike_grad : Callable, optional
        Surrogate gradient, any of ``snntorch.surrogate`` or a function of ``mem - threshold``;
        arctangent with alpha = 2 by default.
    surrogate_disable : bool
        Fire without a derivative, whatever ``spike_grad`` says.
    init_hidden : bool
        Keep the voltage inside and return ``spk`` alone.
    inhibition : bool
        Let only the neuron furthest above its threshold fire, row by row; currents of shape
        ``(B, F)`` only.
    learn_beta, learn_threshold : bool
        Make ``beta``, ``threshold`` an ``nn.Parameter`` instead of a buffer.
    reset_mechanism : {"subtract", "zero", "none"}
        What a spike does to the voltage. An attribute that may be assigned later.
    state_quant : Callable or False
        Quantisation of the voltage, from ``snntorch.functional.quant``.
    output : bool
        With ``init_hidden``, return ``(spk, mem)`` all the same.
    graded_spikes_factor : float or torch.Tensor
        What a spike is worth.
    learn_graded_spikes_factor : bool
        Make ``graded_spikes_factor`` an ``nn.Parameter``.
    reset_delay : bool
        Reset one step after the spike (default), or within its step.
    tau_mem : float or torch.Tensor
        In place of ``beta``, the voltage's time constant in milliseconds: ``beta = exp(-dt /
        tau_mem)``.
    dt : float
        With ``tau_mem``, the length of a time step in milliseconds.

    Raises
    ------
    TypeError
        If a number is not numeric, ``spike_grad`` or ``state_quant`` cannot be called, or not
        exactly one of ``beta`` and ``tau_mem`` is given.
    ValueError
        If ``beta`` is a number outside [0, 1], a parameter is NaN, infinite or empty, or
        ``reset_mechanism`` is unknown.

    Examples
    --------
    >>> import torch
    >>> lif = LIF(beta=0.5)
    >>> spk, mem = lif(torch.tensor([[0.8, 1.2]]))
    >>> spk, mem = lif(torch.tensor([[0.8, 0.0]]), mem)
    >>> spk, mem
    (tensor([[1., 0.]]), tensor([[ 1.2000, -0.4000]]))
    """

    exact = True

    def __init__(
        self,
        beta: Values | None = None,
        threshold: Values = 1.0,
        spike_grad: Callable[[Tensor], Tensor] | None = None,
        surrogate_disable: bool = False,
        init_hidden: bool = False,
        inhibition: bool = False,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        reset_mechanism: str = "subtract",
        state_quant: Callable[[Tensor], Tensor] | Literal[False] | None = False,
        output: bool = False,
        graded_spikes_factor: Values = 1.0,
        learn_graded_spikes_factor: bool = False,
        reset_delay: bool = True,
        *,
        tau_mem: Values | None = None,
        dt: float = 1.0,
    ) -> None:
        super().__init__(
            threshold, spike_grad, surrogate_disable, init_hidden, inhibition, learn_threshold,
            reset_mechanism, state_quant, output,
            graded_spikes_factor=graded_spikes_factor,
            learn_graded_spikes_factor=learn_graded_spikes_factor,
        )  # fmt: skip
        self.reset_delay = reset_delay
        # Last, as in snnTorch: an optimiser's checkpoint knows parameters by their order.
        self._own_decay("beta", beta, "tau_mem", tau_mem, dt, learn_beta)

    def step_function(self, current: Tensor) -> StepFunction:
        """Bind the parameters to ``lif_step``; see ``SpikingNeuron.step_function``."""
        beta = self._fit("beta", current).clamp(0, 1)
        return partial(lif_step, p=LIFParameters(beta, self.firing(current)))

    def init_leaky(self) -> Any:
        """Do as ``reset_mem``; snnTorch's older name of it."""
        return self.reset_mem()


class IF(LIF):
    """Integrate-and-fire neuron: a LIF whose ``beta`` is fixed at 1, so that nothing leaks.

    Parameters
    ----------
    threshold : float or torch.Tensor
        Firing threshold, scalar or per neuron, in units of ``current``.
    **options
        Every other argument of ``LIF`` except ``beta`` and ``learn_beta``.

    Raises
    ------
    TypeError
        If ``beta`` or ``learn_beta`` is given, and as in ``LIF``.
    ValueError
        As in ``LIF``; a checkpoint with a ``beta`` other than 1 is refused when it is loaded.
    """

    def __init__(self, threshold: Values = 1.0, **options: Any) -> None:
        if refused := sorted({"beta", "learn_beta", "tau_mem", "dt"} & set(options)):
            raise TypeError(f"IF has beta fixed at 1 and takes no {refused[0]}; use LIF for a leak")
        super().__init__(1.0, threshold, **options)

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        beta = state_dict.get(prefix + "beta")
        if beta is not None and not (beta == 1).all():
            # load_state_dict's last argument to us is its list of errors.
            args[-1].append(f"{prefix}beta must be 1 for an IF neuron; use LIF for a leak")
            state_dict[prefix + "beta"] = self.beta
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
