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

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import torch
from torch import Tensor

from spikeprop.datasets import EventBatch
from spikeprop.engines.buffers import Buffers
from spikeprop.engines.calls import Call, meet, run
from spikeprop.engines.filters import weights_of
from spikeprop.engines.grouped_block import GroupedBlock, Part, Stage, Step, Window
from spikeprop.engines.rows import Rows
from spikeprop.engines.shared import SharedOptimizer
from spikeprop.engines.signal_rows import signals_of
from spikeprop.evidence import Evidence, Instantaneous
from spikeprop.kernels import spans
from spikeprop.losses import Comparison
from spikeprop.rules import LocalRule

__all__ = ["GroupedRun"]

#: Rows (steps times recordings) of a group: 128 columns of them are a good half of a level-2 cache,
#: and more of them mean fewer passes over weights and gradient.
GROUP_ROWS = 2240
#: Rows (steps times signals) that are kept of class signals, of each block: what a window of a long
#: sequence carries to the next costs a dense product, and the more rows the fewer of these.
SIGNAL_ROWS = 1024
#: Share of a block's inputs that are expected to be active where nothing is known of that.
DENSITY = 0.05


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
        workers = len(self._ranges)
        self._several = workers > 1
        self._rule, self._tensors, self._filters = rule, tensors, filters
        self._same: Tensor | None = None
        #: Share of the first block's inputs that are active, if that is known.
        self._density: float | None = None
        #: Whether weights have changed since they were packed.
        self._stale = True
        self._dtype, classes = dtype, rule.num_classes
        kept = 1 if isinstance(filters[0], Instantaneous) else 2
        self._blocks = [
            GroupedBlock(stage, compare, labels.numpy(), classes, workers, buffers, dtype, kept)
            for stage, compare in zip(stages, comparisons, strict=True)
        ]
        shared = any(isinstance(stage.optimizer, SharedOptimizer) for stage in stages)
        # What processes divide among them, their first workers exchange.
        parts = spans(self.signals, 1 if shared else workers)
        none = (self.signals, self.signals)
        padded = [*parts, *[none] * (workers - len(parts))]
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
        before: list[Window] = []
        for span in windows:
            phases: Iterable[list[Iterable[Call]]] = self._phases(x, span, before)
            if self._looks_ahead:
                # All at once: what Python reads for the first call is then still near for the
                # others, and between two kernels, where other threads may want to run it, next to
                # nothing is left.
                phases = [[list(own) for own in phase] for phase in phases]
            for phase in phases:
                meet(phase)
            before = self._windows if self._several and not span.full else []
        self.report()

    def _phases(
        self, x: EventBatch, span: Step, before: list[Window]
    ) -> Iterator[list[Iterable[Call]]]:
        """Yield each worker's calls from one meeting to the next.

        ``before`` are the blocks' windows that still have answers to the signals.
        """
        yield self._begin(span)
        if self.signals:
            yield [
                chain(self._calls_to_answer(before, part), self._calls_to_send(part))
                for part in self._parts
            ]
        yield [self._calls_to_learn(x, worker) for worker in range(len(self._ranges))]
        if self._several and span.full:
            yield [self._calls_to_answer(self._windows, part) for part in self._parts]
            ends = [block.calls_to_step() for block in self._blocks]
            yield [chain(*own) for own in zip(*ends, strict=True)]

    def _calls_to_learn(self, x: EventBatch, worker: int) -> Iterator[Call]:
        """Yield the calls of a worker's recordings."""
        for group in self.groups(worker):
            rows = self.input(x, group)
            for block, window in zip(self._blocks, self._windows, strict=True):
                calls, rows = block.calls_to_learn(rows, group, window, worker)
                yield from calls
                yield from self._calls_to_end(block, window, group)

    def _calls_to_end(
        self, block: GroupedBlock, window: Window, group: tuple[int, int]
    ) -> Iterator[Call]:
        """Yield what follows a group in a block.

        With the last of all a block ends the window at once where there is one worker: processes
        that share a batch sum its gradient while the next block computes.
        """
        if self._several or group[1] != self._ranges[0][1]:
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
            self._make_room(steps)
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

    def _make_room(self, steps: int) -> None:
        """Take memory for the first window, to which no other is longer."""
        groups = [group for worker in range(len(self._ranges)) for group in self.groups(worker)]
        recordings = max(last - first for first, last in groups)
        signals = max(last - first for _, first, last in self._parts)
        for block in self._blocks:
            block.make_room(recordings, signals, steps)

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
        span = self._windows[0].span
        return Rows.of_group(x, group, (span.first, span.last), self._dtype)

    def learn(self, rows: Rows, group: tuple[int, int]) -> Rows:
        """Run a group of recordings through the blocks, and let these learn, on one thread."""
        for block, window in zip(self._blocks, self._windows, strict=True):
            calls, rows = block.calls_to_learn(rows, group, window, 0)
            run([*calls, *self._calls_to_end(block, window, group)])
        return rows

    def _calls_to_answer(self, windows: Sequence[Window], own: Part) -> Iterator[Call]:
        """Yield the calls that make what a worker's signals of a window teach, if there is one."""
        for block, window in zip(self._blocks, windows, strict=False):
            yield from block.calls_to_answer(window, own)

    def report(self) -> None:
        """Say what has been measured."""
        for block in self._blocks:
            block.report()
