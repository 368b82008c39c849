"""The local losses of a whole network by autograd, written from the equations alone.

A copy of the network runs with reference neurons in place of its own: their reset term is a
constant, and so are the spikes that they pass on, so that no gradient crosses a block. Any network
will do: what lies between the neurons is the network's own code, differentiated by autograd.
"""

from __future__ import annotations

import copy

import torch
from test_exact_updates import by_autograd, reset_term
from torch import Tensor, nn

from spikeprop import ForwardLearner
from spikeprop.evidence import as_filters
from spikeprop.neurons import LIF
from spikeprop.rules import SigProp


class ReferenceLIF(nn.Module):
    def __init__(self, lif: LIF) -> None:
        super().__init__()
        self.lif = lif
        self.signal: Tensor | None = None
        self.mem: Tensor | None = None
        self.mems: list[Tensor] = []
        self.recurrent = getattr(lif, "recurrent", None)
        self.spk: Tensor | None = None

    def forward(self, current: Tensor) -> Tensor:
        if self.signal is not None:
            current = torch.cat([current[: len(current) - len(self.signal)], self.signal])
        mem = torch.zeros_like(current) if self.mem is None else self.mem
        beta, threshold = float(self.lif.beta.clamp(0, 1)), self.lif.threshold.detach()
        self.mem = beta * mem - reset_term(self.lif.reset_mechanism, beta, mem, threshold) + current
        self.mems.append(self.mem)
        return (self.mem > threshold).to(current).detach()


def with_references(net: nn.Module) -> tuple[nn.Module, dict[str, ReferenceLIF]]:
    """A copy of ``net``, and its reference neurons by name."""
    twin = copy.deepcopy(net)
    references = {}
    for name, module in list(twin.named_modules()):
        if isinstance(module, LIF):
            parent, _, own = name.rpartition(".")
            references[name] = ReferenceLIF(module)
            setattr(twin.get_submodule(parent), own, references[name])
    return twin.eval(), references


def local_gradients(
    learner: ForwardLearner, x: Tensor, labels: Tensor, before: nn.Module
) -> list[list[Tensor]]:
    """Gradients of the summed local losses, per block, in the order of ``block.parameters``.

    ``before`` is the network as it was before the learner's update.
    """
    rule = learner.rule
    assert isinstance(rule, SigProp)
    tensors = learner._bound().tensors
    twin, references = with_references(before)
    filters, n = as_filters(rule.evidence), x.shape[1]
    rows = rule.num_classes if rule.signal == "propagated" else 0
    x = torch.cat([x, x.new_zeros(len(x), rows, *x.shape[2:])], dim=1)
    if rows:
        references[learner.blocks[0].neuron_name].signal = tensors["signal.0"]
    if learner.time == "inside":
        twin(x)
    else:
        for x_t in x:
            twin(x_t)
    names = {id(p): name for name, p in learner.net.named_parameters()}
    twins = dict(twin.named_parameters())
    found = []
    for k, block in enumerate(learner.blocks):
        mems = references[block.neuron_name].mems
        assert len(mems) == len(x)
        total = torch.zeros((), dtype=torch.float64)
        evidence = [torch.zeros_like(mems[0]) for _ in filters]
        for t, mem in enumerate(mems, start=1):
            evidence = [v + f.weight(t) * (mem - v) for v, f in zip(evidence, filters, strict=True)]
            v = torch.cat([e.flatten(1) for e in evidence], dim=1)
            h = torch.relu(v[:n]) if rule.rectify else v[:n]
            vectors = None if rows else tensors[f"signal.{k}"].flatten(1).repeat(1, len(filters))
            total = total + by_autograd(rule.loss, h, v[n:] if vectors is None else vectors, labels)
        wanted = [twins[names[id(p)]] for p in block.parameters]
        found.append(list(torch.autograd.grad(total, wanted)))
    return found
