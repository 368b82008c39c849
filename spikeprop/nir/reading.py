"""NIR graphs as networks of this library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from spikeprop.nir.dialects import DIALECTS
from spikeprop.nir.layers import layer_of
from spikeprop.nir.network import NIRNetwork
from spikeprop.nir.neurons import neuron_of
from spikeprop.nir.package import nir_package

__all__ = ["from_nir", "read"]

_NEURONS = ("CubaLI", "CubaLIF", "I", "IF", "LI", "LIF", "Threshold")


def from_nir(graph: Any, *, dt: float | None = None, dialect: str = "nir") -> NIRNetwork:
    """Build the network that a NIR graph describes.

    Parameters
    ----------
    graph : nir.NIRGraph
        The graph; graphs within it are set in.
    dt : float, optional
        Length of a time step in seconds; the dialect's own unless given (0.1 ms for "nir").
    dialect : {"nir", "snntorch", "norse", "sinabs"}
        Who wrote it; see :mod:`spikeprop.nir.dialects`.

    Returns
    -------
    NIRNetwork
        Maps one time step, ``(B, *features)``; its neurons keep their state until
        ``spikeprop.neurons.reset``.

    Raises
    ------
    ImportError
        If the package ``nir`` is missing.
    TypeError
        If ``graph`` is no graph.
    ValueError
        If a node cannot be said here, or the graph has not exactly one input and one output.
    """
    nir = nir_package()
    if not isinstance(graph, nir.NIRGraph):
        raise TypeError(f"graph has to be a nir.NIRGraph, got {type(graph).__name__}")
    if dialect not in DIALECTS:
        raise ValueError(f"dialect has to be one of {tuple(DIALECTS)}, got {dialect!r}")
    if dt is not None and not dt > 0:
        raise ValueError(f"dt has to be above 0, got {dt}")
    language = DIALECTS[dialect] if dt is None else DIALECTS[dialect]._replace(dt=dt)
    nodes, edges = _inlined(graph)
    ends = {}
    for kind in ("Input", "Output"):
        found = [name for name, node in nodes.items() if type(node).__name__ == kind]
        if len(found) != 1:
            raise ValueError(f"the graph needs exactly one {kind} node, it has {len(found)}")
        ends[kind] = found[0]
    layers, shapes = {}, {}
    for name, node in nodes.items():
        if name in ends.values():
            continue
        if type(node).__name__ in _NEURONS:
            layers[name] = neuron_of(name, node, language)
            shapes[name] = _shape(name, nodes, edges)
        else:
            layers[name] = layer_of(name, node, language)
    return NIRNetwork(layers, edges, inputs=ends["Input"], output=ends["Output"], shapes=shapes)


def read(path: str | Path, *, dt: float | None = None, dialect: str = "nir") -> NIRNetwork:
    """Read a file of a graph and build its network; parameters and errors as :func:`from_nir`.

    Raises
    ------
    FileNotFoundError, ValueError
        Also if there is no such file, or it holds no NIR graph.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    nir = nir_package()
    try:
        graph = nir.read(path, type_check=False)
    except (OSError, KeyError, TypeError, AssertionError, AttributeError) as error:
        raise ValueError(f"{path} is damaged or no NIR file: {error}") from error
    return from_nir(graph, dt=dt, dialect=dialect)


def _inlined(graph: Any) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Set the graphs within a graph in, as nodes of their own."""
    nir = nir_package()
    nodes: dict[str, Any] = dict(graph.nodes)
    edges = [(str(a), str(b)) for a, b in graph.edges]
    for name, node in graph.nodes.items():
        if not isinstance(node, nir.NIRGraph):
            continue
        inner_nodes, inner_edges = _inlined(node)
        del nodes[name]
        entries = [n for n, item in inner_nodes.items() if isinstance(item, nir.Input)]
        exits = [n for n, item in inner_nodes.items() if isinstance(item, nir.Output)]
        targets = [b for a, b in inner_edges if a in entries]
        sources = [a for a, b in inner_edges if b in exits]
        kept = {n: item for n, item in inner_nodes.items() if n not in (*entries, *exits)}
        nodes |= {f"{name}.{n}": item for n, item in kept.items()}
        within = [(a, b) for a, b in inner_edges if a in kept and b in kept]
        edges = [
            *[edge for edge in edges if name not in edge],
            *[(a, f"{name}.{t}") for a, b in edges if b == name for t in targets],
            *[(f"{name}.{s}", b) for a, b in edges if a == name for s in sources],
            *[(f"{name}.{a}", f"{name}.{b}") for a, b in within],
        ]
    return nodes, edges


def _shape(name: str, nodes: dict[str, Any], edges: list[tuple[str, str]]) -> tuple[int, ...]:
    """Shape of what a neuron gives: its parameters', or what the next node takes."""
    node = nodes[name]
    own: tuple[int, ...] = np.shape(node.threshold if hasattr(node, "threshold") else node.r)
    if own:
        return own
    for a, b in edges:
        weight: Any = getattr(nodes[b], "weight", None)
        if a == name and weight is not None and np.ndim(weight) == 2:
            return (int(np.shape(weight)[1]),)
    return own
