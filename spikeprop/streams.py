"""Streams: a learner's time steps one at a time, by the engine that suits network and optimiser."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from spikeprop.datasets import EventBatch
from spikeprop.engines import StepwiseEngine, StreamChoice
from spikeprop.engines.live import Lagging, LiveEngine
from spikeprop.engines.rows import as_events
from spikeprop.evidence import as_filters
from spikeprop.metrics import Metrics, measure, of_steps
from spikeprop.surroundings import flushed_denormals, mode, randomness
from spikeprop.thresholds import StreamRates

__all__ = ["LiveStream", "StepwiseStream", "Stream"]


class Stream(ABC):
    """A stream of a fixed number of recordings, from its first time step on.

    Attributes
    ----------
    choice : StreamChoice
        The engine, and why it was taken.
    n_recordings : int
        Recordings B.
    """

    choice: StreamChoice
    n_recordings: int

    @abstractmethod
    def steps(
        self,
        x: Tensor | EventBatch,
        label: Tensor | None,
        updates: int,
        *,
        every_step: bool = False,
    ) -> Metrics:
        """Take time steps ``(T, B, *features)``, learning at each if there are labels.

        ``updates`` counts those that were made before. Loss, accuracy and rate are means over the
        steps, scores and prediction those of the last one, or of every one.
        """

    @abstractmethod
    def flush(self) -> None:
        """Write updates that wait into the weights."""

    @abstractmethod
    def close(self) -> None:
        """End the stream."""


class StepwiseStream(Stream):
    """A stream through the network as it is.

    Parameters
    ----------
    choice : StreamChoice
        With a stepwise engine.
    n_recordings : int
        Recordings B.
    optimizers : sequence of Optimizer or None
        One a block.
    update_every : int
        Steps between two updates.
    seed : int
        Seed of dropout.
    """

    def __init__(
        self,
        choice: StreamChoice,
        n_recordings: int,
        optimizers: Sequence[torch.optim.Optimizer | None],
        update_every: int,
        seed: int,
    ) -> None:
        assert isinstance(choice.engine, StepwiseEngine)
        self.choice, self.n_recordings, self._seed = choice, n_recordings, seed
        self._engine = choice.engine
        rule = self._engine.rule
        filters = as_filters(rule.stream_evidence)
        self._passage = self._engine.begin(n_recordings, filters, None, optimizers, update_every)
        control = rule.stream_homeostasis
        self._rates = None if control is None else StreamRates(control)

    def steps(
        self,
        x: Tensor | EventBatch,
        label: Tensor | None,
        updates: int,
        *,
        every_step: bool = False,
    ) -> Metrics:
        """Take time steps."""
        engine = self._engine
        if isinstance(x, EventBatch):
            x = x.to_dense(engine.dtype)
        x = x.to(engine.device)
        label = None if label is None else label.to(engine.device)
        found = []
        for at, x_t in enumerate(x):
            for item in self._passage.blocks:
                item.begin_step(label)
            with (
                mode(engine.net, training=label is not None),
                randomness(self._seed, updates + at, engine.device),
                flushed_denormals(),
            ):
                engine.step(x_t, self._passage)
            found.append(measure(self._passage, label, engine.rule.predict_from, last_step=True))
            if label is not None and self._rates is not None:
                self._rates.follow(self._passage)
        return of_steps(found, every_step=every_step)

    def flush(self) -> None:
        """Do nothing: updates are written at once."""

    def close(self) -> None:
        """Do nothing: the network's state is the learner's to reset."""


class LiveStream(Stream):
    """A stream through the compiled engine.

    Parameters
    ----------
    choice : StreamChoice
        With a :class:`~spikeprop.engines.live.LiveEngine`.
    n_recordings : int
        Recordings B.
    optimizers : sequence of Optimizer or None
        One a block.

    Raises
    ------
    NotAChain
        If the network is in a state that only the reference engine runs.
    """

    def __init__(
        self,
        choice: StreamChoice,
        n_recordings: int,
        optimizers: Sequence[torch.optim.Optimizer | None],
    ) -> None:
        assert isinstance(choice.engine, LiveEngine)
        self.choice, self.n_recordings = choice, n_recordings
        self._engine = choice.engine
        rule = self._engine.rule
        self._from_last = rule.predict_from == "last"
        filters = as_filters(rule.stream_evidence)
        self._passage = self._engine.begin(n_recordings, filters, optimizers)
        self._sizes = [stage.size for stage in self._passage.stages]
        modules = [stage.module for stage in self._passage.stages]
        self._lagging = Lagging(modules, self.flush)

    def steps(
        self,
        x: Tensor | EventBatch,
        label: Tensor | None,
        updates: int,
        *,
        every_step: bool = False,
    ) -> Metrics:
        """Take time steps."""
        if isinstance(x, Tensor):
            x = as_events(x.detach())
        labels = None if label is None else label.numpy()
        sums, scores = self._engine.run(x, self._passage, labels, every_step=every_step)
        sums /= x.time_steps
        sums[1:] /= self.n_recordings
        sums[2] /= self._sizes
        if labels is None:
            sums[1] = np.nan
        chosen = scores[-1] if self._from_last else scores.sum(axis=0)
        loss, right, rate = map(torch.from_numpy, sums.astype(scores.dtype))
        best = chosen.argmax(axis=-1)
        if not every_step:
            scores, best = scores[:, 0], best[0]
        return Metrics(loss, right, rate, torch.from_numpy(scores), torch.from_numpy(best))

    def flush(self) -> None:
        """Write updates that wait into the weights."""
        with torch.no_grad():
            self._engine.flush(self._passage)

    def close(self) -> None:
        """Write what waits, and let the modules alone."""
        self._lagging.remove()
        self.flush()
