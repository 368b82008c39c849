"""A learner that follows a stream of events, one time step after another, in constant memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spikeprop.datasets import EventBatch, Events
from spikeprop.live.order import Counters
from spikeprop.metrics import Metrics
from spikeprop.rules import Rule

MAX_SILENCE = 1_000
"""Time steps without events that are run through; what is longer is passed over."""
TOGETHER = 64
"""Time steps that are given to the learner at once, if so many are over already."""
MANY = 1 << 16
"""Events of a time step that are kept as they are, on a small sensor; more are counted."""


class Report(NamedTuple):
    """State after a time step.

    Attributes
    ----------
    step : int
        Number of time steps so far.
    time : int
        End of the last one, in microseconds of the stream.
    prediction : int
        Class with the highest score.
    confidence : float
        Its share of the softmax of the scores, 0 to 1.
    label : int or None
        What was learned from.
    """

    step: int
    time: int
    prediction: int
    confidence: float
    label: int | None


class Stepping(Protocol):
    """What a follower asks of a learner."""

    @property
    def rule(self) -> Rule:
        """The rule."""
        ...

    def steps(
        self, x: Tensor | EventBatch, label: Tensor | None = None, *, every_step: bool = False
    ) -> Metrics:
        """Take time steps, and return the scores of each if ``every_step``."""
        ...


class Follower:
    """Cuts events into time steps and gives them to ``learner.steps``, with a label where known.

    Time steps begin with the first event. A step is closed as soon as an event of a later one
    comes, or :meth:`advance` says that its time is over. Those that are closed by the same events
    are taken together: less work surrounds a step, so that a stream that has fallen behind catches
    up.

    Parameters
    ----------
    learner
        Infers, and learns where there is a label.
    sensor_size
        Width, height and number of polarities.
    step_us
        Length of a time step in microseconds.
    counters
        Where to count events that cannot be used.
    num_classes
        Labels are 0 to this, exclusive.
    learn
        Whether labels are learned from.
    binary
        A cell is 1 where at least one event fell into it; else their number.
    on_step
        Called after each time step.

    Raises
    ------
    ValueError
        If ``step_us`` or ``num_classes`` is below 1.
    """

    def __init__(
        self,
        learner: Stepping,
        sensor_size: tuple[int, int, int],
        step_us: int,
        counters: Counters,
        num_classes: int,
        *,
        learn: bool = True,
        binary: bool = True,
        on_step: Callable[[Report], None] | None = None,
    ) -> None:
        if step_us < 1 or num_classes < 1:
            raise ValueError(f"step_us and num_classes are 1 or more, got {step_us}, {num_classes}")
        self.learner, self.counters = learner, counters
        self.width, self.height, self.polarities = sensor_size
        self.step_us, self.num_classes = int(step_us), int(num_classes)
        self.learn, self.binary, self.on_step = learn, binary, on_step
        self.label: int | None = None
        self.steps = 0
        self.report: Report | None = None
        self._start: int | None = None  # of the open step
        self._features = torch.Size((self.polarities, self.height, self.width))
        self._parts: list[NDArray[np.int64]] = []  # cells of the open step's events
        self._waiting = 0  # their number
        self._counts: NDArray[np.int64] | None = None  # of those that were too many to keep
        self._target = torch.zeros(1, dtype=torch.int64)
        self._labels: list[tuple[int, int | None]] = []
        self._frames: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []  # of closed steps
        self._ends: list[int] = []  # their ends, in microseconds
        self._known: int | None = None  # their label

    def events(self, events: Events) -> None:
        """Take events; close every time step before that of the last of them."""
        inside = (events["x"] >= 0) & (events["x"] < self.width)
        inside &= (events["y"] >= 0) & (events["y"] < self.height)
        inside &= (events["p"] >= 0) & (events["p"] < self.polarities)
        if not inside.all():
            self.counters.outside_events += int(np.count_nonzero(~inside))
            events = events[inside]
        if len(events) == 0:
            return
        t = events["t"]
        if self._start is None:
            self._start = int(t[0])
        step = (t - self._start) // self.step_us
        if step.min() < 0:
            late = step < 0
            self.counters.late_events += int(np.count_nonzero(late))
            events, step = events[~late], step[~late]
            if len(events) == 0:
                return
        if np.any(np.diff(step) < 0):
            order = np.argsort(step, kind="stable")
            events, step = events[order], step[order]
        self.counters.events += len(events)
        cell = (events["p"] * self.height + events["y"]) * self.width + events["x"]
        begin, first = self._start, 0
        for end in [*(np.flatnonzero(np.diff(step)) + 1).tolist(), len(step)]:
            self._advance(begin + int(step[first]) * self.step_us)
            self._parts.append(cell[first:end])
            self._waiting += end - first
            if self._waiting > max(MANY, self._features.numel()):
                self._count()
            first = end
        self._run()

    def set_label(self, time: int, label: int | None) -> None:
        """Let a label hold from ``time`` on; None ends it. Kept until the stream is there."""
        if label is not None and not 0 <= label < self.num_classes:
            self.counters.bad_labels += 1
            return
        if self._start is None or time <= self._start:
            self.label = label
            self._labels.clear()
            return
        if len(self._labels) < MAX_SILENCE:
            self._labels.append((time, label))
        else:
            self.counters.bad_labels += 1

    def advance(self, time: int) -> None:
        """Close every time step that ends at ``time`` or before."""
        self._advance(time)
        self._run()

    def finish(self) -> None:
        """Close the open time step."""
        if self._start is not None and (self._parts or self._counts is not None):
            self._close()
        self._run()

    def _advance(self, time: int) -> None:
        if self._start is None:
            return
        silent = (time - self._start) // self.step_us
        if silent > MAX_SILENCE:
            self._close()
            passed = (time - self._start) // self.step_us - MAX_SILENCE
            self.counters.skipped_steps += passed
            self._start += passed * self.step_us
        while self._start + self.step_us <= time:
            self._close()

    def _count(self) -> NDArray[np.int64]:
        """Replace the open step's events by their number in each cell of the sensor."""
        size = self._features.numel()
        found = np.zeros(size, np.int64) if self._counts is None else self._counts
        for part in self._parts:
            found += np.bincount(part, minlength=size)
        self._parts, self._waiting, self._counts = [], 0, found
        return found

    def _frame(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the open step's cells, each once, and their events."""
        if self._counts is not None or 16 * self._waiting > self._features.numel():
            found = self._count()
            cells = np.flatnonzero(found)
            counts = found[cells]
        else:  # sorting few events beats counting all the sensor's cells
            cells = np.concatenate(self._parts) if self._parts else np.empty(0, np.int64)
            cells, counts = np.unique(cells, return_counts=True)
        self._parts, self._waiting, self._counts = [], 0, None
        return cells, counts

    def _close(self) -> None:
        assert self._start is not None
        while self._labels and self._labels[0][0] < self._start + self.step_us:
            self.label = self._labels.pop(0)[1]
        if self.label != self._known or len(self._frames) == TOGETHER:
            self._run()
        self._known = self.label
        self._frames.append(self._frame())
        self._start += self.step_us
        self._ends.append(self._start)

    def _run(self) -> None:
        """Let the learner take the steps that are closed."""
        if not self._frames:
            return
        cells = [cells for cells, _ in self._frames]
        values = None
        if not self.binary:
            counts = np.concatenate([counts for _, counts in self._frames])
            values = torch.from_numpy(counts.astype(np.float32))
        offsets = np.zeros(len(cells) + 1, np.int64)
        np.cumsum([len(item) for item in cells], out=offsets[1:])
        channels = torch.from_numpy(np.concatenate(cells).astype(np.int32))
        ends, label = self._ends, self._known
        self._frames, self._ends = [], []
        target = None
        if self.learn and label is not None:
            self._target[0] = label
            target = self._target
        x = EventBatch(torch.from_numpy(offsets), channels, values, len(ends), self._features)
        logits = self.learner.steps(x, target, every_step=True).logits.numpy(force=True)
        last = self.learner.rule.predict_from == "last"
        for end, scores in zip(ends, logits[-1] if last else logits.sum(axis=0), strict=True):
            best = int(scores[0].argmax())
            share = 1.0 / float(np.exp(scores[0] - scores[0, best]).sum())
            self.steps += 1
            self.report = Report(self.steps, end, best, share, label)
            if self.on_step is not None:
                self.on_step(self.report)
