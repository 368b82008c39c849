"""How the trained parameters of a block come by their gradient: traces, or a filter run backward.

The rule gives a modulator ``delta_t`` on the evidence at each time step; here it meets what each
parameter did to that evidence. Three ways for layers whose neurons share no filter (a decay a
neuron, or nonlinear dynamics with their local Jacobian at each step):

``"synapse"``
    One trace a synapse and row: exact for linear dynamics, and the truncated gradient of the local
    Jacobians else. Costs ``F_out`` times the memory and arithmetic of a shared trace.
``"chunk"``
    The reverse filter over the steps between two updates: the same numbers within the chunk, while
    what older chunks would add is cut (exact once ``update_every`` covers the sequence; with an
    update at every step nothing but the present input is credited). Memory: one input a step of the
    chunk.

        G^k_t = delta^k_t + (1 - w^k_{t+1}) G^k_{t+1},   g_t = sum over k of  w^k_t G^k_t
        mu_t  = C^T g_t + A_{t+1}^T mu_{t+1},            grad = sum over t of  (B_t^T mu_t) (x) x_t

``"layer"``
    One filter for the whole layer, the mean over its neurons of their filters (of the Jacobian at
    the state that sequences start from, for nonlinear dynamics): an approximation, as cheap as LIF.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from spikeprop.blocks import Block
from spikeprop.engines.parameters import FreeParameterPass, ParameterPass
from spikeprop.engines.sites import ChunkTraces, SharedTraces, SitePass, SynapseTraces
from spikeprop.evidence import Evidence
from spikeprop.expansions import check_expansion
from spikeprop.membranes import filter_of, layer_filter, state_before
from spikeprop.neurons import LinearFilter, SpikingNeuron

__all__ = ["TRACES", "Credit"]

TRACES = ("synapse", "chunk", "layer")


class Credit:
    """The gradients of one block, on its way along the time axis.

    Parameters
    ----------
    block : Block
        The block.
    filters : sequence of Evidence
        Filters of the voltage that the loss looks at.
    n_recordings : int
        Rows of recordings; signal rows stand behind them.
    traces : {"synapse", "chunk", "layer"}
        What to do where neurons share no filter.
    dynamics : LinearFilter or callable, optional
        What inputs go through in place of the neuron's own dynamics: a filter that serves the whole
        layer, or a function that gives each step's filter when :meth:`advance` asks for it.
    free : bool
        Whether the loss looks at the free potential.
    signal_rows : bool
        Whether signal rows pass the first block's synapse, too.
    """

    def __init__(
        self,
        block: Block,
        filters: Sequence[Evidence],
        n_recordings: int,
        traces: str,
        dynamics: LinearFilter | Callable[[], LinearFilter] | None = None,
        *,
        free: bool = False,
        signal_rows: bool = False,
    ) -> None:
        self._block, self._filters = block, filters
        neuron = block.neuron
        weight: Any = block.synapse.weight
        self._supply = None if isinstance(dynamics, LinearFilter) else dynamics
        if dynamics is None:
            own = filter_of(neuron)
        else:
            own = dynamics if isinstance(dynamics, LinearFilter) else None
        if traces == "layer" and dynamics is None and (own is None or not own.shared):
            own = layer_filter(neuron, block.features, weight.detach())
        self._layer = traces == "layer"
        self._dynamics = own
        shared = own is not None and own.shared
        self._chunk: list[LinearFilter] | None = None
        self._parts: list[list[Tensor] | None] = []
        self._step = 0
        if not shared and traces == "chunk":
            self._chunk = []
        self.sites: list[SitePass] = []
        for site in block.sites:
            # The first block's signal current is S c, not W x: its signal rows say nothing of W
            # (unless they pass W as well).
            outside = block.index == 0 and not site.inside and not signal_rows
            rows = slice(n_recordings) if outside else slice(None)
            if shared:
                assert own is not None, "the shared one"
                self.sites.append(SharedTraces(site, filters, rows, own))
            elif self._chunk is not None:
                self.sites.append(ChunkTraces(site, filters, rows))
            else:
                if site.trained:
                    check_expansion(site.name, block.neuron_name, site.module, site.chain)
                self.sites.append(SynapseTraces(site, filters, rows))
        kind = FreeParameterPass if free else ParameterPass
        self._parameters = [
            kind(neuron, name, filters)  # type: ignore[arg-type]
            for name in block.neuron_parameters
        ]
        self._trained: list[SitePass | ParameterPass] = [*self.sites, *self._parameters]
        self._current: Tensor | None = None
        self._state: Any = None

    @property
    def needs_state(self) -> bool:
        """Whether :meth:`expect` has to see what each step of the neuron starts from."""
        return (self._dynamics is None and self._supply is None) or bool(self._parameters)

    @property
    def stored(self) -> int:
        """Time steps that wait for the reverse filter."""
        return 0 if self._chunk is None else len(self._chunk)

    def drop(self) -> None:
        """Forget the steps that wait: none of them had a label."""
        if self._chunk is not None:
            self._chunk.clear()
            self._parts.clear()
            for site in self.sites:
                assert isinstance(site, ChunkTraces), "made beside the chunk"
                site.drop()

    def expect(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note the current and the state from which the neuron is about to make a step."""
        neuron = self._block.neuron
        assert isinstance(neuron, SpikingNeuron), "snntorch.Leaky needs no state"
        self._current, self._state = args[0], state_before(neuron, args, kwargs)

    def advance(self, follows: Tensor | None) -> None:
        """Move all traces on, after the neuron has made its step.

        ``follows`` says where the voltage that the loss sees follows the state, if not everywhere.
        """
        self._step += 1
        for parameter in self._parameters:
            assert self._current is not None, "expect came first"
            parameter.advance(self._current, self._state, follows)
        dynamics = self._dynamics
        if dynamics is not None and dynamics.shared:
            return
        if self._supply is not None:
            dynamics = self._supply()
        elif dynamics is None:
            neuron: Any = self._block.neuron
            dynamics = neuron.linearize(self._current, self._state)
        dynamics = _widened(dynamics, self._block.features)
        if follows is not None:
            dynamics = dynamics._replace(C=dynamics.C * follows)
        for site in self.sites:
            site.advance(dynamics)
        if self._chunk is not None:
            self._chunk.append(dynamics)
            self._parts.append(None)

    def learn(self, delta: Tensor) -> None:
        """Add one time step's gradient, for a modulator ``(R, F)`` with filters side by side."""
        parts = [
            part.reshape(-1, *self._block.features)
            for part in delta.chunk(len(self._filters), dim=1)
        ]
        if self._chunk is not None:
            self._parts[-1] = parts
        for item in self._trained:
            item.learn(parts)

    def hand_over(self) -> None:
        """Put all gradients where the optimiser looks for them."""
        self._settle()
        for item in self._trained:
            item.hand_over()

    def gradients(self) -> list[dict[str, Tensor]]:
        """Return the sums so far: for each site the gradients of what is trained there."""
        self._settle()
        return [site.gradients for site in self.sites]

    def forget(self) -> None:
        """Start new sums, after the optimiser's step."""
        for item in self._trained:
            item.forget()
        if self._parameters and self._dynamics is not None and not self._layer:
            self._dynamics = filter_of(self._block.neuron)
            assert self._dynamics is not None, "linear neurons stay linear"
            for site in self.sites:
                if isinstance(site, SharedTraces):
                    site.use(self._dynamics)

    def _settle(self) -> None:
        if self._chunk is None:
            return
        at_current = self._reversed(self._chunk)
        for site in self.sites:
            assert isinstance(site, ChunkTraces), "made beside the chunk"
            site.settle(at_current)
        self._chunk.clear()
        self._parts.clear()

    def _reversed(self, chunk: list[LinearFilter]) -> list[Tensor]:
        """Run evidence filters and dynamics backward over the chunk, to the current."""
        like = next(parts for parts in self._parts if parts is not None)[0]
        G = [torch.zeros_like(like) for _ in self._filters]
        mu = torch.zeros(())
        found: list[Tensor] = []
        for back in reversed(range(len(chunk))):
            t = self._step - (len(chunk) - 1 - back)
            weights = [evidence.weight(t) for evidence in self._filters]
            after = [evidence.weight(t + 1) for evidence in self._filters]
            parts = self._parts[back]
            G = [(1.0 - w) * g for w, g in zip(after, G, strict=True)]
            if parts is not None:
                G = [g + part for g, part in zip(G, parts, strict=True)]
            g = sum((w * part for w, part in zip(weights, G, strict=True)), start=like * 0)
            carried = torch.einsum("ij...,i...->j...", chunk[back + 1].A, mu) if found else 0.0
            mu = chunk[back].C * g + carried
            found.append((chunk[back].B * mu).sum(dim=0))
        return found[::-1]


def _widened(dynamics: LinearFilter, features: torch.Size) -> LinearFilter:
    """Return entries of ``(rows or 1, *features)`` behind the indices of the variables."""
    wide = []
    for entry, lead in zip(dynamics, (2, 1, 1), strict=True):
        per = entry.shape[lead:]
        per = torch.Size([*[1] * (len(features) + 1 - len(per)), *per])
        shape = (*entry.shape[:lead], per[0], *features)
        wide.append(entry.reshape(*entry.shape[:lead], *per).expand(shape))
    return LinearFilter(*wide)
