"""Keeps what a stream has learned, at an interval and at its end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import torch

from spikeprop.learner import ForwardLearner

__all__ = ["Keeping"]


class Keeping:
    """Writes a learner that follows a stream, whole or not at all.

    Parameters
    ----------
    learner
        The learner.
    optimizers
        Those of its training, whose kind the file is of; the stream may step by others.
    path
        The file; None writes nothing.
    minutes
        Time between two writes, by a clock that never jumps [min].
    """

    def __init__(
        self,
        learner: ForwardLearner,
        optimizers: Sequence[torch.optim.Optimizer | None],
        path: Path | None,
        minutes: float,
    ) -> None:
        self.learner, self.optimizers, self.path = learner, list(optimizers), path
        self.seconds, self.since = 60.0 * minutes, time.monotonic()

    def tick(self) -> None:
        """Write if it is time to; the stream goes on as it is."""
        if self.path is not None and time.monotonic() - self.since >= self.seconds:
            self.write()

    def write(self) -> None:
        """Write now.

        Raises
        ------
        OSError
            If it cannot be written; the file before is whole.
        ValueError
            If a number has become NaN or infinite; the file before is whole.
        """
        if self.path is None:
            return
        live, self.learner.optimizers = self.learner.optimizers, self.optimizers
        try:
            self.learner.save(self.path)
        finally:
            self.learner.optimizers = live
        self.since = time.monotonic()
