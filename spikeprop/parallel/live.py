"""A live stream through the stages of a pipeline: ``torchrun … -m spikeprop stream``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikeprop.metrics import Metrics
from spikeprop.parallel.pipeline import Pipeline

if TYPE_CHECKING:
    from spikeprop.learner import ForwardLearner
    from spikeprop.parallel.ranks import Ranks
    from spikeprop.rules import Rule

__all__ = ["Feeding", "behind", "open_pipeline"]


def open_pipeline(learner: ForwardLearner, ranks: Ranks, *, log: object) -> Pipeline:
    """Put a trained network into the processes, and begin a stream.

    Raises
    ------
    ValueError
        If the network cannot be cut, or a log is asked for.
    """
    if log is not None:
        raise ValueError(
            "log is written where events come in, and predictions come out of the last process of "
            "a pipeline: leave --log out, or start one process"
        )
    learner.group = None
    pipeline = Pipeline(learner, ranks)
    pipeline.begin_stream()
    return pipeline


class Feeding:
    """A learner as a follower of events sees it, whose steps go into a pipeline."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.rule: Rule = pipeline.learner.rule

    def step(self, x_t: Any, label: Any = None) -> Metrics:
        """Give the first stage a time step."""
        return self.pipeline.step(x_t, label)


def behind(pipeline: Pipeline) -> tuple[int, int, float]:
    """Follow the stage before to the end of the stream.

    Returns
    -------
    tuple
        Time steps, labelled ones among them, and how many of these this stage predicted rightly.
    """
    steps, labelled, right = 0, 0, 0.0
    for metrics in pipeline.steps_before():
        steps += 1
        if not bool(metrics.accuracy[-1].isnan()):
            labelled += 1
            right += float(metrics.accuracy[-1])
    pipeline.end_stream()
    return steps, labelled, right
