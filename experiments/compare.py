"""Forward learning beside BPTT: equal search, same splits, same batches, one table.

    python -m spikeprop.experiments.compare
    python -m spikeprop.experiments.compare --dataset nmnist --data-dir ... --folds 5 --epochs 20

1. Tuning: on the first run's training part alone, with a validation part held out, both methods get
   the same number of trials (:mod:`spikeprop.experiments.search`).
2. Runs: each seed (or fold) trains both on the same batches in turn, on all of its training part,
   for the same number of epochs, and is tested once, after the last.
3. Baselines: a linear classifier on time-summed frames, and a random frozen spiking network.
4. Memory: peak of each method in a fresh process.

Whatever is finished is kept in ``results.json`` and is not run again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from spikeprop.datasets import Binning
from spikeprop.experiments.forward import Forward, ForwardConfig
from spikeprop.experiments.frozen import frozen_network
from spikeprop.experiments.linear import linear, summed_frames
from spikeprop.experiments.peak import measure_in_child
from spikeprop.experiments.recordings import (
    Recordings,
    Split,
    load,
    loader,
    splits,
    tuning_split,
)
from spikeprop.experiments.report import Report, print_report
from spikeprop.experiments.search import METHODS, TRIALS, Config, best, build, trials
from spikeprop.experiments.store import Store
from spikeprop.experiments.training import time_ratio, train_together

__all__ = ["CompareConfig", "compare", "main"]


@dataclass(frozen=True)
class CompareConfig:
    """Options of the comparison."""

    dataset: Literal["saccade-digits", "nmnist"] = "saccade-digits"
    """Data set."""
    data_dir: Path | None = None
    """Its data folder; the default cache if not given."""
    out: Path = Path("runs/compare")
    """Folder of results.json and results.csv; what is finished there is not run again."""
    hidden: tuple[int, ...] = (256, 256)
    """Neurons in each hidden layer."""
    epochs: int = 24
    """Passes over the training part, the same for both methods."""
    batch_size: int = 50
    """Recordings in a batch."""
    time_window: int = 15_000
    """Duration of a time step, in microseconds."""
    lags: tuple[int, ...] = (0, 3)
    """Delays of a layer's inputs to draw from, the same for both methods, in time steps."""
    shift: int = 1
    """Random shift of training recordings by up to this many pixels, for both methods."""
    seeds: int = 5
    """Number of seeds on the data set's own split; not used with folds."""
    folds: int = 0
    """Cross-validate on the pooled set with this many folds; 0 for the data set's own split."""
    trials: int = TRIALS
    """Search budget of either method; 1 takes the defaults."""
    validation: float = 0.2
    """Share of the first run's training part that judges the trials."""
    baselines: bool = True
    """Also run the linear and the frozen baseline."""
    memory: bool = True
    """Also measure peak memory, in fresh processes."""
    threads: int = 1
    """Threads that torch computes with."""
    quick: bool = False
    """A tiny run that only shows that everything works: its figures mean nothing."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "seeds", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} has to be at least 1, got {getattr(self, name)}")
        if self.folds == 1 or self.folds < 0:
            raise ValueError(f"folds has to be 0, or at least 2, got {self.folds}")
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"hidden has to name layers of at least 1 neuron, got {self.hidden}")
        trials("bptt", self.trials)


def quick(config: CompareConfig) -> CompareConfig:
    """Return the same at the smallest size that still goes through every stage."""
    return replace(
        config, hidden=(16, 16), epochs=1, seeds=2, folds=min(config.folds, 2), trials=2,
        time_window=63_000, batch_size=20,
    )  # fmt: skip


class Comparison:
    """One comparison on its way; the stages are its methods."""

    def __init__(self, config: CompareConfig, say: Callable[[str], None]) -> None:
        self.config = quick(config) if config.quick else config
        self.say = say
        self.recordings: Recordings = load(config.dataset, config.data_dir)
        if config.quick:
            self.recordings = self.recordings.first(train=6, test=3)
        self.binning = Binning(time_window=self.config.time_window)
        self.fingerprint = self.recordings.fingerprint()
        self.store = Store(config.out)
        self.runs = splits(self.recordings, self.config.folds, self.config.seeds)
        self.tuning = tuning_split(self.recordings, self.runs[0], self.config.validation)
        self.sizes = (
            self.recordings.inputs,
            *self.config.hidden,
            len(self.recordings.classes),
        )

    def tune(self) -> dict[str, Config]:
        """Return the best configuration of either method by validation accuracy."""
        lists = {
            method: [replace(t, lags=self.config.lags) for t in trials(method, self.config.trials)]
            for method in METHODS
        }
        scores: dict[str, list[float]] = {method: [] for method in METHODS}
        for i in range(self.config.trials):
            configs = {method: lists[method][i] for method in METHODS}
            for method, cell in self._train(self.tuning, configs, seed=0).items():
                scores[method].append(cell["accuracy"])
                self.say(
                    f"trial {i + 1}, {method}: {_percent(cell)} in validation, "
                    f"{asdict(configs[method])}"
                )
        return {method: best(lists[method], scores[method]) for method in METHODS}

    def run(self, chosen: dict[str, Config]) -> dict[str, list[dict[str, Any]]]:
        """Train the chosen configurations on every split; return the cells by method."""
        cells: dict[str, list[dict[str, Any]]] = {}
        configs = dict(chosen)
        forward = chosen["spikeprop"]
        if self.config.baselines and isinstance(forward, ForwardConfig):
            configs["frozen, same rule"] = replace(forward, freeze="hidden")
        for index, split in enumerate(self.runs):
            for method, cell in self._train(split, configs, seed=index).items():
                cells.setdefault(method, []).append(cell)
                self.say(f"{split.name}, {method}: {_percent(cell)}")
        return cells

    def baselines(self) -> dict[str, list[dict[str, Any]]]:
        """Run what needs no training of a spiking network on every split."""
        cells: dict[str, list[dict[str, Any]]] = {}
        frames = None
        for index, split in enumerate(self.runs):
            tuning = tuning_split(self.recordings, split, self.config.validation)
            # The linear classifier has no seed: on one split it gives one figure.
            methods = ["linear"] if self.config.folds or index == 0 else []
            for method in [*methods, "frozen, regression"]:
                key = self._key(split, method, None, index)
                if self.store.get(key) is None:
                    result: Any
                    if method == "linear":
                        if frames is None:
                            frames = summed_frames(self.recordings, self.binning)
                        result = linear(frames, self.recordings.targets, split, tuning)
                    else:
                        result = frozen_network(
                            self.recordings, self.binning, split, tuning, self.config.hidden,
                            config=ForwardConfig(lags=self.config.lags),
                            seed=index,
                        )  # fmt: skip
                    cell = {"split": split.name, "method": method, "accuracy": result.test}
                    self.store.put({key: {**cell, "details": result._asdict()}})
                cells.setdefault(method, []).append(self.store.cells[key])
                self.say(f"{split.name}, {method}: {_percent(self.store.cells[key])}")
        return cells

    def memory(self) -> dict[str, float]:
        """Return MiB that training adds to either process at its peak."""
        found = {}
        for method in METHODS:
            task = {
                "method": method, "work": "update", "batch": self.config.batch_size,
                "steps": self.binning.steps(self.recordings.duration), "sizes": self.sizes,
            }  # fmt: skip
            key = self.store.key(f"memory {method}", task)
            if self.store.get(key) is None:
                self.store.put({key: {"method": method, **measure_in_child(task)}})
            found[method] = float(self.store.cells[key]["increment_mib"])
        return found

    def _train(
        self, split: Split, configs: dict[str, Config], seed: int
    ) -> dict[str, dict[str, Any]]:
        """Train and test what is missing, and return the cells of all."""
        keys = {name: self._key(split, name, config, seed) for name, config in configs.items()}
        missing = [name for name in configs if self.store.get(keys[name]) is None]
        if missing:
            options = self.config
            batches = loader(
                self.recordings, split.train, self.binning,
                batch_size=options.batch_size, seed=seed, shift=options.shift,
            )  # fmt: skip
            steps = options.epochs * len(batches)
            models = {name: build(configs[name], self.sizes, steps, seed) for name in missing}
            timings = train_together(models, batches, options.epochs)
            test = list(loader(self.recordings, split.test, self.binning, batch_size=100))
            new = {}
            for name, model in models.items():
                new[keys[name]] = {
                    "split": split.name,
                    "method": name,
                    "accuracy": model.accuracy(test),
                    "update_seconds": timings[name].median,
                    "config": asdict(configs[name]),
                }
                if isinstance(model, Forward):
                    new[keys[name]]["block_accuracy"] = model.block_accuracy(test)
            if set(METHODS) <= set(missing):
                ratio = time_ratio(timings[METHODS[0]], timings[METHODS[1]])
                new[keys[METHODS[0]]]["time_ratio"] = ratio
            self.store.put(new)
        return {name: self.store.cells[key] for name, key in keys.items()}

    def _key(self, split: Split, method: str, config: Config | None, seed: int) -> str:
        names = ("hidden", "epochs", "batch_size", "time_window", "lags", "shift", "validation")
        identity = {
            "data": self.fingerprint,
            "train": split.train.tolist(),
            "test": split.test.tolist(),
            "method": method,
            "config": None if config is None else asdict(config),
            "seed": seed,
            **{name: getattr(self.config, name) for name in names},
        }
        return self.store.key(f"{split.name}, {method}", identity)


def compare(config: CompareConfig, say: Callable[[str], None] = lambda line: None) -> Report:
    """Run, or go on with, a comparison and return its figures.

    Parameters
    ----------
    config : CompareConfig
        Options.
    say : callable
        Called with a line for each finished step.

    Raises
    ------
    ValueError
        If an option is out of range, or the results in ``out`` are not of this program.
    FileNotFoundError
        If the data are missing.
    """
    work = Comparison(config, say)
    say(f"{len(work.recordings)} recordings, data {work.fingerprint[:12]}")
    chosen = work.tune()
    cells = work.run(chosen)
    if work.config.baselines:
        cells.update(work.baselines())
    report = Report(
        dataset=work.recordings.name,
        note=work.recordings.note,
        fingerprint=work.fingerprint,
        folds=work.config.folds,
        chosen={method: asdict(item) for method, item in chosen.items()},
        cells=cells,
        memory_mib=work.memory() if work.config.memory else {},
        trials=dict.fromkeys(METHODS, work.config.trials),
    )
    work.store.put({f"summary {work.fingerprint[:12]}": report.summary()})
    work.store.write_csv()
    return report


def _percent(cell: dict[str, Any]) -> str:
    return f"{100 * cell['accuracy']:.2f} %"


def main() -> int:
    """Read the command line, run, and print the table; return the exit code."""
    import tyro

    config = tyro.cli(CompareConfig, description=__doc__)
    torch.set_num_threads(config.threads)
    try:
        report = compare(config, say=lambda line: print(line, file=sys.stderr, flush=True))
    except (ValueError, FileNotFoundError, RuntimeError) as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2
    print_report(report)
    print(config.out / "results.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
