"""A NIR graph as a module that maps one time step; the neurons keep their state between steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from spikeprop.membranes import is_neuron

__all__ = ["NIRNetwork", "Scale", "order_of"]

Edge = tuple[str, str]


class Scale(nn.Module):
    """Element-wise gain and offset, ``scale * x + shift``; NIR's ``Scale`` where the shift is 0.

    Parameters
    ----------
    scale, shift : Tensor
        Of one sample's shape, or scalars. Fixed: what is trained are the synapses.
    """

    scale: Tensor
    shift: Tensor | None

    def __init__(self, scale: Tensor, shift: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``scale * x + shift``."""
        scaled = x * self.scale
        return scaled if self.shift is None else scaled + self.shift


class NIRNetwork(nn.Module):
    """The nodes of a graph, run in order; what several edges bring to a node is summed.

    An edge back to an earlier node carries what its neuron gave in the step before (nothing before
    the first step). The network trains like any other: sums are followed by the learner.

    Parameters
    ----------
    layers : mapping of str to nn.Module
        The nodes by name, but for input and output. Dots in names become underscores.
    edges : sequence of (str, str)
        From source to target.
    inputs, output : str
        Names of the input node and of the output node.
    shapes : mapping of str to tuple of int
        Shape of what each neuron gives, without batch; of use for edges that lead back.
    """

    def __init__(
        self,
        layers: Mapping[str, nn.Module],
        edges: Sequence[Edge],
        *,
        inputs: str,
        output: str,
        shapes: Mapping[str, tuple[int, ...]],
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({_key(name): layer for name, layer in layers.items()})
        neurons = {name for name, layer in layers.items() if is_neuron(layer)}
        names = [inputs, *layers, output]
        self._order, self._stale = order_of(names, edges, neurons)
        self._edges = list(edges)
        self._input, self._output, self._shapes = inputs, output, dict(shapes)
        self._last: dict[str, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of one time step for an input ``(B, *features)``."""
        values = {self._input: x}
        for name in self._order:
            if name == self._input:
                continue
            terms = [
                self._before(source, x) if (source, target) in self._stale else values[source]
                for source, target in self._edges
                if target == name
            ]
            total = terms[0]
            for term in terms[1:]:
                total = total + term
            values[name] = total if name == self._output else self.layers[_key(name)](total)
        self._last = {source: values[source].detach() for source, _ in self._stale}
        return values[self._output]

    def _before(self, source: str, x: Tensor) -> Tensor:
        """Return what a neuron gave in the step before; zeros in the first after a reset."""
        mem = self.layers[_key(source)].mem
        last = self._last.get(source)
        if last is None or (isinstance(mem, Tensor) and mem.numel() == 0) or len(last) != len(x):
            return x.new_zeros(len(x), *self._shapes[source])
        return last


def _key(name: str) -> str:
    return name.replace(".", "_")


def order_of(
    names: Sequence[str], edges: Sequence[Edge], neurons: set[str]
) -> tuple[list[str], set[Edge]]:
    """Return the nodes in the order of a time step, and the edges that carry the step before.

    Where a cycle leaves no node whose inputs are all known, the first one that some input reaches
    comes next; what else it needs is computed from the last spikes of the neurons in the cycle.

    Raises
    ------
    ValueError
        For a node that nothing reaches, or a cycle without a neuron.
    """
    before = {name: [a for a, b in edges if b == name] for name in names}
    order: list[str] = []
    stale: set[Edge] = set()
    roots = [name for name in names if not before[name]]

    def pull(name: str, asked: tuple[str, ...]) -> None:
        if name in asked:
            raise ValueError(f"the graph has a cycle without a neuron, through node '{name}'")
        for source in before[name]:
            if source in order:
                continue
            if source in neurons:
                stale.add((source, name))
            else:
                pull(source, (*asked, name))
        order.append(name)

    order += roots
    while len(order) < len(names):
        left = [name for name in names if name not in order]
        ready = [n for n in left if all(s in order or (s, n) in stale for s in before[n])]
        if ready:
            order += ready
            continue
        reached = [n for n in left if any(s in order for s in before[n])]
        if not reached:
            raise ValueError(f"nothing reaches node '{left[0]}' of the graph")
        pull(reached[0], ())
    return order, stale


def as_tensor(value: object) -> Tensor:
    """Return a node's array as a tensor of the default floating type, the bits its own."""
    return torch.as_tensor(value).to(torch.get_default_dtype()).clone()
