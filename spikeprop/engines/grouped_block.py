"""One block of a run in groups (:mod:`.grouped`): the calls that take it through a window.

Each method returns calls (:mod:`.calls`), for which buffers are taken and counts are noted in the
order in which they will run. Nothing of what they compute is there before that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spikeprop.engines.adam import CompiledAdam
from spikeprop.engines.buffers import Buffers
from spikeprop.engines.calls import Call
from spikeprop.engines.filters import Advance, advance_over
from spikeprop.engines.passage import BlockRecord
from spikeprop.engines.products import Product, SparseProduct
from spikeprop.engines.rows import Rows
from spikeprop.engines.scans import CompiledScan, Scan
from spikeprop.engines.shared import SharedOptimizer, Sharing
from spikeprop.engines.signal_rows import put_signals
from spikeprop.engines.tiles import Tiles
from spikeprop.kernels import adam, cosine, lanes, recordings, teaching
from spikeprop.kernels.lanes import WIDE
from spikeprop.kernels.neuron import RESETS
from spikeprop.losses import Comparison

__all__ = ["GroupedBlock", "Part", "Window"]

Array = NDArray[Any]

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
class Window:
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


class GroupedBlock:
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
        self._losses = np.zeros(workers)
        self._counts = np.zeros((workers, self.size), np.int64)
        #: Sums over the rows since the last update, of what comes out of the reverse filter.
        self._totals = np.zeros((workers, self.size), kind)
        #: How far rows of N numbers are apart: a power of two would share a few sets of a cache.
        self._wide = self.size + WIDE // int(self.logits.itemsize)
        learning = self.product.n_rows if self.learns else 0
        self._cotangents = self._take(f"cotangents.{self.index}", (learning, kept, self._wide))
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

    def begin(self, span: Step, weights: Array, signals: Tensor | None) -> Window:
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
        window = Window(
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

    def make_room(self, recordings: int, signals: int, steps: int) -> None:
        """Take what each worker's largest part needs, before calls are prepared.

        Else the first of them would hold memory that is too small for the others, beside theirs.
        """
        for worker in range(self.workers):
            self._currents(worker, max(recordings, signals), steps)
            self._take_spikes(self._fired(worker), recordings, steps)

    def _currents(self, worker: int, rows: int, steps: int) -> Array:
        """Return a worker's room for currents ``(rows, steps, N or more)``."""
        return self._take(f"currents.{worker}", (rows, steps, self._wide))

    def _fired(self, worker: int) -> str:
        """Name the room for recordings' spikes, which nobody reads but the next block."""
        return f"spikes.{self.index % 2}.{worker}"

    def _take_spikes(self, name: str, rows: int, steps: int) -> Array:
        return self._take(name, (rows * steps * self.size,), torch.int32)

    def _spikes(self, name: str, rows: int, steps: int) -> Rows:
        """Return room for spikes of ``(rows, steps)``."""
        starts, ends = np.empty((rows, steps), np.int64), np.empty((rows, steps), np.int64)
        return Rows(starts, ends, self._take_spikes(name, rows, steps), self.logits[:0, 0])

    def calls_to_send(
        self, below: Rows | None, entering: Sequence[Array], window: Window, own: Part
    ) -> tuple[list[Call], Rows]:
        """Return the calls that run a worker's class signals, and their spikes.

        These are there once that has run. ``below`` are the signals' rows; in the first block, to
        which nothing is below, their currents are ``entering``, ``(C, N)``: of each step, or one
        for all.
        """
        steps, n, (worker, first, last) = window.steps, self.scan.n_recordings, own
        sent = self._spikes(f"sent.{self.index}.{worker}", last - first, steps)
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
        fired = sent.channels, sent.starts, sent.ends
        calls.append((recordings.send_signals, (x, *neurons, *fired, *signals)))
        return calls, sent

    @property
    def looks_ahead(self) -> bool:
        """Whether calls can be prepared before those in front of them have run.

        Not where events are counted first: to delay them, or to share products of signals out.
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

    def calls_to_learn(
        self, below: Rows, group: tuple[int, int], window: Window, worker: int
    ) -> tuple[list[Call], Rows]:
        """Return the calls that run a group, and its spikes, which are there once these have run.

        They add what the group teaches to the worker's own sum. Only a block whose input is delayed
        looks at ``below`` at once.
        """
        count, steps = group[1] - group[0], window.steps
        below = self.product.arrive_in_group(below, group[0], window.span.first, worker)
        x = self._currents(worker, count, steps)
        fired = self._spikes(self._fired(worker), count, steps)
        learn = recordings.learn_with_signals if self._follows else recordings.learn_with_vectors
        learning = self._learning(x, group, window, fired, worker)
        calls = [self.tiles.call_to_fill(below, x), (self._learn, (worker, learn, learning))]
        if self.learns:
            carried = self._carried(group, window, worker)
            calls.append(self._teach(teaching.teach, below, x, carried, worker))
        return calls, fired

    def _learn(self, worker: int, kernel: Callable[..., float], arguments: tuple[Any, ...]) -> None:
        self._losses[worker] += kernel(*arguments)

    def _most_events(self, below: Rows) -> int:
        """Return how many events there are to sort, or may be where they are not there yet."""
        counted = self.index == 0 or self.product.delayed
        return below.events if counted else below.starts.size * self.product.inputs

    def _carried(self, rows: tuple[int, int], window: Window, worker: int) -> tuple[Any, ...]:
        traces, table = self.product.carried(self._cotangents, rows)
        bias, how = (window.bias, self._totals[worker]), tuple(window.advance)
        return traces, table, window.started, window.span.goes_on, how, bias

    def _learning(
        self,
        x: Array,
        group: tuple[int, int],
        window: Window,
        fired: Rows,
        worker: int,
    ) -> tuple[Any, ...]:
        """Return what the kernels in :mod:`spikeprop.kernels.recordings` want of a group."""
        first, last = group
        rows, compare = slice(first, last) if self.learns else slice(0), self.compare
        common = (
            x, *self._neurons(window.weights, first, last),
            fired.channels, fired.starts, fired.ends, self._counts[worker],
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

    def calls_to_answer(self, window: Window, own: Part) -> list[Call]:
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
            return [made, self._teach(teaching.teach, below, x, carried, worker)]
        mine, nothing = _own(below, window.divided), (*carried[:2], False, False, *carried[4:])
        return [
            made,
            self._teach(teaching.carry, below, x, carried, worker),
            (window.divided.collect, (torch.from_numpy(x),)),
            self._teach(teaching.teach, _some(below, mine), x[mine], nothing, worker),
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
        # Plain tuples, for one compilation.
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
            # A bias is a synapse from one input, in one tile; workers take turns with the blocks'.
            totals, everyone = self._totals[:, None, None], np.arange(self.workers)
            numbers = at_once.arguments(self.product.module.bias)
            own = calls[self.index % self.workers]
            own.append((adam.step_on_tiles, (totals, everyone, *numbers, 0, 1)))
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
        record.loss_sum = losses.sum(dtype=self._dtype)


def _own(below: Rows, divided: Sharing | None) -> slice:
    """Return which of a worker's signals this process makes products of."""
    count = len(below.starts)
    return slice(*((0, count) if divided is None else divided.own(count)))


def _some(x: Rows, which: slice) -> Rows:
    """Return some of rows ``(A, B)``."""
    return x._replace(starts=x.starts[which], ends=x.ends[which])
