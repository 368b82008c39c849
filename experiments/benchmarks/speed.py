"""Time per update beside BPTT, measured in turn on the same batches; the median of the ratios.

``python -m spikeprop.experiments.benchmarks.speed``
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch

from spikeprop.experiments.bptt import BPTT
from spikeprop.experiments.forward import Forward, ForwardConfig

__all__ = ["Speed", "SpeedConfig", "main", "measure_speed"]


@dataclass(frozen=True)
class SpeedConfig:
    """Options of the benchmark."""

    steps: int = 21
    """Time steps T of a recording."""
    batch: int = 50
    """Recordings in a batch."""
    sizes: tuple[int, ...] = (2312, 256, 256, 10)
    """Inputs, hidden layers, classes."""
    density: float = 0.05
    """Share of inputs that are 1."""
    repeats: int = 15
    """Rounds that count; each times every method once."""
    threads: int = 1
    """Threads that torch computes with."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "repeats", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} has to be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class Speed:
    """Median milliseconds of one update, and median ratio to BPTT in the same round."""

    method: str
    milliseconds: float
    ratio: float


def measure_speed(config: SpeedConfig) -> list[Speed]:
    """Time forward learning, with an update every step and every sequence, and BPTT."""
    generator = torch.Generator().manual_seed(0)
    shape = (config.steps, config.batch, config.sizes[0])
    x = torch.empty(shape).bernoulli_(config.density, generator=generator)
    label = torch.randint(config.sizes[-1], (config.batch,), generator=generator)
    rounds = config.repeats + 2
    once = ForwardConfig(update_every=config.steps)
    models: dict[str, Forward | BPTT] = {
        "every step": Forward(config.sizes, steps=rounds),
        "once a sequence": Forward(config.sizes, once, steps=rounds),
        "bptt": BPTT(config.sizes, steps=rounds),
    }
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(rounds):
        for name, model in models.items():
            taken = _seconds(lambda model=model: model.update(x, label))  # type: ignore[misc]
            if turn >= 2:  # the first rounds still set things up
                seconds[name].append(taken)
    return [
        Speed(
            name,
            1000 * median(times),
            median(a / b for a, b in zip(times, seconds["bptt"], strict=True)),
        )
        for name, times in seconds.items()
    ]


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> int:
    """Read the command line and print the table; return the exit code."""
    import tyro

    config = tyro.cli(SpeedConfig, description=__doc__)
    torch.set_num_threads(config.threads)
    print(
        f"T {config.steps}, batch {config.batch}, {'-'.join(map(str, config.sizes))}, "
        f"{config.threads} thread(s), {config.repeats} rounds"
    )
    print(f"{'update':<16} {'ms':>8} {'over bptt':>10}")
    for row in measure_speed(config):
        print(f"{row.method:<16} {row.milliseconds:>8.1f} {row.ratio:>10.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
