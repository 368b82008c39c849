"""The engine of rules that contrast rows: each recording beside copies of itself.

As the reference engine, it runs the network as it is and learns in hooks, and nothing is kept over
time but running values (:mod:`.reference` has the equations). What differs: the batch holds what
the rule says (:class:`~spikeprop.rules.contrast.Rows`), and wires of the learner's own may join a
block's current. A wire is one more synapse of the block, with the same traces and gradients:

    current_t = W x_t + b + sum over wires of  V z_t,    z: context, own spikes, or those above
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from spikeprop.blocks import Block, Site
from spikeprop.datasets import EventBatch
from spikeprop.engines.passage import Passage
from spikeprop.engines.reference import BlockPass, follow
from spikeprop.engines.stepwise import StepwiseEngine
from spikeprop.evidence import Evidence
from spikeprop.neurons import reset
from spikeprop.rules.contrast import ContrastRule, Rows, Seen, Wire

__all__ = ["ContrastEngine", "ContrastPass"]


@dataclass(kw_only=True)
class ContrastPass(BlockPass):
    """One block on its way along the time axis, with all rows of its recordings."""

    rule: ContrastRule  # type: ignore[assignment]
    rows: Rows
    wires: list[tuple[Wire, nn.Module]]
    own_optimizer: torch.optim.Optimizer | None
    learns: bool
    before: ContrastPass | None
    _own: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.spk: Tensor | None = None  # of the last step
        self._below: Tensor | None = None

    def begin_step(self, labels: Tensor | None) -> None:
        """Prepare one step of a stream, with or without labels."""
        super().begin_step(labels)
        self.rows = self.rule.stream_rows(labels, self.rows.classes.shape[1], self.logits)

    def take(self, place: int, x: Tensor) -> None:
        """Note the presynaptic input of a time step at one of the sites."""
        if place == 0 and self.before is None:
            self._below = x
        super().take(place, x)

    def fired(self, spk: Tensor) -> Tensor:
        """Return the spikes of each neuron: for each recording those of one row, or the mean."""
        groups = (spk != 0).reshape(*self.rows.classes.shape, *spk.shape[1:]).sum(dim=1)
        counted = self.rule.counted
        return groups.float().mean(dim=0) if counted is None else groups[counted]

    def see(self, current: Tensor, spk: Tensor, mem: Tensor) -> None:
        """Contrast the rows, and learn, after the neuron has made a step."""
        self.watch(current, spk, mem)
        self.spk = spk
        index, tensors = self.block.index, self.tensors
        below = self._below if self.before is None else self.before.evidence
        assert below is not None, "watch has counted the synapse's call"
        seen = Seen(self.rows, self.t, self.evidence, below.flatten(1))
        if self.rows.labels is None:
            self.logits = self.rule.logits(index, seen, tensors)
        else:
            value, self.logits, delta = self.rule.modulate(index, seen, tensors)
            self.loss_sum = self.loss_sum + value
            if self.learns:
                self.learn(delta)
                for name, gradient in self.rule.own_gradients(index, seen, tensors).items():
                    self._own[name] = self._own.get(name, 0.0) + gradient
        self.flush_if_due()
        self.logits_sum = self.logits_sum + self.logits

    def learn(self, delta: Tensor) -> None:
        """Add what a modulator says to the gradient; a frozen block's readout still learns."""
        self._pending += 1
        if self.credit is not None:
            self.credit.learn(delta)

    def flush(self) -> None:
        """Let both optimisers step on what has been summed since their last step."""
        if self._pending == 0:
            if self.credit is not None:
                self.credit.drop()
            return
        if self.credit is not None:
            self.credit.hand_over()
        for name, gradient in self._own.items():
            self.tensors[name].grad = gradient
        for optimizer in (self.optimizer, self.own_optimizer):
            if optimizer is not None:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
        self._own.clear()
        self.begin_sum()


@dataclass(frozen=True)
class ContrastEngine(StepwiseEngine):
    """Runs a network as it is, by any :class:`~spikeprop.rules.contrast.ContrastRule`.

    Parameters as :class:`~spikeprop.engines.stepwise.StepwiseEngine`.
    """

    rule: ContrastRule

    def begin(
        self,
        n_recordings: int,
        filters: tuple[Evidence, ...],
        labels: Tensor | None = None,
        optimizers: Sequence[torch.optim.Optimizer | None] | None = None,
        update_every: int = 1,
    ) -> Passage[ContrastPass]:
        """Start a batch of sequences, or a stream; blocks with an optimiser learn from labels."""
        learns = optimizers is not None
        chosen = optimizers if optimizers is not None else [None] * len(self.blocks)
        if labels is None and learns:  # a stream, whose labels come step by step
            rows = self.rule.stream_rows(None, n_recordings, None)
        elif labels is not None and self.rule.scouts:  # until the scout has reported, in run
            rows = self.rule.rows(None, n_recordings, None)
        else:
            rows = self.rule.rows(labels, n_recordings, None)
        passes: list[ContrastPass] = []
        for block, optimizer in zip(self.blocks, chosen, strict=True):
            wires = self._wires(block)
            sites = [Site(wire.name, module, _behind(block)) for wire, module in wires]
            item = ContrastPass(
                block=replace(block, sites=[*block.sites, *sites]),
                rule=self.rule,
                tensors=self.tensors,
                filters=filters,
                n_recordings=sys.maxsize,  # every row learns, and how many there are may wait
                labels=labels,
                optimizer=optimizer,
                update_every=update_every,
                traces=self.traces,
                rows=rows,
                wires=wires,
                own_optimizer=self.own_optimizer if learns else None,
                learns=learns,
                before=passes[-1] if passes else None,
            )
            passes.append(item)
        return Passage(passes, n_recordings)

    def run(self, x: Tensor | EventBatch, passage: Passage[ContrastPass]) -> None:
        """Run whole sequences ``(T, B, *features)``, then let what is left over be learned."""
        if isinstance(x, EventBatch):
            x = x.to_dense(self.dtype)
        first = passage.blocks[0]
        rows = first.rows
        if first.labels is not None and self.rule.scouts:
            rows = self.rule.rows(first.labels, x.shape[1], self._scout(x, first.filters))
            for item in passage.blocks:
                item.rows = rows
        with torch.no_grad(), self._hooked(passage):
            if self.time_inside:
                self.net(torch.stack([self._all_rows(x_t, rows) for x_t in x]))
            else:
                for x_t in x:
                    self.net(self._all_rows(x_t, rows))
            for item in passage.blocks:
                item.flush()
        self.check_steps(passage, len(x))

    def step(self, x_t: Tensor, passage: Passage[ContrastPass]) -> None:
        """Run one time step ``(B, *features)`` of a stream."""
        rows = passage.blocks[0].rows
        with torch.no_grad(), self._hooked(passage):
            self.net(self._all_rows(x_t, rows))

    def _scout(self, x: Tensor, filters: tuple[Evidence, ...]) -> Tensor:
        """Return the scores ``(B, C)`` of a pass without labels, summed over the blocks."""
        passage = self.begin(x.shape[1], filters)
        self.run(x, passage)
        reset(self.net)
        chosen = passage.blocks[-1:] if self.rule.predict_from == "last" else passage.blocks
        return torch.stack([torch.as_tensor(item.logits_sum) for item in chosen]).sum(0) / len(x)

    def _all_rows(self, x_t: Tensor, rows: Rows) -> Tensor:
        """Return a time step ``(B, *features)`` once for each group, marked by the rule."""
        repeated = x_t.to(self.dtype).repeat(len(rows.classes), *[1] * (x_t.dim() - 1))
        return self.rule.imprint(repeated, rows, self.tensors)

    def _wires(self, block: Block) -> list[tuple[Wire, nn.Module]]:
        found: list[tuple[Wire, nn.Module]] = []
        for wire in self.rule.wires(len(self.blocks)):
            if wire.block == block.index:
                weight = self.tensors[wire.name]
                module = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
                if not isinstance(weight, nn.Parameter):
                    weight = nn.Parameter(weight, requires_grad=False)
                module.weight = weight
                found.append((wire, module))
        return found

    @contextmanager
    def _hooked(self, passage: Passage[ContrastPass]) -> Iterator[None]:
        handles = []
        for item in passage.blocks:
            if item.wires:
                joining = self._joining(item, passage)
                handles.append(item.block.neuron.register_forward_pre_hook(joining))
            handles += follow(item)
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _joining(
        self, item: ContrastPass, passage: Passage[ContrastPass]
    ) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
        def carried(wire: Wire, current: Tensor) -> Tensor:
            if wire.source == "context":
                scores = passage.blocks[-1].logits
                return self.rule.context(item.rows, item.t + 1, scores, self.tensors)
            from_block = item if wire.source == "own" else passage.blocks[wire.block + 1]
            if from_block.spk is None:
                return current.new_zeros(len(current), from_block.block.features.numel())
            return from_block.spk.flatten(1)

        def join(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            current = inputs[0]
            for wire, synapse in item.wires:
                current = current + synapse(carried(wire, current)).reshape(current.shape)
            return current, *inputs[1:]

        return join


def _behind(block: Block) -> list[tuple[nn.Module, torch.Size]]:
    """Return what lies between a wire's synapse and the block's neuron."""
    size = torch.Size([1, block.features.numel()])
    return [(nn.Unflatten(1, block.features), size)] if len(block.features) != 1 else []
