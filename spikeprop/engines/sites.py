"""One trained module on its way along the time axis: its traces and the gradient they make.

For a neuron whose sub-threshold dynamics are the linear filter ``F`` and evidence filters ``E_k``:

    trace_t = F(x)_t,   e^k_t = E_k(trace)_t,   grad_t = sum over k of  delta^k_t (x) e^k_t

The bias is a synapse from a constant 1 with traces of its own. Where one filter serves all neurons
of a layer the traces are one value an input (:class:`SharedTraces`); where each neuron has a filter
of its own, or a local Jacobian at each step, they are one value a synapse
(:class:`SynapseTraces`), or are avoided by running the filter backward over a chunk of steps
(:class:`ChunkTraces`), which cuts what older chunks would add.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from spikeprop.blocks import Site
from spikeprop.evidence import Evidence
from spikeprop.expansions import collect, expand
from spikeprop.neurons import LinearFilter
from spikeprop.parametrizations import NAMES, set_gradient, trains
from spikeprop.synapses import pull_back, synapse_of

__all__ = ["ChunkTraces", "SharedTraces", "SitePass", "SynapseTraces"]


class SitePass(ABC):
    """A trained module, followed through one batch of sequences or one stream.

    Parameters
    ----------
    site : Site
        The module and the chain behind it.
    filters : sequence of Evidence
        Filters of the voltage that the loss looks at.
    rows : slice
        Rows of the batch whose current comes from this module.
    """

    def __init__(self, site: Site, filters: Sequence[Evidence], rows: slice) -> None:
        rule = synapse_of(site.module)
        assert rule is not None, "find_blocks returns known synapses only"
        self.site, self.calls = site, 0
        self._rule, self._filters, self._rows = rule, filters, rows
        module: Any = site.module
        self._module = module
        self._gradients = {
            name: torch.zeros_like(getattr(module, name), requires_grad=False)
            for name in NAMES
            if trains(module, name)
        }

    @property
    def tracks(self) -> bool:
        """Whether anything here is trained."""
        return bool(self._gradients)

    def take(self, x: Tensor) -> None:
        """Note the input ``x`` ``(R, *inputs)`` of a time step, before the neuron makes it."""
        self.calls += 1
        if self._gradients:
            self._note(self._rule.presynaptic(self._module, x[self._rows]))

    def skip(self) -> None:
        """Note a time step in which the module was not called: no input, and no bias either."""
        self.calls += 1
        if self._gradients:
            self._note(None)

    @abstractmethod
    def _note(self, x: Tensor | None) -> None: ...

    def advance(self, dynamics: LinearFilter) -> None:  # noqa: B027 - only some need it
        """Move the traces on by the neuron's step, linearised as ``dynamics``."""

    @abstractmethod
    def learn(self, parts: Sequence[Tensor]) -> None:
        """Add one time step's gradient; ``parts`` has the modulator of each filter ``(R, ...)``."""

    @property
    def gradients(self) -> dict[str, Tensor]:
        """The summed gradients of what is trained, by name."""
        return self._gradients

    def hand_over(self) -> None:
        """Put the summed gradient where the optimiser looks for it."""
        for name, gradient in self._gradients.items():
            set_gradient(self._module, name, gradient)

    def forget(self) -> None:
        """Start a new sum."""
        for gradient in self._gradients.values():
            gradient.zero_()

    def _add(self, delta: Tensor, trace: Tensor, bias_trace: float) -> None:
        if "weight" in self._gradients:
            self._rule.add_weight_gradient(self._module, self._gradients["weight"], delta, trace)
        if "bias" in self._gradients:
            gradient = self._rule.bias_gradient(self._module, delta)
            self._gradients["bias"].add_(gradient, alpha=bias_trace)


class SharedTraces(SitePass):
    """One filter for the layer: a trace per input and row, one number for the bias.

    Memory: ``n + K`` tensors of the input's shape, for n state variables and K evidence filters.
    ``dynamics`` is the filter; other arguments as :class:`SitePass`.
    """

    def __init__(
        self, site: Site, filters: Sequence[Evidence], rows: slice, dynamics: LinearFilter
    ) -> None:
        super().__init__(site, filters, rows)
        self.use(dynamics)
        n = dynamics.order
        self._q: list[Tensor] = []
        self._bias_q = [0.0] * n
        self._eligibility: list[Tensor] = []
        self._bias_eligibility = [0.0] * len(filters)

    def use(self, dynamics: LinearFilter) -> None:
        """Filter by ``dynamics`` from now on."""
        n = dynamics.order
        self._A: list[list[float]] = dynamics.A.reshape(n, n).tolist()
        self._B: list[float] = dynamics.B.reshape(n).tolist()
        self._C: list[float] = dynamics.C.reshape(n).tolist()

    def _note(self, x: Tensor | None) -> None:
        if not self._q:
            if x is None:
                return
            self._q = [torch.zeros_like(x) for _ in self._B]
            self._eligibility = [torch.zeros_like(x) for _ in self._filters]
        old, one = self._bias_q, 0.0 if x is None else 1.0
        self._bias_q = [
            sum(a * q for a, q in zip(row, old, strict=True)) + b * one
            for row, b in zip(self._A, self._B, strict=True)
        ]
        if len(self._q) == 1:
            self._q[0].mul_(self._A[0][0])
        else:
            self._q = [_mix(row, self._q) for row in self._A]
        if x is not None:
            for q, b in zip(self._q, self._B, strict=True):
                if b:
                    q.add_(x, alpha=b)
        trace = self._q[0] if self._C == [1.0] else _mix(self._C, self._q)
        bias_trace = sum(c * q for c, q in zip(self._C, self._bias_q, strict=True))
        for k, evidence in enumerate(self._filters):
            weight = evidence.weight(self.calls)
            self._eligibility[k].lerp_(trace, weight)
            self._bias_eligibility[k] += weight * (bias_trace - self._bias_eligibility[k])

    def learn(self, parts: Sequence[Tensor]) -> None:
        """Add one time step's gradient, as :meth:`SitePass.learn`."""
        if not self._q:
            return
        for part, trace, bias_trace in zip(
            parts, self._eligibility, self._bias_eligibility, strict=True
        ):
            self._add(pull_back(self.site.chain, part[self._rows]), trace, bias_trace)


class SynapseTraces(SitePass):
    """A filter for each neuron: a trace per synapse and row, exact, at ``F_out`` times the cost.

    Memory: ``n + K`` tensors of ``rows x neurons x synapses of a neuron``.
    """

    def __init__(self, site: Site, filters: Sequence[Evidence], rows: slice) -> None:
        super().__init__(site, filters, rows)
        self._x: Tensor | None = None
        self._traces = {name: _PerSynapse(len(filters)) for name in self._gradients}

    def _note(self, x: Tensor | None) -> None:
        self._x = None if x is None else x.clone()

    def advance(self, dynamics: LinearFilter) -> None:
        """Move the traces on, as :meth:`SitePass.advance`."""
        weights = [evidence.weight(self.calls) for evidence in self._filters]
        flat = _flattened(dynamics, self._rows)
        for name, traces in self._traces.items():
            if self._x is None:
                x = None
            elif name == "weight":
                x = expand(self._module, self._x)
            else:
                x = self._x.new_ones(1, 1, 1)
            traces.advance(flat, x, weights)

    def learn(self, parts: Sequence[Tensor]) -> None:
        """Add one time step's gradient, as :meth:`SitePass.learn`."""
        deltas = [pull_back(self.site.chain, part[self._rows]).flatten(1) for part in parts]
        for name, traces in self._traces.items():
            for delta, trace in zip(deltas, traces.eligibility, strict=False):
                if trace is not None:
                    whole = trace.expand(len(delta), delta.shape[1], -1)
                    gradient = torch.einsum("rj,rjp->jp", delta, whole)
                    self._gradients[name] += collect(self._module, name, gradient)


class ChunkTraces(SitePass):
    """Inputs kept until the weights move, for a filter that runs backward over them.

        grad = sum over the chunk's steps of  at_current_t (x) x_t

    Exact within the chunk, whatever the neurons and synapses; what came before it is cut. Memory:
    one input per step of the chunk.
    """

    def __init__(self, site: Site, filters: Sequence[Evidence], rows: slice) -> None:
        super().__init__(site, filters, rows)
        self._inputs: list[Tensor | None] = []

    def _note(self, x: Tensor | None) -> None:
        self._inputs.append(None if x is None else x.clone())

    def learn(self, parts: Sequence[Tensor]) -> None:
        """Wait for :meth:`settle`."""

    def settle(self, at_current: Sequence[Tensor]) -> None:
        """Add the chunk's gradient; ``at_current`` is what reaches the current of each step."""
        if self._gradients:
            for x, delta in zip(self._inputs, at_current, strict=True):
                if x is not None:
                    self._add(pull_back(self.site.chain, delta[self._rows]), x, 1.0)
        self.drop()

    def drop(self) -> None:
        """Forget the inputs that wait."""
        self._inputs.clear()


class _PerSynapse:
    """The traces of one parameter, ``(R, J, P)``."""

    def __init__(self, n_filters: int) -> None:
        self.q: list[Tensor] = []
        self.eligibility: list[Tensor | None] = [None] * n_filters

    def advance(self, dynamics: LinearFilter, x: Tensor | None, weights: Sequence[float]) -> None:
        A, B, C = dynamics
        n = dynamics.order
        if self.q:
            old, self.q = self.q, []
            for i in range(n):
                self.q.append(sum((A[i, j] * old[j] for j in range(n)), start=0.0))  # type: ignore[arg-type]
            if x is not None:
                self.q = [q + B[i] * x for i, q in enumerate(self.q)]
        elif x is None:
            return
        else:
            self.q = [B[i] * x for i in range(n)]
        trace = sum((C[i] * self.q[i] for i in range(n)), start=torch.zeros(()).to(B))
        for k, weight in enumerate(weights):
            before = self.eligibility[k]
            self.eligibility[k] = weight * trace if before is None else before.lerp(trace, weight)


def _flattened(dynamics: LinearFilter, rows: slice) -> LinearFilter:
    """Return the filter's entries as ``(R or 1, J, 1)``, behind the indices of the variables."""
    flat = []
    for entry, lead in zip(dynamics, (2, 1, 1), strict=True):
        own = entry[(slice(None),) * lead + (rows,)] if entry.shape[lead] != 1 else entry
        flat.append(own.flatten(lead + 1).unsqueeze(-1))
    return LinearFilter(*flat)


def _mix(factors: Sequence[float], tensors: Sequence[Tensor]) -> Tensor:
    """Return the weighted sum, a new tensor."""
    total: Tensor | None = None
    for factor, tensor in zip(factors, tensors, strict=True):
        if factor:
            total = tensor * factor if total is None else total.add_(tensor, alpha=factor)
    return torch.zeros_like(tensors[0]) if total is None else total
