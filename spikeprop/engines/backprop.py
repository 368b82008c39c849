"""The engine of backpropagation through time: autograd over the network as it is, window by window.

The only engine that stores a graph over time and calls autograd for weights; it is here so that a
rule can be compared with what it does without.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from spikeprop.blocks import Block
from spikeprop.datasets import EventBatch
from spikeprop.engines.passage import BlockRecord, Passage
from spikeprop.engines.states import detach_states, spike_functions
from spikeprop.engines.stepwise import StepwiseEngine
from spikeprop.evidence import Evidence
from spikeprop.membranes import output_of
from spikeprop.rules.bptt import BPTT

__all__ = ["BackpropEngine"]


@dataclass
class _Record(BlockRecord):
    labels: Tensor | None = None

    def begin_step(self, labels: Tensor | None) -> None:
        """Prepare one step of a stream, with or without labels."""
        self.labels = labels
        self.loss_sum = 0.0


@dataclass
class _Window:
    """What has been seen since the last update."""

    z: Tensor | None = None
    y_sum: Tensor | None = None
    labelled: int = 0


@dataclass(frozen=True)
class _Unrolled(Passage[_Record]):
    optimizers: Sequence[torch.optim.Optimizer | None] = ()
    window: _Window = field(default_factory=_Window)


@dataclass(frozen=True)
class BackpropEngine(StepwiseEngine):
    """Runs a network as it is and learns by :class:`BPTT`.

    Parameters as :class:`~spikeprop.engines.stepwise.StepwiseEngine`.

    Raises
    ------
    ValueError
        If a network that loops over time itself is to be cut into windows.
    """

    rule: BPTT

    def __post_init__(self) -> None:
        if self.time_inside and self.rule.window is not None:
            raise ValueError(
                "a network that loops over time itself (time='inside') cannot be cut into windows "
                f"of {self.rule.window} steps; use BPTT, or a network that maps one time step"
            )

    def begin(
        self,
        n_recordings: int,
        filters: tuple[Evidence, ...],
        labels: Tensor | None = None,
        optimizers: Sequence[torch.optim.Optimizer | None] | None = None,
        update_every: int = 1,
    ) -> Passage[_Record]:
        """Start a batch of sequences, or a stream; blocks with an optimiser learn from labels."""
        records = [_Record(block, labels=labels) for block in self.blocks]
        return _Unrolled(records, n_recordings, tuple(optimizers or ()))

    def run(self, x: Tensor | EventBatch, passage: Passage[_Record]) -> None:
        """Run whole sequences ``(T, B, *features)``, then let what is left over be learned."""
        assert isinstance(passage, _Unrolled), "begin made it"
        if isinstance(x, EventBatch):
            x = x.to_dense(self.dtype)
        x = x.to(self.dtype)
        with self._hooked(passage):
            if self.time_inside:
                self.net(x)
            else:
                for x_t in x:
                    self.net(x_t)
            self._update(passage)
        self.check_steps(passage, len(x))

    def step(self, x_t: Tensor, passage: Passage[_Record]) -> None:
        """Run one time step ``(B, *features)`` of a stream."""
        assert isinstance(passage, _Unrolled), "begin made it"
        if self.rule.window is None and passage.blocks[0].labels is not None:
            raise ValueError(
                "BPTT learns at the end of a sequence, which a stream has not; use TBPTT"
            )
        with self._hooked(passage):
            self.net(x_t.to(self.dtype))

    @contextmanager
    def _hooked(self, passage: _Unrolled) -> Iterator[None]:
        learns = bool(passage.optimizers) and passage.blocks[0].labels is not None
        handles = [
            item.block.neuron.register_forward_hook(self._watching(item, passage))
            for item in passage.blocks
        ]
        pseudo = self.rule.surrogate
        with spike_functions(self.blocks, pseudo), torch.set_grad_enabled(learns):
            try:
                yield
            finally:
                for handle in handles:
                    handle.remove()

    def _watching(self, item: _Record, passage: _Unrolled) -> Any:
        def watch(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            spk, _ = output_of(module, output)
            item.t += 1
            item.spikes = (spk.detach() != 0).sum(dim=0)
            item.spike_sum = item.spike_sum + item.spikes
            if item is passage.blocks[-1]:
                self._read(spk.flatten(1), passage)

        return watch

    def _read(self, spk: Tensor, passage: _Unrolled) -> None:
        """Read the last block's spikes out, and learn where a window ends."""
        window, kappa = passage.window, self.rule.kappa
        z = spk
        window.z = z if window.z is None else kappa * window.z + z
        weight, bias = self.tensors["readout.weight"], self.tensors["readout.bias"]
        y = nn.functional.linear(window.z, weight, bias)
        for item in passage.blocks:
            item.logits = y.detach()
            item.logits_sum = item.logits_sum + item.logits
        learns = bool(passage.optimizers) and passage.blocks[0].labels is not None
        if learns and passage.steps >= self.rule.first_step:
            window.y_sum = y if window.y_sum is None else window.y_sum + y
            window.labelled += 1
            if window.labelled == self.rule.window:
                self._update(passage)

    def _update(self, passage: _Unrolled) -> None:
        """Differentiate what has been seen since the last update, and step on it."""
        window, labels = passage.window, passage.blocks[0].labels
        if window.y_sum is None or labels is None:
            return
        loss = nn.functional.cross_entropy(window.y_sum / window.labelled, labels)
        for item in passage.blocks:
            item.loss_sum = item.loss_sum + loss.detach() * window.labelled
        steppers = list(zip(self.blocks, passage.optimizers, strict=True))
        trained = [p for b, o in steppers if o is not None for p in _trained(b)]
        own = [self.tensors[name] for name in self.rule.learned(self.tensors)]
        found = torch.autograd.grad(loss, [*trained, *own], allow_unused=True)
        for parameter, gradient in zip([*trained, *own], found, strict=True):
            parameter.grad = gradient
        for optimizer in [*passage.optimizers, self.own_optimizer]:
            if optimizer is not None:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
        detach_states(self.net)
        assert window.z is not None, "something has been read out"
        window.z, window.y_sum, window.labelled = window.z.detach(), None, 0


def _trained(block: Block) -> list[nn.Parameter]:
    return [p for p in block.parameters if p.requires_grad]
