"""The reference engine: eager, step by step, through forward hooks alone; not fast.

Each block follows one recording batch through time (design notes, "Equations"):

    u_t     = beta u_{t-1} + current_t                  free potential; or the voltage, u_t = mem_t
    trace_t = beta trace_{t-1} + x_t                    presynaptic input, filtered the same way
    v_t     = v_{t-1} + w_t (u_t     - v_{t-1})         evidence
    e_t     = e_{t-1} + w_t (trace_t - e_{t-1})         = d v_t / d W while W stands still
    grad_t  = delta_t (x) e_t                           the rule gives delta_t

for each of its trained modules, and whatever dynamics the neuron has (:mod:`.credit`).

Nothing here is kept over time but the running values, and nothing travels back between blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from spikeprop.blocks import Block
from spikeprop.datasets import EventBatch
from spikeprop.engines.credit import Credit
from spikeprop.engines.own import OwnTensors
from spikeprop.engines.passage import Passage
from spikeprop.engines.shared import SharedOptimizer
from spikeprop.engines.stepwise import StepwiseEngine
from spikeprop.evidence import Evidence
from spikeprop.membranes import filter_of, output_of, visible
from spikeprop.potentials import free_potential
from spikeprop.rules import LocalRule

__all__ = ["BlockPass", "ReferenceEngine", "follow"]


@dataclass
class BlockPass:
    """One block on its way along the time axis.

    Attributes
    ----------
    t : int
        Time steps seen.
    labels : Tensor, optional
        ``(B,)``; a stream sets them anew at each step, None for steps without a label.
    logits, logits_sum, loss_sum : Tensor
        Scores ``(B, C)`` of the last step and summed over time; local loss summed over time ``()``.
    spikes, spike_sum : Tensor
        Spikes summed over the recordings ``(*features)``, of the last step and over time.
    """

    block: Block
    rule: LocalRule
    tensors: dict[str, Tensor]
    filters: tuple[Evidence, ...]
    n_recordings: int
    labels: Tensor | None
    optimizer: torch.optim.Optimizer | None
    update_every: int
    traces: str = "synapse"
    own: OwnTensors | None = None
    t: int = 0
    _pending: int = 0
    _reducing: bool = False
    _evidence: list[Tensor] = field(default_factory=list)
    _context: Tensor | None = None

    def __post_init__(self) -> None:
        self._free = None
        if self.rule.potential == "free":
            self._free = free_potential(self.block, self.traces)
        self.credit = None
        if self.optimizer is not None:
            self.credit = Credit(
                self.block,
                self.filters,
                self.n_recordings,
                self.traces,
                free=self._free is not None,
                signal_rows=self.rule.enters_synapse,
            )
        self.calls = [0] * len(self.block.sites)
        self.logits_sum: Tensor | float = 0.0
        self.loss_sum: Tensor | float = 0.0
        self.spike_sum: Tensor | float = 0.0
        self.spikes: Tensor | float = 0.0
        self.logits: Tensor | None = None

    def begin_step(self, labels: Tensor | None) -> None:
        """Prepare one step of a stream, with or without labels."""
        self.labels = labels
        self.loss_sum = 0.0

    def take(self, place: int, x: Tensor) -> None:
        """Note the presynaptic input ``x`` ``(R, *inputs)`` of a time step at one of the sites."""
        self.settle()
        self.calls[place] += 1
        if self.credit is not None:
            self.credit.sites[place].take(x)
        if place == 0 and self.rule.needs_context:
            first = self.block.index == 0
            if not first or self.rule.current(self.tensors, self.t + 1) is None:
                self.take_context(x[self.n_recordings :])

    def take_context(self, signal: Tensor) -> None:
        """Note the signal rows ``(C, *inputs)`` of a time step as they enter the block."""
        now = signal.flatten(1)
        if self._context is None:
            self._context = torch.zeros_like(now)
        self._context.lerp_(now, self.filters[-1].weight(self.t + 1))

    def see(self, current: Tensor, spk: Tensor, mem: Tensor) -> None:
        """Compare, and learn, after the neuron has made a step; all are ``(R, *features)``."""
        self.watch(current, spk, mem)
        features = self.evidence
        if self.labels is None:
            self.logits = self.rule.logits(
                self.block.index, features, self.n_recordings, self.tensors
            )
        else:
            tensors = self.tensors
            if self._context is not None:
                tensors = {**tensors, "context": self._context}
            value, self.logits, delta = self.rule.modulate(
                self.block.index, features, self.labels, tensors
            )
            self.loss_sum = self.loss_sum + value
            if self.own is not None:
                self.own.learn(self.block.index, features, self.labels, delta, tensors)
            self.learn(delta)
        self.flush_if_due()
        self.logits_sum = self.logits_sum + self.logits

    def watch(self, current: Tensor, spk: Tensor, mem: Tensor) -> None:
        """Move traces and evidence on by a time step, and count its spikes."""
        self.t += 1
        for place, site in enumerate(self.block.sites):
            if self.calls[place] == self.t - 1 and (site.inside or len(self.block.sites) > 1):
                self.calls[place] += 1  # a recurrent synapse may begin with the second step
                if self.credit is not None:
                    self.credit.sites[place].skip()
            if self.calls[place] != self.t:
                raise ValueError(
                    f"synapse '{site.name}' was called {self.calls[place]} times when neuron "
                    f"'{self.block.neuron_name}' made step {self.t}; an update at every step needs "
                    f"the synapse to be called once for each step"
                )
        mem, follows = visible(self.block.neuron, mem)
        if self.credit is not None:
            self.credit.advance(follows)
        u = self.compared(current, spk, mem)
        if not self._evidence:
            self._evidence = [torch.zeros_like(u) for _ in self.filters]
        for value, evidence in zip(self._evidence, self.filters, strict=True):
            value.lerp_(u, evidence.weight(self.t))
        self.spikes = self.fired(spk)
        self.spike_sum = self.spike_sum + self.spikes

    def fired(self, spk: Tensor) -> Tensor:
        """Return the number of spikes of each neuron, summed over the recordings."""
        return (spk[: self.n_recordings] != 0).sum(dim=0)

    def compared(self, current: Tensor, spk: Tensor, mem: Tensor) -> Tensor:
        """Return what the evidence is made of."""
        if self.rule.potential == "spikes":
            return spk
        return mem if self._free is None else self._free.advance(current, spk)

    def learn(self, delta: Tensor) -> None:
        """Add what a modulator ``(R, F)`` says to the gradient."""
        if self.credit is not None:
            self._pending += 1
            self.credit.learn(delta)

    def flush_if_due(self) -> None:
        """Let the optimiser step where enough time steps have been summed."""
        if self._pending == self.update_every or (
            # Steps without a label fill a chunk, too.
            self.credit is not None and self.credit.stored >= self.update_every
        ):
            self.flush()

    @property
    def evidence(self) -> Tensor:
        """The evidence of all rows, features flattened and filters side by side, ``(R, F)``."""
        flat = [value.flatten(1) for value in self._evidence]
        return flat[0] if len(flat) == 1 else torch.cat(flat, dim=1)

    def flush(self) -> None:
        """Let the optimiser step on what has been summed since its last step."""
        if self.optimizer is None or self.credit is None:
            return
        if self._pending == 0:
            self.credit.drop()
            return
        self.credit.hand_over()
        if isinstance(self.optimizer, SharedOptimizer):
            # The next block goes on meanwhile; the neuron's own parameters may be read at once.
            self.optimizer.start()
            self._reducing, self._pending = True, 0
            if self.block.neuron_parameters:
                self.settle()
        else:
            self.optimizer.step()
            self._end_step()

    def settle(self) -> None:
        """Wait for gradients that are being summed over processes, if any, and step on them."""
        if self._reducing:
            assert isinstance(self.optimizer, SharedOptimizer), "flush began it"
            self._reducing = False
            self.optimizer.finish()
            self.optimizer.inner.step()
            self._end_step()

    def _end_step(self) -> None:
        assert self.optimizer is not None, "it has stepped"
        self.optimizer.zero_grad(set_to_none=True)
        self.begin_sum()

    def begin_sum(self) -> None:
        """Start new sums, after the optimiser's step."""
        self._pending = 0
        if self.credit is not None:
            self.credit.forget()
        if self._free is not None and self.block.neuron_parameters:
            dynamics = filter_of(self.block.neuron)
            assert dynamics is not None, "linear neurons stay linear"
            self._free.dynamics = dynamics


@dataclass(frozen=True)
class ReferenceEngine(StepwiseEngine):
    """Runs a network as it is and learns in hooks, by any :class:`~spikeprop.rules.LocalRule`.

    Parameters as :class:`~spikeprop.engines.stepwise.StepwiseEngine`.
    """

    rule: LocalRule

    def begin(
        self,
        n_recordings: int,
        filters: tuple[Evidence, ...],
        labels: Tensor | None = None,
        optimizers: Sequence[torch.optim.Optimizer | None] | None = None,
        update_every: int = 1,
    ) -> Passage[BlockPass]:
        """Start a batch of sequences, or a stream; blocks with an optimiser learn from labels."""
        chosen = optimizers if optimizers is not None else [None] * len(self.blocks)
        tensors = self.rule.begin(self.tensors, labels)
        own: OwnTensors | None = None
        if self.own_optimizer is not None and optimizers is not None:
            own = OwnTensors(
                self.rule,
                self.tensors,
                self.own_optimizer,
                self.blocks,
                filters,
                n_recordings,
                update_every,
            )
        passes = [
            BlockPass(
                block,
                self.rule,
                tensors,
                filters,
                n_recordings,
                labels,
                optimizer,
                update_every,
                self.traces,
                own,
            )
            for block, optimizer in zip(self.blocks, chosen, strict=True)
        ]
        return Passage(passes, n_recordings)

    def run(self, x: Tensor | EventBatch, passage: Passage[BlockPass]) -> None:
        """Run whole sequences ``(T, B, *features)``, then let what is left over be learned."""
        if isinstance(x, EventBatch):
            x = x.to_dense(self.dtype)
        tensors = passage.blocks[0].tensors
        x = self.rule.arrange(x, tensors)
        with torch.no_grad(), self._hooked(passage):
            steps = (self._with_signal_rows(x_t, tensors, t) for t, x_t in enumerate(x, start=1))
            if self.time_inside:
                self.net(torch.stack(list(steps)))
            else:
                for rows in steps:
                    self.net(rows)
        self.end(passage)
        self.check_steps(passage, len(x))

    def step(self, x_t: Tensor, passage: Passage[BlockPass]) -> None:
        """Run one time step ``(B, *features)`` of a stream."""
        self.step_rows(self.rows(x_t, passage), passage)

    def rows(self, x_t: Tensor, passage: Passage[BlockPass]) -> Tensor:
        """Return the next time step ``(B, *features)`` with the rows that the signal takes."""
        return self._with_signal_rows(x_t, passage.blocks[0].tensors, passage.steps + 1)

    def step_rows(self, rows: Tensor, passage: Passage[BlockPass]) -> Tensor:
        """Run one time step of all rows; return what the network gives."""
        with torch.no_grad(), self._hooked(passage):
            given: Tensor = self.net(rows)
        return given

    def end(self, passage: Passage[BlockPass]) -> None:
        """Let what is left over be learned."""
        with torch.no_grad():
            for block_pass in passage.blocks:
                block_pass.flush()
            for block_pass in passage.blocks:
                block_pass.settle()
            own = passage.blocks[0].own
            if own is not None:
                own.flush()

    def _with_signal_rows(self, x_t: Tensor, tensors: dict[str, Tensor], t: int) -> Tensor:
        """Append the signal rows' input: zeros, where a place in every later batch is all."""
        x_t = x_t.to(self.dtype)
        rows = self.rule.inputs(x_t, tensors, t)
        return x_t if rows is None else torch.cat([x_t, rows.to(x_t)])

    @contextmanager
    def _hooked(self, passage: Passage[BlockPass]) -> Iterator[None]:
        n = passage.n_recordings

        def enter(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            current, t, first = inputs[0], passage.steps + 1, passage.blocks[0]
            if first.own is not None:
                first.own.enter(first.tensors, t)
            own = self.rule.own_current(first.tensors, t)
            if own is not None:
                current = current.clone()
                current[:n] += own.reshape(n, *current.shape[1:])
            signal = self.rule.current(first.tensors, t)
            if signal is None:
                return current, *inputs[1:]
            if self.rule.needs_context:
                first.take_context(signal)
            signal = signal.to(current.dtype).reshape(-1, *current.shape[1:])
            if self.rule.enters_synapse:
                signal = signal + current[n:]
            return torch.cat([current[:n], signal]), *inputs[1:]

        handles = []
        if self.blocks[0].index == 0:  # else the signal rows come along with the recordings'
            handles.append(self.blocks[0].neuron.register_forward_pre_hook(enter))
        for block_pass in passage.blocks:
            handles += follow(block_pass)
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def follow(block_pass: BlockPass) -> list[torch.utils.hooks.RemovableHandle]:
    """Set the hooks through which a pass sees its block."""
    block, credit = block_pass.block, block_pass.credit

    def taking(place: int) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        return lambda module, inputs: block_pass.take(place, inputs[0])

    def before_neuron(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        assert credit is not None, "the hook is set for those that learn alone"
        credit.expect(args, kwargs)

    def after_neuron(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        block_pass.see(inputs[0], *output_of(module, output, inputs[0]))

    handles = [
        site.module.register_forward_pre_hook(taking(place))
        for place, site in enumerate(block.sites)
    ]
    if credit is not None and credit.needs_state:
        handles.append(block.neuron.register_forward_pre_hook(before_neuron, with_kwargs=True))
    return [*handles, block.neuron.register_forward_hook(after_neuron)]
