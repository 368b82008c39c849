"""Peak memory against the length of the sequence: streaming beside BPTT, each in a fresh process.

``python -m spikeprop.experiments.benchmarks.memory``

The figure is the peak during the work over the size of the process just before its first step.
Forward learning streams through ``ForwardLearner.step`` with inputs made step by step; BPTT runs
the same number of steps as one sequence and has to hold all of it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from spikeprop.experiments.peak import measure_in_child

__all__ = ["MemoryConfig", "Row", "main", "measure_all", "spread"]


@dataclass(frozen=True)
class MemoryConfig:
    """Options of the benchmark."""

    steps: tuple[int, ...] = (100, 1000, 5000)
    """Time steps T that forward learning streams."""
    bptt_steps: tuple[int, ...] = (100, 1000)
    """Time steps T of BPTT; 1,000 take about 1.7 GiB at the default sizes."""
    batch: int = 64
    """Streams (recordings) side by side."""
    sizes: tuple[int, ...] = (2312, 256, 256, 10)
    """Inputs, hidden layers, classes."""

    def __post_init__(self) -> None:
        if not self.steps or min((*self.steps, *self.bptt_steps, self.batch)) < 1:
            raise ValueError(
                f"steps, bptt_steps and batch have to be at least 1, got {self.steps}, "
                f"{self.bptt_steps}, {self.batch}"
            )


@dataclass(frozen=True)
class Row:
    """Peak memory of ``method`` at T = ``steps``, over the process before its first step."""

    method: str
    steps: int
    increment_mib: float


def measure_all(config: MemoryConfig, say: Callable[[Row], None] = lambda row: None) -> list[Row]:
    """Measure every length in a fresh process of its own."""
    rows = []
    for method, lengths in (("spikeprop", config.steps), ("bptt", config.bptt_steps)):
        for steps in lengths:
            task: dict[str, Any] = {
                "method": method,
                "work": "stream",
                "steps": steps,
                "batch": config.batch,
                "sizes": config.sizes,
            }
            rows.append(Row(method, steps, float(measure_in_child(task)["increment_mib"])))
            say(rows[-1])
    return rows


def spread(rows: list[Row], method: str) -> float:
    """Return the largest increment of a method over its smallest, less one."""
    found = [row.increment_mib for row in rows if row.method == method]
    return max(found) / min(found) - 1.0


def main() -> int:
    """Read the command line and print the table; return the exit code."""
    import tyro

    config = tyro.cli(MemoryConfig, description=__doc__)
    print(f"batch {config.batch}, {'-'.join(map(str, config.sizes))}, float32, one thread")
    print(f"{'method':<10} {'T':>6} {'peak over start, MiB':>21}", flush=True)
    try:
        rows = measure_all(
            config,
            lambda row: print(
                f"{row.method:<10} {row.steps:>6} {row.increment_mib:>21.1f}", flush=True
            ),
        )
    except RuntimeError as error:
        print(f"memory: {error}", file=sys.stderr)
        return 2
    print(f"spikeprop, largest over smallest: {100 * spread(rows, 'spikeprop'):+.1f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
