"""Time of a training step: the main table, and how it grows with what the network is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spikeprop.experiments.benchmarks import cases
from spikeprop.experiments.benchmarks.timing import Samples, interleave, use_threads
from spikeprop.experiments.benchmarks.workload import (
    DENSITIES,
    Batch,
    firing_rates,
    recorded,
    synthetic,
    weights,
)

__all__ = ["AGAINST", "Setting", "measure_setting", "scaling", "table"]

Row = dict[str, Any]

#: Time steps that a method makes in a row, at least, before it is another's turn.
TURN = 300

#: What everything is set against.
AGAINST = ("snntorch", "snntorch_stepwise", "spikingjelly", "norse", "sceptic", "naive/plain/batch")


@dataclass(frozen=True)
class Setting:
    """One column of the table: a batch and a network.

    Parameters
    ----------
    steps, batch : int
        Time steps T and recordings B.
    density : float, optional
        Of synthetic input; None takes that of
        :data:`~spikeprop.experiments.benchmarks.workload.DENSITIES`, or N-MNIST files.
    recordings : Path, optional
        Folder of N-MNIST files to draw the batch from.
    inputs, classes : int
        Input lines and classes.
    hidden : tuple of int
        Neurons of each hidden layer.
    """

    steps: int
    batch: int
    density: float | None = None
    recordings: Path | None = None
    inputs: int = 2312
    hidden: tuple[int, ...] = (512, 512)
    classes: int = 10

    def draw(self) -> Batch:
        """Make the batch."""
        if self.recordings is not None:
            return recorded(self.recordings, self.steps, self.batch)
        density = self.density if self.density is not None else DENSITIES.get(self.steps, 0.02)
        return synthetic(self.steps, self.batch, self.inputs, density, self.classes)


def measure_setting(
    setting: Setting, methods: Sequence[str], *, rounds: int, threads: Sequence[int], clock: str
) -> list[Row]:
    """Time one training step of every method in turn; one row a method and number of threads."""
    batch = setting.draw()
    matrices = weights((batch.dense.shape[2], *setting.hidden), batch)
    # Every number of threads learns on its own copy, so that none finds the others' warm state.
    learners = {
        (name, count): cases.make(name, matrices, setting.classes, setting.steps)
        for name in methods
        for count in threads
    }

    def work(name: str, count: int) -> Callable[[], None]:
        def run() -> None:
            use_threads(count)
            learners[name, count].update(batch)

        return run

    works = {f"{name} x{count}": work(name, count) for name, count in learners}
    warm_up, repeats = 2 if setting.steps < 1000 else 1, max(1, TURN // setting.steps)
    samples = interleave(works, rounds, warm_up, repeats)
    use_threads(threads[0])
    common = {
        "T": setting.steps,
        "B": setting.batch,
        "input": batch.source,
        "density": batch.events.density,
        "events": len(batch.events.channels),
        "hidden": list(setting.hidden),
        "firing": firing_rates(batch, matrices),
    }
    rows = []
    for name, count in learners:
        own = samples[f"{name} x{count}"]
        row = {
            **common,
            "method": name,
            "threads": count,
            "ms": 1000 * own.seconds(clock),
            "wall_ms": 1000 * own.seconds("wall"),
            "cpu_ms": 1000 * own.seconds("cpu"),
            "against": _ratios(own, samples, count, clock),
        }
        if len(threads) > 1:
            row["over_one_thread"] = own.faster_than(samples[f"{name} x{threads[0]}"], "wall")
        rows.append(row)
    return rows


def _ratios(own: Samples, samples: dict[str, Samples], count: int, clock: str) -> dict[str, float]:
    found = {}
    for other in AGAINST:
        name = f"{other} x{count}"
        if name in samples:
            found[other] = own.faster_than(samples[name], clock)
    return found


def table(
    steps: Sequence[int],
    batches: Sequence[int],
    recordings: Path | None,
    methods: Sequence[str],
    hidden: tuple[int, ...],
    *,
    rounds: int,
    clock: str,
) -> Iterator[list[Row]]:
    """Yield the rows of each setting of the main table: one thread."""
    for batch in batches:
        for count in steps:
            sources = [None] if recordings is None else [None, recordings]
            for source in sources:
                setting = Setting(count, batch, recordings=source, hidden=hidden)
                # Long sequences take long, and their medians are steadier.
                turns = max(2, rounds // 2) if count >= 1000 and batch > 1 else rounds
                yield measure_setting(setting, methods, rounds=turns, threads=(1,), clock=clock)


def scaling(
    methods: Sequence[str],
    *,
    rounds: int,
    clock: str,
    cores: Sequence[int],
    quick: bool,
) -> Iterator[list[Row]]:
    """Yield rows with one thing varied at a time around T = 100, B = 64, 2 %, 512-512."""
    T, B, width = (6, 4, 16) if quick else (100, 64, 512)
    base = {"steps": T, "batch": B, "density": 0.02, "hidden": (width, width)}
    inputs = {"inputs": 64} if quick else {}
    varied: dict[str, list[dict[str, Any]]] = {
        "cores": [{}],
        "width": [{"hidden": (n, n)} for n in (width // 2, width, 2 * width, 4 * width)],
        "depth": [{"hidden": (width,) * n} for n in (1, 2, 3, 4)],
        "T": [{"steps": n * T // 4} for n in (1, 2, 4, 8)],
        "density": [{"density": d} for d in (0.0025, 0.01, 0.02, 0.05, 0.1, 0.2)],
    }
    for what, changes in varied.items():
        for change in changes:
            setting = Setting(**{**base, **inputs, **change})
            threads = tuple(cores) if what == "cores" else (1,)
            on = "wall" if what == "cores" else clock  # processor time adds up over the cores
            rows = measure_setting(setting, methods, rounds=rounds, threads=threads, clock=on)
            yield [{"varied": what, **row} for row in rows]
