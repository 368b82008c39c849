"""One piece of work whose peak memory is measured; run in a fresh process, result as JSON.

``python -m spikeprop.experiments.benchmarks.work '{"method": "bptt", "steps": 1000}'``
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

import torch
from torch import Tensor

from spikeprop.experiments.bptt import BPTT
from spikeprop.experiments.forward import Forward
from spikeprop.experiments.peak import peak_mib, reset_peak, rss_mib

__all__ = ["WORKS", "Task", "measure"]

WORKS = ("stream", "update")


@dataclass(frozen=True)
class Task:
    """What to do.

    Parameters
    ----------
    method : {"spikeprop", "bptt"}
        Which learner.
    work : {"stream", "update"}
        "stream": one pass over ``steps`` time steps, through ``step`` with inputs made step by step
        (spikeprop), or as one sequence (bptt: the gradient of the first layer needs all inputs, so
        they are held; they are counted). "update": ``repeats`` updates on batches of whole
        sequences, which exist before the measurement for both methods.
    steps, batch : int
        Time steps T and recordings B.
    sizes : tuple of int
        Inputs, hidden layers, classes.
    density : float
        Share of inputs that are 1.
    repeats : int
        Updates of "update".
    """

    method: str = "spikeprop"
    work: str = "stream"
    steps: int = 100
    batch: int = 64
    sizes: tuple[int, ...] = (2312, 256, 256, 10)
    density: float = 0.05
    repeats: int = 3

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", tuple(self.sizes))
        if self.method not in ("spikeprop", "bptt"):
            raise ValueError(f"method has to be 'spikeprop' or 'bptt', got {self.method!r}")
        if self.work not in WORKS:
            raise ValueError(f"work has to be one of {WORKS}, got {self.work!r}")


def measure(task: Task) -> dict[str, float]:
    """Do the work and return MiB before it, at the peak, and the difference."""
    torch.manual_seed(0)
    label = torch.randint(task.sizes[-1], (task.batch,))
    kind = Forward if task.method == "spikeprop" else BPTT
    model = kind(task.sizes, steps=1_000_000)
    if isinstance(model, Forward):
        model.learner.bind((task.sizes[0],))  # makes the optimisers, as BPTT has made its own
    ready = [] if task.work == "stream" else [_sequence(task) for _ in range(task.repeats)]
    frame = torch.empty(task.batch, task.sizes[0])
    before = rss_mib()
    reset_peak()
    for x in ready:
        model.update(x, label)
    if not ready and isinstance(model, Forward):
        for _ in range(task.steps):
            model.learner.step(_fill(frame, task.density), label)
    elif not ready:
        model.update(_sequence(task), label)
    peak = peak_mib()
    return {"before_mib": before, "peak_mib": peak, "increment_mib": peak - before}


def _fill(frame: Tensor, density: float) -> Tensor:
    """Draw spikes in place: no copy of the input adds to what is measured."""
    return frame.bernoulli_(density)


def _sequence(task: Task) -> Tensor:
    x = torch.empty(task.steps, task.batch, task.sizes[0])
    for frame in x:
        _fill(frame, task.density)
    return x


if __name__ == "__main__":
    torch.set_num_threads(1)  # each thread has buffers of its own
    print(json.dumps(measure(Task(**json.loads(sys.argv[1])))))
