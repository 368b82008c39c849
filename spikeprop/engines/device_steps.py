"""An update at every time step on a CUDA device, window by window of recorded launches.

Steps are short on a fast device, and launching their kernels one by one takes longer than they do:
a window's steps are recorded once, and played again for every window of its length. What depends on
inputs alone is made before a window's first step: the filtered traces ``e`` (design notes,
"Updating at every time step"), and whatever the optimiser's kind of step wants to know
(:mod:`.deferred_steps` for plain ones, :mod:`.adam_steps`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spikeprop.engines.buffers import Buffers
from spikeprop.engines.filters import as_tensor, weights_of
from spikeprop.engines.plain_steps import Batch, Engine
from spikeprop.engines.replays import RECORDED_ON, Replays
from spikeprop.engines.signal_rows import put_signals, signals_of
from spikeprop.engines.triton_scan import TritonScan
from spikeprop.losses import directions

__all__ = ["DeviceBlock"]


class DeviceBlock(ABC):
    """One block of a batch."""

    def __init__(
        self,
        stage: Any,
        engine: Engine,
        batch: Batch,
        labels: Tensor,
        buffers: Buffers,
        replays: Replays,
    ) -> None:
        self.product, self._record, self.optimizer = stage.product, stage.record, stage.optimizer
        self.scan: TritonScan = stage.scan
        self.scan.unread = stage is batch.stages[-1]
        self._engine, self._filters, self._labels = engine, batch.filters, labels
        self.buffers, self._replays, self._beta = buffers, replays, stage.beta
        module = stage.product.module
        self.weight, self.bias = module.weight.detach(), module.bias
        self.index, size = stage.record.block.index, stage.scan.size
        # The losses that have a form in numbers are ours, and wait for nothing.
        self._compare = engine.rule.comparison(self.index, size, engine.tensors)
        self._vectors: Tensor | None = None
        if self._compare is not None and self._compare.vectors is not None:
            found = directions(self._compare.vectors)[0]
            self._vectors = self.take("vectors", tuple(found.shape)).copy_(found)
        self.dtype, self.rows = self.weight.dtype, stage.product.n_rows
        self._trace = self.weight.new_zeros(self.rows, self.weight.shape[1])
        self._filtered = self.weight.new_zeros(1, self.rows, self.weight.shape[1])
        self._constant = [0.0, 0.0]  # trace and filtered trace of the bias's input, which is 1

    def learn(self, x: Tensor, first: int) -> Tensor:
        """Learn from a window; return its spikes, if anybody reads them."""
        scan, rule = self.scan, self._engine.rule
        x = self.product.arrive(x, first)
        steps, count = len(x), scan.n_recordings
        currents = self.take("currents", (steps, scan.n_rows, scan.size))
        self.drive(x, currents)
        if self.index == 0 and scan.n_rows > count:
            signals = signals_of(rule, self._engine.tensors, first, steps)
            put_signals(signals, currents[:, count:])
        weights = weights_of(self._filters, first + 1, steps)
        passing = self.take("passing", weights.shape)
        passing.copy_(as_tensor(weights, passing))
        evidence = scan.begin(currents, weights, passing)
        learns = self.optimizer is not None
        window = self.begin(x.flatten(2), weights) if learns else ()
        values = self.take("values", (steps, count))
        scores = self.take("scores", (steps, count, rule.num_classes))

        def work() -> None:
            for step in range(steps):
                self.before(window, step, currents, evidence)
                scan.forward(step, step + 1)
                here = slice(step, step + 1)
                self._modulate(evidence[here], values[here], scores[here])
                if learns:
                    self.after(window, step, evidence[step, : self.rows])

        if self._compare is not None and x.device.type in RECORDED_ON:
            tensors = (
                currents, self._labels, values, scores, passing, self._vectors, *scan.tensors,
                *window, *self.held,
            )  # fmt: skip
            numbers = (scan.beta, scan.reset, *self._compare[1:])
            self._replays.play((self.index, *numbers, *map(_place, tensors)), work)
        else:
            work()
        record = self._record
        record.loss_sum = record.loss_sum + values.mean(dim=1).sum()
        record.logits_sum = record.logits_sum + scores.sum(dim=0)
        record.logits = scores[-1].clone()
        if learns:
            self.end(evidence)
        return x if scan.unread else scan.dense()

    @abstractmethod
    def drive(self, x: Tensor, currents: Tensor) -> None:
        """Take a window's input ``(L, rows, *inputs)``, and make of its currents what can be."""

    @abstractmethod
    def begin(self, x: Tensor, weights: Any) -> tuple[Tensor, ...]:
        """Prepare a window of the input ``(L, rows, M)``, if the block learns.

        Returns
        -------
        tuple of Tensor
            All that :meth:`before` and :meth:`after` read and write.
        """

    @abstractmethod
    def before(self, window: Any, step: int, currents: Tensor, evidence: Tensor) -> None:
        """Launch what makes a step's currents complete; ``window`` is empty if nothing learns."""

    @abstractmethod
    def after(self, window: Any, step: int, delta: Tensor) -> None:
        """Launch what learns from a step's modulators ``(rows, N)``."""

    @abstractmethod
    def end(self, deltas: Tensor) -> None:
        """Learn from a whole window's modulators ``(L, R, N)``."""

    @property
    def held(self) -> tuple[Any, ...]:
        """Tensors and numbers that they know besides, from batch to batch."""
        return ()

    def filter_inputs(self, x: Tensor, weights: Any) -> tuple[Tensor, Any]:
        """Return the filtered traces of a window's input ``(L, rows, M)``.

        Returns
        -------
        tuple
            ``(L, learning rows, M)``, and those of the bias's input, an array ``(L,)``.
        """
        from spikeprop.kernels import triton_neuron

        steps, _, size = x.shape
        traces = self.take("traces", (steps, self.rows, size))
        none, endless = x.new_empty(0), x.new_full((size,), torch.inf)
        counts = torch.empty(size, dtype=torch.int32, device=x.device)
        triton_neuron.integrate(  # a neuron that never spikes
            x[:, : self.rows].contiguous(), self._trace, none, endless, self._beta, "none",
            as_tensor(weights, x), self._filtered, traces, none, counts, 0, 0, steps,
        )  # fmt: skip
        constants = []
        for w in weights[0].tolist():
            self._constant[0] = self._beta * self._constant[0] + 1.0
            self._constant[1] += w * (self._constant[0] - self._constant[1])
            constants.append(self._constant[1])
        return traces, np.array(constants)

    def _modulate(self, evidence: Tensor, value: Tensor, scores: Tensor) -> None:
        """Put a step's modulators in the place of its evidence ``(1, R, N)``."""
        from spikeprop.kernels import triton_cosine

        compare, signals = self._compare, evidence.shape[1] - value.shape[1]
        if compare is not None and (self._vectors is not None or signals == scores.shape[2]):
            triton_cosine.compare(
                evidence, self._vectors, self._labels, compare.tau, compare.rectify,
                compare.smallest, value, scores,
            )  # fmt: skip
            return
        rule, tensors = self._engine.rule, self._engine.tensors
        found = rule.modulate_window(self.index, evidence, self._labels, tensors)
        if found.delta.data_ptr() != evidence.data_ptr():
            evidence.copy_(found.delta)
        value.copy_(found.value.unsqueeze(1).expand_as(value))
        scores.copy_(found.logits)

    def take(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Return working memory of the block's, as its weights are."""
        name = f"steps {name}.{self.index}"
        return self.buffers.take(name, shape, self.weight.dtype, self.weight.device)


def _place(item: Any) -> Any:
    """Return where a tensor lies, and what shape it has; anything else as it is."""
    return (item.data_ptr(), item.shape) if isinstance(item, Tensor) else item
