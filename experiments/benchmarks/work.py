"""One piece of work whose peak memory is measured; run in a fresh process, result as JSON.

``python -m spikeprop.experiments.benchmarks.work '{"method": "bptt", "steps": 1000}'``
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from spikeprop.experiments.benchmarks import cases
from spikeprop.experiments.benchmarks.bptt_peers import PEERS
from spikeprop.experiments.benchmarks.workload import DENSITIES, Batch, synthetic, weights
from spikeprop.experiments.bptt import BPTT, BPTTConfig
from spikeprop.experiments.forward import Forward, ForwardConfig
from spikeprop.memory import peak_mib, reset_peak, rss_mib

__all__ = ["WORKS", "Task", "measure"]

WORKS = ("stream", "update")


@dataclass(frozen=True)
class Task:
    """What to do.

    Parameters
    ----------
    method : str
        "spikeprop" or "bptt" as they are compared on data sets, without delays, or a case of the
        benchmarks
        (:mod:`~spikeprop.experiments.benchmarks.cases`).
    work : {"stream", "update"}
        "stream": one pass over ``steps`` time steps, through ``step`` with inputs made step by step
        (spikeprop), or as one sequence (bptt: the gradient of the first layer needs all inputs, so
        they are held; they are counted). "update": ``repeats`` updates on batches of whole
        sequences, which exist before the measurement for both methods. A case of the benchmarks
        knows "update" alone, on synthetic events.
    steps, batch : int
        Time steps T and recordings B.
    sizes : tuple of int
        Inputs, hidden layers, classes.
    density : float, optional
        Share of inputs that are 1; None for that of the benchmarks at ``steps``.
    repeats : int
        Updates of "update".
    """

    method: str = "spikeprop"
    work: str = "stream"
    steps: int = 100
    batch: int = 64
    sizes: tuple[int, ...] = (2312, 256, 256, 10)
    density: float | None = 0.05
    repeats: int = 3

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", tuple(self.sizes))
        if self.work not in WORKS:
            raise ValueError(f"work has to be one of {WORKS}, got {self.work!r}")
        if self.method in ("spikeprop", "bptt"):
            return
        if cases.parse(self.method) is None and self.method not in PEERS:
            raise ValueError(
                f"method has to be 'spikeprop', 'bptt', engine/recipe/updates or one of "
                f"{tuple(PEERS)}, got {self.method!r}"
            )
        if self.work != "update":
            raise ValueError(f"{self.method!r} is measured by work='update', got {self.work!r}")

    @property
    def share(self) -> float:
        """Density of the input."""
        return DENSITIES.get(self.steps, 0.02) if self.density is None else self.density


def measure(task: Task) -> dict[str, float]:
    """Do the work and return MiB before it, at the peak, and the difference.

    ``input_mib`` is the size of the batch as the method takes it, which is in none of these. What
    every process loads once (optimiser code, compiled kernels, up to 90 MiB) says nothing about
    learning, on either side, and how much of it comes at once depends on the system: tiny networks
    of the same kind have loaded it before.
    """
    torch.manual_seed(0)
    if task.method not in ("spikeprop", "bptt"):
        return _measure_case(task)
    _measure(replace(task, steps=2, batch=2, sizes=(64, *(16 for _ in task.sizes[1:]))))
    return _measure(task)


def _measure(task: Task) -> dict[str, float]:
    label = torch.randint(task.sizes[-1], (task.batch,))
    # Without delays: for backpropagation they are one copy more of every layer's input.
    model: Forward | BPTT
    if task.method == "spikeprop":
        model = Forward(task.sizes, ForwardConfig(lags=()), steps=1_000_000)
        model.learner.bind((task.sizes[0],))  # makes the optimisers, as BPTT has made its own
    else:
        model = BPTT(task.sizes, BPTTConfig(lags=()), steps=1_000_000)
    ready = [] if task.work == "stream" else [_sequence(task) for _ in range(task.repeats)]
    frame = torch.empty(task.batch, task.sizes[0])
    before = rss_mib()
    reset_peak()
    for x in ready:
        model.update(x, label)
    if not ready and isinstance(model, Forward):
        for _ in range(task.steps):
            model.learner.step(_fill(frame, task.share), label)
    elif not ready:
        model.update(_sequence(task), label)
    peak = peak_mib()
    size = sum(x.nbytes for x in ready) / 2**20
    return {
        "before_mib": before, "peak_mib": peak, "increment_mib": peak - before, "input_mib": size,
    }  # fmt: skip


def _measure_case(task: Task) -> dict[str, float]:
    """Measure a case of the benchmarks."""
    *hidden, classes = task.sizes[1:]
    sizes = (task.sizes[0], *hidden)
    tiny = synthetic(2, 2, 64, 0.2, 2)
    first = cases.make(task.method, weights((64, *(16 for _ in hidden)), tiny), 2, 2)
    for _ in range(2):
        first.update(tiny)
    batch = synthetic(task.steps, task.batch, task.sizes[0], task.share, classes)
    # The gain of the weights is found on few recordings: finding it must not shape the heap.
    head = synthetic(min(task.steps, 50), 4, task.sizes[0], task.share, classes)
    learner = cases.make(task.method, weights(sizes, head), classes, task.steps)
    size = _nbytes(batch) if learner.takes_events else batch.dense.nbytes
    before = rss_mib()
    reset_peak()
    for _ in range(task.repeats):
        learner.update(batch)
    peak = peak_mib()
    return {
        "before_mib": before, "peak_mib": peak, "increment_mib": peak - before,
        "input_mib": size / 2**20,
    }  # fmt: skip


def _nbytes(batch: Batch) -> int:
    return batch.events.offsets.nbytes + batch.events.channels.nbytes


def _fill(frame: Tensor, density: float) -> Tensor:
    """Draw spikes in place: no copy of the input adds to what is measured."""
    return frame.bernoulli_(density)


def _sequence(task: Task) -> Tensor:
    x = torch.empty(task.steps, task.batch, task.sizes[0])
    for frame in x:
        _fill(frame, task.share)
    return x


if __name__ == "__main__":
    torch.set_num_threads(1)  # each thread has buffers of its own
    print(json.dumps(measure(Task(**json.loads(sys.argv[1])))))
