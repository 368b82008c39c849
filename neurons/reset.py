"""Clearing hidden state, by our own verb and by snnTorch's.

``snntorch.utils.reset`` clears every neuron in the list ``snntorch.SpikingNeuron.instances``, which
in snnTorch holds each layer strongly and so for ever. Our neurons enter a *handle* instead: it
answers for its neuron while that lives, and is nothing but an inert object afterwards. (A
``weakref.proxy`` would raise from the ``isinstance`` test inside snnTorch's loop as soon as its
neuron is gone, and removing entries when a neuron dies would shorten the list under that loop.)
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, TypeAlias

import snntorch as snn
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from spikeprop.neurons.delay import DelayLine
    from spikeprop.neurons.stateful import StatefulModule

    Stateful: TypeAlias = StatefulModule | DelayLine


class _Handle:
    """Stands for a neuron in snnTorch's list without keeping it alive."""

    __slots__ = ("_neuron",)

    _neuron: weakref.ref[Stateful]

    def __init__(self, neuron: Stateful) -> None:
        object.__setattr__(self, "_neuron", weakref.ref(neuron))

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        # What ``isinstance(handle, snn.Leaky)`` looks at.
        neuron = self._neuron()
        if neuron is None:
            return _Handle
        return getattr(neuron, "_reset_as", type(neuron))

    def __getattr__(self, name: str) -> Tensor:
        # snnTorch's loops read nothing but state.
        neuron = self._neuron()
        return torch.zeros(0) if neuron is None else getattr(neuron, name, neuron.state[0])

    def __setattr__(self, name: str, value: Any) -> None:
        # They only ever assign zeros of the old shape. A fresh start says the same and leaves the
        # next sequence free to have another batch size.
        neuron = self._neuron()
        if neuron is not None:
            neuron.reset_mem()


def register(neuron: Stateful) -> None:
    """Let ``snntorch.utils.reset`` find a neuron, for as long as it lives."""
    instances: list[Any] = snn.SpikingNeuron.instances
    n = len(instances)
    # At each power of two: dead handles then never outnumber the living by more than a few, and
    # building a large network does not search the list for each layer.
    if n >= 16 and n & (n - 1) == 0:
        instances[:] = [
            entry for entry in instances if not (type(entry) is _Handle and entry._neuron() is None)
        ]
    instances.append(_Handle(neuron))


def living() -> list[Stateful]:
    """Give all of our neurons that are alive."""
    handles = [entry for entry in snn.SpikingNeuron.instances if type(entry) is _Handle]
    return [neuron for handle in handles if (neuron := handle._neuron()) is not None]


def reset(net: nn.Module) -> None:
    """Clear the hidden state of every neuron in a network, so that the next step starts fresh.

    Unlike ``snntorch.utils.reset`` it looks into modules of any depth, and touches no other
    network.

    Parameters
    ----------
    net : torch.nn.Module
        Any module: a network, a part of one, or a single neuron. Our neurons and snnTorch's are
        cleared, and our delays; everything else stays as it is.

    Raises
    ------
    TypeError
        If ``net`` is not a module.
    """
    if not isinstance(net, nn.Module):
        raise TypeError(f"net must be a torch.nn.Module, not {type(net).__name__}")
    for module in net.modules():
        # snnTorch's state-space neurons (such as snn.StateLeaky) hold no state and lack the method.
        ours_or_theirs = isinstance(module, snn.SpikingNeuron) or hasattr(module, "_reset_as")
        clear: Any = getattr(module, "reset_mem", None)
        if ours_or_theirs and clear is not None:
            clear()
