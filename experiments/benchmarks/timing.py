"""Times measured in turn: every method once a round, medians over the rounds.

Machines drift (clock, caches, neighbours), so that times taken one after the other say little; what
counts is the ratio within a round. Two clocks run: the wall's, and the processor time of this
process, which on one thread leaves out what other processes took away.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import median

import torch

__all__ = ["CLOCKS", "Samples", "find_device", "interleave", "use_threads", "wait_for"]

CLOCKS = ("wall", "cpu")


@dataclass
class Samples:
    """Seconds of one method, one entry a round."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def seconds(self, clock: str) -> float:
        """Return the median on a clock."""
        return median(self._of(clock))

    def faster_than(self, other: Samples, clock: str) -> float:
        """Return how many times as long ``other`` took: the median of the rounds' ratios."""
        return median(b / a for a, b in zip(self._of(clock), other._of(clock), strict=True))

    def _of(self, clock: str) -> list[float]:
        if clock not in CLOCKS:
            raise ValueError(f"clock has to be one of {CLOCKS}, got {clock!r}")
        return self.wall if clock == "wall" else self.cpu


def find_device(name: str) -> torch.device:
    """Return a device that is there.

    Raises
    ------
    RuntimeError
        If it is a CUDA device, and there is none.
    """
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise RuntimeError("there is no CUDA device here; --device cpu only shows that it works")
    return device


def wait_for(device: torch.device) -> None:
    """Wait until a device has done all that was launched."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def interleave(
    works: Mapping[str, Callable[[], object]],
    rounds: int,
    warm_up: int = 1,
    repeats: int = 1,
    least: float = 0.0,
) -> dict[str, Samples]:
    """Do every piece of work in turn, and time the rounds after the warm-up.

    A turn is ``repeats`` times the same work, more often if that takes less than ``least`` seconds,
    and a sample their mean, the first included: what finds the caches full of another's data is a
    step after a stranger's, not one of a training.

    Garbage is collected between rounds and not within one: a collection would be charged to whoever
    happens to run.
    """
    samples = {name: Samples() for name in works}
    enabled = gc.isenabled()
    gc.freeze()  # what exists already need not be searched every round
    try:
        for turn in range(warm_up + rounds):
            gc.collect()
            gc.disable()
            for name, work in works.items():
                wall, cpu = time.perf_counter(), time.process_time()
                made = 0
                while made < repeats or time.perf_counter() < wall + least:
                    work()
                    made += 1
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                if turn >= warm_up:
                    samples[name].wall.append(wall / made)
                    samples[name].cpu.append(cpu / made)
    finally:
        gc.unfreeze()
        if enabled:
            gc.enable()
    return samples


def use_threads(count: int) -> None:
    """Let torch, and numba where it is installed, compute with ``count`` threads.

    Raises
    ------
    ValueError
        If numba was started with fewer threads (``NUMBA_NUM_THREADS``), or the machine has fewer.
    """
    with suppress(ImportError):
        import numba

        numba.set_num_threads(count)  # starts its threads, which gives torch all cores again
    torch.set_num_threads(count)
