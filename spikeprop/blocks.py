"""Finds the blocks of a plain module: the pairs of a synapse and the neuron that it feeds.

The network runs once on zeros, while hooks note which tensor each leaf module took and which it
gave. From each neuron the current is followed back, module by module, to the module that is
trained. What cannot be followed (a function call between two modules, say) is refused with advice,
never guessed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from spikeprop.membranes import check_neuron, is_neuron
from spikeprop.neurons import reset
from spikeprop.synapses import synapse_of, transpose_of

__all__ = ["Block", "find_blocks"]


@dataclass
class Block:
    """A synapse and the neuron it feeds.

    Attributes
    ----------
    index : int
        Place of the block in the forward pass, from 0.
    name, neuron_name : str
        Names of the trained module and of the neuron in the network.
    synapse : nn.Module
        The module whose weight (and bias) is trained.
    neuron : nn.Module
        The neuron behind it.
    chain : list of (module, input shape)
        Linear modules between the two, in forward order.
    features : torch.Size
        Shape of the neuron's voltage without the row dimension.
    trained : bool
        Whether the weight takes part in learning (``requires_grad`` of the weight).
    """

    index: int
    name: str
    neuron_name: str
    synapse: nn.Module
    neuron: nn.Module
    chain: list[tuple[nn.Module, torch.Size]]
    features: torch.Size
    norms: list[nn.Module] = field(default_factory=list)

    @property
    def trained(self) -> bool:
        """Whether this block learns: freeze it with ``requires_grad_(False)`` on its synapse."""
        weight: Any = self.synapse.weight
        return bool(weight.requires_grad)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Weight, and bias if there is one, as far as they are to be trained."""
        return [p for p in self.synapse.parameters(recurse=False) if p.requires_grad]


@dataclass
class _Call:
    name: str
    module: nn.Module
    source: Tensor
    outputs: tuple[Any, ...]


class _Enough(Exception):  # noqa: N818 - a signal, not an error
    """Raised by a hook to end the trial run once a neuron comes round a second time."""


def find_blocks(net: nn.Module, x: Tensor, *, whole_sequence: bool) -> list[Block]:
    """Run ``net`` on ``x`` and return its blocks in the order of the forward pass.

    Parameters
    ----------
    net : nn.Module
        The network; its hidden state is cleared before and after.
    x : Tensor
        One time step ``(B, *features)``, or a sequence ``(T, B, *features)`` for a network that
        loops over time itself. Two rows are enough.
    whole_sequence : bool
        Whether ``x`` is a sequence; the run ends after its first time step.

    Returns
    -------
    list of Block

    Raises
    ------
    ValueError
        If there is no block to train, if a neuron's current cannot be followed back to one
        synapse, if a module between them is not linear, or if a neuron or synapse is used twice.
    """
    calls = _record(net, x, whole_sequence=whole_sequence)
    neurons = [i for i, call in enumerate(calls) if is_neuron(call.module)]
    if not neurons:
        raise ValueError(
            "the network has no trainable block: no spiking neuron was called. It needs at least "
            "one pair such as nn.Linear(...), spikeprop.neurons.LIF(...)"
        )
    blocks = [_block(index, calls, place) for index, place in enumerate(neurons)]
    _check_each_once("synapse", [block.name for block in blocks])
    if not any(block.trained for block in blocks):
        raise ValueError(
            "the network has no trainable block: the weights of "
            f"{', '.join(repr(block.name) for block in blocks)} all have requires_grad=False"
        )
    return blocks


def _record(net: nn.Module, x: Tensor, *, whole_sequence: bool) -> list[_Call]:
    calls: list[_Call] = []
    names = {module: name or type(module).__name__ for name, module in net.named_modules()}
    leaves = [m for m in names if is_neuron(m) or next(m.children(), None) is None]

    def before(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if whole_sequence and is_neuron(module) and any(c.module is module for c in calls):
            raise _Enough

    def after(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if inputs and isinstance(inputs[0], Tensor):
            outputs = output if isinstance(output, tuple) else (output,)
            calls.append(_Call(names[module], module, inputs[0], outputs))

    handles = [m.register_forward_pre_hook(before) for m in leaves]
    handles += [m.register_forward_hook(after) for m in leaves]
    training = net.training
    net.eval()
    reset(net)
    try:
        with torch.no_grad():
            net(x)
    except _Enough:
        # The second step's synapse may have run already: it belongs to no neuron call of the first.
        pass
    finally:
        for handle in handles:
            handle.remove()
        reset(net)
        net.train(training)
    _check_each_once("neuron", [c.name for c in calls if is_neuron(c.module)])
    return calls


def _block(index: int, calls: list[_Call], place: int) -> Block:
    neuron = calls[place]
    check_neuron(neuron.name, neuron.module)
    chain: list[tuple[nn.Module, torch.Size]] = []
    wanted = neuron.source
    for call in reversed(calls[:place]):
        if not any(output is wanted for output in call.outputs):
            continue
        if is_neuron(call.module):
            raise ValueError(
                f"neuron '{neuron.name}' has no synapse: it takes the output of neuron "
                f"'{call.name}' directly. Put a Linear or Conv2d between the two"
            )
        synapse = synapse_of(call.module)
        if synapse is not None:
            synapse.check(call.name, call.module)
            return Block(
                index=index,
                name=call.name,
                neuron_name=neuron.name,
                synapse=call.module,
                neuron=neuron.module,
                chain=chain,
                features=neuron.source.shape[1:],
                norms=[m for m, _ in chain if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))],
            )
        if transpose_of(call.module) is None:
            raise ValueError(
                f"module '{call.name}' ({type(call.module).__name__}) stands between a synapse and "
                f"neuron '{neuron.name}' and is not known to be linear; the local update would not "
                f"be exact. Move it behind the neuron"
            )
        chain.insert(0, (call.module, call.source.shape))
        wanted = call.source
    behind = f" behind module '{_name_of(calls, chain[0][0])}'" if chain else ""
    raise ValueError(
        f"the current of neuron '{neuron.name}' could not be followed back to a Linear or "
        f"Conv2d{behind}: something that is not a module made it (a function call such as "
        f"F.max_pool2d, an addition, an index into a whole sequence). Call the synapse at each "
        f"time step and give what it returns to the neuron; use modules (nn.Flatten, "
        f"nn.AvgPool2d) for what lies between, and move max pooling behind the neuron"
    )


def _name_of(calls: list[_Call], module: nn.Module) -> str:
    return next(call.name for call in calls if call.module is module)


def _check_each_once(kind: str, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"{kind} '{twice[0]}' is used more than once in one time step; forward learning needs "
            f"a {kind} of its own for each block. If the network's forward() loops over time "
            f"itself, pass time='inside'"
        )
