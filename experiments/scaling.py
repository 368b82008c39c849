"""What to expect of many workers: ``python -m spikeprop.experiments.scaling``.

A simulation of one training step in time, for a given network, machine and link. Each worker is a
row of events on two resources that work side by side, its processor and its link:

    data parallel   for each window, for each block: compute; where an update is due, the block's
                    gradient enters the link, and the block's next window waits for it
    pipeline        stage s computes window w when it has done window w - 1 and the spikes of stage
                    s - 1 have come; sending goes on beside
    BPTT            all blocks forward over all time steps, then backward over all of them, last
                    block first; a block's gradient enters the link when its backward pass is over

A sum of G bytes over P workers takes 2 (P - 1) latencies and moves 2 (P - 1) / P G bytes each way
in a ring, or 2 log2 P messages of G bytes in a tree; the faster one counts. What the simulation
takes is measured here, on one process: seconds a batch as ``fixed + per_row * rows``, where rows
are a worker's recordings and the class signals; bytes are counted. Its test is the speed of two
and four real processes (:mod:`spikeprop.experiments.benchmarks.processes`), which nothing was
fitted to.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from tabulate import tabulate
from torch import nn

from spikeprop.datasets.files import write_text
from spikeprop.experiments.benchmarks.processes import ProcessesConfig, measure
from spikeprop.experiments.benchmarks.workload import synthetic, weights
from spikeprop.learner import ForwardLearner
from spikeprop.neurons import LIF
from spikeprop.rules import SigProp

__all__ = ["LINKS", "Link", "Model", "bptt", "data_parallel", "pipeline", "ring"]


@dataclass(frozen=True)
class Link:
    """A network between workers.

    Attributes
    ----------
    latency : float
        Of a message [s].
    bandwidth : float
        Each way, of each worker [bytes/s].
    """

    latency: float
    bandwidth: float

    def seconds(self, size: float) -> float:
        """Return what a message of so many bytes takes."""
        return self.latency + size / self.bandwidth


#: Figures as vendors state them, less a tenth for protocols.
LINKS = {
    "1 Gb/s Ethernet": Link(50e-6, 0.9 * 1e9 / 8),
    "10 Gb/s Ethernet": Link(30e-6, 0.9 * 10e9 / 8),
    "100 Gb/s InfiniBand": Link(3e-6, 0.9 * 100e9 / 8),
}


@dataclass(frozen=True)
class Model:
    """A network in numbers, of blocks that cost the same.

    Attributes
    ----------
    blocks, width, steps, batch, classes : int
        Blocks of ``width`` neurons and inputs, T, recordings a worker, class signals.
    update_every : int
        Time steps between two updates.
    fixed, per_row : float
        Seconds that a block takes for all T steps: at any size, and more for each row.
    rate : float
        Spikes a neuron and time step.
    backward : float
        Time of BPTT's backward pass over that of its forward pass.
    bptt_speed : float
        Time of a training step of one worker by BPTT over that of forward learning.
    """

    blocks: int
    width: int
    steps: int
    batch: int
    classes: int
    update_every: int
    fixed: float
    per_row: float
    rate: float = 0.07
    backward: float = 2.0
    bptt_speed: float = 1.0

    @property
    def gradient(self) -> float:
        """Bytes of a block's gradient."""
        return 4.0 * self.width * (self.width + 1)

    @property
    def windows(self) -> int:
        """Windows of a batch that an update ends."""
        return -(-self.steps // self.update_every)

    def block_seconds(self, recordings: float) -> float:
        """Return what a block takes for a batch."""
        return self.fixed + self.per_row * (recordings + self.classes)

    def alone(self, recordings: float) -> float:
        """Return what one worker takes for a batch."""
        return self.blocks * self.block_seconds(recordings)

    @property
    def message(self) -> float:
        """Bytes of spikes from one block to the next, for a batch: the smaller of both codes."""
        cells = float(self.steps * (self.batch + self.classes) * self.width)
        return cells * min(1 / 8, self.rate + 1 / 255)


def ring(link: Link, size: float, workers: int) -> float:
    """Return the seconds of a sum over workers, in a ring or a tree."""
    if workers == 1:
        return 0.0
    moved = 2 * (workers - 1) / workers * size
    in_ring = 2 * (workers - 1) * link.latency + moved / link.bandwidth
    return min(in_ring, 2 * math.ceil(math.log2(workers)) * link.seconds(size))


def data_parallel(model: Model, link: Link, workers: int, recordings: float) -> float:
    """Return the seconds of a batch, of which each worker has so many recordings."""
    busy = free = 0.0
    ready = [0.0] * model.blocks
    share = model.block_seconds(recordings) / model.windows
    for _ in range(model.windows):
        for block in range(model.blocks):
            busy = max(busy, ready[block]) + share
            free = max(free, busy) + ring(link, model.gradient, workers)
            ready[block] = free
    return max(busy, *ready)


def bptt(model: Model, link: Link, workers: int, recordings: float) -> float:
    """Return the seconds of a batch of data-parallel BPTT."""
    whole = model.alone(recordings) * model.bptt_speed
    busy = whole / (1 + model.backward)
    free = 0.0
    for _ in range(model.blocks):
        busy += whole * model.backward / (1 + model.backward) / model.blocks
        free = max(free, busy) + ring(link, model.gradient, workers)
    return max(busy, free)


def pipeline(model: Model, link: Link, stages: int, batches: int, window: int) -> float:
    """Return the seconds of some batches through a pipeline, its filling included.

    ``window`` is the number of time steps that travel in a message; blocks are spread evenly, a
    stage more here and there.
    """
    if not 1 <= stages <= model.blocks:
        raise ValueError(
            f"stages has to be 1 to {model.blocks}, the number of blocks, got {stages}"
        )
    ends = [model.blocks * (s + 1) // stages for s in range(stages)]
    held = [end - begin for begin, end in zip([0, *ends[:-1]], ends, strict=True)]
    windows = -(-model.steps // window)
    compute = [n * model.block_seconds(model.batch) / windows for n in held]
    sent = link.seconds(model.message / windows)
    done = [0.0] * stages  # when a stage has done its last window
    free = [0.0] * stages  # when its link has
    for _ in range(batches * windows):
        come = 0.0
        for stage in range(stages):
            done[stage] = max(done[stage], come) + compute[stage]
            free[stage] = max(free[stage], done[stage]) + sent
            come = free[stage]
    return done[-1]


# ---------------------------------------------------------------------- measured


@dataclass(frozen=True)
class ScalingConfig:
    """Options."""

    out: Path = Path("runs/scaling")
    """Folder of the results."""
    workers: tuple[int, ...] = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
    """Numbers of workers to expect something of."""
    check: tuple[int, ...] = (2, 4)
    """Numbers of real processes to check against; none skips it."""
    update_every: tuple[int, ...] = (100, 10)
    """Time steps between two updates."""
    rounds: int = 7
    """Rounds of the measurements."""
    big_width: int = 2048
    """Neurons of each block in the expectations."""


def calibrate(every: int, rounds: int, blocks: int = 4, width: int = 512) -> Model:
    """Measure, on one process, what a block costs at batches of 8 to 64 recordings."""
    sizes = (8, 16, 32, 64)
    learners: dict[int, Any] = {}
    for size in sizes:
        batch = synthetic(100, size, width, 0.07, 10)
        layers: list[nn.Module] = []
        for matrix in weights([width] * (blocks + 1), batch):
            linear = nn.Linear(width, width)
            with torch.no_grad():
                linear.weight.copy_(matrix)
                linear.bias.zero_()
            layers += [linear, LIF(0.95, init_hidden=True)]
        learner = ForwardLearner(
            nn.Sequential(*layers), SigProp(10), update_every=every, group=None
        )
        learners[size] = (learner, batch)
    times: dict[int, list[float]] = {size: [] for size in sizes}
    for turn in range(rounds + 1):
        for size, (learner, batch) in learners.items():
            begun = time.process_time()
            learner.update(batch.events, batch.label)
            if turn:
                times[size].append(time.process_time() - begun)
    rows = torch.tensor([[1.0, size + 10.0] for size in sizes], dtype=torch.float64)
    seconds = torch.tensor([median(times[size]) / blocks for size in sizes], dtype=torch.float64)
    fixed, per_row = torch.linalg.lstsq(rows, seconds[:, None]).solution[:, 0].tolist()
    return Model(blocks, width, 100, 64, 10, every, max(0.0, fixed), per_row)


def check(model: Model, sizes: tuple[int, ...], rounds: int) -> list[list[Any]]:
    """Set the simulation against real processes, by the processor time of their critical path."""
    free = Link(0.0, float("inf"))
    rows = []
    for size in sizes:
        config = ProcessesConfig(blocks=model.blocks, rounds=rounds, batches=20)
        alone = model.alone(64)
        expected = {
            "data": alone / data_parallel(model, free, size, 64 / size),
            "pipeline": alone * 20 / pipeline(model, free, size, 20, min(32, model.update_every)),
        }
        for row in measure(config, size, model.update_every, "propagated"):
            way = row["way"]
            if way in expected:
                rows.append([way, size, model.update_every, expected[way], row["times_path"]])
    return rows


def expectations(model: Model, workers: tuple[int, ...]) -> dict[str, list[list[Any]]]:
    """Return speed-ups by link: a batch of 64 for each worker, and one block a pipeline stage."""
    tables = {}
    for name, link in LINKS.items():
        rows = []
        for count in workers:
            alone = model.alone(model.batch)
            deep = replace(model, blocks=count)
            one = alone / model.blocks * count  # all the blocks of the pipeline, on one worker
            batches = 1000
            staged = pipeline(deep, link, count, batches, min(10, model.update_every))
            rows.append(
                [
                    count,
                    count * alone / data_parallel(model, link, count, model.batch),
                    count * alone * model.bptt_speed / bptt(model, link, count, model.batch),
                    batches * one / staged,
                ]
            )
        tables[name] = rows
    return tables


def main(config: ScalingConfig) -> None:
    """Measure, check, and print what to expect."""
    torch.set_num_threads(1)
    content: dict[str, Any] = {}
    words = []
    for every in config.update_every:
        model = calibrate(every, config.rounds)
        checked = check(model, config.check, config.rounds)
        # A wider network by its operations: gathers and neurons grow with the width, sums over
        # synapses with its square; half and half here, as measured at this width.
        factor = config.big_width / model.width
        grown = 0.5 * (factor + factor**2)
        big = replace(
            model,
            width=config.big_width,
            fixed=model.fixed * factor**2,
            per_row=model.per_row * grown,
        )
        tables = expectations(big, config.workers)
        content[str(every)] = {
            "measured": asdict(model), "check": checked, "big": asdict(big), "tables": tables,
        }  # fmt: skip
        head = ["way", "processes", "update every", "simulated", "measured"]
        words.append(tabulate(checked, head, "github", floatfmt=".2f"))
        for name, rows in tables.items():
            words.append(f"{name}, an update every {every} steps")
            head = ["workers", "forward, data parallel", "BPTT, data parallel", "pipeline"]
            words.append(tabulate(rows, head, "github", floatfmt=".1f"))
    text = "\n\n".join(words) + "\n"
    print(text)
    write_text(config.out / "scaling.json", json.dumps(content, indent=1), parents=True)
    write_text(config.out / "scaling.md", text, parents=True)


if __name__ == "__main__":
    import tyro

    main(tyro.cli(ScalingConfig, description=__doc__))
