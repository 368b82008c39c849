"""Epochs: learning from a loader, validation, and callbacks."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from spikeprop import checks
from spikeprop.engines.products import constant
from spikeprop.guard import Guard
from spikeprop.metrics import Metrics, read_out
from spikeprop.parallel import check_batches, split

if TYPE_CHECKING:
    from spikeprop.learner import ForwardLearner, SchedulerFactory

__all__ = [
    "Callback",
    "EpochResult",
    "Evaluation",
    "Part",
    "TensorBatches",
    "batches_from",
    "evaluate",
    "finish_epoch",
    "fit",
    "plan",
    "set_epoch",
]

SCHEDULES = ("cosine", "constant")


@dataclass(frozen=True)
class Evaluation:
    """How well a network classifies labelled data.

    Attributes
    ----------
    accuracy : float
        Share of right predictions, 0 to 1.
    block_accuracy : Tensor
        The same, read from each block alone ``(n_blocks,)``.
    confusion : Tensor
        Counts ``(C, C)``; rows are true classes, columns predictions.
    samples : int
        Number of recordings.
    """

    accuracy: float
    block_accuracy: Tensor
    confusion: Tensor
    samples: int

    @property
    def per_class(self) -> Tensor:
        """Share of right predictions per true class ``(C,)``; NaN for a class without samples."""
        return self.confusion.diagonal() / self.confusion.sum(dim=1)


@dataclass(frozen=True)
class EpochResult:
    """What one epoch gave; training figures are measured while the network learns.

    Attributes
    ----------
    epoch : int
        From 1.
    train_accuracy : float
        Share of right predictions, 0 to 1, by the rule's own readout.
    train_loss, train_block_accuracy, rate : Tensor
        Per block ``(n_blocks,)``.
    validation : Evaluation or None
        On the validation data, after the epoch.
    seconds, samples_per_second : float
        Of training alone.
    """

    epoch: int
    train_accuracy: float
    train_loss: Tensor
    train_block_accuracy: Tensor
    rate: Tensor
    validation: Evaluation | None
    seconds: float
    samples_per_second: float


@dataclass(frozen=True)
class Part:
    """An epoch up to one of its batches: what it takes, beside the learner, to go on from there.

    Attributes
    ----------
    epoch : int
        From 1.
    batches, samples, right : int
        Batches and recordings that were learned from, and how many of these were predicted rightly.
    sums : Tensor
        Losses, accuracies and rates, summed over the recordings ``(3, n_blocks)``; 0 before any.
    seconds : float
        Time that it took.
    """

    epoch: int
    batches: int
    samples: int
    right: int
    sums: Tensor
    seconds: float

    @classmethod
    def empty(cls, epoch: int) -> Part:
        """Return an epoch before its first batch."""
        return cls(epoch, 0, 0, 0, torch.zeros(()), 0.0)

    def add(self, metrics: Metrics, n: int, right: int, seconds: float) -> Part:
        """Return the epoch with a batch of ``n`` recordings more."""
        per_block = torch.stack([metrics.loss, metrics.accuracy, metrics.rate]).cpu()
        return Part(
            self.epoch,
            self.batches + 1,
            self.samples + n,
            self.right + right,
            self.sums + n * per_block,
            seconds,
        )


class Callback:
    """Something that watches ``fit``; override what is needed."""

    def on_epoch_start(self, learner: ForwardLearner, epoch: int, n_batches: int | None) -> None:
        """Before the first batch of ``epoch`` (from 1); None batches if the loader cannot tell."""

    def on_batch_end(
        self, learner: ForwardLearner, epoch: int, batch: int, metrics: Metrics
    ) -> None:
        """After batch number ``batch`` (from 1)."""

    def on_part(self, learner: ForwardLearner, part: Part) -> None:
        """After ``on_batch_end`` of all callbacks, with what the epoch has given so far."""

    def on_validation_start(self, learner: ForwardLearner, part: Part) -> None:
        """After the last batch of an epoch, before validation."""

    def on_failure(self, learner: ForwardLearner, part: Part) -> None:
        """Before an error ends ``fit`` that leaves the learner as it was after ``part``.

        Such errors are those of the loader, and those of an update that the guard takes back.
        """

    def on_epoch_end(self, learner: ForwardLearner, result: EpochResult) -> None:
        """After an epoch and its validation."""


class TensorBatches:
    """Batches of tensors in memory, in an order that depends on seed and epoch alone.

    Parameters
    ----------
    x : Tensor
        ``(T, N, *features)``.
    labels : Tensor
        ``(N,)``.
    batch_size : int
        Samples per batch; the last batch may be smaller.
    shuffle : bool
        Whether to shuffle anew each epoch.
    seed : int
        Seed of the order.

    Raises
    ------
    ValueError
        If the number of samples differs between the two, or there is none.
    """

    def __init__(
        self, x: Tensor, labels: Tensor, *, batch_size: int, shuffle: bool, seed: int = 0
    ) -> None:
        checks.positive_integer("batch_size", batch_size)
        if x.dim() < 3 or labels.dim() != 1 or x.shape[1] != len(labels) or len(labels) == 0:
            raise ValueError(
                f"data has to be a pair (x, labels) of shapes (T, N, *features) and (N,), time "
                f"first, got {tuple(x.shape)} and {tuple(labels.shape)}"
            )
        self.x, self.labels = x, labels
        self.batch_size, self.shuffle, self.seed = batch_size, shuffle, seed
        self._epoch = self._skipped = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch."""
        self._epoch = epoch

    def skip(self, batches: int) -> None:
        """Leave out so many batches at the beginning of the next pass."""
        self._skipped = batches

    def __len__(self) -> int:
        return math.ceil(len(self.labels) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.arange(len(self.labels))
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self._epoch)
            order = torch.randperm(len(self.labels), generator=generator)
        first, self._skipped = self._skipped * self.batch_size, 0
        for start in range(first, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            if constant(self.x):  # still images, expanded in time, stay so
                x = self.x[0, rows].expand(len(self.x), len(rows), *self.x.shape[2:])
            else:
                x = self.x[:, rows]
            yield x, self.labels[rows]


def fit(
    learner: ForwardLearner,
    train: Iterable[Any] | tuple[Tensor, Tensor],
    validation: Iterable[Any] | tuple[Tensor, Tensor] | None = None,
    *,
    epochs: int,
    start_epoch: int = 0,
    part: Part | None = None,
    guard: bool = False,
    batch_size: int = 50,
    schedule: str = "cosine",
    callbacks: Sequence[Callback] = (),
) -> list[EpochResult]:
    """Learn from ``train`` until ``epochs`` epochs are done.

    Parameters
    ----------
    learner : ForwardLearner
        The learner.
    train, validation : iterable of (x, label), or (x, labels)
        A loader that gives time-first batches ``(T, B, *features)`` and ``(B,)``, or a pair of
        tensors ``(T, N, *features)``, ``(N,)``. A loader's ``set_epoch`` (or its sampler's) is
        called before each epoch, and its ``skip`` to leave out batches, where it has one. Processes
        that learn together have the same data each, and split every batch.
    epochs : int
        Epochs in all; at least 1.
    start_epoch : int
        Epochs already done, when going on after :meth:`ForwardLearner.load`.
    part : Part, optional
        Where in the next epoch to go on, from :meth:`Callback.on_part`; the results are those of an
        undisturbed run, if the loader gives the same batches for the same epoch.
    guard : bool
        Take back an update that leaves NaN behind, and name block, time step and sample; warn of
        silent and saturated layers (:mod:`spikeprop.guard`). It keeps a copy of the state,
        and costs 2 to 3 % of the time.
    batch_size : int
        Only for tensors.
    schedule : {"cosine", "constant"}
        Learning rate over all epochs: along a half cosine down to zero, or unchanged. A scheduler
        given to the learner takes its place.
    callbacks : sequence of Callback
        Called in order.

    Returns
    -------
    list of EpochResult
        One per epoch made now.

    Raises
    ------
    ValueError
        If an argument is outside its range or the loader is empty.
    FloatingPointError
        If a loss or a weight becomes NaN or infinite.
    """
    checks.positive_integer("epochs", epochs)
    checks.one_of("schedule", schedule, SCHEDULES)
    if not 0 <= start_epoch <= epochs:
        raise ValueError(f"start_epoch has to lie in 0 .. epochs={epochs}, got {start_epoch}")
    if part is not None and part.epoch != start_epoch + 1:
        raise ValueError(
            f"part is of epoch {part.epoch}, and start_epoch={start_epoch} goes on with epoch "
            f"{start_epoch + 1}"
        )
    loader = _batches(train, batch_size, shuffle=True, seed=learner.seed)
    check_batches(loader, learner.ranks)
    plan(learner, loader, schedule, epochs)
    watching = Guard(learner) if guard else None
    results = []
    for epoch in range(start_epoch + 1, epochs + 1):
        begun = part if part is not None and part.epoch == epoch else Part.empty(epoch)
        result = _epoch(learner, watching, loader, validation, begun, batch_size, callbacks)
        results.append(result)
        for callback in callbacks:
            callback.on_epoch_end(learner, result)
    return results


def plan(learner: ForwardLearner, loader: Iterable[Any], schedule: str, epochs: int) -> None:
    """Give a learner without a scheduler that of all epochs."""
    if not learner.has_scheduler:
        learner.set_scheduler(_scheduler(schedule, epochs, _length(loader)))


def _epoch(
    learner: ForwardLearner,
    guard: Guard | None,
    loader: Iterable[Any],
    validation: Iterable[Any] | tuple[Tensor, Tensor] | None,
    part: Part,
    batch_size: int,
    callbacks: Sequence[Callback],
) -> EpochResult:
    length = set_epoch(loader, part.epoch)
    for callback in callbacks:
        callback.on_epoch_start(learner, part.epoch, length)
    start = time.perf_counter() - part.seconds
    ranks = learner.ranks
    batches: Iterator[Any] | None = None
    while True:
        try:
            batches = batches_from(loader, part.batches) if batches is None else batches
            batch = next(batches, None)
        except Exception:
            for callback in callbacks:
                callback.on_failure(learner, part)
            raise
        if batch is None:
            break
        x, label = batch
        n = len(label)
        if ranks is not None:
            x, label = split(x, label, ranks)
        try:
            metrics = (guard or learner).update(x, label)
        except FloatingPointError:
            for callback in callbacks if guard is not None else ():
                callback.on_failure(learner, part)
            raise
        right = 0
        if not learner.rule.regression:
            right = int((metrics.prediction.cpu() == label.cpu()).sum())
        if ranks is not None:
            right = sum(ranks.counts(right))
        part = part.add(metrics, n, right, time.perf_counter() - start)
        for callback in callbacks:
            callback.on_batch_end(learner, part.epoch, part.batches, metrics)
        for callback in callbacks:
            callback.on_part(learner, part)
    seconds = time.perf_counter() - start
    return finish_epoch(learner, validation, part, seconds, callbacks, batch_size)


def finish_epoch(
    learner: ForwardLearner,
    validation: Iterable[Any] | tuple[Tensor, Tensor] | None,
    part: Part,
    seconds: float,
    callbacks: Sequence[Callback],
    batch_size: int = 50,
) -> EpochResult:
    """Validate after the last batch of an epoch, and return what the epoch gave."""
    if part.samples == 0:
        raise ValueError("train gave no batch")
    loss, accuracy, rate = part.sums / part.samples
    checked = None
    if validation is not None:
        for callback in callbacks:
            callback.on_validation_start(learner, part)
        checked = evaluate(learner, validation, batch_size=batch_size)
    return EpochResult(
        part.epoch,
        part.right / part.samples,
        loss,
        accuracy,
        rate,
        checked,
        seconds,
        part.samples / seconds,
    )


def set_epoch(loader: Iterable[Any], epoch: int) -> int | None:
    """Choose a loader's order of an epoch; return its number of batches, if it can tell."""
    choose = getattr(loader, "set_epoch", None) or getattr(
        getattr(loader, "sampler", None), "set_epoch", None
    )
    if choose is not None:
        choose(epoch)
    return _length(loader)


def batches_from(loader: Iterable[Any], batches: int) -> Iterator[Any]:
    """Return the batches of an epoch behind the first so many of them."""
    skip = getattr(loader, "skip", None)
    if batches == 0:
        return iter(loader)
    if skip is None:
        return islice(loader, batches, None)
    skip(batches)
    return iter(loader)


def evaluate(
    learner: ForwardLearner,
    data: Iterable[Any] | tuple[Tensor, Tensor],
    *,
    batch_size: int = 50,
) -> Evaluation:
    """Classify labelled data without learning.

    Parameters
    ----------
    learner : ForwardLearner
        The learner.
    data : iterable of (x, label), or (x, labels)
        As in :func:`fit`.
    batch_size : int
        Only for tensors.

    Returns
    -------
    Evaluation

    Raises
    ------
    ValueError
        If ``data`` is empty or a label is out of range.
    """
    if learner.rule.regression:
        raise ValueError(
            "a regression has no accuracy: compare learner.predict(x) with the vectors"
        )
    classes = learner.rule.num_classes
    confusion = torch.zeros(classes, classes, dtype=torch.int64)
    right = torch.zeros(())
    samples = 0
    ranks = learner.ranks
    if ranks is not None and learner.input_shape is not None:
        learner.meet()  # all processes with the same weights
    for x, label in _batches(data, batch_size, shuffle=False, seed=0):
        samples += len(label)
        if ranks is not None:
            x, label = split(x, label, ranks)
            if not len(label):
                continue
        logits = learner.logits(x).cpu()
        label = checks.labels(x, label, classes).cpu()
        chosen = read_out(logits, learner.rule.predict_from)
        confusion += torch.bincount(label * classes + chosen, minlength=classes * classes).reshape(
            classes, classes
        )
        right = right + (logits.argmax(dim=2) == label).sum(dim=1)
    if samples == 0:
        raise ValueError("data gave no batch")
    if ranks is not None:
        confusion = ranks.sum(confusion)
        right = ranks.sum(right.expand(len(learner.blocks)))
    accuracy = int(confusion.diagonal().sum()) / samples
    return Evaluation(accuracy, right / samples, confusion, samples)


def _batches(
    data: Iterable[Any] | tuple[Tensor, Tensor], batch_size: int, *, shuffle: bool, seed: int
) -> Iterable[Any]:
    if isinstance(data, tuple):
        x, labels = data
        return TensorBatches(x, labels, batch_size=batch_size, shuffle=shuffle, seed=seed)
    return data


def _length(loader: Iterable[Any]) -> int | None:
    try:
        return len(loader)  # type: ignore[arg-type]
    except TypeError:
        return None


def _scheduler(schedule: str, epochs: int, n_batches: int | None) -> SchedulerFactory | None:
    if schedule == "constant":
        return None
    if n_batches is None:
        raise ValueError(
            "train has no length, and the cosine schedule needs one: give a loader with __len__, "
            "or schedule='constant'"
        )
    return partial(_cosine, steps=epochs * n_batches)


def _cosine(optimizer: torch.optim.Optimizer, *, steps: int) -> LRScheduler:
    return LambdaLR(
        optimizer, lambda step: 0.5 * (1.0 + math.cos(math.pi * min(step / steps, 1.0)))
    )
