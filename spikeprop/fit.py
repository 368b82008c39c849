"""Epochs: learning from a loader, validation, and callbacks."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from spikeprop import checks
from spikeprop.metrics import Metrics, read_out
from spikeprop.parallel import check_batches, split

if TYPE_CHECKING:
    from spikeprop.learner import ForwardLearner, SchedulerFactory

__all__ = ["Callback", "EpochResult", "Evaluation", "TensorBatches", "evaluate", "fit"]

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


class Callback:
    """Something that watches ``fit``; override what is needed."""

    def on_epoch_start(self, learner: ForwardLearner, epoch: int, n_batches: int | None) -> None:
        """Before the first batch of ``epoch`` (from 1); None batches if the loader cannot tell."""

    def on_batch_end(
        self, learner: ForwardLearner, epoch: int, batch: int, metrics: Metrics
    ) -> None:
        """After batch number ``batch`` (from 1)."""

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
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return math.ceil(len(self.labels) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.arange(len(self.labels))
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self._epoch)
            order = torch.randperm(len(self.labels), generator=generator)
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            yield self.x[:, rows], self.labels[rows]


def fit(
    learner: ForwardLearner,
    train: Iterable[Any] | tuple[Tensor, Tensor],
    validation: Iterable[Any] | tuple[Tensor, Tensor] | None = None,
    *,
    epochs: int,
    start_epoch: int = 0,
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
        called before each epoch. Processes that learn together have the same data each, and split
        every batch.
    epochs : int
        Epochs in all; at least 1.
    start_epoch : int
        Epochs already done, when going on after :meth:`ForwardLearner.load`.
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
    """
    checks.positive_integer("epochs", epochs)
    checks.one_of("schedule", schedule, SCHEDULES)
    if not 0 <= start_epoch <= epochs:
        raise ValueError(f"start_epoch has to lie in 0 .. epochs={epochs}, got {start_epoch}")
    loader = _batches(train, batch_size, shuffle=True, seed=learner.seed)
    check_batches(loader, learner.ranks)
    if not learner.has_scheduler:
        learner.set_scheduler(_scheduler(schedule, epochs, _length(loader)))
    results = []
    for epoch in range(start_epoch + 1, epochs + 1):
        result = _epoch(learner, loader, validation, epoch, batch_size, callbacks)
        results.append(result)
        for callback in callbacks:
            callback.on_epoch_end(learner, result)
    return results


def _epoch(
    learner: ForwardLearner,
    loader: Iterable[Any],
    validation: Iterable[Any] | tuple[Tensor, Tensor] | None,
    epoch: int,
    batch_size: int,
    callbacks: Sequence[Callback],
) -> EpochResult:
    set_epoch = getattr(loader, "set_epoch", None) or getattr(
        getattr(loader, "sampler", None), "set_epoch", None
    )
    if set_epoch is not None:
        set_epoch(epoch)
    for callback in callbacks:
        callback.on_epoch_start(learner, epoch, _length(loader))
    start = time.perf_counter()
    samples, right = 0, 0
    sums = torch.zeros(())
    ranks = learner.ranks
    for batch, (x, label) in enumerate(loader, start=1):
        n = len(label)
        samples += n
        if ranks is not None:
            x, label = split(x, label, ranks)
        metrics = learner.update(x, label)
        if not learner.rule.regression:
            right += int((metrics.prediction.cpu() == label.cpu()).sum())
        per_block = torch.stack([metrics.loss, metrics.accuracy, metrics.rate]).cpu()
        sums = sums + n * per_block
        for callback in callbacks:
            callback.on_batch_end(learner, epoch, batch, metrics)
    seconds = time.perf_counter() - start
    if samples == 0:
        raise ValueError("train gave no batch")
    if ranks is not None:
        right = sum(ranks.counts(right))
    loss, accuracy, rate = sums / samples
    checked = None if validation is None else evaluate(learner, validation, batch_size=batch_size)
    return EpochResult(
        epoch, right / samples, loss, accuracy, rate, checked, seconds, samples / seconds
    )


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
        learner.share(1)  # all processes with the same weights
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
