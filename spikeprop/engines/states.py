"""Hidden state and spike functions of a network's neurons, for engines that work with graphs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import snntorch as snn
from torch import Tensor, nn

from spikeprop.blocks import Block
from spikeprop.engines.own_state import SpikeFunction
from spikeprop.neurons.delay import DelayLine
from spikeprop.neurons.stateful import StatefulModule
from spikeprop.rules.pseudo import PseudoDerivative

__all__ = ["detach_states", "spike_functions"]


def detach_states(net: nn.Module) -> None:
    """Cut the hidden state of every neuron and delay in ``net`` off its graph."""
    for module in net.modules():
        if isinstance(module, StatefulModule):
            for name in module.State._fields:
                module.__dict__[name] = module.__dict__[name].detach()
        elif isinstance(module, DelayLine):
            module.__dict__["line"] = module.__dict__["line"].detach()
        elif isinstance(module, snn.SpikingNeuron):
            mem: Any = getattr(module, "mem", None)
            if isinstance(mem, Tensor):
                module.mem = mem.detach()


@contextmanager
def spike_functions(
    blocks: Sequence[Block], pseudo: PseudoDerivative | None
) -> Iterator[list[SpikeFunction | None]]:
    """Put a :class:`SpikeFunction` into every neuron that has a ``spike_grad``, meanwhile."""
    before = [getattr(block.neuron, "spike_grad", None) for block in blocks]
    functions = [None if own is None else SpikeFunction(pseudo) for own in before]
    try:
        for block, function in zip(blocks, functions, strict=True):
            if function is not None:
                neuron: Any = block.neuron
                neuron.spike_grad = function
        yield functions
    finally:
        for block, own in zip(blocks, before, strict=True):
            if own is not None:
                neuron = block.neuron
                neuron.spike_grad = own
