r"""How a neuron's spike depends on what came in, through the neuron's own state.

The state ``h`` and the spike ``s`` of a step follow from the state before it and the current. With
a pseudo-derivative in place of the spike's derivative the step has Jacobians, neuron by neuron, and

    eps_t = dh_t/dh_{t-1} eps_{t-1} + dh_t/dcurrent x_t,    d s_t / d W = ds_t/dh_t eps_t

is the eligibility vector of e-prop and of online spatio-temporal learning. Where the state is the
voltage alone, and resets count as inputs, that is the pseudo-derivative times the neuron's filter.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from spikeprop.membranes import filter_of
from spikeprop.neurons import LinearFilter, SpikingNeuron, StochasticLIF
from spikeprop.neurons.recurrent import RecurrentNeuron
from spikeprop.neurons.surrogates import heaviside
from spikeprop.neurons.tracing import plain
from spikeprop.rules.pseudo import PseudoDerivative

__all__ = ["SpikeFunction", "by_filter", "has_own_state", "own_jacobian", "with_reset"]


class SpikeFunction:
    """The Heaviside step with a pseudo-derivative, in a neuron's ``spike_grad``.

    Notes the last voltage minus threshold that it was called with: whatever a neuron does to its
    threshold is in it.
    """

    def __init__(self, pseudo: PseudoDerivative | None) -> None:
        self.pseudo = pseudo
        self.shift: Tensor | None = None

    def __call__(self, shift: Tensor) -> Tensor:
        """Return 1 where ``shift > 0``, else 0."""
        if plain(shift):
            self.shift = shift.detach()
            if not (torch.is_grad_enabled() and shift.requires_grad):
                return heaviside(shift)
        spikes = heaviside(shift.detach())
        if self.pseudo is None:
            return spikes
        return spikes + self.pseudo(shift.detach()) * (shift - shift.detach())


def has_own_state(neuron: nn.Module) -> bool:
    """Tell whether a neuron's state is more than linear filters of its current.

    Recurrent neurons count as not having any, since spikes that come back are inputs; and those
    that fire at random, since to ask again what they do would draw again.
    """
    if not isinstance(neuron, SpikingNeuron):
        return False
    if isinstance(neuron, (RecurrentNeuron, StochasticLIF)):
        return False
    return not neuron.exact or len(neuron.State._fields) > neuron.filter().order


def by_filter(neuron: nn.Module, psi: Tensor) -> LinearFilter:
    """Return ``psi`` times the neuron's own sub-threshold filter; ``psi`` is ``(R, *features)``."""
    own = filter_of(neuron)
    assert own is not None, "asked for neurons with linear dynamics only"
    A, B, C = (_over(entry, lead, psi) for entry, lead in zip(own, (2, 1, 1), strict=True))
    return LinearFilter(A, B, C * psi)


def with_reset(
    neuron: nn.Module, psi: Tensor, before: tuple[Tensor, Tensor, Tensor] | None
) -> LinearFilter:
    """Return the same with the reset's derivative, for a neuron of one variable.

    ``before`` is the voltage, the spikes and the pseudo-derivative of the step before.

        "subtract":  du_t/du_{t-1} = beta - threshold psi_{t-1}
        "zero":      du_t/du_{t-1} = beta (1 - s_{t-1} - u_{t-1} psi_{t-1})
    """
    filter_ = by_filter(neuron, psi)
    mechanism: Any = getattr(neuron, "reset_mechanism", "none")
    if before is None or mechanism == "none" or filter_.order > 1:
        return filter_
    mem, spk, psi_before = before
    beta = filter_.A[0, 0]
    if mechanism == "subtract":
        threshold: Any = neuron.threshold
        decay = beta - threshold.detach() * psi_before
    else:
        decay = beta * (1.0 - spk - mem * psi_before)
    return filter_._replace(A=decay[None, None])


def own_jacobian(neuron: SpikingNeuron, current: Tensor, state: Any) -> LinearFilter:
    """Return the Jacobians of a step, the spike as one more variable behind the state's.

    ``neuron.spike_grad`` has to be a :class:`SpikeFunction`. One forward-mode derivative for each
    state variable and one for the current; no backward pass.
    """
    if state is None or any(value.numel() == 0 for value in state):
        state = neuron.initial_state(current)
    step, kind = neuron.step_function(current), type(state)
    primals = (current.detach(), *(value.detach() for value in state))

    def flow(now: Tensor, *before: Tensor) -> tuple[Tensor, ...]:
        spk, after = step(now, kind(*before))
        return (*after, spk)

    def column(k: int) -> Tensor:
        tangents = tuple(
            torch.ones_like(value) if i == k else torch.zeros_like(value)
            for i, value in enumerate(primals)
        )
        return torch.stack(torch.func.jvp(flow, primals, tangents)[1])

    with torch.no_grad(), warnings.catch_warnings():
        # torch itself uses it, when the first derivative of this kind is taken.
        warnings.filterwarnings("ignore", ".*torch.jit.script. is deprecated", DeprecationWarning)
        B = column(0)
        columns = [column(k) for k in range(1, len(primals))]
    A = torch.stack([*columns, torch.zeros_like(B)], dim=1)
    C = torch.zeros_like(B)
    C[-1] = 1.0
    return LinearFilter(A, B, C)


def _over(entry: Tensor, lead: int, like: Tensor) -> Tensor:
    """Spread a filter's entry, one a layer or a neuron, over rows and features."""
    per = entry.shape[lead:]
    shape = (*entry.shape[:lead], *[1] * (like.dim() - len(per)), *per)
    return entry.to(like).reshape(shape).expand(*entry.shape[:lead], *like.shape)
