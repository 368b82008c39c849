"""A neuron's own parameter, trained by the local loss that trains its synapses.

With spikes held as inputs, a parameter ``p`` (a decay, a threshold, an adaptation strength) moves
the state ``z_t = f(z_{t-1}, current_t, p)`` by a recursion of its own, neuron by neuron:

    s_t = df/dz s_{t-1} + df/dp,    s_0 = 0,    d mem_t / dp = the voltage's entry of s_t

One forward-mode derivative of the neuron's step gives it, whatever the neuron. For the LIF that is
``s_t = beta s_{t-1} + mem_{t-1}`` for ``beta``, and ``s_t = beta s_{t-1} - spk_{t-1}`` for the
threshold (with the reset "subtract": what a reset takes away is differentiated, when it happens is
not). The gradient is ``delta_t e_t``, with ``e_t`` this trace seen through the evidence filter,
summed over all that shares the parameter. Memory: one state and K evidences per parameter.

Where the loss looks at the free potential (:mod:`spikeprop.potentials`), the same is done to that:

    z_t = A z_{t-1} + B current_t,   u_t = C z_t,   with A, B and C the filter at ``p``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp

from spikeprop.evidence import Evidence
from spikeprop.neurons import SpikingNeuron
from spikeprop.potentials import FilterModule, recurrence_of

__all__ = ["DECAYS", "FreeParameterPass", "ParameterPass"]

#: Parameters that neurons clamp to [0, 1]; outside, they would have no gradient to come back by.
DECAYS = ("alpha", "beta", "rho")


class _Step(nn.Module):
    """The neuron's pure step as a module's ``forward``, as ``functional_call`` wants it."""

    def __init__(self, neuron: SpikingNeuron) -> None:
        super().__init__()
        self.neuron = neuron

    def forward(self, current: Tensor, state: Any) -> tuple[Tensor, ...]:
        return tuple(self.neuron.step(current, state)[1])


class ParameterPass:
    """A neuron parameter, followed through one batch of sequences or one stream.

    Parameters
    ----------
    neuron : SpikingNeuron
        The neuron.
    name : str
        The parameter's name.
    filters : sequence of Evidence
        Filters of the voltage that the loss looks at.
    """

    def __init__(self, neuron: SpikingNeuron, name: str, filters: Sequence[Evidence]) -> None:
        self._step, self._kind, self._name = _Step(neuron), neuron.State, name
        self._parameter: nn.Parameter = getattr(neuron, name)
        self._filters = filters
        self._mem = neuron.State._fields.index("mem")
        self._tangent: tuple[Tensor, ...] | None = None
        self._eligibility: list[Tensor] = []
        self._gradient = torch.zeros_like(self._parameter, requires_grad=False)
        self._steps = 0

    def advance(self, current: Tensor, state: Any, follows: Tensor | None) -> None:
        """Move the trace on by the neuron's step from ``state`` with ``current``.

        ``follows`` says where the voltage that the loss sees follows the state, if not everywhere.
        """
        self._steps += 1
        neuron = self._step.neuron
        if state is None or state[0].shape != current.shape:
            state = neuron.initial_state(current)
        if self._tangent is None:
            self._tangent = tuple(torch.zeros_like(value) for value in state)
            self._eligibility = [torch.zeros_like(current) for _ in self._filters]
        value = self._parameter.detach()

        def flow(value: Tensor, *before: Tensor) -> tuple[Tensor, ...]:
            parameters = {f"neuron.{self._name}": value}
            after: tuple[Tensor, ...] = functional_call(
                self._step, parameters, (current, self._kind(*before))
            )
            return after

        self._tangent = jvp(flow, (value, *state), (torch.ones_like(value), *self._tangent))[1]
        self._see(self._tangent[self._mem], follows)

    def _see(self, moved: Tensor, follows: Tensor | None) -> None:
        moved = moved if follows is None else moved * follows
        for evidence, kept in zip(self._filters, self._eligibility, strict=True):
            kept.lerp_(moved, evidence.weight(self._steps))

    def learn(self, parts: Sequence[Tensor]) -> None:
        """Add one time step's gradient; ``parts`` has the modulator of each filter ``(R, ...)``."""
        for part, kept in zip(parts, self._eligibility, strict=True):
            self._gradient += (part * kept).sum(dim=0).sum_to_size(self._gradient.shape)

    def hand_over(self) -> None:
        """Put the summed gradient where the optimiser looks for it."""
        self._parameter.grad = self._gradient

    def forget(self) -> None:
        """Start a new sum, after the optimiser's step."""
        if self._name in DECAYS:
            self._parameter.detach().clamp_(0, 1)
        self._gradient.zero_()


class FreeParameterPass(ParameterPass):
    """The same for a loss that looks at the free potential; parameters as the base."""

    def __init__(self, neuron: SpikingNeuron, name: str, filters: Sequence[Evidence]) -> None:
        super().__init__(neuron, name, filters)
        self._filter = FilterModule(neuron)
        self._recurrent = recurrence_of(neuron)

    def advance(self, current: Tensor, state: Any, follows: Tensor | None) -> None:
        """Move the trace on by a step of the filter; ``follows`` has no say in it."""
        self._steps += 1
        if self._recurrent is not None:
            fresh = state is None or state.spk.shape != current.shape
            spk = torch.zeros_like(current) if fresh else state.spk
            current = current + self._recurrent(spk)
        value = self._parameter.detach()
        if self._tangent is None:
            order = self._step.neuron.filter().order
            zeros = current.new_zeros((order, *current.shape))
            self._z, self._tangent = zeros, (zeros,)
            self._eligibility = [torch.zeros_like(current) for _ in self._filters]

        def flow(value: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
            A, B, C = functional_call(self._filter, {f"neuron.{self._name}": value}, ())
            A, B, C = (_per_row(entry, n, current) for entry, n in ((A, 2), (B, 1), (C, 1)))
            z = (A * z).sum(dim=1) + B * current
            return z, (C * z).sum(dim=0)

        moved = jvp(flow, (value, self._z), (torch.ones_like(value), *self._tangent))
        self._z, self._tangent = moved[0][0], moved[1][:1]
        self._see(moved[1][1], None)


def _per_row(entry: Tensor, variables: int, current: Tensor) -> Tensor:
    """Let a filter's entry, one a layer or a neuron, broadcast with ``(R, *features)``."""
    lead, per = entry.shape[:variables], entry.shape[variables:]
    return entry.reshape(*lead, *[1] * (current.dim() - len(per)), *per)
