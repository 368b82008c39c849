"""Trains every neuron inside the same network by signal propagation, beside LIF and frozen layers.

    python -m spikeprop.experiments.neurons

2312-256-256 on SaccadeDigits, an update at every step, Adam with a cosine schedule, random shift by
a pixel. For each neuron, two networks: one that learns, and its frozen twin, of which only the last
block learns. Neurons differ in the unit of their current, so initial weights are scaled, layer by
layer and for every neuron alike, until a tenth of the neurons fires at a time step of the first
training batch, and the step size with them; class signals are scaled until the first layer fires
under them as a LIF's does. Neurons whose layer shares no linear filter learn by the filter of their
rest (``traces="layer"``).

1. Trials: each step size of a small set, the same for all neurons and for both networks, on a
   training part, judged by a validation part. The test set plays no part.
2. Figures: the step size that did best (of equals, the first in the list), on the whole training
   set, tested once, after the last epoch.

Whatever is finished is kept in ``results.json`` and is not run again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spikeprop import ForwardLearner
from spikeprop.datasets import Binning, EventBatch
from spikeprop.evidence import RunningMean
from spikeprop.experiments.neuron_presets import PRESETS, Preset
from spikeprop.experiments.recordings import (
    Recordings,
    Split,
    load,
    loader,
    splits,
    tuning_split,
)
from spikeprop.experiments.store import Store
from spikeprop.homeostasis import Homeostasis
from spikeprop.neurons import LIF, SpikingNeuron, reset
from spikeprop.rules import SigProp

__all__ = [
    "NeuronsConfig",
    "NeuronsExperiment",
    "calibrated",
    "shortfalls",
    "signal_scale",
    "table",
]

RATE = 0.1
#: Standard deviation of the class signal's current into a LIF.
LIF_SIGNAL = 0.3
NETWORKS = ("learned", "frozen")


@dataclass(frozen=True)
class NeuronsConfig:
    """Options of the experiment."""

    names: tuple[str, ...] = ()
    """Neurons to train; all if empty."""

    epochs: int = 12
    """Passes over the training recordings for the figures, at most 15."""

    lrs: tuple[float, ...] = (4e-4, 8e-4)
    """Step sizes of Adam that are tried, for weights of their usual scale."""

    trial_epochs: int = 4
    """Passes over the training part in a trial."""

    validation: float = 0.2
    """Share of the training set that judges the trials."""

    final: bool = True
    """Also make the figures; otherwise stop before the test set is read."""

    seed: int = 0
    """Seed of weights, class signals and batches."""

    hidden: tuple[int, ...] = (256, 256)
    """Widths of the layers."""

    threads: int = 1
    """CPU threads."""

    out: Path = Path("runs/neurons")
    """Folder of results.json; what is finished there is not run again."""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.names) - set(PRESETS))
        if unknown:
            raise ValueError(f"names has {unknown[0]!r}; known are {', '.join(PRESETS)}")
        for name in ("epochs", "trial_epochs"):
            if not 1 <= getattr(self, name) <= 15:
                raise ValueError(f"{name} has to lie in 1 .. 15, got {getattr(self, name)}")
        if not self.lrs or not min(self.lrs) > 0:
            raise ValueError(f"lrs has to name step sizes above 0, got {self.lrs}")
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"hidden has to name layers of at least 1 neuron, got {self.hidden}")


def calibrated(net: nn.Sequential, x: Tensor, target: float = RATE) -> dict[int, float]:
    """Scale each synapse until its neurons fire at the target rate; return the factors by weight.

    Parameters
    ----------
    net : nn.Sequential
        Pairs of ``Linear`` and neuron behind a flatten.
    x : Tensor
        A batch of training recordings, ``(T, B, *features)``.
    target : float
        Share of neurons that fire at a time step.
    """
    inputs = x.flatten(2).to(next(net.parameters()))
    factors: dict[int, float] = {}
    with torch.no_grad():
        for synapse, neuron in pairwise(net):
            if not isinstance(synapse, nn.Linear):
                continue
            current = torch.stack([synapse(x_t) for x_t in inputs])
            factor = _bisect(neuron, current, target)
            for parameter in synapse.parameters():
                parameter.mul_(factor)
                factors[id(parameter)] = factor
            inputs = _outputs(neuron, current * factor)
    return factors


def signal_scale(neuron: nn.Module, width: int, steps: int, seed: int) -> float:
    """Return the class signal's scale at which a layer fires under it as a LIF's does at 0.3.

    Parameters
    ----------
    neuron : nn.Module
        The first layer's neuron.
    width : int
        Neurons of the layer.
    steps : int
        Time steps of a recording.
    seed : int
        Seed of the constant currents that it is measured with.
    """
    generator = torch.Generator().manual_seed(seed)
    current = torch.randn(16, width, generator=generator).expand(steps, 16, width)
    with torch.no_grad():
        wanted = _rate(_outputs(LIF(0.9, init_hidden=True), LIF_SIGNAL * current))
        return _bisect(neuron, current, wanted)


def _bisect(neuron: nn.Module, current: Tensor, target: float) -> float:
    low, high = -6.0, 12.0
    for _ in range(12):
        power = (low + high) / 2
        rate = _rate(_outputs(neuron, current * 2.0**power))
        low, high = (low, power) if rate > target else (power, high)
    return float(2.0**power)


def _outputs(neuron: nn.Module, current: Tensor) -> Tensor:
    reset(neuron)
    outputs = torch.stack([neuron(current_t) for current_t in current])
    reset(neuron)
    return outputs


def _rate(spk: Tensor) -> float:
    return float((spk != 0).float().mean())


def shares_filter(neuron: SpikingNeuron) -> bool:
    """Whether the layer's neurons share one exact filter."""
    return neuron.exact and neuron.filter().shared


class NeuronsExperiment:
    """The experiment on its way; whatever has finished is in its store."""

    def __init__(self, config: NeuronsConfig, say: Callable[[str], None]) -> None:
        self.config, self.say = config, say
        self.recordings: Recordings = load("saccade-digits")
        self.binning = Binning(time_window=15_000)
        self.fingerprint = self.recordings.fingerprint()
        self.split = splits(self.recordings, folds=0, seeds=1)[0]
        self.tuning = tuning_split(self.recordings, self.split, config.validation)
        self.store = Store(config.out)

    def run(self) -> dict[str, Any]:
        """Make all that the configuration asks for; return the figures of each neuron."""
        results: dict[str, Any] = {}
        for name in self.config.names or PRESETS:
            chosen = {network: self.choose(name, network) for network in NETWORKS}
            if not self.config.final:
                continue
            cells = {
                network: self.cell(self.split, name, network, lr, self.config.epochs)
                for network, lr in chosen.items()
            }
            shared = shares_filter(PRESETS[name].build(self.config.hidden[0]))
            results[name] = {"eligibility": "exact" if shared else "filter at rest", **cells}
        return results

    def choose(self, name: str, network: str) -> float:
        """Return the step size with the best accuracy in validation, the first of equals."""
        lrs, epochs = self.config.lrs, self.config.trial_epochs
        cells = [self.cell(self.tuning, name, network, lr, epochs) for lr in lrs]
        accuracies = [cell["accuracy"] for cell in cells]
        return lrs[accuracies.index(max(accuracies))]

    def cell(self, split: Split, name: str, network: str, lr: float, epochs: int) -> dict[str, Any]:
        """Train and test one network, or take its figures from the store."""
        preset, config = PRESETS[name], self.config
        identity = {
            "data": self.fingerprint,
            "train": split.train.tolist(),
            "test": split.test.tolist(),
            "neuron": preset.facts(),
            "network": network,
            "lr": lr,
            "epochs": epochs,
            "seed": config.seed,
            "hidden": config.hidden,
        }
        key = self.store.key(f"{split.name}, {name}, {network}", identity)
        if self.store.get(key) is None:
            figures = self._train(split, preset, network == "frozen", lr, epochs)
            about = {"split": split.name, "neuron": name, "network": network, "lr": lr}
            self.store.put({key: {**about, "epochs": epochs, **figures}})
        cell = self.store.cells[key]
        self.say(
            f"{split.name}, {name}, {network}, lr {lr:g}, {epochs} epochs: "
            f"{100 * cell['accuracy']:.2f} %"
        )
        return cell

    def _train(
        self, split: Split, preset: Preset, frozen: bool, lr: float, epochs: int
    ) -> dict[str, Any]:
        config = self.config
        batches = loader(
            self.recordings, split.train, self.binning,
            batch_size=50, seed=config.seed, shift=1, sparse=True,
        )  # fmt: skip
        first: EventBatch = next(iter(batches))[0]
        torch.manual_seed(config.seed)
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs, width in pairwise((self.recordings.inputs, *config.hidden)):
            layers += [nn.Linear(inputs, width), preset.build(width)]
        net = nn.Sequential(*layers)
        factors = calibrated(net, first.to_dense())
        if frozen:
            for module in layers[:-2]:
                module.requires_grad_(False)

        def optimizer(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
            groups = [{"params": [p], "lr": lr * factors.get(id(p), 1.0)} for p in parameters]
            return torch.optim.Adam(groups, fused=True)

        rule = SigProp(
            len(self.recordings.classes),
            evidence=RunningMean(),
            rectify=preset.rectify,
            signal_scale=signal_scale(layers[2], config.hidden[0], first.time_steps, config.seed),
            homeostasis=Homeostasis(target=RATE, low=preset.low, high=preset.high),
        )
        learner = ForwardLearner(net, rule, optimizer=optimizer, traces="layer", seed=config.seed)
        results = learner.fit(batches, epochs=epochs)
        test = loader(self.recordings, split.test, self.binning, batch_size=100, sparse=True)
        evaluation = learner.evaluate(test)
        return {
            "accuracy": evaluation.accuracy,
            "blocks": evaluation.block_accuracy.tolist(),
            "rates": results[-1].rate.tolist(),
            "seconds": sum(result.seconds for result in results),
            "engine": str(learner.engine_choice),
            "signal_scale": rule.signal_scale,
        }


def table(results: Mapping[str, Any]) -> str:
    """Return the figures as a Markdown table."""
    lif = results["LIF"]["learned"]["accuracy"] if "LIF" in results else None
    lines = [
        "| neuron | eligibility | step size | accuracy | against LIF | hidden weights frozen |",
        "|---|---|---|---|---|---|",
    ]
    for name, figures in results.items():
        learned, frozen = figures["learned"], figures["frozen"]
        against = "" if lif is None else f"{100 * (learned['accuracy'] - lif):+.1f}"
        lines.append(
            f"| {name} | {figures['eligibility']} | {learned['lr']:g} | "
            f"{100 * learned['accuracy']:.1f} | {against} | "
            f"{100 * frozen['accuracy']:.1f} |"
        )
    return "\n".join(lines)


def shortfalls(results: Mapping[str, Any], points: float = 3.0) -> list[str]:
    """Say of each neuron in what it falls short: of LIF, or of its frozen twin."""
    found = []
    for name, figures in results.items():
        learned, frozen = figures["learned"]["accuracy"], figures["frozen"]["accuracy"]
        behind = 100 * (results["LIF"]["learned"]["accuracy"] - learned) if "LIF" in results else 0
        if behind > points:
            found.append(f"{name} is {behind:.1f} points behind LIF")
        if learned <= frozen:
            found.append(f"{name} does not beat its frozen twin")
    return found


def main() -> int:
    """Read the command line, run, and print the table; return the exit code."""
    import tyro

    config = tyro.cli(NeuronsConfig, description=__doc__)
    torch.set_num_threads(config.threads)
    try:
        say = partial(print, file=sys.stderr, flush=True)
        results = NeuronsExperiment(config, say).run()
    except (ValueError, FileNotFoundError) as error:
        print(f"neurons: {error}", file=sys.stderr)
        return 2
    if results:
        print(table(results))
        for line in shortfalls(results):
            print(f"falls short: {line}")
    print(config.out / "results.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
