"""Recurrent neurons: a layer's own spikes are one more input, through a synapse inside.

One step adds V(spk_{t-1}), with the synapse V, to the current of ``lif.py`` (RLIF) and of
``synaptic.py`` (RSynaptic), with the reset signal R_t of the voltage, as there:

    mem_t = beta * mem_{t-1} + current_t + V(spk_{t-1}) - R_t * threshold           # RLIF,
    mem_t = (1 - R_t) * (beta * mem_{t-1} + current_t + V(spk_{t-1}))               # "zero"

    syn_t = alpha * syn_{t-1} + current_t + V(spk_{t-1})                            # RSynaptic,
    mem_t = beta * mem_{t-1} + syn_t - R_t * threshold                              # likewise

The convention of Eshraghian et al., "Training spiking neural networks using lessons from deep
learning", Proc. IEEE 111(9), 2023 (snnTorch's ``RLeaky`` and ``RSynaptic``).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from spikeprop.neurons import namesakes
from spikeprop.neurons.arguments import Values, as_parameter
from spikeprop.neurons.base import StepFunction
from spikeprop.neurons.eligibility import LinearFilter
from spikeprop.neurons.escape import SpikingState
from spikeprop.neurons.firing import FiringNeuron, after_reset, fire, reset_now, reset_signal
from spikeprop.neurons.lif import LIFParameters
from spikeprop.neurons.synaptic import (
    SynapticParameters,
    SynapticState,
    synaptic_filter,
    synaptic_step,
)

KernelSize = int | tuple[int, int]
Synapse = Callable[[Tensor], Tensor]


class RSynapticState(NamedTuple):
    """State of a recurrent neuron with a synaptic current.

    Attributes
    ----------
    spk, syn, mem : torch.Tensor
        Spikes, synaptic current and voltage, ``(rows, *features)``.
    """

    spk: Tensor
    syn: Tensor
    mem: Tensor


def rlif_step(
    current: Tensor, state: SpikingState, recurrent: Synapse, p: LIFParameters
) -> tuple[Tensor, SpikingState]:
    """One step of RLIF's difference equation at the top of this file; touches no state.

    Parameters
    ----------
    current : torch.Tensor
        Input current, ``(rows, *features)``.
    state : SpikingState
        The previous step's state, of the same shape and dtype; left as it is.
    recurrent : Callable
        V, from spikes to a current.
    p : LIFParameters
        The neuron's parameters, of the same dtype.

    Returns
    -------
    spk : torch.Tensor
        Spikes of this step, of the same shape and dtype.
    state : SpikingState
        State of this step.
    """
    f = p.firing
    mem = (p.beta * state.mem).add_(current) + recurrent(state.spk)
    reset = reset_signal(state.mem, f)
    mem = after_reset(mem, reset, f)
    if f.state_quant is not None:
        mem = f.state_quant(mem)
    spk = fire(mem, f)
    if not f.reset_delay and f.reset != "none":
        mem = reset_now(mem, spk, reset, f)
    return spk, SpikingState(spk, mem)


def rsynaptic_step(
    current: Tensor, state: RSynapticState, recurrent: Synapse, p: SynapticParameters
) -> tuple[Tensor, RSynapticState]:
    """One step of RSynaptic's difference equation at the top of this file; touches no state.

    Parameters
    ----------
    current : torch.Tensor
        Input current, ``(rows, *features)``.
    state : RSynapticState
        The previous step's state, of the same shape and dtype; left as it is.
    recurrent : Callable
        V, from spikes to a current.
    p : SynapticParameters
        The neuron's parameters, of the same dtype.

    Returns
    -------
    spk : torch.Tensor
        Spikes of this step, of the same shape and dtype.
    state : RSynapticState
        State of this step.
    """
    before = SynapticState(state.syn, state.mem)
    spk, after = synaptic_step(current, before, p, recurrent(state.spk))
    return spk, RSynapticState(spk, *after)


class OneToOne(nn.Module):
    """Recurrent synapse from each neuron to itself, ``V * spk``.

    Parameters
    ----------
    V : torch.Tensor
        The weight, scalar or per neuron.
    """

    V: Tensor

    def __init__(self, V: Tensor) -> None:
        super().__init__()
        self.V = V

    def forward(self, spk: Tensor) -> Tensor:
        """Give the current of the spikes, of their shape."""
        return spk * self.V


class RecurrentNeuron(FiringNeuron):
    """Base of the recurrent neurons: owns the synapse ``recurrent``, with snnTorch's arguments.

    Its spikes are inputs to the voltage. The eligibility filter is therefore that of the neuron
    without recurrence, and exact, for the input synapse (on its input) and for ``recurrent`` alike
    (on the spikes of the step before); what travels from neuron to neuron within the layer has no
    derivative, as in e-prop.

    Parameters
    ----------
    beta : float or torch.Tensor
        Decay of the voltage per time step, in [0, 1], scalar or per neuron.
    V : float or torch.Tensor
        Weight of a one-to-one synapse, scalar or per neuron.
    all_to_all : bool
        Use a ``Linear`` or ``Conv2d`` synapse in its place.
    linear_features : int, optional
        Width of the ``Linear`` synapse.
    conv2d_channels : int, optional
        Channels of the ``Conv2d`` synapse.
    kernel_size : int or tuple of int, optional
        Its kernel size.
    learn_recurrent : bool
        Whether the synapse's parameters require gradients.
    threshold, spike_grad, surrogate_disable, init_hidden, inhibition, learn_beta, learn_threshold
        As in ``LIF``.
    reset_mechanism, state_quant, output, reset_delay, tau_mem, dt
        As in ``LIF``.

    Raises
    ------
    TypeError
        As in ``LIF``, or if the synapse's arguments do not say which one is wanted.
    ValueError
        As in ``LIF``.
    """

    spk: Tensor
    recurrent: nn.Module
    V: Tensor

    def __init__(
        self,
        beta: Values | None = None,
        V: Values = 1.0,
        all_to_all: bool = True,
        linear_features: int | None = None,
        conv2d_channels: int | None = None,
        kernel_size: KernelSize | None = None,
        threshold: Values = 1.0,
        spike_grad: Callable[[Tensor], Tensor] | None = None,
        surrogate_disable: bool = False,
        init_hidden: bool = False,
        inhibition: bool = False,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        learn_recurrent: bool = True,
        reset_mechanism: str = "subtract",
        state_quant: Callable[[Tensor], Tensor] | Literal[False] | None = False,
        output: bool = False,
        reset_delay: bool = True,
        *,
        tau_mem: Values | None = None,
        dt: float = 1.0,
    ) -> None:
        super().__init__(
            threshold, spike_grad, surrogate_disable, init_hidden, inhibition, learn_threshold,
            reset_mechanism, state_quant, output,
        )  # fmt: skip
        self.reset_delay = reset_delay
        self._own_decay("beta", beta, "tau_mem", tau_mem, dt, learn_beta)
        self.all_to_all = all_to_all
        self.linear_features = linear_features
        self.conv2d_channels = conv2d_channels
        self.kernel_size = kernel_size
        self.learn_recurrent = learn_recurrent
        dense, conv = linear_features is not None, (conv2d_channels, kernel_size)
        given = [
            name
            for name in ("linear_features", "conv2d_channels", "kernel_size")
            if getattr(self, name) is not None
        ]
        if not all_to_all:
            if given:
                raise TypeError(f"all_to_all=False uses the weight V and takes no {given[0]}")
            self._own("V", as_parameter("V", V), learn_recurrent)
            self.recurrent = OneToOne(self.V)
        elif dense and len(given) == 1:
            assert linear_features is not None
            self.recurrent = nn.Linear(linear_features, linear_features)
        elif not dense and len(given) == 2:
            channels, size = conv
            assert channels is not None
            assert size is not None
            kernel = (size, size) if isinstance(size, int) else size
            padding = (kernel[0] // 2, kernel[1] // 2)
            self.recurrent = nn.Conv2d(channels, channels, kernel, padding=padding)
        else:
            raise TypeError(
                "all_to_all=True needs either linear_features, or conv2d_channels and kernel_size, "
                f"but was given {', '.join(given) or 'none of them'}"
            )
        if not learn_recurrent:
            self.recurrent.requires_grad_(False)


class RLIF(RecurrentNeuron, namesakes.RLeaky):
    """Recurrent leaky integrate-and-fire neuron; a drop-in for ``snntorch.RLeaky``.

    The difference equation stands at the top of this file. A step is ``spk, mem = neuron(current,
    spk, mem)``: the spikes are part of the state. Arguments, numbers and ``state_dict`` keys are
    those of ``snntorch.RLeaky`` 1.0; see ``SpikingNeuron`` for ``unroll`` and ``signal``, and
    ``RecurrentNeuron`` for eligibility.

    Parameters
    ----------
    beta : float or torch.Tensor
        Decay of the voltage per time step, in [0, 1], scalar or per neuron.
    V, all_to_all, linear_features, conv2d_channels, kernel_size, learn_recurrent
        As in ``RecurrentNeuron``.
    threshold, spike_grad, surrogate_disable, init_hidden, inhibition, learn_beta, learn_threshold
        As in ``LIF``.
    reset_mechanism, state_quant, output, reset_delay, tau_mem, dt
        As in ``LIF``.

    Raises
    ------
    TypeError
        As in ``LIF`` and ``RecurrentNeuron``.
    ValueError
        As in ``LIF``.
    """

    State = SpikingState
    exact = True

    def step_function(self, current: Tensor) -> StepFunction:
        """Bind the parameters to ``rlif_step``; see ``SpikingNeuron.step_function``."""
        p = LIFParameters(self._fit("beta", current).clamp(0, 1), self.firing(current))
        return partial(rlif_step, recurrent=self.recurrent, p=p)

    def init_rleaky(self) -> Any:
        """Do as ``reset_mem``; snnTorch's older name of it."""
        return self.reset_mem()


class RSynaptic(RecurrentNeuron, namesakes.RSynaptic):
    """Recurrent neuron with a synaptic current; a drop-in for ``snntorch.RSynaptic``.

    The difference equation stands at the top of this file. A step is ``spk, syn, mem =
    neuron(current, spk, syn, mem)``. Arguments, numbers and ``state_dict`` keys are those of
    ``snntorch.RSynaptic`` 1.0 (whose ``reset_delay=False`` fails; ours works); see
    ``SpikingNeuron`` for ``unroll`` and ``signal``, and ``RecurrentNeuron`` for eligibility.

    Parameters
    ----------
    alpha : float or torch.Tensor
        Decay of the synaptic current per time step, in [0, 1], scalar or per neuron.
    beta : float or torch.Tensor
        Decay of the voltage per time step, likewise.
    V, all_to_all, linear_features, conv2d_channels, kernel_size, learn_recurrent
        As in ``RecurrentNeuron``.
    threshold, spike_grad, surrogate_disable, init_hidden, inhibition, learn_alpha, learn_beta
        As in ``Synaptic``.
    learn_threshold, reset_mechanism, state_quant, output, reset_delay, tau_syn, tau_mem, dt
        As in ``Synaptic``.

    Raises
    ------
    TypeError
        As in ``LIF`` and ``RecurrentNeuron``.
    ValueError
        As in ``LIF``.
    """

    alpha: Tensor
    syn: Tensor

    State = RSynapticState
    exact = True
    _per_neuron = ("alpha", "beta", "threshold", "graded_spikes_factor")

    def __init__(
        self,
        alpha: Values | None = None,
        beta: Values | None = None,
        V: Values = 1.0,
        all_to_all: bool = True,
        linear_features: int | None = None,
        conv2d_channels: int | None = None,
        kernel_size: KernelSize | None = None,
        threshold: Values = 1.0,
        spike_grad: Callable[[Tensor], Tensor] | None = None,
        surrogate_disable: bool = False,
        init_hidden: bool = False,
        inhibition: bool = False,
        learn_alpha: bool = False,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        learn_recurrent: bool = True,
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
            beta, V, all_to_all, linear_features, conv2d_channels, kernel_size, threshold,
            spike_grad, surrogate_disable, init_hidden, inhibition, learn_beta, learn_threshold,
            learn_recurrent, reset_mechanism, state_quant, output, reset_delay,
            tau_mem=tau_mem, dt=dt,
        )  # fmt: skip
        self._own_decay("alpha", alpha, "tau_syn", tau_syn, dt, learn_alpha)

    def step_function(self, current: Tensor) -> StepFunction:
        """Bind the parameters to ``rsynaptic_step``; see ``SpikingNeuron.step_function``."""
        alpha, beta = (self._fit(name, current).clamp(0, 1) for name in ("alpha", "beta"))
        p = SynapticParameters(alpha, beta, self.firing(current))
        return partial(rsynaptic_step, recurrent=self.recurrent, p=p)

    def filter(self) -> LinearFilter:
        """Give the filter of (syn, mem); see ``SpikingNeuron.filter``."""
        return synaptic_filter(self.alpha.clamp(0, 1), self.decay())

    def init_rsynaptic(self) -> Any:
        """Do as ``reset_mem``; snnTorch's older name of it."""
        return self.reset_mem()
