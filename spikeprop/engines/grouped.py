"""Recordings in groups: a window as long as a group's rows fit the cache, for losses in numbers.

    for each window of steps between two updates:
        class signals, if any, through all blocks
        for each group of recordings:
            for each block:
                currents                                  (a sparse gather)
                neurons, loss, modulators, reverse filter (one compiled loop, row by row)
                the gradient                              (a sparse gather)
                its spikes are the next block's input
            with the last group an optimiser step

With several threads each is a worker, who takes some signals and then some recordings of its own
through all blocks, and turns what recordings say to its signals into their gradient. Workers meet
where one needs what the others have made: after the signals, after the recordings, and for the
optimiser's step. To meet for every product would cost more than they share, and where no update
stands between two windows a worker goes from what was said to its signals to those of the next.

Where the loss of a recording depends on no other (:meth:`spikeprop.rules.LocalRule.comparison`) a
batch need not go through time in step. Few recordings and many steps make as many rows in the cache
as many recordings and few steps, and nothing has to be carried from one window to the next, which
is a dense product. Memory holds one group, and of class signals one window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spikeprop.datasets import EventBatch
from spikeprop.engines.adam import CompiledAdam
from spikeprop.engines.buffers import Buffers
from spikeprop.engines.calls import Call, meet, run
from spikeprop.engines.filters import Advance, advance_over, weights_of
from spikeprop.engines.passage import BlockRecord
from spikeprop.engines.products import Product, SparseProduct
from spikeprop.engines.rows import Rows
from spikeprop.engines.scans import CompiledScan, Scan
from spikeprop.engines.shared import SharedOptimizer, Sharing
from spikeprop.engines.signal_rows import put_signals, signals_of
from spikeprop.engines.tiles import Tiles
from spikeprop.evidence import Evidence, Instantaneous
from spikeprop.kernels import adam, cosine, groups, lanes, recordings, spans
from spikeprop.kernels.lanes import WIDE
from spikeprop.kernels.neuron import RESETS
from spikeprop.losses import Comparison
from spikeprop.rules import LocalRule

__all__ = ["GroupedRun"]

Array = NDArray[Any]

#: Rows (steps times recordings) of a group: 128 columns of them are a good half of a level-2 cache,
#: and more of them mean fewer passes over weights and gradient.
GROUP_ROWS = 2240
#: Rows (steps times signals) that are kept of class signals, of each block: what a window of a long
#: sequence carries to the next costs a dense product, and the more rows the fewer of these.
SIGNAL_ROWS = 1024
#: Share of a block's inputs that are expected to be active where nothing is known of that.
DENSITY = 0.05
#: Processes that split a batch divide the products of class signals among them if these have so
#: many numbers, and so many events a row: else two messages cost more.
DIVIDED_NUMBERS, DIVIDED_EVENTS = 1 << 17, 100

#: A worker, and the first and (exclusive) last of the signals that it takes.
Part = tuple[int, int, int]


class Step(Protocol):
    """The window's part of :class:`spikeprop.engines.windows.Span`."""

    @property
    def first(self) -> int: ...
    @property
    def last(self) -> int: ...
    @property
    def full(self) -> bool: ...
    @property
    def goes_on(self) -> bool: ...


class Stage(Protocol):
    """What a run needs of a block; see :mod:`spikeprop.engines.windows`."""

    record: BlockRecord
    optimizer: torch.optim.Optimizer | None
    beta: float

    @property
    def product(self) -> Product: ...
    @property
    def scan(self) -> Scan: ...
    def step(self) -> None: ...
    def settle(self) -> None: ...
    def compiled_adam(self) -> CompiledAdam | None: ...


@dataclass
class _Window:
    """What a block has of a window, until what was said to the class signals is learned.

    Attributes
    ----------
    span : Step
        Its time steps.
    weights, advance
        Of the evidence filter, and what they make of traces.
    started : bool
        Whether there are traces from before it.
    bias : ndarray
        Those of the bias, ``(kept,)``; empty if no bias learns.
    below : list of Rows or None
        Each worker's signals as they came in.
    directions, lengths : ndarray, shape (L, C, N) and (L, C)
        What the signals were.
    answers, along : ndarray
        What recordings say to them: see :func:`spikeprop.kernels.recordings.learn_with_signals`,
        for each worker.
    answered : set of int
        Workers whose recordings have said something.
    divided : Sharing, optional
        The processes that divide the signals' products among them, if any.
    """

    span: Step
    weights: Array
    advance: Advance
    started: bool
    bias: Array
    below: list[Rows | None]
    directions: Array
    lengths: Array
    answers: Array
    along: Array
    answered: set[int]
    divided: Sharing | None = None

    @property
    def steps(self) -> int:
        """Time steps."""
        return int(self.weights.shape[1])


class _Block:
    """One block of a run."""

    def __init__(
        self,
        stage: Stage,
        compare: Comparison,
        labels: Array,
        classes: int,
        workers: int,
        buffers: Buffers,
        dtype: torch.dtype,
        kept: int,
    ) -> None:
        assert isinstance(stage.product, SparseProduct), "all blocks take sparse rows"
        assert isinstance(stage.scan, CompiledScan), "all neurons are compiled"
        self.stage, self.product, self.scan = stage, stage.product, stage.scan
        self.compare, self.labels, self._buffers, self._dtype = compare, labels, buffers, dtype
        self.index, self.size = stage.record.block.index, stage.scan.size
        self.signals = self.scan.n_rows - self.scan.n_recordings
        self.learns = stage.optimizer is not None
        #: Whether the signals' own modulators teach the weights.
        self.answers = self.learns and self.product.n_rows > self.scan.n_recordings
        n, kind = len(labels), np.dtype(str(dtype).removeprefix("torch."))
        self.logits, self.logits_sum = np.zeros((n, classes), kind), np.zeros((n, classes), kind)
        self.workers, self.kept = workers, kept
        self.product.share_among(workers)
        self.tiles = Tiles(self.product, workers, buffers)
        self._losses = np.zeros(workers, kind)
        self._counts = np.zeros((workers, self.size), np.int64)
        #: Sums over the rows since the last update, of what comes out of the reverse filter.
        self._totals = np.zeros((workers, self.size), kind)
        #: How far rows of N numbers are apart: a power of two would share a few sets of a cache.
        self._wide = self.size + WIDE // int(self.logits.itemsize)
        learning = self.product.n_rows if self.learns else 0
        self._cotangents = self._take(f"cotangents.{self.index}", (learning, kept, self._wide))
        self._no_sum = np.empty((0, 0, 0), kind), True
        #: Whether class vectors are signals whose directions are others at every step.
        self._follows = compare.vectors is None
        if compare.vectors is not None:
            self._stay_with(compare.vectors, compare.smallest)

    def _stay_with(self, vectors: Tensor, smallest: float) -> bool:
        """Take the directions of class vectors that stay; return whether each of them has one."""
        fixed, lengths = vectors.contiguous().numpy(), np.empty(len(vectors), self.logits.dtype)
        self._vectors = self._take(f"directions.{self.index}", fixed.shape)
        cosine.lead(fixed, self._vectors, lengths, smallest)
        return bool(lengths.all())

    def _stand_still(self, span: Step, signals: Tensor | None, weights: Array) -> bool:
        """Tell whether each of these signals has one direction, which is taken then.

        Evidence of a potential that nothing resets is linear in the currents: of one that has been
        the same since the sequence began it is a multiple, by a positive factor that never falls.
        """
        linear = len(self.scan.free_mem) > 0 or self.scan.membrane.reset == "none"
        grows = self.scan.membrane.beta >= 0 and weights.min() >= 0 and weights.max() <= 1
        if signals is None or self.answers or not linear or not grows:
            return False
        if span.first > 0:
            return not self._follows
        first = float(weights[0, 0])
        return first > 0 and self._stay_with(signals.flatten(1), self.compare.smallest / first)

    def _take(self, name: str, shape: tuple[int, ...], dtype: torch.dtype | None = None) -> Array:
        return self._buffers.array(name, shape, dtype or self._dtype)

    def _neurons(
        self, weights: Array, first: int, last: int
    ) -> tuple[Array, Array, Array, Array, float, int, Array]:
        scan, rows = self.scan, slice(first, last)
        free = scan.free_mem[rows] if len(scan.free_mem) else scan.free_mem
        return (
            scan.mem[rows], free, scan.evidence[0, rows], scan.threshold, scan.membrane.beta,
            RESETS[scan.membrane.reset], weights,
        )  # fmt: skip

    def begin(self, span: Step, weights: Array, signals: Tensor | None) -> _Window:
        """Start a window.

        ``signals`` are the currents of class signals that enter this block, if these have been the
        same since the sequence began.
        """
        if self.learns and span.goes_on and span.first == 0:
            self.product.make_room_to_carry(self.kept)
        learns_bias = self.product.bias_gradient is not None
        steps, workers = weights.shape[1], self.workers if self.answers else 0
        if self.signals:
            self._follows = not self._stand_still(span, signals, weights)
        followed = steps if self._follows and self.signals else 0
        rows, kind = (followed, self.signals, self.size), self.logits.dtype
        padded = lanes.padded(self.signals, self.logits)
        window = _Window(
            span,
            weights,
            advance_over(self.stage.beta, weights),
            self.product.started,
            self.product.bias_carried[: self.kept if learns_bias else 0],
            [None] * self.workers,
            self._take(f"sent.directions.{self.index}", rows),
            np.empty(rows[:2], kind),
            self._take(f"answers.{self.index}", (workers, *rows)),
            np.empty((self.workers, followed, padded), kind),
            set(),
        )
        if self.learns and span.goes_on:
            self.product.carry_bias(window.advance)
        return window

    def _currents(self, worker: int, rows: int, steps: int) -> Array:
        """Return a worker's room for currents ``(rows, steps, N or more)``."""
        return self._take(f"currents.{worker}", (rows, steps, self._wide))

    def _spikes(self, name: str, rows: int, steps: int) -> tuple[Array, Array, Array]:
        spikes = self._take(name, (rows * steps * self.size,), torch.int32)
        return spikes, np.empty((rows, steps), np.int64), np.empty((rows, steps), np.int64)

    def calls_to_send(
        self, below: Rows | None, entering: Sequence[Array], window: _Window, own: Part
    ) -> tuple[list[Call], Rows]:
        """Return the calls that run a worker's class signals, and their spikes.

        These are there once that has run. ``below`` are the signals' rows; in the first block, to
        which nothing is below, their currents are ``entering``, ``(C, N)``: of each step, or one
        for all.
        """
        steps, n, (worker, first, last) = window.steps, self.scan.n_recordings, own
        spikes, starts, ends = self._spikes(f"sent.{self.index}.{worker}", last - first, steps)
        sent = Rows(starts, ends, spikes, self.logits[:0, 0])
        if first == last:  # who has no signals has no message for other processes, either
            return [], sent
        x, calls = self._currents(worker, last - first, steps), list[Call]()
        if below is None:
            own_rows = [current[first:last] for current in entering]
            calls.append((put_signals, (own_rows, x[:, :, : self.size].transpose(1, 0, 2))))
        else:
            below = self.product.arrive_in_group(below, n + first, window.span.first, -1 - worker)
            window.divided = self._divide(below)
            mine = _own(below, window.divided)
            calls.append(self.tiles.call_to_fill(_some(below, mine), x[mine]))
            if window.divided is not None:
                calls.append((window.divided.spread, (torch.from_numpy(x),)))
        window.below[worker] = below
        neurons = self._neurons(window.weights, n, n + self.signals)
        signals = self.compare.smallest, window.directions, window.lengths, first, last
        calls.append((recordings.send_signals, (x, *neurons, spikes, starts, ends, *signals)))
        return calls, sent

    @property
    def looks_ahead(self) -> bool:
        """Whether calls can be prepared before those in front of them have run.

        Not where events are counted first: to let them wait, or to share products of signals out.
        """
        return not self.product.delayed and self._sharing is None

    @property
    def _sharing(self) -> Sharing | None:
        """Processes to which messages cost little, if there are some and signals teach."""
        shared = self.stage.optimizer
        if not self.answers or not isinstance(shared, SharedOptimizer) or not shared.sharing.near:
            return None
        return shared.sharing

    def _divide(self, below: Rows) -> Sharing | None:
        """Return the processes that each make some of the signals' products, if that pays."""
        if self._sharing is None:
            return None
        rows = below.starts.size
        pays = rows * self.size >= DIVIDED_NUMBERS and below.events >= DIVIDED_EVENTS * rows
        return self._sharing if pays else None

    def call_to_learn(
        self, below: Rows, group: tuple[int, int], window: _Window, worker: int
    ) -> tuple[Call, Rows]:
        """Return the call that runs a group, and its spikes, which are there once that has run.

        The call adds what the group teaches to the worker's own sum. Only a block whose input is
        delayed looks at ``below`` at once.
        """
        count, steps = group[1] - group[0], window.steps
        below = self.product.arrive_in_group(below, group[0], window.span.first, worker)
        x = self._currents(worker, count, steps)
        found = self._spikes(f"spikes.{self.index % 2}.{worker}", count, steps)
        lists = self.product.room_to_sort(below, self._most_events(below), worker)
        out = self.tiles.sum_of(worker) if self.learns else self._no_sum
        learning = self._learning(x, group, window, found, worker)
        work = groups.with_signals if self._follows else groups.with_vectors
        synapse = self.tiles.weights, self.product.offset
        given = (below.starts, below.ends, below.channels, below.values)
        room = (lists.pointers, lists.rows, lists.values)  # plain tuples, for one compilation
        carried = self._carried(group, window, worker)
        spikes, starts, ends = found
        arguments = (given, synapse, learning, room, carried, *out)
        call = (self._run, (worker, work, arguments))
        return call, Rows(starts, ends, spikes, self.logits[:0, 0])

    def _run(self, worker: int, kernel: Callable[..., float], arguments: tuple[Any, ...]) -> None:
        self._losses[worker] += kernel(*arguments)

    def _most_events(self, below: Rows) -> int:
        """Return how many events there are to sort, or may be where they are not there yet."""
        if not self.learns:
            return 0
        counted = self.index == 0 or self.product.delayed
        return below.events if counted else below.starts.size * self.product.inputs

    def _carried(self, rows: tuple[int, int], window: _Window, worker: int) -> tuple[Any, ...]:
        goes_on, taught = self.learns and window.span.goes_on, rows if self.learns else (0, 0)
        traces, table = self.product.carried(self._cotangents, taught)
        bias = window.bias, self._totals[worker]
        return traces, table, window.started, goes_on, tuple(window.advance), bias

    def _learning(
        self,
        x: Array,
        group: tuple[int, int],
        window: _Window,
        found: tuple[Array, Array, Array],
        worker: int,
    ) -> tuple[Any, ...]:
        """Return what the kernels in :mod:`spikeprop.kernels.recordings` want of a group."""
        first, last = group
        rows, compare = slice(first, last) if self.learns else slice(0), self.compare
        common = (
            x, *self._neurons(window.weights, first, last), *found, self._counts[worker],
            self.labels[first:last], window.directions if self._follows else self._vectors,
            compare.tau, compare.rectify, compare.smallest, 1.0 / self.scan.n_recordings,
            self.logits_sum[first:last], self.logits[first:last], self.learns,
            self._cotangents[rows], self._totals[worker],
        )  # fmt: skip
        if not self._follows:
            return (*common, 0, last - first)
        answers = window.answers[worker] if self.answers else window.answers.reshape(0, 0, 0)
        fresh = worker not in window.answered
        window.answered.add(worker)
        return (*common, answers, window.along[worker], fresh, 0, last - first)

    def calls_to_answer(self, window: _Window, own: Part) -> list[Call]:
        """Return the calls that make a worker's signals' modulators, and add what these teach.

        They are for after all recordings, of all workers.
        """
        steps, n, (worker, first, last) = window.steps, self.scan.n_recordings, own
        if not self.answers or first == last:
            return []
        x, below = self._currents(worker, last - first, steps), window.below[worker]
        assert below is not None, "the first block's signals teach it nothing"
        answers = (
            window.directions, window.lengths, window.answers, window.along, x, window.weights,
            self.scan.membrane.beta, self._cotangents[n:], self._totals[worker], first, last,
        )  # fmt: skip
        made = (recordings.answer_signals, answers)
        carried = self._carried((n + first, n + last), window, worker)
        if window.divided is None:
            return [made, self._teach(groups.teach, below, x, carried, worker)]
        mine, nothing = _own(below, window.divided), (*carried[:2], False, False, *carried[4:])
        return [
            made,
            self._teach(groups.carry, below, x, carried, worker),
            (window.divided.collect, (torch.from_numpy(x),)),
            self._teach(groups.teach, _some(below, mine), x[mine], nothing, worker),
        ]

    def _teach(
        self,
        kernel: Callable[..., None],
        below: Rows,
        x: Array,
        carried: tuple[Any, ...],
        worker: int,
    ) -> Call:
        lists = self.product.room_to_sort(below, self._most_events(below), worker)
        return kernel, (
            (below.starts, below.ends, below.channels, below.values), x,
            (lists.pointers, lists.rows, lists.values), carried, *self.tiles.sum_of(worker),
        )  # fmt: skip

    def calls_to_step(self) -> list[list[Call]]:
        """Return each worker's calls that step on the weights."""
        calls = [list[Call]() for _ in range(self.workers)]
        if not self.learns:
            return calls
        at_once = self._at_once()
        if at_once is None:
            calls[0].append((self._step, ()))
            return calls
        for own, call in zip(calls, self.tiles.calls_to_step(at_once), strict=True):
            own.append(call)
        if self.product.bias_gradient is not None:
            # The bias is a synapse from one input, and lies in one tile.
            totals, everyone = self._totals[:, None, None], np.arange(self.workers)
            numbers = at_once.arguments(self.product.module.bias)
            calls[0].append((adam.step_on_tiles, (totals, everyone, *numbers, 0, 1)))
        return calls

    @torch.no_grad()
    def _step(self) -> None:
        """Let the optimiser itself step."""
        if self.product.bias_gradient is not None:
            self.product.bias_gradient += torch.from_numpy(self._totals.sum(axis=0))
        self.tiles.add_to(self.product.gradient_by_input())
        self.stage.step()

    def renew(self, events: float) -> list[Call]:
        """Prepare for weights that are new; return each worker's call that copies them, if any.

        ``events`` are expected in a group's input.
        """
        self.stage.settle()
        self._totals[:] = 0
        return self.tiles.calls_to_pack(events)

    def _at_once(self) -> CompiledAdam | None:
        """Return the optimiser, if its step can sum what the workers have."""
        shared = isinstance(self.stage.optimizer, SharedOptimizer)
        return None if shared else self.stage.compiled_adam()

    def report(self) -> None:
        """Say what has been measured."""
        self.scan.counts += self._counts.sum(axis=0)
        record, found = self.stage.record, (self.logits, self.logits_sum, self._losses)
        record.logits, record.logits_sum, losses = (torch.from_numpy(array) for array in found)
        record.loss_sum = losses.sum()


class GroupedRun:
    """One batch of whole sequences.

    Parameters
    ----------
    stages : sequence of Stage
        The blocks.
    comparisons : sequence of Comparison
        Their losses.
    rule : LocalRule
        Gives signals.
    tensors : dict of str to Tensor
        What the rule drew.
    filters : sequence of Evidence
        One.
    labels : Tensor
        ``(B,)``.
    n_recordings : int
        B.
    buffers : Buffers
        Working memory.
    dtype : torch.dtype
        float32 or float64.
    workers : int
        Threads that each take recordings of their own through all blocks.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        comparisons: Sequence[Comparison],
        rule: LocalRule,
        tensors: dict[str, Tensor],
        filters: Sequence[Evidence],
        labels: Tensor,
        n_recordings: int,
        buffers: Buffers,
        dtype: torch.dtype,
        workers: int = 1,
    ) -> None:
        self._ranges = spans(n_recordings, workers)
        self._rule, self._tensors, self._filters = rule, tensors, filters
        self._same: Tensor | None = None
        #: Share of the first block's inputs that are active, if that is known.
        self._density: float | None = None
        #: Whether weights have changed since they were packed.
        self._stale = True
        self._dtype, classes = dtype, rule.num_classes
        kept = 1 if isinstance(filters[0], Instantaneous) else 2
        self._blocks = [
            _Block(stage, compare, labels.numpy(), classes, len(self._ranges), buffers, dtype, kept)
            for stage, compare in zip(stages, comparisons, strict=True)
        ]
        shared = any(isinstance(stage.optimizer, SharedOptimizer) for stage in stages)
        # What processes divide among them, their first workers exchange.
        parts = spans(self.signals, 1 if shared else len(self._ranges))
        none = (self.signals, self.signals)
        padded = [*parts, *[none] * (len(self._ranges) - len(parts))]
        self._parts: list[Part] = [(k, first, last) for k, (first, last) in enumerate(padded)]
        self._looks_ahead = all(block.looks_ahead for block in self._blocks)

    @property
    def most_steps(self) -> int:
        """How many time steps a window may have."""
        return max(1, SIGNAL_ROWS // self.signals) if self.signals else GROUP_ROWS

    @property
    def signals(self) -> int:
        """Class signals that travel through the blocks."""
        return self._blocks[0].signals

    def run(self, x: EventBatch, windows: Iterable[Step]) -> None:
        """Learn from all recordings, window by window."""
        cells = x.batch * x.time_steps * self._blocks[0].product.inputs
        self._density = len(x.channels) / cells
        several = len(self._ranges) > 1
        before: list[_Window] = []
        for span in windows:
            packing = self._begin(span)
            phases: Iterable[list[Iterable[Call]]] = self._phases(x, span, before)
            if self._looks_ahead:
                # All at once: what Python reads for the first call is then still near for the
                # others, and between two kernels, where other threads may want to run it, next to
                # nothing is left.
                phases = [[list(own) for own in phase] for phase in phases]
            meet(packing)
            for phase in phases:
                meet(phase)
            before = self._windows if several and not span.full else []
        self.report()

    def _phases(
        self, x: EventBatch, span: Step, before: list[_Window]
    ) -> Iterator[list[Iterable[Call]]]:
        """Yield each worker's calls from one meeting to the next.

        ``before`` are the blocks' windows that still have answers to the signals.
        """
        if self.signals:
            yield [
                chain(self._calls_to_answer(before, part), self._calls_to_send(part))
                for part in self._parts
            ]
        yield [self._calls_to_learn(x, worker) for worker in range(len(self._ranges))]
        if len(self._ranges) > 1 and span.full:
            yield [self._calls_to_answer(self._windows, part) for part in self._parts]
            ends = [block.calls_to_step() for block in self._blocks]
            yield [chain(*own) for own in zip(*ends, strict=True)]

    def _calls_to_learn(self, x: EventBatch, worker: int) -> Iterator[Call]:
        """Yield the calls of a worker's recordings."""
        for group in self.groups(worker):
            rows = self.input(x, group)
            for block, window in zip(self._blocks, self._windows, strict=True):
                call, rows = block.call_to_learn(rows, group, window, worker)
                yield call
                yield from self._calls_to_end(block, window, group)

    def _calls_to_end(
        self, block: _Block, window: _Window, group: tuple[int, int]
    ) -> Iterator[Call]:
        """Yield what follows a group in a block.

        With the last of all a block ends the window at once where there is one worker: processes
        that share a batch sum its gradient while the next block computes.
        """
        if len(self._ranges) > 1 or group[1] != self._ranges[0][1]:
            return
        yield from block.calls_to_answer(window, self._parts[0])
        if window.span.full:
            yield from block.calls_to_step()[0]

    def begin(self, span: Step) -> None:
        """Start a window."""
        meet(self._begin(span))

    @torch.no_grad()
    def _begin(self, span: Step) -> list[Iterable[Call]]:
        """Start a window; return each worker's calls before any other."""
        steps = span.last - span.first
        if span.first == 0:
            self._most = max(1, GROUP_ROWS // steps)
        weights = weights_of(self._filters, span.first + 1, steps)
        if self.signals:
            signals = signals_of(self._rule, self._tensors, span.first, steps)
            self._entering = [signal.flatten(1).numpy() for signal in signals]
            self._same = self._always_same(span, signals)
        entering = [self._same, *[None] * (len(self._blocks) - 1)]
        packing = self._pack(steps) if self._stale else []
        self._stale = span.full
        self._windows = [
            block.begin(span, weights, signal)
            for block, signal in zip(self._blocks, entering, strict=True)
        ]
        return packing

    def _pack(self, steps: int) -> list[Iterable[Call]]:
        """Prepare for weights that are new; return each worker's calls that copy them."""
        first, last = self.groups()[0]
        rows, calls = steps * (last - first), []
        for block in self._blocks:
            density = DENSITY if block.index or self._density is None else self._density
            calls.append(block.renew(density * rows * block.product.inputs))
        return list(zip(*[own for own in calls if own], strict=True))

    def _always_same(self, span: Step, entering: list[Tensor]) -> Tensor | None:
        """Return the signals' currents if they have been the same since the sequence began."""
        goes_on = span.first == 0 or entering[0] is self._same
        return entering[0] if goes_on and len(entering) == 1 else None

    def send(self, below: Rows | None) -> Rows:
        """Run the window's class signals; ``below`` are their spikes, None in the first block."""
        for block, window in zip(self._blocks, self._windows, strict=True):
            calls, below = block.calls_to_send(below, self._entering, window, self._parts[0])
            run(calls)
        assert below is not None, "there are blocks"
        return below

    def _calls_to_send(self, own: Part) -> Iterator[Call]:
        """Yield the calls of a worker's class signals."""
        below: Rows | None = None
        for block, window in zip(self._blocks, self._windows, strict=True):
            calls, below = block.calls_to_send(below, self._entering, window, own)
            yield from calls

    def groups(self, worker: int = 0) -> list[tuple[int, int]]:
        """Return the groups of a worker's recordings, the same in all windows.

        By the length of the first, to which no other is longer.
        """
        first, last = self._ranges[worker]
        parts = spans(last - first, -(-(last - first) // self._most))
        return [(first + a, first + b) for a, b in parts]

    def input(self, x: EventBatch, group: tuple[int, int]) -> Rows:
        """Return the first block's rows of a group."""
        values = np.empty(0, dtype=self._blocks[0].logits.dtype)
        if x.values is not None:
            values = x.values.to(self._dtype).numpy()
        span = self._windows[0].span
        return Rows.of_group(x, values, group, (span.first, span.last))

    def learn(self, rows: Rows, group: tuple[int, int]) -> Rows:
        """Run a group of recordings through the blocks, and let these learn, on one thread."""
        for block, window in zip(self._blocks, self._windows, strict=True):
            call, rows = block.call_to_learn(rows, group, window, 0)
            run([call, *self._calls_to_end(block, window, group)])
        return rows

    def _calls_to_answer(self, windows: Sequence[_Window], own: Part) -> Iterator[Call]:
        """Yield the calls that make what a worker's signals of a window teach, if there is one."""
        for block, window in zip(self._blocks, windows, strict=False):
            yield from block.calls_to_answer(window, own)

    def report(self) -> None:
        """Say what has been measured."""
        for block in self._blocks:
            block.report()


def _own(below: Rows, divided: Sharing | None) -> slice:
    """Return which of a worker's signals this process makes products of."""
    count = len(below.starts)
    return slice(*((0, count) if divided is None else divided.own(count)))


def _some(x: Rows, which: slice) -> Rows:
    """Return some of rows ``(A, B)``."""
    return x._replace(starts=x.starts[which], ends=x.ends[which])
