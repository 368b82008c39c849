"""The engine of three-factor rules: a time step of the whole network, then its credit.

The network runs as it is. Hooks keep of each block what the rule looks at, move its eligibilities
on, and when the last block has made its step the rule is asked for all modulators at once. Neurons
run outside of any graph. Only for a rule that sends signals down through the network the modules
between two neurons run inside of one, for the length of a time step, from each block's spikes to
the currents that they make: autograd then carries a signal from currents to spikes, never further
back in time, and never to a weight. Weights learn from the eligibilities alone.

Memory: running values; nothing is kept over time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from spikeprop.datasets import EventBatch
from spikeprop.engines.passage import Passage
from spikeprop.engines.random_weights import random_weights, seen_through
from spikeprop.engines.states import detach_states, spike_functions
from spikeprop.engines.stepwise import StepwiseEngine
from spikeprop.engines.three_factor_pass import BlockPass
from spikeprop.evidence import Evidence
from spikeprop.membranes import output_of
from spikeprop.rules.three_factor import Step, ThreeFactorRule

__all__ = ["ThreeFactorEngine"]

Handle = torch.utils.hooks.RemovableHandle


@dataclass
class _Pending:
    """Time steps and gradients of the rule's own tensors since the last update."""

    steps: int = 0
    gradients: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class _JointPassage(Passage[BlockPass]):
    update_every: int = 1
    learning: bool = False
    pending: _Pending = field(default_factory=_Pending)


@dataclass(frozen=True)
class ThreeFactorEngine(StepwiseEngine):
    """Runs a network as it is and learns by any :class:`ThreeFactorRule`.

    Parameters as :class:`~spikeprop.engines.stepwise.StepwiseEngine`.

    Raises
    ------
    ValueError
        If the rule cannot train a layer of the network: which, and why.
    """

    rule: ThreeFactorRule

    def __post_init__(self) -> None:
        name = type(self.rule).__name__
        for block in self.blocks:
            if block.neuron_parameters:
                raise ValueError(
                    f"{name} cannot train '{', '.join(block.neuron_parameters)}' of neuron "
                    f"'{block.neuron_name}': it trains synapses alone; set requires_grad_(False)"
                )
        if self.rule.path == "random":
            self.tensors.update(random_weights(name, self.blocks, self.tensors))

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
        passes = [
            BlockPass(block, self.rule, n_recordings, labels, optimizer, self.traces)
            for block, optimizer in zip(self.blocks, chosen, strict=True)
        ]
        return _JointPassage(passes, n_recordings, update_every, optimizers is not None)

    def run(self, x: Tensor | EventBatch, passage: Passage[BlockPass]) -> None:
        """Run whole sequences ``(T, B, *features)``, then let what is left over be learned."""
        assert isinstance(passage, _JointPassage), "begin made it"
        if isinstance(x, EventBatch):
            x = x.to_dense(self.dtype)
        for item in passage.blocks:
            item.prepare(reversible=passage.update_every >= len(x))
        with torch.no_grad(), self._hooked(passage):
            if self.time_inside:
                self.net(self._with_signal_rows(x, dim=1))
            else:
                for x_t in x:
                    self.net(self._with_signal_rows(x_t, dim=0))
            self._flush(passage)
        self.check_steps(passage, len(x))

    def step(self, x_t: Tensor, passage: Passage[BlockPass]) -> None:
        """Run one time step ``(B, *features)`` of a stream."""
        assert isinstance(passage, _JointPassage), "begin made it"
        for item in passage.blocks:
            item.prepare(reversible=False)
        with torch.no_grad(), self._hooked(passage):
            self.net(self._with_signal_rows(x_t, dim=0))

    def _with_signal_rows(self, x: Tensor, dim: int) -> Tensor:
        x = x.to(self.dtype)
        signal = self.rule.current(self.tensors)
        if signal is None:
            return x
        shape = list(x.shape)
        shape[dim] = len(signal)
        return torch.cat([x, x.new_zeros(shape)], dim=dim)

    # ------------------------------------------------------------------ one time step

    def _finish(self, passage: _JointPassage) -> None:
        """Let the rule judge the step that all blocks have made, and credit them."""
        t = passage.blocks[-1].t
        learns = passage.learning and t >= self.rule.first_step
        step = Step(
            t=t,
            views=[item.view for item in passage.blocks],
            labels=passage.blocks[0].labels if learns else None,
            tensors=self.tensors,
            transport=lambda top: _down(passage.blocks, top),
        )
        with torch.no_grad():
            lesson = self.rule.learn(step)
            for item, value, logits in zip(
                passage.blocks, lesson.values, lesson.logits, strict=True
            ):
                item.report(value, logits)
            if step.labels is not None:
                passage.pending.steps += 1
                for item, deltas in zip(passage.blocks, lesson.deltas, strict=True):
                    item.learn(deltas)
                sums = passage.pending.gradients
                for name, gradient in lesson.gradients.items():
                    sums[name] = sums[name] + gradient if name in sums else gradient
            full = passage.pending.steps == passage.update_every
            # Steps without a label fill a chunk, too.
            if full or any(item.stored >= passage.update_every for item in passage.blocks):
                self._flush(passage)

    def _flush(self, passage: _JointPassage) -> None:
        for item in passage.blocks:
            item.flush(learned=passage.pending.steps > 0)
        if passage.pending.steps > 0 and self.own_optimizer is not None:
            for name, gradient in passage.pending.gradients.items():
                self.tensors[name].grad = gradient
            self.own_optimizer.step()
            self.own_optimizer.zero_grad(set_to_none=True)
        passage.pending.gradients.clear()
        passage.pending.steps = 0

    # ------------------------------------------------------------------ hooks

    @contextmanager
    def _hooked(self, passage: _JointPassage) -> Iterator[None]:
        learns = passage.learning and passage.blocks[0].labels is not None
        graph = learns and self.rule.path != "none"
        handles: list[Handle] = []
        pseudo = self.rule.surrogate
        with spike_functions(self.blocks, pseudo) as functions, torch.set_grad_enabled(graph):
            if self.rule.current(self.tensors) is not None:
                handles.append(self._signal_hook(passage.n_recordings))
            for item, function in zip(passage.blocks, functions, strict=True):
                item.spike_function = function
                handles += self._follow(item, passage, graph)
            if graph and self.rule.path == "random":
                handles += seen_through(self.blocks, self.tensors)
            try:
                yield
            finally:
                for handle in handles:
                    handle.remove()

    def _signal_hook(self, n: int) -> Handle:
        def enter(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            signal = self.rule.current(self.tensors)
            assert signal is not None, "the hook is set for rules with signal rows"
            return torch.cat([inputs[0][:n], signal.to(inputs[0].dtype)]), *inputs[1:]

        return self.blocks[0].neuron.register_forward_pre_hook(enter)

    def _follow(self, item: BlockPass, passage: _JointPassage, graph: bool) -> list[Handle]:
        last = item is passage.blocks[-1]

        def taking(place: int) -> Callable[[nn.Module, tuple[Any, ...]], None]:
            return lambda module, inputs: item.take(place, inputs[0].detach())

        def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            item.expect(args, kwargs)
            torch.set_grad_enabled(False)
            return (args[0].detach(), *args[1:]), kwargs

        def after(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
            spk, mem = output_of(module, output, inputs[0])
            item.see(inputs[0], spk, mem)
            if last:
                self._finish(passage)
                if graph:
                    detach_states(self.net)
            torch.set_grad_enabled(graph)
            if not graph or last:
                return None
            item.leaf = spk.detach().requires_grad_()
            return (item.leaf, *output[1:]) if isinstance(output, tuple) else item.leaf

        handles = [
            site.module.register_forward_pre_hook(taking(place))
            for place, site in enumerate(item.block.sites)
        ]
        neuron = item.block.neuron
        handles.append(neuron.register_forward_pre_hook(before, with_kwargs=True))
        return [*handles, neuron.register_forward_hook(after)]


def _down(blocks: Sequence[BlockPass], top: Tensor) -> list[Tensor]:
    """Carry a signal at the last block's spikes down to those of all blocks, within the step."""
    signals: list[Tensor] = [top.new_zeros((len(top), b.block.features.numel())) for b in blocks]
    signals[-1] = signals[-1] + top
    for m in reversed(range(1, len(blocks))):
        item = blocks[m]
        below = [(i, b.leaf) for i, b in enumerate(blocks[:m]) if b.leaf is not None]
        assert item.current is not None, "the block has made its step"
        if not item.current.requires_grad or not below:
            continue
        at_current = (signals[m].reshape(item.current.shape)) * item.slope()
        found = torch.autograd.grad(
            item.current, [leaf for _, leaf in below], at_current, allow_unused=True
        )
        for (i, _), gradient in zip(below, found, strict=True):
            if gradient is not None:
                signals[i] = signals[i] + gradient.flatten(1)
    return signals
