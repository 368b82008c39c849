"""All benchmarks: one command, one table.

``python -m spikeprop.experiments.benchmarks [--recordings FOLDER] [--parts steps memory ...]``

1. steps: time of a training step beside BPTT (snnTorch, SpikingJelly, Norse, and the sceptic's
   baseline: BPTT given our own event-driven first layer) and beside the rule written naively.
2. streams: batch of one, an update at every time step.
3. memory: peaks in fresh processes.
4. scaling: with cores, width, depth, T and density.
5. epoch: from N-MNIST files to weights, beside snnTorch with tonic's loader and cache.
6. race: training time to one point under BPTT's final accuracy, on SaccadeDigits.

Networks start from the same weights, scaled until hidden layers fire at 7 %. Results go to
``results.json`` (a part that is run again replaces its rows), ``results.md`` and PNG files. The
peers of the table come with ``pip install -c constraints.txt -e ".[bench]"``; those that are not
installed are left out and named.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from spikeprop.datasets.files import write_text
from spikeprop.engines import ENGINES
from spikeprop.experiments.benchmarks import cases, epochs, memory, race, steps, streams
from spikeprop.experiments.benchmarks.figures import save_figures
from spikeprop.experiments.benchmarks.report import markdown
from spikeprop.experiments.benchmarks.timing import CLOCKS, use_threads
from spikeprop.experiments.bptt import BPTTConfig
from spikeprop.experiments.forward import ForwardConfig
from spikeprop.experiments.recordings import load

__all__ = ["METHODS", "PARTS", "BenchConfig", "main", "run"]

PARTS = ("steps", "streams", "memory", "scaling", "epoch", "race")
METHODS = (
    "auto/plain/batch",
    "auto/plain/30",
    "auto/plain/step",
    "auto/default/batch",
    "auto/default/30",
    "auto/default/step",
    "reference/plain/batch",
    "naive/plain/batch",
    "naive/plain/step",
    "snntorch",
    "snntorch_stepwise",
    "spikingjelly",
    "norse",
    "sceptic",
)
VERSION = 1

Row = dict[str, Any]


@dataclass(frozen=True)
class BenchConfig:
    """Options of the benchmarks."""

    out: Path = Path("runs/benchmarks")
    """Folder of the results; added to if it holds some."""
    parts: tuple[str, ...] = PARTS
    """Which parts to run."""
    methods: tuple[str, ...] = METHODS
    """Which methods to time: engine/recipe/updates, or a peer."""
    recordings: Path | None = None
    """Folder with N-MNIST files (Train/<digit>/*.bin); without it, synthetic events alone."""
    steps: tuple[int, ...] = (30, 100, 300, 1000)
    """Time steps T."""
    batches: tuple[int, ...] = (64, 1)
    """Recordings in a batch."""
    hidden: tuple[int, ...] = (512, 512)
    """Neurons of each hidden layer."""
    rounds: int = 7
    """Rounds that count; each times every method once."""
    clock: str = "wall"
    """wall, or cpu: processor time of the process, for one thread on a machine that is shared."""
    cores: tuple[int, ...] = (1, 2)
    """Numbers of threads to compare in the scaling."""
    race_lengths: tuple[int, ...] = (3, 6, 12, 24)
    """Numbers of epochs of the race's runs."""
    seeds: int = 3
    """Seeds of the race."""
    quick: bool = False
    """A tiny run that only shows that everything works: its figures mean nothing."""

    def __post_init__(self) -> None:
        if unknown := [part for part in self.parts if part not in PARTS]:
            raise ValueError(f"parts has to be some of {PARTS}, got {unknown}")
        if self.clock not in CLOCKS:
            raise ValueError(f"clock has to be one of {CLOCKS}, got {self.clock!r}")
        numbers = (*self.steps, *self.batches, *self.hidden, *self.cores, *self.race_lengths)
        if min((*numbers, self.rounds, self.seeds), default=0) < 1:
            raise ValueError(f"sizes and counts have to be at least 1, got {self}")


def quick(config: BenchConfig) -> BenchConfig:
    """Return the same at the smallest size that still goes through every part."""
    return replace(
        config, steps=(4,), batches=(4, 1), hidden=(16, 16), rounds=1, cores=(1,),
        race_lengths=(1,), seeds=1,
    )  # fmt: skip


def run(config: BenchConfig, say: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
    """Run the parts and write their results after each step; return all results.

    Raises
    ------
    ValueError
        If an option is out of range or ``results.json`` is not of this program.
    FileNotFoundError
        If there are no recordings where they should be.
    """
    config = quick(config) if config.quick else config
    path = config.out / "results.json"
    results = read(path)
    results["machine"] = machine(config)
    use_threads(1)
    left_out = [name for name in config.methods if not cases.available(name)]
    if left_out:
        say(f"not installed, left out: {', '.join(left_out)} (pip install -e '.[bench]')")
    config = replace(config, methods=tuple(m for m in config.methods if m not in left_out))
    for part in config.parts:
        results["parts"][part] = []
        for rows in _PARTS[part](config):
            results["parts"][part] += rows
            write_text(path, json.dumps(results, indent=1), parents=True)
            say(f"{part}: {_line(rows)}")
    write_text(config.out / "results.md", markdown(results))
    for figure in save_figures(results, config.out):
        say(str(figure))
    return results


def read(path: Path) -> dict[str, Any]:
    """Return the results that ``path`` holds; empty ones if it does not exist."""
    if not path.exists():
        return {"version": VERSION, "machine": {}, "parts": {}}
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        version = results["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not a results file of the benchmarks ({error}); choose another --out"
        ) from error
    if version != VERSION:
        raise ValueError(f"{path} has version {version!r}, this program reads {VERSION}")
    return dict(results)


def machine(config: BenchConfig) -> Row:
    """Say what was measured on, and with what."""
    from importlib.metadata import PackageNotFoundError, version

    found: Row = {"processor": _processor(), "cores": os.cpu_count(), "clock": config.clock}
    found["Python"] = platform.python_version()
    for name in ("torch", "numba", "snntorch", "spikingjelly", "norse", "tonic"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _line(rows: list[Row]) -> str:
    """Say a few rows in one line for the log."""
    first = rows[0]
    shown = [f"{k}={first[k]}" for k in ("varied", "T", "B", "input", "work", "seed") if k in first]
    for row in rows:
        for name in ("ms", "us", "mib", "seconds"):
            if name in row:
                value = "-" if row[name] is None else f"{row[name]:.4g}"
                threads = f" x{row['threads']}" if row.get("threads", 1) != 1 else ""
                shown.append(f"{row['method']}{threads} {value} {name}")
        if "epoch_seconds" in row and "loading_seconds" in row:
            shown.append(f"{row['method']} {row['epoch_seconds']} s")
    return ", ".join(shown)


def _steps(config: BenchConfig) -> Iterator[list[Row]]:
    for rows in steps.table(
        config.steps, config.batches, config.recordings, config.methods, config.hidden,
        rounds=config.rounds, clock=config.clock,
    ):  # fmt: skip
        yield [{**row, "source": row["input"].partition(",")[0]} for row in rows]


def _streams(config: BenchConfig) -> Iterator[list[Row]]:
    engines = ["auto", "reference"] if len(ENGINES) > 2 else ["reference"]
    for count in config.steps:
        yield streams.streams(
            engines, (count,), hidden=config.hidden, rounds=config.rounds, clock=config.clock,
            least=3 if config.quick else 300,
        )  # fmt: skip


def _memory(config: BenchConfig) -> Iterator[list[Row]]:
    sizes = (2312, *config.hidden, 10)
    methods = [m for m in config.methods if not m.endswith("/30") and not m.startswith("naive")]
    if config.quick:
        sizes, methods = (64, *config.hidden, 10), [methods[0]]
    for row in memory.training(methods, config.steps, config.batches[0], sizes):
        yield [row]
    lengths = (3,) if config.quick else (100, 1000, 5000)
    for row in memory.stream(lengths, lengths[:2], config.batches[0], sizes):
        yield [row]


def _scaling(config: BenchConfig) -> Iterator[list[Row]]:
    chosen = ("auto/plain/batch", "auto/default/batch", "auto/default/step", "snntorch", "sceptic")
    methods = [name for name in config.methods if name in chosen]
    yield from steps.scaling(
        methods, rounds=max(1, config.rounds // 2), clock=config.clock, cores=config.cores,
        quick=config.quick,
    )  # fmt: skip


def _epoch(config: BenchConfig) -> Iterator[list[Row]]:
    if config.recordings is None:
        return
    ours = [name for name in config.methods if name in ("auto/plain/batch", "auto/default/batch")]
    yield epochs.epochs(
        config.recordings, [*ours, "snntorch+disk", "snntorch+memory"],
        steps=6 if config.quick else 100, batch=64, hidden=config.hidden,
        count=2 if config.quick else 3,
    )  # fmt: skip


def _race(config: BenchConfig) -> Iterator[list[Row]]:
    recordings = load("saccade-digits")
    if config.quick:
        recordings = recordings.first(train=6, test=3)
    yield race.race(
        recordings,
        {
            "every step": ForwardConfig(lr=4e-4),
            "every 5 steps": ForwardConfig(lr=1e-3, update_every=5),
            "once a sequence": ForwardConfig(lr=2e-3, update_every=1_000_000),
            "bptt": BPTTConfig(lr=2e-3),
        },
        hidden=config.hidden,
        lengths=config.race_lengths,
        seeds=config.seeds,
    )


_PARTS: dict[str, Callable[[BenchConfig], Iterator[list[Row]]]] = {
    "steps": _steps,
    "streams": _streams,
    "memory": _memory,
    "scaling": _scaling,
    "epoch": _epoch,
    "race": _race,
}


def main() -> int:
    """Read the command line, run, and print the tables; return the exit code."""
    import tyro

    try:
        config = tyro.cli(BenchConfig, description=__doc__)
        results = run(config, say=lambda line: print(line, file=sys.stderr, flush=True))
    except (ValueError, FileNotFoundError, RuntimeError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    print(markdown(results))
    return 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
