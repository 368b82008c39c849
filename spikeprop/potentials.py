"""What the local loss looks at: a neuron's voltage, or its free potential.

The *free potential* is the voltage as it would be if no spike had ever reset it: the neuron's own
sub-threshold filter, run on the current alone,

    z_t = A z_{t-1} + B current_t,    u_t = C z_t          (LIF: u_t = beta u_{t-1} + current_t),

which is ``mem_t`` with all that resets took away put back, each amount decayed as the voltage is. A
neuron knows both: its voltage and its own spikes. As ``current_t = W x_t``, the eligibility trace
is ``d u_t / d W`` exactly, with no reset to be held constant.

Why: a neuron that fires much is held near its threshold by its resets, so that the voltage of the
most driven neurons says least of how strongly they are driven. On SaccadeDigits (five-fold
cross-validation on the training split, 24 epochs, one seed) the first block gained 1.9 points by
it and the second 0.2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from spikeprop.blocks import Block
from spikeprop.membranes import filter_of, layer_filter, spikes
from spikeprop.neurons import LinearFilter, RecurrentNeuron, SpikingNeuron

__all__ = [
    "FilterModule",
    "FreePotential",
    "free_potential",
    "has_free_potential",
    "in_filter",
    "recurrence_of",
]


class FreePotential:
    """One block's free potential on its way along the time axis.

    Parameters
    ----------
    dynamics : LinearFilter
        The neurons' filter: one for the layer, or one a neuron.
    recurrent : callable, optional
        Current of the neuron's own spikes of the step before.
    """

    def __init__(
        self, dynamics: LinearFilter, recurrent: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        #: May be replaced between two time steps, when the neuron's parameters have moved.
        self.dynamics = dynamics
        self._recurrent = recurrent
        self._spk: Tensor | None = None
        self._z: Tensor | None = None

    def advance(self, current: Tensor, spk: Tensor | None = None) -> Tensor:
        """Take a time step's current, and spikes of a recurrent neuron, ``(R, *features)`` each.

        Returns
        -------
        Tensor
            ``u``, of the same shape.
        """
        if self._recurrent is not None:
            before = torch.zeros_like(current) if self._spk is None else self._spk
            current, self._spk = current + self._recurrent(before), spk
        A, B, C = (entry.to(current) for entry in self.dynamics)
        driven = B.reshape(len(B), *_lead(B, 1, current)) * current
        if self._z is None:
            self._z = driven.clone()
        elif len(B) == 1:
            self._z.mul_(A.reshape(1, *_lead(A, 2, current))).add_(driven)
        else:
            A = A.reshape(len(B), len(B), *_lead(A, 2, current))
            self._z = (A * self._z).sum(dim=1) + driven
        return (C.reshape(len(C), *_lead(C, 1, current)) * self._z).sum(dim=0)


def _lead(entry: Tensor, variables: int, current: Tensor) -> torch.Size:
    """Shape that lets a filter's entry, one a layer or a neuron, broadcast with ``current``."""
    per = entry.shape[variables:]
    return torch.Size([*[1] * (current.dim() - len(per)), *per])


def free_potential(block: Block, traces: str) -> FreePotential | None:
    """Return the free potential of a block, or None where its voltage has to do.

    That is: for nonlinear dynamics, which have no filter (unless ``traces="layer"`` gives them
    one); where a parameter of the neuron is trained that is not in its filter, such as a threshold,
    which learns from what it does to the voltage; for a synapse within a user's own neuron, whose
    current is not seen; and for neurons that never reset.
    """
    neuron = block.neuron
    if not has_free_potential(block, traces):
        return None
    dynamics = filter_of(neuron)
    if dynamics is None:
        weight: Any = block.synapse.weight
        dynamics = layer_filter(neuron, block.features, weight.detach())
    return FreePotential(dynamics, recurrence_of(neuron))


def has_free_potential(block: Block, traces: str) -> bool:
    """Tell whether :func:`free_potential` returns one."""
    neuron = block.neuron
    unseen = any(site.inside for site in block.sites) and recurrence_of(neuron) is None
    if unseen or not spikes(neuron):
        return False
    if not all(in_filter(neuron, name) for name in block.neuron_parameters):
        return False
    return traces == "layer" or not isinstance(neuron, SpikingNeuron) or neuron.exact


def recurrence_of(neuron: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """Return what makes a current of a neuron's own spikes, past all hooks; None if nothing."""
    return neuron.recurrent.forward if isinstance(neuron, RecurrentNeuron) else None


def in_filter(neuron: nn.Module, name: str) -> bool:
    """Tell whether a neuron's linear filter depends on one of its parameters."""
    if not isinstance(neuron, SpikingNeuron) or not neuron.exact:
        return False
    values = {f"neuron.{n}": p.detach() for n, p in neuron.named_parameters()}
    values[f"neuron.{name}"] = values[f"neuron.{name}"].clone().requires_grad_()
    with torch.enable_grad():
        entries = functional_call(FilterModule(neuron), values, ())
    return any(entry.requires_grad for entry in entries)


class FilterModule(nn.Module):
    """A neuron's filter as a module's ``forward``, as ``functional_call`` wants it."""

    def __init__(self, neuron: SpikingNeuron) -> None:
        super().__init__()
        self.neuron = neuron

    def forward(self) -> tuple[Tensor, ...]:
        """Return A, B and C."""
        return tuple(self.neuron.filter())
