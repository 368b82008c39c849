"""Finds the blocks of a plain module: the pairs of a synapse and the neuron that it feeds.

The network runs once on zeros, while hooks note which tensor each leaf module took and which it
gave (:mod:`spikeprop.tracing`). From each neuron the current is followed back, module by module and
through sums, to the modules that are trained. What cannot be followed (a function call between two
modules, say) is refused with advice, never guessed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spikeprop.membranes import check_neuron, is_activation, is_neuron, learnable
from spikeprop.parametrizations import NAMES, check_parametrizations, originals, trains
from spikeprop.synapses import NORMS, check_norm, synapse_of, transpose_of
from spikeprop.tracing import Call, is_sum, record, terms_of

__all__ = ["Block", "Site", "find_blocks"]


@dataclass(frozen=True)
class Site:
    """A trained module on the way to a neuron, and what lies between the two.

    Attributes
    ----------
    name : str
        Name of the module in the network.
    module : nn.Module
        The module whose weight (and bias) is trained.
    chain : list of (module, input shape)
        Linear modules between it and the neuron, in forward order.
    inside : bool
        Whether the neuron itself calls it, as a recurrent one does: its current then joins behind
        the point where the class signal enters.
    inputs : torch.Size
        Shape of its input without the row dimension; empty where nobody saw it.
    """

    name: str
    module: nn.Module
    chain: list[tuple[nn.Module, torch.Size]]
    inside: bool = False
    inputs: torch.Size = torch.Size()  # noqa: RUF009 - it is a tuple

    @property
    def trained(self) -> bool:
        """Whether weight or bias takes part in learning."""
        return any(trains(self.module, name) for name in NAMES)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What an optimiser steps on: weight and bias, or what they are computed from."""
        found = [p for name in NAMES for p in originals(self.module, name)]
        return [p for p in found if p.requires_grad]


@dataclass
class Block:
    """A neuron and the synapses that feed it.

    Attributes
    ----------
    index : int
        Place of the block in the forward pass, from 0.
    neuron_name : str
        Name of the neuron in the network.
    neuron : nn.Module
        The neuron.
    sites : list of Site
        All that is trained: the synapse; behind a sum one a branch; batch norms with scale and
        shift; recurrent synapses inside the neuron. In the order of the forward pass, synapses
        before norms.
    features : torch.Size
        Shape of the neuron's voltage without the row dimension.
    """

    index: int
    neuron_name: str
    neuron: nn.Module
    sites: list[Site]
    features: torch.Size

    @property
    def name(self) -> str:
        """Name of the synapse, the first of them if there are several."""
        return self.sites[0].name

    @property
    def synapse(self) -> nn.Module:
        """The synapse, the first of them if there are several."""
        return self.sites[0].module

    @property
    def chain(self) -> list[tuple[nn.Module, torch.Size]]:
        """Linear modules between :attr:`synapse` and neuron, with the shapes of their inputs."""
        return self.sites[0].chain

    @property
    def norms(self) -> list[nn.Module]:
        """Batch norms between the synapses and the neuron."""
        behind = [m for site in self.sites for m, _ in site.chain if isinstance(m, NORMS)]
        return list(dict.fromkeys(behind))

    @property
    def neuron_parameters(self) -> dict[str, nn.Parameter]:
        """The neuron's own parameters that are trained (``learn_beta=True``, for instance)."""
        return learnable(self.neuron)

    @property
    def single(self) -> bool:
        """Whether one unparametrised synapse is all that is trained here."""
        synapse = self.synapse
        plain = isinstance(getattr(synapse, "weight", None), nn.Parameter)
        return plain and len(self.sites) == 1 and not self.neuron_parameters

    @property
    def trained(self) -> bool:
        """Whether this block learns: freeze it with ``requires_grad_(False)`` on its synapse."""
        return bool(self.neuron_parameters) or any(site.trained for site in self.sites)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All that is to be trained, those of the neuron last."""
        own = [p for site in self.sites for p in site.parameters]
        return [*own, *self.neuron_parameters.values()]


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
        If there is no block to train, if a neuron's current cannot be followed back to its
        synapses, if a module between them is not linear, or if a neuron or synapse is used twice.
    """
    calls = record(net, x, whole_sequence=whole_sequence)
    neurons = [i for i, call in enumerate(calls) if is_neuron(call.module)]
    if not neurons:  # a network without spikes
        neurons = [i for i, call in enumerate(calls) if is_activation(call.module)]
    if not neurons:
        raise ValueError(
            "the network has no trainable block: no spiking neuron was called. It needs at least "
            "one pair such as nn.Linear(...), spikeprop.neurons.LIF(...)"
        )
    _check_each_once("neuron", [calls[i].name for i in neurons])
    modules = {calls[place].module for place in neurons}
    blocks = [_block(index, calls, place, modules) for index, place in enumerate(neurons)]
    _check_each_once("synapse", [site.name for block in blocks for site in block.sites])
    if not any(block.trained for block in blocks):
        raise ValueError(
            "the network has no trainable block: the weights of "
            f"{', '.join(repr(block.name) for block in blocks)} all have requires_grad=False"
        )
    return blocks


def _block(index: int, calls: list[Call], place: int, neurons: set[nn.Module]) -> Block:
    neuron = calls[place]
    check_neuron(neuron.name, neuron.module)
    walk = _Walk(calls, neuron.name, neurons)
    walk.follow(neuron.source, place, [], in_sum=False)
    synapses = [site for site in walk.found if not isinstance(site.module, NORMS)]
    if not synapses:
        raise ValueError(
            f"neuron '{neuron.name}' has no synapse: every term of the sum that it takes is an "
            f"input or the output of another neuron. Put a Linear or Conv2d into one of them"
        )
    norms = [site for site in walk.found if isinstance(site.module, NORMS)]
    inside = [
        Site(f"{neuron.name}.{name}", module, [], inside=True)
        for name, module in neuron.module.named_modules()
        if synapse_of(module) is not None
    ]
    sites = synapses[::-1] + norms[::-1] + inside
    for site in sites:
        rule = synapse_of(site.module)
        assert rule is not None, "the walk ends at known synapses only"
        rule.check(site.name, site.module)
        check_parametrizations(site.name, site.module)
    return Block(
        index=index,
        neuron_name=neuron.name,
        neuron=neuron.module,
        sites=sites,
        features=neuron.source.shape[1:],
    )


class _Walk:
    """Follows a neuron's current back to all the modules that are trained, last ones first."""

    def __init__(self, calls: list[Call], neuron: str, neurons: set[nn.Module]) -> None:
        self.calls, self.neuron, self.neurons = calls, neuron, neurons
        self.found: list[Site] = []

    def follow(
        self, wanted: Tensor, end: int, chain: list[tuple[nn.Module, torch.Size]], *, in_sum: bool
    ) -> None:
        for place in reversed(range(end)):
            call = self.calls[place]
            if not any(output is wanted for output in call.outputs):
                continue
            if is_sum(call):
                for term in reversed(terms_of(call)):
                    self.follow(term, place, list(chain), in_sum=True)
                return
            if call.module in self.neurons or call.is_input:
                if in_sum:
                    return  # a skip connection: a current without a weight
                break
            synapse = synapse_of(call.module)
            if synapse is not None and not isinstance(call.module, NORMS):
                self.found.append(Site(call.name, call.module, chain, inputs=call.source.shape[1:]))
                return
            if transpose_of(call.module) is None:
                raise ValueError(
                    f"module '{call.name}' ({type(call.module).__name__}) stands between a synapse "
                    f"and neuron '{self.neuron}' and is not known to be linear; the local update "
                    f"would not be exact. Move it behind the neuron"
                )
            if isinstance(call.module, NORMS):
                check_norm(call.name, call.module)
                if call.module.affine:
                    self.found.append(Site(call.name, call.module, list(chain)))
            chain.insert(0, (call.module, call.source.shape))
            wanted = call.source
        else:
            self._lost(chain)
        if call.module in self.neurons:
            raise ValueError(
                f"neuron '{self.neuron}' has no synapse: it takes the output of neuron "
                f"'{call.name}' directly. Put a Linear or Conv2d between the two"
            )
        self._lost(chain)

    def _lost(self, chain: list[tuple[nn.Module, torch.Size]]) -> None:
        behind = f" behind module '{self._name_of(chain[0][0])}'" if chain else ""
        raise ValueError(
            f"the current of neuron '{self.neuron}' could not be followed back to a Linear or "
            f"Conv2d{behind}: something that is not a module made it (a function call such as "
            f"F.max_pool2d, a product, a sum that broadcasts, an index into a whole sequence). "
            f"Call the synapse at each time step and give what it returns to the neuron; use "
            f"modules (nn.Flatten, nn.AvgPool2d) for what lies between, and move max pooling "
            f"behind the neuron"
        )

    def _name_of(self, module: nn.Module) -> str:
        return next(call.name for call in self.calls if call.module is module)


def _check_each_once(kind: str, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"{kind} '{twice[0]}' is used more than once in one time step; forward learning needs "
            f"a {kind} of its own for each block. If the network's forward() loops over time "
            f"itself, pass time='inside'"
        )
