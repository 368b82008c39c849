"""Epochs of a training whose blocks stand in a pipeline: ``spikeprop train --pipeline``.

The weights are together in no process, until :meth:`Pipeline.gather` brings them together: for a
checkpoint, and for the validation after an epoch. An epoch is learned in segments of some batches;
between two of them all processes agree on a checkpoint or an end.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import torch

from spikeprop.fit import Callback, EpochResult, Part, batches_from, finish_epoch, plan, set_epoch
from spikeprop.parallel.pipeline import Pipeline
from spikeprop.parallel.ranks import Ranks
from spikeprop.parallel.stages import check_pipeline
from spikeprop.resuming import Keeper

if TYPE_CHECKING:
    from spikeprop.learner import ForwardLearner

__all__ = ["StagedKeeper", "check_staged", "fit_staged"]

SEGMENT = 20
"""Batches between two moments at which a checkpoint can be written, or a signal ends the run."""


def check_staged(learner: ForwardLearner) -> None:
    """Raise unless a learner's blocks can be put into the processes that are there.

    Raises
    ------
    ValueError
        If this process is alone, or network or rule cannot be cut.
    """
    ranks = Ranks.present()
    if ranks is None:
        raise ValueError(
            "pipeline puts the blocks into several processes: start them by torchrun "
            "--nproc-per-node 2 -m spikeprop train --pipeline ..."
        )
    check_pipeline(learner.net, learner.rule, learner.bound(), ranks.size)


class StagedKeeper(Keeper):
    """Writes checkpoints of a network in several processes; the first decides, and all help."""

    pipeline: Pipeline

    def due(self) -> bool:
        """Tell whether the first process finds it time for a checkpoint."""
        return bool(self.pipeline.ranks.counts(int(super().due()))[0])

    def write(self, learner: ForwardLearner) -> None:
        """Bring the network together, and let the first process write it."""
        self.pipeline.gather()
        super().write(learner)

    @property
    def room(self) -> int:
        """Batches until the next moment that all have to agree on something."""
        return SEGMENT if self.updates is None else min(SEGMENT, self.updates - self.count)


def fit_staged(
    learner: ForwardLearner,
    train: Iterable[Any],
    validation: Iterable[Any] | None,
    *,
    epochs: int,
    start_epoch: int,
    part: Part | None,
    schedule: str,
    callbacks: Sequence[Callback],
    keeper: StagedKeeper,
) -> None:
    """Learn as :func:`spikeprop.fit.fit` does, with the blocks in the stages of a pipeline.

    All processes have to call; the first one alone reads ``train``, and every one its part of
    ``validation``. ``keeper`` is called behind the callbacks. An update that leaves NaN behind ends
    the run; it is not taken back.

    Raises
    ------
    ValueError, TypeError, FloatingPointError
        As :func:`spikeprop.fit.fit`.
    ConnectionError
        If a process is lost.
    """
    plan(learner, train, schedule, epochs)
    pipeline = keeper.pipeline = Pipeline(learner)
    watching = [*callbacks, keeper]
    for epoch in range(start_epoch + 1, epochs + 1):
        begun = part if part is not None and part.epoch == epoch else Part.empty(epoch)
        result = _epoch(pipeline, train, validation, begun, watching, keeper)
        for callback in watching:
            callback.on_epoch_end(learner, result)


def _epoch(
    pipeline: Pipeline,
    train: Iterable[Any],
    validation: Iterable[Any] | None,
    part: Part,
    callbacks: Sequence[Callback],
    keeper: StagedKeeper,
) -> EpochResult:
    learner, ranks = pipeline.learner, pipeline.ranks
    batches: Iterator[Any] = iter(())
    length = set_epoch(train, part.epoch)
    for callback in callbacks:
        callback.on_epoch_start(learner, part.epoch, length)
    start = time.perf_counter() - part.seconds
    if pipeline.first:
        batches = batches_from(train, part.batches)
    while True:
        following = next(batches, None)
        if not ranks.counts(int(following is not None))[0]:
            break
        segment = islice(chain([following], batches), keeper.room)
        before = learner.updates
        learned = pipeline.learn(segment if pipeline.first else None)
        part = Part(
            part.epoch,
            part.batches + learner.updates - before,
            part.samples + learned.samples,
            part.right + learned.right,
            part.sums
            + learned.samples * torch.stack([learned.loss, learned.accuracy, learned.rate]),
            time.perf_counter() - start,
        )
        for callback in callbacks:
            callback.on_part(learner, part)
    pipeline.gather()
    return finish_epoch(learner, validation, part, time.perf_counter() - start, callbacks)
