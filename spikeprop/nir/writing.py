"""Networks of this library as NIR graphs."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spikeprop.datasets.files import write_atomically
from spikeprop.membranes import is_neuron
from spikeprop.nir.dialects import DIALECTS, Dialect
from spikeprop.nir.layers import fold_norm, layer_node
from spikeprop.nir.neurons import node_of
from spikeprop.nir.package import nir_package
from spikeprop.parametrizations import bake
from spikeprop.readout import ExportedNetwork
from spikeprop.synapses import NORMS, synapse_of
from spikeprop.tracing import Call, is_sum, record, terms_of

__all__ = ["to_nir", "write"]

#: Modules that do nothing when a network only infers.
_NOTHING = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d)


def to_nir(net: nn.Module, input_shape: Sequence[int], *, dialect: str = "nir") -> Any:
    """Describe a network as a NIR graph.

    Parameters
    ----------
    net : nn.Module
        A network that maps one time step, or ``learner.export(readout="spikes", ...)``, whose
        readout becomes the last node: its outputs, summed over time, are the class scores.
    input_shape : sequence of int
        Shape of one time step of one sample, without batch.
    dialect : {"nir", "snntorch", "norse", "sinabs"}
        Who will read it; see :mod:`spikeprop.nir.dialects`.

    Returns
    -------
    nir.NIRGraph

    Raises
    ------
    ImportError
        If the package ``nir`` is missing.
    ValueError
        If NIR, or the reader, cannot say a part of the network; the message names it.
    """
    if dialect not in DIALECTS:
        raise ValueError(f"dialect has to be one of {tuple(DIALECTS)}, got {dialect!r}")
    nir_package()
    net = net.per_step() if isinstance(net, ExportedNetwork) else copy.deepcopy(net)
    bake(net)
    parameter = next(net.parameters(), None)
    like = torch.zeros(()) if parameter is None else parameter.detach()
    calls = record(net, like.new_zeros(2, *input_shape), whole_sequence=False)
    return _Writer(calls, tuple(input_shape), DIALECTS[dialect]).graph()


def write(path: str | Path, net: nn.Module, input_shape: Sequence[int], **options: Any) -> None:
    """Write :func:`to_nir` to a file, whole or not at all.

    Raises
    ------
    ImportError, ValueError, OSError
        As :func:`to_nir`, and if the file cannot be written.
    """
    graph = to_nir(net, input_shape, **options)
    write_atomically(path, lambda temporary: nir_package().write(temporary, graph))


class _Writer:
    """Turns the calls of one time step into nodes and edges."""

    def __init__(self, calls: list[Call], input_shape: tuple[int, ...], dialect: Dialect) -> None:
        self._calls, self._dialect, self._shape = calls, dialect, input_shape
        self._nodes: dict[str, Any] = {}
        self._edges: list[tuple[str, str]] = []
        self._made: list[tuple[Tensor, list[str]]] = []

    def graph(self) -> Any:
        nir = nir_package()
        self._nodes["input"] = nir.Input({"input": np.array(self._shape)})
        for call in self._calls:
            self._add(call)
        output = self._calls[-1]
        sources = self._sources(output.source, "the network's output")
        shape = np.array(output.source.shape[1:])
        self._nodes["output"] = nir.Output({"output": shape})
        self._edges += [(source, "output") for source in sources]
        graph = nir.NIRGraph(self._nodes, self._edges, metadata={}, type_check=False)
        graph.check_types()
        return graph

    def _sources(self, tensor: Tensor, what: str) -> list[str]:
        for made, names in reversed(self._made):
            if made is tensor:
                return names
        raise ValueError(
            f"{what} is made by something that is not a module (a function call, a product); NIR "
            f"is written from modules and sums alone"
        )

    def _add(self, call: Call) -> None:
        if call.is_output:
            return
        if call.is_input:
            self._made.append((call.source, ["input"]))
            return
        name, module = call.name.replace(".", "_"), call.module
        if is_sum(call):
            names = [s for term in terms_of(call) for s in self._sources(term, "a term of a sum")]
            self._made.append((call.outputs[0], names))
            return
        sources = self._sources(call.source, f"the input of '{call.name}'")
        output = call.outputs[0]
        flat = isinstance(module, nn.Flatten) and call.source.shape == output.shape
        if flat or isinstance(module, _NOTHING):
            self._made.append((output, sources))
            return
        if isinstance(module, NORMS):
            synapse = self._only(call.name, sources)
            fold_norm(call.name, self._nodes[synapse], module)
            self._made.append((output, [synapse]))
            return
        if name in self._nodes:
            raise ValueError(f"module '{call.name}' is used twice in a time step")
        before, after = tuple(call.source.shape[1:]), tuple(output.shape[1:])
        if is_neuron(module):
            name = self._add_neuron(call, name, after)
        else:
            self._nodes[name] = layer_node(call.name, module, before, after, self._dialect)
        self._edges += [(source, name) for source in dict.fromkeys(sources)]
        if len(set(sources)) != len(sources):
            raise ValueError(f"the input of '{call.name}' adds a tensor to itself")
        self._made.append((output, [name]))

    def _add_neuron(self, call: Call, name: str, features: tuple[int, ...]) -> str:
        recurrent = [
            (inner, module)
            for inner, module in call.module.named_modules()
            if module is not call.module
            and (synapse_of(module) is not None or hasattr(module, "V"))
        ]
        node = node_of(call.name, call.module, features, self._dialect)
        if not recurrent:
            self._nodes[name] = node
            return name
        if not self._dialect.recurrent:
            raise ValueError(f"neuron '{call.name}': this reader knows no recurrent connections")
        ((inner, module),) = recurrent
        # snnTorch's reader looks for a common first part of the two names.
        neuron, synapse = f"{name}.lif", f"{name}.w_rec"
        self._nodes[neuron] = node
        self._nodes[synapse] = layer_node(
            f"{call.name}.{inner}", module, features, features, self._dialect
        )
        self._edges += [(neuron, synapse), (synapse, neuron)]
        return neuron

    def _only(self, name: str, sources: list[str]) -> str:
        """Return the synapse that a batch norm is folded into, if it feeds nothing else."""
        used = [edge for edge in self._edges if edge[0] == sources[0]]
        if len(sources) != 1 or used or sources == ["input"]:
            raise ValueError(
                f"batch norm '{name}' cannot be folded into a synapse: NIR has none, and it does "
                f"not stand behind one synapse that feeds it alone"
            )
        return sources[0]
