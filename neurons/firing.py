"""What all neurons with a threshold share: when they fire, and what a spike is worth.

    spk_t = H(mem_t - threshold) * graded_spikes_factor

with the Heaviside step H, and the reset signal, which is always detached:

    R_t = H(mem_{t-1} - threshold)

The options are snnTorch's, and so are the numbers (see ``lif.py`` for the reset mechanisms).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from spikeprop.neurons.arguments import Values, as_parameter
from spikeprop.neurons.base import SpikingNeuron
from spikeprop.neurons.surrogates import atan, heaviside, is_step
from spikeprop.neurons.tracing import plain

ResetMechanism = Literal["subtract", "zero", "none"]

# In snnTorch's order: its checkpoints store the index.
RESET_MECHANISMS: tuple[ResetMechanism, ...] = ("subtract", "zero", "none")


class Firing(NamedTuple):
    """How a neuron fires and resets; tensors are scalar or per neuron.

    Attributes
    ----------
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
        Quantisation of the state.
    """

    threshold: Tensor
    factor: Tensor
    reset: ResetMechanism = "subtract"
    reset_delay: bool = True
    spike_grad: Callable[[Tensor], Tensor] = atan
    exact_step: bool = True
    inhibition: bool = False
    state_quant: Callable[[Tensor], Tensor] | None = None


def reset_signal(mem: Tensor, p: Firing) -> Tensor:
    """Say where the voltage before the step was above threshold, outside of any graph.

    Parameters
    ----------
    mem : torch.Tensor
        Voltage, ``(rows, *features)``.
    p : Firing
        The neuron's threshold and options.

    Returns
    -------
    torch.Tensor
        R, of the voltage's shape and dtype.
    """
    if p.exact_step:
        return above(mem, p.threshold)
    return p.spike_grad(mem - p.threshold).detach().to(mem.dtype)


def fire(mem: Tensor, p: Firing) -> Tensor:
    """Give the spikes of a voltage, through the surrogate where a derivative is asked for.

    Parameters
    ----------
    mem : torch.Tensor
        Voltage, ``(rows, *features)``.
    p : Firing
        The neuron's threshold and options.

    Returns
    -------
    torch.Tensor
        ``spk``, of the voltage's shape and dtype.
    """
    spk = ungraded(mem, p)
    # As in snnTorch, spikes that passed inhibition are not graded.
    return spk if p.inhibition else spk * p.factor


def ungraded(mem: Tensor, p: Firing) -> Tensor:
    """Give the spikes of a voltage before ``graded_spikes_factor``; else as ``fire``."""
    spk = _spikes(mem, p)
    if not p.inhibition:
        return spk
    # Only the neuron furthest above its threshold fires, row by row.
    winner = (mem - p.threshold).argmax(1, keepdim=True)
    return spk * torch.zeros_like(mem).scatter_(1, winner, 1)


def after_reset(mem: Tensor, reset: Tensor, p: Firing) -> Tensor:
    """Take from a voltage what a reset takes.

    Parameters
    ----------
    mem : torch.Tensor
        Voltage, ``(rows, *features)``.
    reset : torch.Tensor
        R, of the same shape.
    p : Firing
        The neuron's threshold and options.

    Returns
    -------
    torch.Tensor
        ``mem - R * threshold``, ``(1 - R) * mem``, or ``mem`` as it is.
    """
    if p.reset == "none":
        return mem
    return mem - reset * (p.threshold if p.reset == "subtract" else mem)


def reset_now(mem: Tensor, spk: Tensor, reset: Tensor, p: Firing) -> Tensor:
    """Reset within the step of the spike (``reset_delay=False``).

    Parameters
    ----------
    mem, spk : torch.Tensor
        This step's voltage and spikes.
    reset : torch.Tensor
        The delayed reset signal; what it took already is not taken twice.
    p : Firing
        The neuron's threshold and options; its reset is not "none".

    Returns
    -------
    torch.Tensor
        The voltage after the reset.
    """
    now = spk / p.factor - reset
    return mem - now * (p.threshold if p.reset == "subtract" else mem)


def above(mem: Tensor, threshold: Tensor) -> Tensor:
    """Give ``mem > threshold`` as numbers without a graph.

    Parameters
    ----------
    mem, threshold : torch.Tensor
        Voltage, and a threshold that broadcasts to its shape.

    Returns
    -------
    torch.Tensor
        0 or 1, of the voltage's shape and dtype.
    """
    mem, threshold = mem.detach(), threshold.detach()
    if plain(mem, threshold):
        # Comparing into numbers takes a tenth of the time of a comparison and a cast.
        return torch.gt(mem, threshold, out=torch.empty_like(mem))
    return (mem > threshold).to(mem.dtype)


def _spikes(mem: Tensor, p: Firing) -> Tensor:
    if p.state_quant is not None and not p.inhibition:
        mem = p.state_quant(mem)
    wanted = torch.is_grad_enabled() and (mem.requires_grad or p.threshold.requires_grad)
    if p.exact_step and not wanted:
        return above(mem, p.threshold)
    return p.spike_grad(mem - p.threshold).to(mem.dtype)


class FiringNeuron(SpikingNeuron):
    """Base of the neurons that fire at a threshold: owns it, and snnTorch's options.

    Parameters
    ----------
    threshold : float or torch.Tensor
        Firing threshold, scalar or per neuron, in units of the voltage.
    spike_grad : Callable, optional
        Surrogate gradient, any of ``snntorch.surrogate`` or a function of ``mem - threshold``;
        arctangent with alpha = 2 by default.
    surrogate_disable : bool
        Fire without a derivative, whatever ``spike_grad`` says.
    init_hidden : bool
        Keep the state inside and return ``spk`` alone.
    inhibition : bool
        Let only the neuron furthest above its threshold fire, row by row; currents of shape
        ``(B, F)`` only.
    learn_threshold : bool
        Make ``threshold`` an ``nn.Parameter`` instead of a buffer.
    reset_mechanism : {"subtract", "zero", "none"}
        What a spike does to the voltage. An attribute that may be assigned later.
    state_quant : Callable or False
        Quantisation of the state, from ``snntorch.functional.quant``.
    output : bool
        With ``init_hidden``, return the state all the same.
    graded_spikes_factor : float or torch.Tensor
        What a spike is worth.
    learn_graded_spikes_factor : bool
        Make ``graded_spikes_factor`` an ``nn.Parameter``.

    Raises
    ------
    TypeError
        If a number is not numeric, or ``spike_grad`` or ``state_quant`` cannot be called.
    ValueError
        If a parameter is NaN, infinite or empty, or ``reset_mechanism`` is unknown.
    """

    threshold: Tensor
    graded_spikes_factor: Tensor
    reset_mechanism_val: Tensor

    #: Reset one step after the spike, or within its step (an option of snnTorch's namesakes).
    reset_delay: bool = True

    _per_neuron: tuple[str, ...] = ("beta", "threshold", "graded_spikes_factor")

    def __init__(
        self,
        threshold: Values = 1.0,
        spike_grad: Callable[[Tensor], Tensor] | None = None,
        surrogate_disable: bool = False,
        init_hidden: bool = False,
        inhibition: bool = False,
        learn_threshold: bool = False,
        reset_mechanism: str = "subtract",
        state_quant: Callable[[Tensor], Tensor] | Literal[False] | None = False,
        output: bool = False,
        *,
        graded_spikes_factor: Values = 1.0,
        learn_graded_spikes_factor: bool = False,
    ) -> None:
        super().__init__(init_hidden=init_hidden, output=output)
        for name, given in (("spike_grad", spike_grad), ("state_quant", state_quant or None)):
            if given is not None and not callable(given):
                raise TypeError(f"{name} must be a function of a tensor, not {given!r}")
        self.spike_grad = heaviside if surrogate_disable else (spike_grad or atan)
        self.surrogate_disable = surrogate_disable
        self.inhibition = inhibition
        self.state_quant = state_quant
        self._own("threshold", as_parameter("threshold", threshold), learn_threshold)
        factor = as_parameter("graded_spikes_factor", graded_spikes_factor)
        self._own("graded_spikes_factor", factor, learn_graded_spikes_factor)
        self.register_buffer("reset_mechanism_val", torch.tensor(0))
        self.reset_mechanism = reset_mechanism  # type: ignore[assignment]

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

    def firing(self, current: Tensor) -> Firing:
        """Bind threshold and options for currents of this shape and dtype.

        Parameters
        ----------
        current : torch.Tensor
            One time step's current, ``(rows, *features)``; only its shape and dtype matter.

        Returns
        -------
        Firing
            What ``fire`` and ``reset_signal`` need.

        Raises
        ------
        ValueError
            If a parameter does not fit the shape.
        """
        if self.inhibition and current.dim() != 2:
            raise ValueError(
                "inhibition needs a current of shape (B, F), but it has shape "
                f"{tuple(current.shape)}"
            )
        return Firing(
            self._fit("threshold", current),
            self._fit("graded_spikes_factor", current),
            self._reset_mechanism,
            self.reset_delay,
            self.spike_grad,
            is_step(self.spike_grad),
            self.inhibition,
            self.state_quant or None,
        )

    def extra_repr(self) -> str:
        """Show what distinguishes one layer from another."""
        values = "".join(f"{name}={_show(getattr(self, name))}, " for name in self._shown())
        return f"{values}reset_mechanism={self.reset_mechanism!r}, init_hidden={self.init_hidden}"

    def _shown(self) -> tuple[str, ...]:
        return tuple(name for name in self._per_neuron if name != "graded_spikes_factor")

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


def _show(value: Tensor) -> str:
    return f"{value.item():g}" if value.numel() == 1 else f"tensor{tuple(value.shape)}"
