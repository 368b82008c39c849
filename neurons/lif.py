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

import torch
from torch import Tensor

from spikeprop.neurons.arguments import Values, as_decay, as_parameter
from spikeprop.neurons.base import SpikingNeuron, StepFunction
from spikeprop.neurons.shapes import check_fits
from spikeprop.neurons.surrogates import atan, heaviside, is_step

ResetMechanism = Literal["subtract", "zero", "none"]

# In snnTorch's order: its checkpoints store the index.
RESET_MECHANISMS: tuple[ResetMechanism, ...] = ("subtract", "zero", "none")


class LIFParameters(NamedTuple):
    """All that a step needs besides current and state; tensors are scalar or per neuron.

    Attributes
    ----------
    beta : torch.Tensor
        Decay per step, in [0, 1].
    threshold : torch.Tensor
        Firing threshold.
    factor : torch.Tensor
        What a spike is worth (``graded_spikes_factor``).
    reset : {"subtract", "zero", "none"}
        Reset mechanism.
    reset_delay : bool
        Whether the reset follows one step after the spike.
    spike_grad : Callable
        Spikes of ``mem - threshold``.
    exact_step : bool
        Whether ``spike_grad`` is the Heaviside step forward, so that a comparison will do wherever
        no derivative is asked for.
    inhibition : bool
        Whether only the row's highest neuron may fire.
    state_quant : Callable or None
        Quantisation of the voltage.
    """

    beta: Tensor
    threshold: Tensor
    factor: Tensor
    reset: ResetMechanism = "subtract"
    reset_delay: bool = True
    spike_grad: Callable[[Tensor], Tensor] = atan
    exact_step: bool = True
    inhibition: bool = False
    state_quant: Callable[[Tensor], Tensor] | None = None


def lif_step(current: Tensor, mem: Tensor, p: LIFParameters) -> tuple[Tensor, Tensor]:
    """One step of the difference equation at the top of this file; touches no state.

    Parameters
    ----------
    current : torch.Tensor
        Input current, ``(rows, *features)``.
    mem : torch.Tensor
        The previous step's voltage, of the same shape and dtype; left as it is.
    p : LIFParameters
        The neuron's parameters, of the same dtype.

    Returns
    -------
    spk, mem : torch.Tensor
        Spikes and voltage of this step, of the same shape and dtype.
    """
    # In place only on the product made here, which autograd does not keep. The sums stay separate
    # operations: fused ones round differently from one place in a tensor to another, and a row's
    # numbers must not depend on the rows beside it. (The reset's own product is exact: 0 or 1.)
    if p.reset == "none":
        new = (p.beta * mem).add_(current)
    elif p.reset == "subtract":
        reset = _reset_signal(mem, p)
        new = (p.beta * mem).add_(current).addcmul_(reset, p.threshold, value=-1)
    else:
        reset = _reset_signal(mem, p)
        new = (p.beta * mem.addcmul(reset, mem, value=-1)).add_(current)
    if p.state_quant is not None:
        new = p.state_quant(new)
    # As in snnTorch, spikes that passed inhibition are not graded.
    spk = _inhibited(new, p) if p.inhibition else _spikes(new, p) * p.factor
    if not p.reset_delay and p.reset != "none":
        # What the delayed reset took already is not taken twice.
        now = spk / p.factor - reset
        new = new - now * (p.threshold if p.reset == "subtract" else new)
    return spk, new


def _reset_signal(mem: Tensor, p: LIFParameters) -> Tensor:
    """Say where the voltage before the step was above threshold, outside of any graph."""
    if p.exact_step:
        return _above(mem, p.threshold)
    return p.spike_grad(mem - p.threshold).detach().to(mem.dtype)


def _above(mem: Tensor, threshold: Tensor) -> Tensor:
    """Give ``mem > threshold`` as numbers; comparing into them is several times a cast's speed."""
    mem = mem.detach()
    return torch.gt(mem, threshold.detach(), out=torch.empty_like(mem))


def _spikes(mem: Tensor, p: LIFParameters) -> Tensor:
    """Fire where the voltage is above threshold, through the surrogate where one is needed."""
    if p.state_quant is not None and not p.inhibition:
        mem = p.state_quant(mem)
    wanted = torch.is_grad_enabled() and (mem.requires_grad or p.threshold.requires_grad)
    if p.exact_step and not wanted:
        return _above(mem, p.threshold)
    return p.spike_grad(mem - p.threshold).to(mem.dtype)


def _inhibited(mem: Tensor, p: LIFParameters) -> Tensor:
    """Let only the neuron furthest above its threshold fire, row by row."""
    winner = (mem - p.threshold).argmax(1, keepdim=True)
    return _spikes(mem, p) * torch.zeros_like(mem).scatter_(1, winner, 1)


class LIF(SpikingNeuron):
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

    Raises
    ------
    TypeError
        If a number is not numeric, or ``spike_grad`` or ``state_quant`` cannot be called.
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

    threshold: Tensor
    graded_spikes_factor: Tensor
    reset_mechanism_val: Tensor

    _per_neuron = ("beta", "threshold", "graded_spikes_factor")

    def __init__(
        self,
        beta: Values,
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
    ) -> None:
        super().__init__(init_hidden=init_hidden, output=output)
        for name, given in (("spike_grad", spike_grad), ("state_quant", state_quant or None)):
            if given is not None and not callable(given):
                raise TypeError(f"{name} must be a function of a tensor, not {given!r}")
        self.spike_grad = heaviside if surrogate_disable else (spike_grad or atan)
        self.surrogate_disable = surrogate_disable
        self.inhibition = inhibition
        self.state_quant = state_quant
        self.reset_delay = reset_delay
        self._own("threshold", as_parameter("threshold", threshold), learn_threshold)
        factor = as_parameter("graded_spikes_factor", graded_spikes_factor)
        self._own("graded_spikes_factor", factor, learn_graded_spikes_factor)
        self.register_buffer("reset_mechanism_val", torch.tensor(0))
        self.reset_mechanism = reset_mechanism  # type: ignore[assignment]
        # Last, as in snnTorch: an optimiser's checkpoint knows parameters by their order.
        self._own("beta", as_decay(beta), learn_beta)

    @property
    def reset_mechanism(self) -> ResetMechanism:
        """The reset mechanism; ``reset_mechanism_val`` in the checkpoint is its index."""
        return self._reset_mechanism

    @reset_mechanism.setter
    def reset_mechanism(self, value: ResetMechanism) -> None:
        if value not in RESET_MECHANISMS:
            raise ValueError(f"reset_mechanism must be one of {RESET_MECHANISMS}, not {value!r}")
        self._reset_mechanism: ResetMechanism = value
        self.reset_mechanism_val.fill_(RESET_MECHANISMS.index(value))

    def step_function(self, current: Tensor) -> StepFunction:
        """Bind the parameters to ``lif_step``; see ``SpikingNeuron.step_function``."""
        shape, dtype = current.shape, current.dtype
        if self.inhibition and len(shape) != 2:
            raise ValueError(
                f"inhibition needs a current of shape (B, F), but it has shape {tuple(shape)}"
            )
        beta, threshold, factor = self.decay(), self.threshold, self.graded_spikes_factor
        check_fits("beta", beta, shape)
        check_fits("threshold", threshold, shape)
        check_fits("graded_spikes_factor", factor, shape)
        spike_grad = self.spike_grad
        parameters = LIFParameters(
            beta.to(dtype),
            threshold.to(dtype),
            factor.to(dtype),
            self._reset_mechanism,
            self.reset_delay,
            spike_grad,
            is_step(spike_grad),
            self.inhibition,
            self.state_quant or None,
        )
        return partial(lif_step, p=parameters)

    def extra_repr(self) -> str:
        """Show what distinguishes one layer from another."""
        text = f"beta={_show(self.beta)}, threshold={_show(self.threshold)}"
        return f"{text}, reset_mechanism={self.reset_mechanism!r}, init_hidden={self.init_hidden}"

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        key = prefix + "reset_mechanism_val"
        given = state_dict.get(key)
        if isinstance(given, Tensor):
            if given.numel() == 1 and given.item() in range(len(RESET_MECHANISMS)):
                # The checkpoint knows how its network was trained.
                self._reset_mechanism = RESET_MECHANISMS[int(given)]
            else:
                error_msgs.append(f"{key} must be 0, 1 or 2 ({RESET_MECHANISMS}), not {given}")
                state_dict[key] = self.reset_mechanism_val
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )


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
        if refused := sorted({"beta", "learn_beta"} & set(options)):
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


def _show(value: Tensor) -> str:
    return f"{value.item():g}" if value.numel() == 1 else f"tensor{tuple(value.shape)}"
