"""Whole sequences with an optimiser's step at every time step, block by block in compiled loops.

An update at every step reads and writes every weight at every step. Plain gradient steps need not:
those of a window of steps wait, low-rank, in the live engine (:mod:`spikeprop.kernels.deferred`).
Adam has to (:mod:`spikeprop.kernels.every_step`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from spikeprop.datasets import EventBatch
from spikeprop.engines.adam import CompiledAdam
from spikeprop.engines.buffers import Buffers
from spikeprop.engines.chain import Link, membrane_of
from spikeprop.engines.filters import weights_of
from spikeprop.engines.live import (
    LiveBlock,
    LiveEngine,
    LivePassage,
    plain_steps,
    steps_at_once,
)
from spikeprop.engines.passage import BlockRecord
from spikeprop.engines.products import Product
from spikeprop.engines.rows import Rows
from spikeprop.engines.scans import CompiledScan, Scan
from spikeprop.engines.shared import SharedOptimizer
from spikeprop.evidence import Evidence
from spikeprop.kernels import every_step, lanes, meeting, runs, share, spans, worth
from spikeprop.kernels.neuron import RESETS
from spikeprop.losses import Comparison
from spikeprop.rules import LocalRule
from spikeprop.threads import kernel_threads

__all__ = ["run_adam_steps", "run_plain_steps"]

#: Multiply-adds of a step's gradient that are worth a thread of their own.
PARTED = 1 << 20


class Engine(Protocol):
    """What is asked of :class:`spikeprop.engines.windows.WindowedEngine`."""

    net: nn.Module
    links: list[Link]
    rule: LocalRule
    tensors: dict[str, Tensor]


class Stage(Protocol):
    """What is asked of its blocks."""

    record: BlockRecord
    optimizer: torch.optim.Optimizer | None

    @property
    def product(self) -> Product: ...
    def compiled_adam(self) -> CompiledAdam | None: ...
    @property
    def scan(self) -> Scan: ...


class Batch(Protocol):
    """What is asked of a batch."""

    @property
    def n_recordings(self) -> int: ...
    @property
    def filters(self) -> tuple[Evidence, ...]: ...
    @property
    def labels(self) -> Tensor | None: ...
    @property
    def stages(self) -> Sequence[Any]: ...


def run_plain_steps(engine: Engine, x: EventBatch, batch: Batch) -> bool:
    """Learn from whole sequences; return False, and do nothing, if steps are not plain ones."""
    stages: Sequence[Stage] = batch.stages
    for stage in stages:
        if stage.optimizer is not None and plain_steps(stage.optimizer) is not None:
            return False
    live, blocks = LiveEngine(engine.net, engine.links, engine.rule, engine.tensors), []
    for stage, link in zip(stages, engine.links, strict=True):
        membrane = membrane_of(link.block)
        assert membrane is not None, "the neurons are compiled"
        signals = stage.scan.n_rows - batch.n_recordings
        blocks.append(
            LiveBlock(
                link, engine.rule, engine.tensors, membrane, batch.n_recordings, signals,
                stage.optimizer, None,
            )
        )  # fmt: skip
    passage = LivePassage(blocks, batch.n_recordings, batch.filters)
    sums: list[Any] = [0.0 for _ in blocks]

    def watch(steps: int) -> None:
        for k, (stage, block) in enumerate(zip(stages, blocks, strict=True)):
            assert isinstance(stage.scan, CompiledScan), "the neurons are compiled"
            sums[k] = sums[k] + block.tally(steps, stage.scan.counts)

    assert batch.labels is not None, "there is something to learn"
    losses, scores = live.run(x, passage, batch.labels.numpy(), watch)
    live.flush(passage)
    for k, stage in enumerate(stages):
        logits = torch.from_numpy(np.ascontiguousarray(scores[k, 0]))
        stage.record.logits, stage.record.logits_sum = logits, torch.from_numpy(sums[k])
        stage.record.loss_sum = logits.new_tensor(losses[0, k])
    return True


def run_adam_steps(
    engine: Engine, x: EventBatch, batch: Batch, comparisons: Sequence[Comparison], buffers: Buffers
) -> bool:
    """Do as :func:`run_plain_steps` for Adam."""
    stages: Sequence[Stage] = batch.stages
    adams = [None if stage.optimizer is None else stage.compiled_adam() for stage in stages]
    for stage, own in zip(stages, adams, strict=True):
        shared = isinstance(stage.optimizer, SharedOptimizer)
        if stage.optimizer is not None and (own is None or shared):
            return False
    assert batch.labels is not None, "there is something to learn"
    blocks = [
        _AdamBlock(stage, own, compare, batch, x.time_steps, engine.rule.num_classes, buffers)
        for stage, own, compare in zip(stages, adams, comparisons, strict=True)
    ]
    most = steps_at_once(stages[0].scan.n_rows)
    for first in range(0, x.time_steps, most):
        last = min(first + most, x.time_steps)
        rows = Rows.of_window(x, first, last, blocks[0].dtype)
        passing = weights_of(batch.filters, first + 1, last - first)
        found = [engine.rule.current(engine.tensors, t + 1) for t in range(first, last)]
        signal = np.empty((last - first, 0, 0), rows.values.dtype)
        if found[0] is not None:
            signal = np.stack([item.flatten(1).numpy() for item in found if item is not None])
        for block in blocks:
            rows = block.learn(rows, first, signal, passing)
    for block in blocks:
        block.report()
    return True


class _AdamBlock:
    """One block of a batch that Adam steps on at every time step."""

    def __init__(
        self,
        stage: Stage,
        own: CompiledAdam | None,
        compare: Comparison,
        batch: Batch,
        steps: int,
        classes: int,
        buffers: Buffers,
    ) -> None:
        assert isinstance(stage.scan, CompiledScan), "the neurons are compiled"
        self._stage, self._scan, self._product = stage, stage.scan, stage.product
        self._compare, self._buffers = compare, buffers
        module: Any = stage.product.module
        self.dtype, index = module.weight.dtype, stage.scan.block.index
        self._weights = module.weight.detach().t().numpy()
        kind = self._weights.dtype
        self._bias = np.empty(0, kind) if module.bias is None else module.bias.detach().numpy()
        none, nothing = np.empty((0, 0), kind), np.empty(0, kind)
        self._moments: Any = (none, none, np.zeros(5))
        self._of_bias: Any = (nothing, nothing, np.zeros(5))
        driven = batch.n_recordings if index == 0 else stage.scan.n_rows
        if own is not None:
            self._moments = _begun(own, module.weight, steps)
            if stage.product.bias_gradient is not None:
                self._of_bias = _begun(own, module.bias, steps)
        inputs = len(self._weights) if own is not None else 0
        shape = (2, inputs, lanes.padded(driven, self._weights))
        self._carried = buffers.take(f"by input.{index}", shape, self.dtype).zero_().numpy()
        self._constant = np.zeros(2)
        self._fixed = none
        if compare.vectors is not None:
            self._fixed = compare.vectors.contiguous().numpy()
        assert batch.labels is not None, "there is something to learn"
        self._labels = batch.labels.numpy()
        self._logits = np.zeros((2, batch.n_recordings, classes), kind)
        self._loss = 0.0

    def learn(self, below: Rows, first: int, signal: Any, passing: Any) -> Rows:
        """Learn from some steps; return the spikes."""
        scan, compare = self._scan, self._compare
        rows = self._product.arrive(below, first)
        size = (passing.shape[1], scan.n_rows)
        shape = (*size, scan.size + 1)
        spikes = self._buffers.take(f"spikes.{scan.block.index}", shape, torch.int32).numpy()
        starts, ends = np.empty(size, np.int64), np.empty(size, np.int64)
        # Plain tuples, for one compilation.
        synapse = (self._weights, self._bias, *self._moments)
        neurons = (
            scan.mem, scan.free_mem, scan.evidence, scan.threshold, RESETS[scan.membrane.reset]
        )  # fmt: skip
        loss = (
            self._labels, self._fixed, compare.tau, compare.rectify, compare.smallest,
            self._logits[0], self._logits[1],
        )  # fmt: skip
        self._loss += self._run(
            rows, synapse, neurons, loss, passing, signal, (spikes, starts, ends)
        )
        self._moments[2][4] += size[0]
        self._of_bias[2][4] += size[0]
        return Rows(starts, ends, spikes.reshape(-1), self._bias[:0])

    def _run(
        self,
        rows: Rows,
        synapse: Any,
        neurons: Any,
        loss: Any,
        passing: Any,
        signal: Any,
        listed: tuple[Any, ...],
    ) -> float:
        """Run the steps, in several threads where that pays; return the mean loss, summed."""
        threads, scan = kernel_threads(), self._scan
        inputs, driven = len(self._weights), rows.starts.shape[1]
        if len(self._moments[0]):
            threads = max(1, min(threads, inputs * driven * scan.size // PARTED))
        else:
            threads = 1
        room = every_step.prepare(synapse, loss, driven, threads)
        arrivals = _sort(rows, inputs, threads)
        awake = _comes(arrivals[0])
        if len(room[0]):
            awake |= ~room[0]
        n = len(self._labels)
        own = (_divide(awake, threads), runs(n, threads), runs(scan.n_rows - n, threads))
        parts = np.stack(own, axis=1)
        shape = (threads, scan.n_rows, scan.size)
        currents = self._buffers.take("currents", shape, self.dtype).numpy()
        counts = np.zeros((threads, scan.size), np.int64)
        posts = meeting.board(threads)
        given = (
            arrivals, synapse, currents, (self._carried, self._constant),
            (scan.membrane.beta, passing), signal, neurons, loss, (*listed, counts),
            self._of_bias, room, parts, posts,
        )  # fmt: skip
        losses = share(_attend, [(posts, *given, k) for k in range(threads)], threads)
        scan.counts += counts.sum(axis=0)
        return float(sum(losses))

    def report(self) -> None:
        """Say what has been measured."""
        record, logits = self._stage.record, torch.from_numpy(self._logits)
        record.logits_sum, record.logits = logits[0], logits[1]
        record.loss_sum = logits.new_tensor(self._loss)


def _sort(rows: Rows, inputs: int, threads: int) -> tuple[Any, Any, Any]:
    """Return a window's events by step and input: where each's are, their rows, and values."""
    steps = len(rows.starts)
    offsets = np.zeros(steps + 1, np.int64)
    np.cumsum((rows.ends - rows.starts).sum(1), out=offsets[1:])
    pointers = np.empty((steps, inputs + 1), np.int64)
    found = np.empty(offsets[-1], np.int32)
    values = np.empty(offsets[-1] if rows.values.size else 0, rows.values.dtype)
    calls = [
        (*rows, offsets, first, last, pointers, found, values)
        for first, last in spans(steps, threads, worth(len(found) // steps))
    ]
    share(every_step.sort_steps, calls, threads)
    return pointers, found, values


def _comes(pointers: Any) -> Any:
    """Tell which inputs are active at any step."""
    return (pointers[:, 1:] > pointers[:, :-1]).any(0)


def _divide(awake: Any, threads: int) -> Any:
    """Cut the inputs into runs, one a thread, that have as many awake among them."""
    counts = np.cumsum(awake)
    inner = np.searchsorted(counts, [counts[-1] * k / threads for k in range(1, threads)], "right")
    return np.array(list(pairwise([0, *inner, len(awake)])))


def _attend(posts: Any, *given: Any) -> float:
    """Do the work of a thread, the last argument; the others do not wait for it if that fails."""
    try:
        return every_step.learn(*given)
    except BaseException:
        posts[given[-1] * meeting.LINE] = meeting.GONE
        raise


def _begun(own: CompiledAdam, parameter: Tensor, steps: int) -> tuple[Any, Any, Any]:
    """Count a parameter's steps; return its moments, and the numbers before the first of them."""
    first, second, *numbers = own.several(parameter, steps)
    numbers[-1] -= steps
    return first, second, np.array(numbers)
