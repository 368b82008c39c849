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
from spikeprop.neurons import (
    EIF,
    LIF,
    QIF,
    AdEx,
    Izhikevich,
    LinearFilter,
    RecurrentNeuron,
    SpikingNeuron,
)
from spikeprop.neurons.surrogates import heaviside
from spikeprop.potentials import free_potential
from spikeprop.rules import SigProp
from spikeprop.surroundings import randomness


class Reference(nn.Module):
    """A neuron of which the last step's voltage keeps its graph, and the spikes have none."""

    def __init__(self, cut_every: int | None = None) -> None:
        super().__init__()
        self.signal: Tensor | None = None
        self.mems: list[Tensor] = []
        self.frees: list[Tensor] = []
        self.cut_every = cut_every

    def forward(self, current: Tensor) -> Tensor:
        if self.signal is not None:
            current = torch.cat([current[: len(current) - len(self.signal)], self.signal])
        cut = self.cut_every is not None and len(self.mems) % self.cut_every == 0
        spk, mem = self.advance(current, cut)
        self.mems.append(mem)
        self.frees.append(self.free(current, cut))
        return spk.detach()

    def free(self, current: Tensor, cut: bool) -> Tensor:
        raise NotImplementedError

    def advance(self, current: Tensor, cut: bool) -> tuple[Tensor, Tensor]:
        raise NotImplementedError


class ReferenceLIF(Reference):
    """The equations of a LIF, with its whole reset term as a constant."""

    def __init__(self, lif: LIF, cut_every: int | None = None) -> None:
        super().__init__(cut_every)
        self.lif = lif
        self.mem: Tensor | None = None

    def advance(self, current: Tensor, cut: bool) -> tuple[Tensor, Tensor]:
        mem = torch.zeros_like(current) if self.mem is None else self.mem
        mem = mem.detach() if cut else mem
        beta, threshold = self.lif.beta.detach().clamp(0, 1), self.lif.threshold.detach()
        self.mem = beta * mem - reset_term(self.lif.reset_mechanism, beta, mem, threshold) + current
        return (self.mem > threshold).to(current), self.mem

    def free(self, current: Tensor, cut: bool) -> Tensor:
        before = self.frees[-1] if self.frees else torch.zeros_like(current)
        return self.lif.beta.detach().clamp(0, 1) * (before.detach() if cut else before) + current


class ReferenceStep(Reference):
    """A neuron's own step under reverse-mode autograd, its spikes without a derivative."""

    def __init__(self, neuron: SpikingNeuron, cut_every: int | None = None) -> None:
        super().__init__(cut_every)
        self.neuron, self.state = neuron, None
        if hasattr(neuron, "spike_grad"):
            neuron.spike_grad = heaviside

    def advance(self, current: Tensor, cut: bool) -> tuple[Tensor, Tensor]:
        if cut and self.state is not None:
            self.state = type(self.state)(*[value.detach() for value in self.state])
        fresh = torch.zeros_like(current)
        self.spk_before = fresh if self.state is None else getattr(self.state, "spk", fresh)
        spk, self.state = self.neuron.step(current, self.state)
        mem = self.state.mem
        if isinstance(self.neuron, (EIF, AdEx, QIF, Izhikevich)):  # cut at the peak
            mem = torch.where(mem <= self.neuron.threshold, mem, self.neuron.threshold)
        return spk, mem

    def free(self, current: Tensor, cut: bool) -> Tensor:
        dynamics = self.dynamics(current)
        if dynamics is None:
            return self.mems[-1]
        A, B, C = dynamics
        if A.dim() > 2:  # a filter a neuron, the same for all rows
            A, B, C = A.unsqueeze(2), B.unsqueeze(1), C.unsqueeze(1)
        else:
            ones = [1] * current.dim()
            A, B, C = A.reshape(*A.shape, *ones), B.reshape(-1, *ones), C.reshape(-1, *ones)
        if isinstance(self.neuron, RecurrentNeuron):
            current = current + self.neuron.recurrent(self.spk_before.detach())
        driven = B * current
        z = getattr(self, "z", torch.zeros_like(driven))
        self.z = (A * (z.detach() if cut else z)).sum(dim=1) + driven
        return (C * self.z).sum(dim=0)

    def dynamics(self, current: Tensor) -> LinearFilter | None:
        return self.neuron.filter() if self.neuron.exact else None


class ReferenceLayer(ReferenceStep):
    """Nonlinear dynamics whose potential is that of their linearisation where they start."""

    def dynamics(self, current: Tensor) -> LinearFilter:
        rest = current.new_zeros(1, *current.shape[1:])
        own = self.neuron.linearize(rest, self.neuron.initial_state(rest))
        return LinearFilter(
            *[entry.flatten(len(entry.shape) - rest.dim()).mean(-1) for entry in own]
        )


class ReferenceFilter(ReferenceStep):
    """The same where the reset scales the state: whatever is not the filter is constant."""

    def advance(self, current: Tensor, cut: bool) -> tuple[Tensor, Tensor]:
        before = self.neuron.initial_state(current) if self.state is None else self.state
        spk, after = self.neuron.step(current, before)
        A, B, C = self.neuron.filter()
        fields = before._fields
        # The filter's variables are the last ones of the state, but for Alpha's two filters.
        start = fields.index("syn_exc") if "syn_exc" in fields else len(fields) - len(B)
        names = fields[start : start + len(B)]
        z = torch.stack([getattr(before, name) for name in names])
        linear = torch.tensordot(A, z, dims=1) + torch.stack([b * current for b in B])
        actual = torch.stack([getattr(after, name) for name in names])
        new = linear + (actual - linear).detach()
        read = torch.tensordot(C, new, dims=1)
        mem = read + (after.mem - read).detach()
        self.state = after._replace(**dict(zip(names, new, strict=True)) | {"mem": mem})
        return spk, self.state.mem


def with_references(
    net: nn.Module, kind: type[Reference] = ReferenceLIF, cut_every: int | None = None
) -> tuple[nn.Module, dict[str, Reference]]:
    """A copy of ``net``, and its reference neurons by name."""
    twin = copy.deepcopy(net)
    references: dict[str, Reference] = {}
    for name, module in list(twin.named_modules()):
        if isinstance(module, SpikingNeuron):
            parent, _, own = name.rpartition(".")
            references[name] = kind(module, cut_every)  # type: ignore[arg-type]
            setattr(twin.get_submodule(parent), own, references[name])
    return twin.eval(), references


def local_gradients(
    learner: ForwardLearner,
    x: Tensor,
    labels: Tensor,
    before: nn.Module,
    kind: type[Reference] = ReferenceLIF,
    cut_every: int | None = None,
) -> list[list[Tensor]]:
    """Gradients of the summed local losses, per block, in the order of ``block.parameters``.

    ``before`` is the network as it was before the learner's update; with ``cut_every``, what a
    chunk of so many steps owes to earlier ones is left out.
    """
    rule = learner.rule
    assert isinstance(rule, SigProp)
    tensors = learner.bound().tensors
    twin, references = with_references(before, kind, cut_every)
    filters, n = as_filters(rule.evidence), x.shape[1]
    rows = rule.num_classes if rule.signal == "propagated" else 0
    x = torch.cat([x, x.new_zeros(len(x), rows, *x.shape[2:])], dim=1)
    if rows:
        references[learner.blocks[0].neuron_name].signal = tensors["signal.0"]
    with randomness(learner.seed, 0, x.device):  # the draws of the first update
        if learner.time == "inside":
            twin(x)
        else:
            for x_t in x:
                twin(x_t)
    names = {id(p): name for name, p in learner.net.named_parameters()}
    twins = {
        name.replace(".neuron.", ".").replace(".lif.", "."): p
        for name, p in twin.named_parameters()
    }
    found = []
    for k, block in enumerate(learner.blocks):
        reference = references[block.neuron_name]
        free = rule.potential == "free" and free_potential(block, learner.traces) is not None
        mems = reference.frees if free else reference.mems
        assert len(mems) == len(x)
        total = torch.zeros((), dtype=torch.float64)
        evidence = [torch.zeros_like(mems[0]) for _ in filters]
        for t, mem in enumerate(mems, start=1):
            if cut_every is not None and (t - 1) % cut_every == 0:
                evidence = [v.detach() for v in evidence]
            evidence = [v + f.weight(t) * (mem - v) for v, f in zip(evidence, filters, strict=True)]
            v = torch.cat([e.flatten(1) for e in evidence], dim=1)
            h = torch.relu(v[:n]) if rule.rectify else v[:n]
            vectors = None if rows else tensors[f"signal.{k}"].flatten(1).repeat(1, len(filters))
            total = total + by_autograd(rule.loss, h, v[n:] if vectors is None else vectors, labels)
        wanted = [twins[names[id(p)]] for p in block.parameters]
        found.append(list(torch.autograd.grad(total, wanted)))
    return found
