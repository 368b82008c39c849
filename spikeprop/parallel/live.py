"""A live stream through the stages of a pipeline: ``torchrun … -m spikeprop stream``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spikeprop.parallel.pipeline import Pipeline
from spikeprop.parallel.streaming import StagedStream

if TYPE_CHECKING:
    from spikeprop.learner import ForwardLearner
    from spikeprop.parallel.ranks import Ranks

__all__ = ["begin_stream", "follow_stage"]


def begin_stream(learner: ForwardLearner, ranks: Ranks, *, log: object) -> StagedStream:
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
    return StagedStream(Pipeline(learner, ranks))


def follow_stage(stream: StagedStream) -> tuple[int, int, float]:
    """Follow the stage before to the end of the stream.

    Returns
    -------
    tuple
        Time steps, labelled ones among them, and how many of these this stage predicted rightly.
    """
    steps, labelled, right = 0, 0, 0.0
    for metrics in stream.steps_before():
        steps += 1
        if not bool(metrics.accuracy[-1].isnan()):
            labelled += 1
            right += float(metrics.accuracy[-1])
    stream.end()
    return steps, labelled, right
