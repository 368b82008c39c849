"""Trains several models side by side on the very same batches, and times each update."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Protocol

from spikeprop.experiments.search import Model
from spikeprop.surroundings import flushed_denormals

__all__ = ["Timing", "time_ratio", "train_together"]


class Batches(Protocol):
    """What gives the batches of an epoch."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the following pass."""


@dataclass
class Timing:
    """Seconds that each update of a model took, loading of the batch not counted."""

    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Seconds of the median update."""
        return median(self.seconds)


def train_together(
    models: Mapping[str, Model],
    batches: Batches,
    epochs: int,
    report: Callable[[int, Mapping[str, float]], None] = lambda epoch, losses: None,
) -> dict[str, Timing]:
    """Train every model for ``epochs`` epochs, batch by batch in turn.

    Whatever else the machine does then slows all of them, so that ratios of their times hold.

    Parameters
    ----------
    models : mapping of name to model
        Trained in place.
    batches : Batches
        What all of them learn from.
    epochs : int
        Passes over it.
    report : callable
        Called with the epoch (from 1) and each model's mean loss after it.
    """
    timings = {name: Timing() for name in models}
    turn = list(models)
    for epoch in range(1, epochs + 1):
        batches.set_epoch(epoch)
        losses = dict.fromkeys(models, 0.0)
        for x, label in batches:
            for name in turn:
                with flushed_denormals():  # a learner does so by itself; the others may, too
                    start = time.perf_counter()
                    loss = models[name].update(x, label)
                    timings[name].seconds.append(time.perf_counter() - start)
                losses[name] += loss / len(batches)
            turn.reverse()  # nobody always comes first after the loader has filled the cache
        report(epoch, losses)
    return timings


def time_ratio(ours: Timing, other: Timing) -> float:
    """Return the median over updates of the ratio of the two times for the same batch."""
    return median(a / b for a, b in zip(ours.seconds, other.seconds, strict=True))
