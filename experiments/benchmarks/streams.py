"""A live stream: batch of one, an update at every time step, plain SGD, one thread.

Set against the same step in dense PyTorch, written as tightly as that allows: two matrix-vector
products and two rank-one updates in place, no autograd, no optimiser object. It is the plain
rule's, also beside the default recipe, whose class signals would cost a dense step more. Every
stream goes on from round to round, has written all its updates when a recording ends, and takes as
many recordings a round as a tenth of a second needs: the dense step leaves none of its data in the
caches, and 300 steps of ours last a hundredth of a second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from spikeprop.datasets import EventBatch
from spikeprop.experiments.benchmarks import cases
from spikeprop.experiments.benchmarks.bptt_peers import LEARNING_RATE
from spikeprop.experiments.benchmarks.timing import interleave
from spikeprop.experiments.benchmarks.workload import BETA, DENSITIES, Batch, synthetic, weights
from spikeprop.learner import ForwardLearner
from spikeprop.losses import Cosine
from spikeprop.signals import class_codes, random_projection

__all__ = ["DenseStream", "streams"]

Row = dict[str, Any]

#: What a stream's turn lasts, at least.
LEAST_SECONDS = 0.1


class DenseStream:
    """The plain rule on one recording at a time, dense: ``W -= lr delta (x) trace`` each step.

    Parameters
    ----------
    matrices : sequence of Tensor
        Hidden weights ``(N, inputs)``.
    classes : int
        Classes C.
    lr : float
        Step size.
    """

    def __init__(self, matrices: Sequence[Tensor], classes: int, lr: float = LEARNING_RATE) -> None:
        generator = torch.Generator().manual_seed(0)
        codes = class_codes(classes, None)
        self.weights = [matrix.clone() for matrix in matrices]
        self.biases = [matrix.new_zeros(len(matrix)) for matrix in matrices]
        self.mems = [matrix.new_zeros(1, len(matrix)) for matrix in matrices]
        self.traces = [matrix.new_zeros(matrix.shape[1]) for matrix in matrices]
        self.vectors = [
            random_projection(codes, torch.Size((len(matrix),)), 0.3, generator)
            for matrix in matrices
        ]
        self.bias_trace = 0.0
        self.lr = lr

    @torch.no_grad()
    def step(self, x_t: Tensor, label: Tensor) -> None:
        """Learn from one time step ``(1, inputs)``."""
        loss, spikes = Cosine(), x_t[0]
        self.bias_trace = BETA * self.bias_trace + 1.0
        for weight, bias, mem, trace, vectors in zip(
            self.weights, self.biases, self.mems, self.traces, self.vectors, strict=True
        ):
            trace.mul_(BETA).add_(spikes)
            reset = (mem > 1.0).to(mem.dtype)
            mem.mul_(BETA).add_(torch.addmv(bias, weight, spikes)).sub_(reset)
            delta = loss(mem, vectors, label).delta_h[0]
            weight.addr_(delta, trace, alpha=-self.lr)
            bias.add_(delta, alpha=-self.lr * self.bias_trace)
            spikes = (mem[0] > 1.0).to(mem.dtype)


def streams(
    engines: Sequence[str],
    steps: Sequence[int],
    *,
    hidden: tuple[int, ...],
    inputs: int = 2312,
    rounds: int,
    clock: str,
    least: int = 300,
) -> list[Row]:
    """Time streams of each length's density; at least ``least`` time steps a round."""
    rows = []
    for count in steps:
        length = max(count, least)
        batch = synthetic(length, 1, inputs, DENSITIES.get(count, 0.02), 10)
        matrices = weights((inputs, *hidden), batch)
        works: dict[str, Callable[[], None]] = {"dense": _dense(batch, matrices)}
        for recipe in cases.RECIPES:
            for engine in engines:
                works[f"{engine}/{recipe}"] = _ours(engine, recipe, batch, matrices)
            works[f"auto/{recipe}, {length} at once"] = _at_once(recipe, batch, matrices)
        samples = interleave(works, rounds, least=LEAST_SECONDS)
        events = len(batch.events.channels)
        for name, own in samples.items():
            seconds = own.seconds(clock)
            rows.append(
                {
                    "method": name,
                    "T": count,
                    "density": batch.events.density,
                    "us": 1e6 * seconds / length,
                    "events_per_second": events / seconds,
                    "over_dense": own.faster_than(samples["dense"], clock),
                }
            )
    return rows


def _dense(batch: Batch, matrices: Sequence[Tensor]) -> Callable[[], None]:
    stream = DenseStream(matrices, 10)
    frames, label = list(batch.dense), batch.label

    def run() -> None:
        for x_t in frames:
            stream.step(x_t, label)

    return run


def _learner(engine: str, recipe: str, matrices: Sequence[Tensor]) -> ForwardLearner:
    return cases.Ours(
        cases.Spec(engine, recipe, "step"), matrices, 10, 1,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=LEARNING_RATE),
    ).learner  # fmt: skip


def _ours(engine: str, recipe: str, batch: Batch, matrices: Sequence[Tensor]) -> Callable[[], None]:
    """Go step by step, as events come live."""
    learner = _learner(engine, recipe, matrices)
    steps = [EventBatch.from_dense(x_t[None]) for x_t in batch.dense]

    def run() -> None:
        for x_t in steps:
            learner.step(x_t, batch.label)
        learner.flush()

    return run


def _at_once(recipe: str, batch: Batch, matrices: Sequence[Tensor]) -> Callable[[], None]:
    """Take a recording in one call, with an update at every step all the same."""
    learner = _learner("auto", recipe, matrices)

    def run() -> None:
        learner.steps(batch.events, batch.label)
        learner.flush()

    return run
