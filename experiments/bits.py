"""Accuracy against bits: quantised networks before and after fine-tuning, over several seeds.

    python -m spikeprop.experiments.bits

1. Each seed trains the default run of ``spikeprop train`` on the training recordings but for the
   validation part that every such run holds out.
2. Fine-tuning (step size, epochs) is chosen by the validation parts alone: each choice of a small
   set fine-tunes every seed at all numbers of bits, and the best mean accuracy wins; of equals, the
   first in the list.
3. The test set is read once, by the networks of that choice.

Whatever is finished is kept in ``results.json`` and is not run again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from spikeprop import ForwardLearner
from spikeprop.assemble import Data, build_learner, open_data
from spikeprop.bits import fine_tuned
from spikeprop.config import TrainConfig
from spikeprop.experiments.report import in_percent
from spikeprop.experiments.store import Store

__all__ = ["BitsConfig", "BitsExperiment", "main", "table"]

Choice = tuple[float, int]


@dataclass(frozen=True)
class BitsConfig:
    """Options of the experiment."""

    seeds: int = 5
    """Networks to train."""
    bits: tuple[int, ...] = (8, 6, 4)
    """Bits of the weights."""
    lrs: tuple[float, ...] = (1e-5, 3e-5, 1e-4)
    """Step sizes of Adam that are tried in fine-tuning."""
    tuning_epochs: tuple[int, ...] = (1, 2)
    """Passes of fine-tuning that are tried."""
    epochs: int = 24
    """Passes of training before it."""
    hidden: tuple[int, ...] = (256, 256)
    """Neurons in each hidden layer."""
    threads: int = 1
    """CPU threads."""
    out: Path = Path("runs/bits")
    """Folder of results.json and the trained networks; what is finished is not run again."""

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ValueError(f"seeds has to be at least 1, got {self.seeds}")
        for name in ("bits", "lrs", "tuning_epochs"):
            if not getattr(self, name) or not min(getattr(self, name)) > 0:
                raise ValueError(f"{name} has to name values above 0, got {getattr(self, name)}")


@dataclass
class BitsExperiment:
    """The experiment on its way; whatever has finished is in its store."""

    config: BitsConfig
    say: Callable[[str], None]
    store: Store = field(init=False)

    def __post_init__(self) -> None:
        self.store = Store(self.config.out)

    def run(self) -> dict[str, Any]:
        """Train, choose and test; return the choice and the accuracies by seed and bits."""
        lr, epochs = self.choose()
        results: dict[str, Any] = {"lr": lr, "epochs": epochs, "float": [], "bits": {}}
        for seed in range(self.config.seeds):
            results["float"].append(self.cell(seed, None, (lr, epochs), "test")["rounded"])
            for bits in self.config.bits:
                cell = self.cell(seed, bits, (lr, epochs), "test")
                results["bits"].setdefault(bits, []).append(cell)
        return results

    def choose(self) -> Choice:
        """Return the fine-tuning with the best mean accuracy on the validation parts."""
        choices = list(product(self.config.lrs, self.config.tuning_epochs))
        scores = []
        for choice in choices:
            cells = [
                self.cell(seed, bits, choice, "validation")["tuned"]
                for seed in range(self.config.seeds)
                for bits in self.config.bits
            ]
            scores.append(mean(cells))
            self.say(
                f"lr {choice[0]:g}, {choice[1]} epochs: {100 * scores[-1]:.2f} % in validation"
            )
        return choices[scores.index(max(scores))]

    def cell(self, seed: int, bits: int | None, choice: Choice, part: str) -> dict[str, Any]:
        """Return the accuracies of one network, measured now or taken from the store."""
        config = self.config
        identity = {
            "seed": seed, "bits": bits, "choice": choice, "part": part,
            "epochs": config.epochs, "hidden": config.hidden,
        }  # fmt: skip
        key = self.store.key(f"seed {seed}, {bits or 'float'}, {part}", identity)
        if self.store.get(key) is None:
            learner, data = self.trained(seed)
            judge = data.test if part == "test" else data.validation
            assert judge is not None, "the default run holds a validation part out"
            figures: dict[str, Any] = {"rounded": learner.evaluate(judge).accuracy}
            if bits is not None:
                rounded, tuned = fine_tuned(learner, bits, data.train, judge, *choice)
                figures = {"rounded": rounded, "tuned": tuned}
            about = {"seed": seed, "bits": bits, "lr": choice[0], "tuning_epochs": choice[1]}
            self.store.put({key: {**about, "part": part, **figures}})
        return self.store.cells[key]

    def trained(self, seed: int) -> tuple[ForwardLearner, Data]:
        """Return a learner that has been trained, now or before, and its data."""
        config = TrainConfig(  # neurons and evidence of the table in the documentation
            seed=seed, epochs=self.config.epochs, hidden=self.config.hidden, threads=1,
            beta=0.9, evidence="running-mean", lags=(0,),
        )  # fmt: skip
        data = open_data(config)
        learner = build_learner(config, data.input_shape, len(data.classes))
        sizes = "-".join(map(str, config.hidden))
        path = self.config.out / f"{sizes}-{config.epochs}-epochs-seed-{seed}.safetensors"
        if path.exists():
            return learner.load(path), data
        learner.fit(data.train, epochs=config.epochs, schedule=config.schedule)
        path.parent.mkdir(parents=True, exist_ok=True)
        learner.save(path)
        self.say(f"seed {seed} trained")
        return learner, data


def table(results: dict[str, Any]) -> str:
    """Return the figures as a Markdown table; losses are paired with the float network's."""
    full = results["float"]
    lines = [
        "| bits | rounded | fine-tuned | against float |",
        "|---|---|---|---|",
        f"| float | {in_percent(full)} | | |",
    ]
    for bits, cells in results["bits"].items():
        rounded = [cell["rounded"] for cell in cells]
        tuned = [cell["tuned"] for cell in cells]
        paired = [a - b for a, b in zip(tuned, full, strict=True)]
        shown = (in_percent(rounded), in_percent(tuned), in_percent(paired, "+"))
        lines.append(f"| {bits} | {' | '.join(shown)} |")
    return "\n".join(lines)


def main() -> int:
    """Read the command line, run, and print the table; return the exit code."""
    import tyro

    config = tyro.cli(BitsConfig, description=__doc__)
    torch.set_num_threads(config.threads)
    try:
        results = BitsExperiment(config, partial(print, file=sys.stderr, flush=True)).run()
    except (ValueError, FileNotFoundError) as error:
        print(f"bits: {error}", file=sys.stderr)
        return 2
    print(table(results))
    lr, epochs = results["lr"], results["epochs"]
    print(f"{config.seeds} seeds, fine-tuned for {epochs} epochs by Adam at {lr:g}")
    print(config.out / "results.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
