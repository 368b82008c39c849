"""What more processes give: ``python -m spikeprop.experiments.benchmarks.processes``.

One process alone, a batch split among the processes, and blocks in a pipeline learn the same
batches in turn, round after round; the figures are medians over rounds. Each has one thread.

Two clocks run. The wall's says what a user waits, on a machine that has a core for each process and
nothing else to do. The *critical path* is the processor time of the process that needed most of it,
messages included: what the wall would say if no process ever waited. It leaves out waiting for each
other, which is small where the stages or shares cost the same, but not that other work on a machine
takes caches and interrupts. So a round counts only if other programs took little of the machine
meanwhile (``others``); it is made again otherwise, up to ``tries`` times the rounds wanted.
What is left of disturbance stands beside the figures.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from spikeprop.datasets.files import write_text
from spikeprop.experiments.benchmarks.workload import synthetic, weights
from spikeprop.learner import ForwardLearner
from spikeprop.neurons import LIF
from spikeprop.parallel import Ranks, join, leave, split
from spikeprop.parallel.pipeline import Pipeline
from spikeprop.rules import SigProp

__all__ = ["ProcessesConfig", "main", "measure"]


@dataclass(frozen=True)
class ProcessesConfig:
    """Options."""

    out: Path = Path("runs/benchmarks/processes.json")
    """File of the results; those of other settings in it are kept."""
    sizes: tuple[int, ...] = (2,)
    """Numbers of processes."""
    update_every: tuple[int, ...] = (100, 10, 1)
    """Time steps between two updates; T is once a batch."""
    signals: tuple[str, ...] = ("propagated", "projection")
    """Class signals: rows that travel beside the recordings, or fixed vectors a layer."""
    steps: int = 100
    """Time steps T."""
    batch: int = 64
    """Recordings a batch."""
    width: int = 512
    """Neurons of each block, and input lines: the blocks cost the same."""
    blocks: int = 2
    """Blocks; at least as many as processes, for a pipeline."""
    density: float = 0.07
    """Of the input: the rate at which the hidden layers fire."""
    classes: int = 10
    """Classes."""
    batches: int = 24
    """Batches a round: a pipeline fills and empties once in them."""
    rounds: int = 7
    """Rounds that count."""
    others: float = 0.1
    """Cores that other programs may have used in such a round, on average."""
    tries: int = 4
    """Rounds made for each that is wanted, at most; then the least disturbed ones count."""


def measure(config: ProcessesConfig, size: int, every: int, signal: str) -> list[dict[str, Any]]:
    """Start ``size`` processes, and return a row a way of sharing the work."""
    context = multiprocessing.get_context("spawn")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    results = context.Queue()
    workers = [
        context.Process(target=_work, args=(config, size, every, signal, rank, port, results))
        for rank in range(size)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise RuntimeError(f"a process failed: {[worker.exitcode for worker in workers]}")
    found: list[dict[str, Any]] = results.get()
    return found


def _work(
    config: ProcessesConfig, size: int, every: int, signal: str, rank: int, port: int, results: Any
) -> None:
    os.environ.update(
        RANK=str(rank), WORLD_SIZE=str(size), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    torch.set_num_threads(1)
    join()
    ranks = Ranks.present()
    assert ranks is not None, "joined"
    works = _works(config, every, signal, ranks)
    rounds: list[_Round] = []
    for turn in range(1 + config.rounds * config.tries):
        found = _Round({}, {}, 0.0)
        for name, work in works.items():
            ranks.counts(0)  # all begin together
            busy, wall, cpu = _busy(), time.perf_counter(), time.process_time()
            work()
            cpu = time.process_time() - cpu
            nanoseconds = ranks.counts(int(1e9 * cpu))
            found.wall[name] = wall = time.perf_counter() - wall
            found.cpu[name] = [n / 1e9 for n in nanoseconds]
            others = (_busy() - busy - sum(found.cpu[name])) / wall
            found.others = max(found.others, others)
        if turn:
            rounds.append(found)
        quiet = sum(item.others <= config.others for item in rounds)
        if ranks.counts(quiet)[0] >= config.rounds:
            break
    if ranks.first:
        samples = config.batches * config.batch
        rounds = sorted(rounds, key=lambda item: item.others)[: config.rounds]
        results.put([_row(name, size, every, signal, samples, rounds) for name in works])
    leave()


@dataclass
class _Round:
    """Seconds of a round by way: the wall's, and of the processor by process; others' cores."""

    wall: dict[str, float]
    cpu: dict[str, list[float]]
    others: float


def _busy() -> float:
    """Return the seconds that all cores have been busy so far; 0 where the system does not say."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return 0.0
    user, nice, system, _, _, irq, softirq, *_ = map(int, fields)
    return (user + nice + system + irq + softirq) / float(os.sysconf("SC_CLK_TCK"))


def _row(
    name: str, size: int, every: int, signal: str, samples: int, rounds: list[_Round]
) -> dict[str, Any]:
    """Return medians over the rounds, and over their ratios with one process alone."""
    path = {key: [max(item.cpu[key]) for item in rounds] for key in ("alone", name)}
    wall = {key: [item.wall[key] for item in rounds] for key in ("alone", name)}

    def times(of: dict[str, list[float]]) -> float:
        return median(a / b for a, b in zip(of["alone"], of[name], strict=True))

    return {
        "way": name,
        "processes": 1 if name == "alone" else size,
        "update_every": every,
        "signal": signal,
        "samples_per_s_wall": samples / median(wall[name]),
        "samples_per_s_path": samples / median(path[name]),
        "times_wall": times(wall),
        "times_path": times(path),
        "cpu_s": [median(cpu) for cpu in zip(*(r.cpu[name] for r in rounds), strict=True)],
        "rounds": len(rounds),
        "others": max(item.others for item in rounds),
    }


def _works(
    config: ProcessesConfig, every: int, signal: str, ranks: Ranks
) -> dict[str, Callable[[], None]]:
    batch = synthetic(config.steps, config.batch, config.width, config.density, config.classes)
    matrices = weights([config.width] * (config.blocks + 1), batch)

    def learner(group: str | None) -> ForwardLearner:
        layers: list[nn.Module] = []
        for matrix in matrices:
            linear = nn.Linear(matrix.shape[1], matrix.shape[0])
            with torch.no_grad():
                linear.weight.copy_(matrix)
                linear.bias.zero_()
            layers += [linear, LIF(0.95, init_hidden=True)]
        rule = SigProp(config.classes, signal=signal)
        made = ForwardLearner(nn.Sequential(*layers), rule, update_every=every, group=group)
        made.bind((config.width,))
        return made

    one, shared = learner(None), learner("auto")
    part, label = split(batch.events, batch.label, ranks)
    pairs = [(batch.events, batch.label)] * config.batches

    def alone() -> None:
        if ranks.first:
            for x, y in pairs:
                one.update(x, y)

    def split_batches() -> None:
        for _ in range(config.batches):
            shared.update(part, label)

    works = {"alone": alone, "data": split_batches}
    if config.blocks >= ranks.size:
        pipeline = Pipeline(learner(None), ranks)

        def staged() -> None:
            pipeline.learn(pairs if pipeline.first else None)

        works["pipeline"] = staged
    return works


def bytes_on_the_wire(density: float, steps: int = 10, rows: int = 74, width: int = 512) -> float:
    """Return the bytes of a window's message as a share of those of dense float32."""
    from spikeprop.parallel.wire import encode

    generator = torch.Generator().manual_seed(0)
    x: Tensor = (torch.rand(steps, rows, width, generator=generator) < density).float()
    return float(encode(x, rows, width)[1].nbytes / (4 * x.numel()))


def main(config: ProcessesConfig) -> None:
    """Measure, print and write."""
    rows: list[dict[str, Any]] = []
    for size in config.sizes:
        for signal in config.signals:
            for every in config.update_every:
                rows += measure(config, size, every, signal)
                for row in rows[-3:]:
                    if row["way"] != "alone":
                        print(
                            f"{row['way']:<9} {size} processes, update every {every}, {signal}: "
                            f"{row['times_path']:.2f} x by critical path, "
                            f"{row['times_wall']:.2f} x by the wall "
                            f"({row['rounds']} rounds, others {row['others']:.2f} cores)",
                            flush=True,
                        )
    wire = {str(d): bytes_on_the_wire(d) for d in (0.005, 0.02, 0.07, 0.1, 0.2)}
    print("bytes on the wire / dense float32:", {d: f"1/{1 / s:.0f}" for d, s in wire.items()})
    content = {"config": {**asdict(config), "out": str(config.out)}, "rows": rows, "wire": wire}
    write_text(config.out, json.dumps(content, indent=1), parents=True)
    print(config.out)


if __name__ == "__main__":
    import tyro

    main(tyro.cli(ProcessesConfig, description=__doc__))
