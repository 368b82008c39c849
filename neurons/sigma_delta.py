"""Sigma-delta neuron: integrates what it is told of changes, and tells of its own when they matter.

One step, with an activation f and the value ``sent`` that its listeners have of it:

    mem_t  = beta * mem_{t-1} + current_t                                   # sigma
    diff_t = f(mem_t) - sent_{t-1}
    spk_t  = diff_t * H(|diff_t| - threshold)                               # delta: a graded spike
    sent_t = sent_{t-1} + spk_t

The current is the weighted sum of such changes (with ``beta = 1``, the default, the voltage then is
the weighted sum of the values themselves, each wrong by at most ``threshold``). O'Connor and
Welling, "Sigma delta quantized networks", ICLR 2017.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor

from spikeprop.neurons import namesakes
from spikeprop.neurons.arguments import Values, as_positive
from spikeprop.neurons.base import StepFunction
from spikeprop.neurons.firing import Firing, FiringNeuron, fire


class SigmaDeltaState(NamedTuple):
    """State of a sigma-delta neuron.

    Attributes
    ----------
    sent, mem : torch.Tensor
        The value its listeners have, and the integrated input, ``(rows, *features)``.
    """

    sent: Tensor
    mem: Tensor


class SigmaDeltaParameters(NamedTuple):
    """All that a step needs besides current and state.

    Attributes
    ----------
    beta : torch.Tensor
        Decay per step, in [0, 1], scalar or per neuron.
    activation : Callable or None
        f; None for the value itself.
    firing : Firing
        Threshold and options.
    """

    beta: Tensor
    activation: Callable[[Tensor], Tensor] | None
    firing: Firing


def sigma_delta_step(
    current: Tensor, state: SigmaDeltaState, p: SigmaDeltaParameters
) -> tuple[Tensor, SigmaDeltaState]:
    """One step of the difference equation at the top of this file; touches no state.

    Parameters
    ----------
    current : torch.Tensor
        Input current, ``(rows, *features)``.
    state : SigmaDeltaState
        The previous step's state, of the same shape and dtype; left as it is.
    p : SigmaDeltaParameters
        The neuron's parameters, of the same dtype.

    Returns
    -------
    spk : torch.Tensor
        Graded spikes of this step, of either sign, of the same shape and dtype.
    state : SigmaDeltaState
        State of this step.
    """
    f = p.firing
    mem = (p.beta * state.mem).add_(current)
    if f.state_quant is not None:
        mem = f.state_quant(mem)
    change = (mem if p.activation is None else p.activation(mem)) - state.sent
    spk = change * fire(change.abs(), f)
    return spk, SigmaDeltaState(state.sent + spk, mem)


class SigmaDelta(FiringNeuron, namesakes.Leaky):
    """Sigma-delta neuron, which sends graded spikes of either sign.

    The difference equation stands at the top of this file. A step is ``spk, sent, mem =
    neuron(current, sent, mem)``; see ``SpikingNeuron`` for state, ``unroll`` and ``signal``. The
    voltage is never reset, and the eligibility filter, ``beta``, is exact.

    Parameters
    ----------
    threshold : float or torch.Tensor
        Smallest change that is sent, above 0, scalar or per neuron.
    beta : float or torch.Tensor
        Decay of the voltage per time step, in [0, 1]; 1 integrates.
    activation : Callable, optional
        Function of the voltage whose changes are sent, such as ``torch.relu``.
    learn_beta : bool
        Make ``beta`` an ``nn.Parameter`` instead of a buffer.
    tau_mem : float or torch.Tensor
        In place of ``beta``, the time constant in milliseconds: ``beta = exp(-dt / tau_mem)``.
    dt : float
        With ``tau_mem``, the length of a time step in milliseconds.
    **options
        ``spike_grad``, ``init_hidden`` and other options of ``FiringNeuron``; there is no reset.

    Raises
    ------
    TypeError
        As in ``LIF``, if ``activation`` cannot be called, or ``reset_mechanism`` is given.
    ValueError
        As in ``LIF``, or if ``threshold`` is not positive.
    """

    sent: Tensor

    State = SigmaDeltaState
    exact = True

    def __init__(
        self,
        threshold: Values = 0.1,
        beta: Values | None = None,
        activation: Callable[[Tensor], Tensor] | None = None,
        *,
        learn_beta: bool = False,
        tau_mem: Values | None = None,
        dt: float = 1.0,
        **options: Any,
    ) -> None:
        if "reset_mechanism" in options:
            raise TypeError("SigmaDelta is never reset and takes no reset_mechanism")
        if activation is not None and not callable(activation):
            raise TypeError(f"activation must be a function of a tensor, not {activation!r}")
        super().__init__(as_positive("threshold", threshold), reset_mechanism="none", **options)
        self.activation = activation
        if beta is None and tau_mem is None:
            beta = 1.0
        self._own_decay("beta", beta, "tau_mem", tau_mem, dt, learn_beta)

    def step_function(self, current: Tensor) -> StepFunction:
        """Bind the parameters to ``sigma_delta_step``; see ``SpikingNeuron.step_function``."""
        beta = self._fit("beta", current).clamp(0, 1)
        p = SigmaDeltaParameters(beta, self.activation, self.firing(current))
        return partial(sigma_delta_step, p=p)
