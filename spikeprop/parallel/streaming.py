"""A live stream through the stages of a pipeline, one time step after another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from spikeprop import checks
from spikeprop.datasets import EventBatch
from spikeprop.engines import ReferenceEngine
from spikeprop.evidence import as_filters
from spikeprop.metrics import Metrics, measure, of_steps
from spikeprop.neurons import reset
from spikeprop.parallel.channel import END, STEP, Head
from spikeprop.parallel.stages import Stepwise, make_stage
from spikeprop.parallel.wire import labels_of, of_labels
from spikeprop.surroundings import flushed_denormals, mode
from spikeprop.thresholds import StreamRates

if TYPE_CHECKING:
    from spikeprop.parallel.pipeline import Pipeline

__all__ = ["StagedStream"]


class StagedStream:
    """A stream through a pipeline, from its beginning; all processes have to make it.

    Parameters
    ----------
    pipeline : Pipeline
        The stages. Weights stay where they are: see :meth:`Pipeline.gather`.

    Raises
    ------
    ValueError
        If the rule cannot follow a stream.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline, self.rule = pipeline, pipeline.learner.rule
        if not self.rule.streams:
            raise ValueError(f"{type(self.rule).__name__} cannot follow a stream")
        learner, places = pipeline.learner, pipeline.places[pipeline.ranks.rank]
        self._stage = make_stage(Stepwise(learner), places, 1.0)
        learner.reset()
        self._passage: Any = None
        control = self.rule.stream_homeostasis
        self._rates = None if control is None else StreamRates(control)

    def step(self, x_t: Tensor | EventBatch, label: Tensor | None = None) -> Metrics:
        """Give the first stage a time step; as :meth:`ForwardLearner.step`, and as it raises."""
        learner = self.pipeline.learner
        label = checks.single_step(x_t, label, self.rule.num_classes, learner.net)
        if isinstance(x_t, EventBatch):
            x_t = x_t.to_dense(self._stage.engine.dtype)[0]
        label = None if label is None else label.to(learner.device)
        return self._step(x_t.to(learner.device), None, label, len(x_t))

    def steps(
        self, x: Tensor | EventBatch, label: Tensor | None = None, *, every_step: bool = False
    ) -> Metrics:
        """Give the first stage several; as :meth:`ForwardLearner.steps`, and as it raises."""
        checks.sequence(x, label, self.rule.num_classes, self.pipeline.learner.net)
        if isinstance(x, EventBatch):
            x = x.to_dense(self._stage.engine.dtype)
        return of_steps([self.step(x_t, label) for x_t in x], every_step=every_step)

    def steps_before(self) -> Iterator[Metrics]:
        """Take the steps that come from the stage before, to the end of the stream."""
        channel = self.pipeline.channel
        while True:
            head, content = channel.receive()
            if head.what == END:
                channel.send(head)
                return
            n, label = int(head.number), None
            if head.share:
                label = labels_of(content[: 8 * n]).to(self.pipeline.learner.device)
                content = content[8 * n :]
            rows = self._stage.unpack(int(head.kind), content, 1, int(head.rows))
            assert isinstance(rows, Tensor), "stages of a stream take dense rows"
            yield self._step(None, rows[0], label, n)

    def end(self) -> None:
        """End the stream; all processes have to call."""
        if self.pipeline.first:
            self.pipeline.channel.send(Head(END))
        self.pipeline.channel.settle()
        reset(self._stage.net)

    def _step(
        self, x_t: Tensor | None, rows: Tensor | None, label: Tensor | None, n: int
    ) -> Metrics:
        learner, stage, rule = self.pipeline.learner, self._stage, self.rule
        engine = stage.engine
        assert isinstance(engine, ReferenceEngine), "made stepwise"
        if self._passage is None:
            own, filters = learner.optimizers[stage.places], as_filters(rule.stream_evidence)
            self._passage = stage.begin(n, filters, None, own, learner.update_every)
        passage = self._passage
        checks.same_stream(n, passage.n_recordings)
        for item in passage.blocks:
            item.begin_step(label)
        with mode(learner.net, training=label is not None), flushed_denormals():
            if rows is None:
                assert x_t is not None, "one of the two has come"
                rows = engine.rows(x_t, passage)
            out = engine.step_rows(rows, passage)
        if not self.pipeline.last:
            kind, listed, content = stage.pack(out[None])
            if label is not None:
                content = np.concatenate([of_labels(label), content])
            head = Head(STEP, kind=kind, rows=listed, number=n, share=float(label is not None))
            self.pipeline.channel.send(head, content)
        metrics = measure(passage, label, rule.predict_from, last_step=True)
        if label is not None:
            learner.updates += 1
            checks.finite_loss(metrics.loss, stage.blocks, learner.updates)
            if self._rates is not None:
                self._rates.follow(passage)
        return metrics
