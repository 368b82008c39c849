"""Chains: networks that are one block after another, which faster engines can run by themselves.

A faster engine runs a block over many time steps before the next block sees the first of them. That
is right only where nothing flows back and nothing else keeps state, so it asks for a
``nn.Sequential`` of known modules; anything else is left to the reference engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikeprop.blocks import Block
from spikeprop.membranes import learnable
from spikeprop.neurons import LI, LIF, Delay, DelayedLinear
from spikeprop.neurons.surrogates import is_step
from spikeprop.norms import batch_norms

__all__ = ["Link", "Membrane", "NotAChain", "chain_of", "decay_of", "membrane_of"]

#: Modules without parameters, which may stand between a neuron and a synapse.
BETWEEN: tuple[type[nn.Module], ...] = (
    nn.Identity,
    nn.Flatten,
    nn.Unflatten,
    nn.MaxPool2d,
    nn.AdaptiveMaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    Delay,
)
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
#: Of these, the ones that leave every number in its place when features are flattened.
RESHAPING = (nn.Identity, nn.Flatten, nn.Unflatten, *DROPOUTS)
#: And those in front of a synapse that sparse rows pass.
PASSED = (*RESHAPING, Delay)


class NotAChain(ValueError):  # noqa: N818 - it says what the network is
    """The network is not one block after another, or has a part that only the reference runs."""


@dataclass(frozen=True)
class Link:
    """A block and the modules that shape its synapse's input."""

    before: tuple[nn.Module, ...]
    block: Block

    @property
    def flat(self) -> bool:
        """Whether the synapse is a ``Linear`` that sees and gives plain vectors."""
        synapse: Any = self.block.synapse
        return type(synapse) is nn.Linear and self._takes_events(synapse.in_features)

    @property
    def gathers(self) -> bool:
        """Whether the synapse is a plain ``Conv2d`` that events can run through one by one."""
        synapse: Any = self.block.synapse
        inputs = self.block.sites[0].inputs
        return (
            type(synapse) is nn.Conv2d
            and synapse.groups == 1
            and synapse.dilation == (1, 1)
            and len(inputs) == 3
            and self._takes_events(inputs.numel())
        )

    def _takes_events(self, inputs: int) -> bool:
        """Tell whether events come to the synapse, and currents to the neuron, in their places."""
        return (
            all(isinstance(module, PASSED) for module in self.before)
            and all(module.delay.numel() in (1, inputs) for module in self.delays)
            and all(isinstance(module, RESHAPING) for module, _ in self.block.chain)
        )

    @property
    def delays(self) -> list[Delay]:
        """The delays among the modules in front."""
        return [module for module in self.before if isinstance(module, Delay)]


class Membrane(NamedTuple):
    """A leaky neuron reduced to numbers: what compiled code needs.

    Attributes
    ----------
    beta : float
        Decay per time step.
    threshold : Tensor
        One a neuron, flattened, ``(N,)``; infinite for a neuron that never spikes.
    reset : str
        ``"subtract"``, ``"zero"`` or ``"none"``.
    """

    beta: float
    threshold: Tensor
    reset: str


def chain_of(net: nn.Module, blocks: list[Block]) -> list[Link]:
    """Return ``net`` as a chain of its blocks.

    Raises
    ------
    NotAChain
        If it is none; the message says which module is in the way.
    """
    for block in blocks:
        _check_block(block)
    modules = list(_leaves(net, type(net).__name__))
    by_synapse = {block.synapse: block for block in blocks}
    links: list[Link] = []
    before: list[nn.Module] = []
    rest = iter(modules)
    for name, module in rest:
        found = by_synapse.get(module)
        if found is None:
            if not isinstance(module, BETWEEN):
                raise NotAChain(f"'{name}' ({type(module).__name__}) stands between two blocks")
            if isinstance(module, Delay) and not module.init_hidden:
                raise NotAChain(f"delay '{name}' has init_hidden=False")
            before.append(module)
            continue
        for expected in (*[item for item, _ in found.chain], found.neuron):
            behind, follower = next(rest, ("", None))
            if follower is not expected:
                raise NotAChain(f"the network's order is not that of its blocks at '{behind}'")
        links.append(Link(tuple(before), found))
        before = []
    if [link.block for link in links] != blocks:
        raise NotAChain("some blocks are not in the network's own order")
    return links


def check_state(net: nn.Module, links: list[Link], *, training: bool) -> None:
    """Refuse what may change from one call to the next.

    Raises
    ------
    NotAChain
        For active dropout or followed batch statistics (which draw or look step by step), forward
        hooks of the user's own, or a neuron in the middle of a sequence.
    """
    if training and any(isinstance(m, DROPOUTS) and m.p > 0 for m in net.modules()):
        raise NotAChain("dropout draws anew at each time step")
    if training and batch_norms(net):
        raise NotAChain("batch norms follow their statistics step by step")
    for name, module in net.named_modules():
        if module._forward_hooks or module._forward_pre_hooks:
            raise NotAChain(f"'{name}' has forward hooks, which expect every time step")


def decay_of(block: Block) -> float:
    """Return the decay of a chain's neurons per time step."""
    neuron: Any = block.neuron
    return min(max(float(neuron.beta.detach()), 0.0), 1.0)


def is_compiled(block: Block) -> bool:
    """Tell whether compiled code knows the block's neuron."""
    neuron: Any = block.neuron
    if type(neuron).step_function is LI.step_function:
        return False
    if neuron.inhibition or neuron.state_quant or not is_step(neuron.spike_grad):
        return False
    delayed = neuron.reset_delay or neuron.reset_mechanism == "none"
    factor = neuron.graded_spikes_factor
    # Asked for several times a batch, and a comparison of tensors takes ten times as long.
    return delayed and (float(factor) == 1 if factor.numel() == 1 else bool((factor == 1).all()))


def membrane_of(block: Block) -> Membrane | None:
    """Return the block's neuron as numbers, or None if compiled code does not know it."""
    if not is_compiled(block):
        return None
    neuron: Any = block.neuron
    weight: Any = block.synapse.weight
    size = block.features.numel()
    threshold = neuron.threshold.detach().to(weight.dtype).expand(block.features).reshape(size)
    return Membrane(decay_of(block), threshold, neuron.reset_mechanism)


def _check_block(block: Block) -> None:
    neuron: Any = block.neuron
    synapse: Any = block.synapse
    if not block.single:
        raise NotAChain(f"neuron '{block.neuron_name}' has more than one trained module")
    if isinstance(synapse, DelayedLinear):
        raise NotAChain(f"synapse '{block.name}' is a DelayedLinear, which keeps its last inputs")
    if block.trained and not synapse.weight.requires_grad:
        raise NotAChain(f"synapse '{block.name}' trains its bias alone")
    if getattr(type(neuron), "step_function", None) not in (LIF.step_function, LI.step_function):
        raise NotAChain(f"neuron '{block.neuron_name}' is a {type(neuron).__name__}")
    if learnable(neuron):
        raise NotAChain(f"neuron '{block.neuron_name}' learns parameters of its own")
    if neuron.beta.numel() != 1:
        raise NotAChain(f"neuron '{block.neuron_name}' has a beta for each of its neurons")
    if not neuron.init_hidden:
        raise NotAChain(f"neuron '{block.neuron_name}' has init_hidden=False")


def _leaves(module: nn.Module, name: str) -> list[tuple[str, nn.Module]]:
    if next(module.children(), None) is None:
        return [(name, module)]
    if type(module).forward is not nn.Sequential.forward:
        raise NotAChain(f"'{name}' ({type(module).__name__}) has a forward() of its own")
    found: list[tuple[str, nn.Module]] = []
    for child, inner in module.named_children():
        found += _leaves(inner, child if name == "Sequential" else f"{name}.{child}")
    return found


def flatten_rows(x: Tensor, before: tuple[nn.Module, ...]) -> Tensor:
    """Run ``(L, R, *features)`` through modules that work row by row."""
    if not before:
        return x
    steps, rows = x.shape[:2]
    y = x.reshape(steps * rows, *x.shape[2:])
    with torch.no_grad():
        for module in before:
            y = module(y)
    return y.reshape(steps, rows, *y.shape[1:])
