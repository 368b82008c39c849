"""Time to a given accuracy: one point under the final validation accuracy of BPTT.

Both sides train with their step size falling to zero over each of several numbers of epochs; after
every epoch the validation part (held out of the training recordings; the test part is not read) is
predicted, off the clock. The target is BPTT's accuracy at the end of its longest run less one
point. A method's time is the least training time (loading included) after which any of its runs
stood at the target. Runs go epoch by epoch in turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any, Protocol

from spikeprop.datasets.binning import Binning
from spikeprop.datasets.loader import EventLoader
from spikeprop.engines import ENGINES
from spikeprop.experiments.bptt import BPTT, BPTTConfig
from spikeprop.experiments.forward import Forward, ForwardConfig
from spikeprop.experiments.recordings import Recordings, loader, splits, tuning_split

__all__ = ["POINT", "Run", "race", "seconds_to"]

Row = dict[str, Any]

#: What the target lies under BPTT's final accuracy.
POINT = 0.01


class Trained(Protocol):
    """A model that learns from batches."""

    def update(self, x: Any, label: Any) -> float:
        """Make one training step."""
        ...

    def accuracy(self, data: Any) -> float:
        """Return the share of right predictions."""
        ...


class Run:
    """One training run on its way.

    Parameters
    ----------
    model : Trained
        Learns.
    batches, validation : EventLoader
        What it learns from, and what it is judged by.
    """

    def __init__(self, model: Trained, batches: EventLoader, validation: EventLoader) -> None:
        self.model, self.batches, self.validation = model, batches, validation
        self.seconds: list[float] = []
        self.accuracies: list[float] = []

    def epoch(self) -> None:
        """Train one epoch on the clock, then predict the validation part off it."""
        self.batches.set_epoch(len(self.seconds) + 1)
        start = time.perf_counter()
        for x, label in self.batches:
            self.model.update(x, label)
        took = time.perf_counter() - start
        self.seconds.append((self.seconds[-1] if self.seconds else 0.0) + took)
        self.accuracies.append(self.model.accuracy(self.validation))


def seconds_to(target: float, runs: Sequence[Run]) -> float | None:
    """Return the least training time after which a run had reached ``target``; None if none did."""
    found = [
        seconds
        for run in runs
        for seconds, accuracy in zip(run.seconds, run.accuracies, strict=True)
        if accuracy >= target
    ]
    return min(found, default=None)


def race(
    recordings: Recordings,
    configs: Mapping[str, ForwardConfig | BPTTConfig],
    *,
    hidden: tuple[int, ...],
    lengths: Sequence[int],
    seeds: int,
    batch_size: int = 50,
    time_window: int = 15_000,
    shift: int = 1,
    say: Callable[[str], None] = lambda line: None,
) -> list[Row]:
    """Run the race for every seed; the method named "bptt" sets the target.

    Raises
    ------
    ValueError
        If there is no method "bptt".
    """
    if "bptt" not in configs:
        raise ValueError(f"configs has to name 'bptt', which sets the target; got {list(configs)}")
    binning = Binning(time_window=time_window)
    split = tuning_split(recordings, splits(recordings, 0, 1)[0], 0.2)
    sizes = (recordings.inputs, *hidden, len(recordings.classes))
    rows = []
    for seed in range(seeds):
        runs: dict[str, dict[int, Run]] = {name: {} for name in configs}
        for name, config in configs.items():
            for length in lengths:
                # Our side reads the same batches as sparse events.
                sparse = isinstance(config, ForwardConfig) and "event" in ENGINES
                train = loader(
                    recordings, split.train, binning, batch_size=batch_size, seed=seed,
                    shift=shift, sparse=sparse,
                )  # fmt: skip
                judge = loader(recordings, split.test, binning, batch_size=100, sparse=sparse)
                steps = length * len(train)
                kind: Any = Forward if isinstance(config, ForwardConfig) else BPTT
                runs[name][length] = Run(kind(sizes, config, steps=steps, seed=seed), train, judge)
        for epoch in range(max(lengths)):
            for name, by_length in runs.items():
                for length, run in by_length.items():
                    if epoch < length:
                        run.epoch()
                        say(f"seed {seed}, {name}, {length} epochs: {run.accuracies[-1]:.4f}")
        target = runs["bptt"][max(lengths)].accuracies[-1] - POINT
        for name, by_length in runs.items():
            rows.append(
                {
                    "method": name,
                    "seed": seed,
                    "target": target,
                    "seconds": seconds_to(target, list(by_length.values())),
                    "epoch_seconds": median(
                        run.seconds[-1] / len(run.seconds) for run in by_length.values()
                    ),
                    "curves": {
                        str(length): {"seconds": run.seconds, "accuracies": run.accuracies}
                        for length, run in by_length.items()
                    },
                }
            )
    return rows
