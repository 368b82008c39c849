"""Trains every neuron inside the same network by signal propagation, beside LIF and frozen layers.

    python -m spikeprop.experiments.neurons --epochs 12

2312-256-256 on SaccadeDigits, an update at every step, Adam with a cosine schedule, random shift by
a pixel, final epoch. For each neuron: the accuracy after learning, and that of the same network
whose hidden weights stay frozen while the last block learns. Initial weights are scaled, layer by
layer and for every neuron alike, until a tenth of the neurons fires at a time step of the first
training batch, and the step size with them: neurons differ in the unit of their current. Neurons
whose layer shares no linear filter learn by the filter of their rest (``traces="layer"``).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spikeprop import ForwardLearner, neurons
from spikeprop.datasets import SaccadeDigits
from spikeprop.datasets.files import write_text
from spikeprop.homeostasis import Homeostasis
from spikeprop.neurons import SpikingNeuron, reset
from spikeprop.rules import SigProp

__all__ = ["EXCEPTED", "PRESETS", "NeuronsConfig", "Preset", "train_neuron"]


@dataclass(frozen=True)
class Preset:
    """A neuron, and what of the recipe fits it.

    Attributes
    ----------
    build : callable
        From the layer's width to a neuron that keeps its state.
    rectify : bool
        Whether the evidence of recordings is rectified: not for a voltage that rests below zero.
    low, high : float
        Bounds of the thresholds, in the neuron's own unit.
    """

    build: Callable[[int], SpikingNeuron]
    rectify: bool = True
    low: float = 0.05
    high: float = 5.0


def _make(name: str, *args: Any, **options: Any) -> Callable[[int], SpikingNeuron]:
    kind = getattr(neurons, name)
    return lambda width: kind(*args, init_hidden=True, **options)


def _recurrent(name: str, *args: Any) -> Callable[[int], SpikingNeuron]:
    kind = getattr(neurons, name)
    return lambda width: kind(*args, linear_features=width, init_hidden=True)


#: Time constants of about ten steps, as LIF's ``beta=0.9``; everything else as the classes have it.
PRESETS: dict[str, Preset] = {
    "LIF": Preset(_make("LIF", 0.9)),
    "IF": Preset(_make("IF")),
    "Lapicque": Preset(_make("Lapicque", 0.9)),
    "PLIF": Preset(_make("PLIF", 10.0)),
    "Synaptic": Preset(_make("Synaptic", 0.5, 0.9)),
    "CuBaLIF": Preset(_make("CuBaLIF", 2.0, 10.0)),
    "CuBaLIF-2": Preset(_make("CuBaLIF", 2.0, 10.0, 1.0)),
    "Alpha": Preset(_make("Alpha", 0.9, 0.8)),
    "ALIF": Preset(_make("ALIF", 0.9, 0.95)),
    "AdLIF": Preset(_make("AdLIF", 0.9, 0.95, 0.1, 0.1)),
    "RefractoryLIF": Preset(_make("RefractoryLIF", 0.9, 2)),
    "StochasticLIF": Preset(_make("StochasticLIF", 0.9)),
    "GradedLIF": Preset(_make("GradedLIF", 0.9)),
    "SigmaDelta": Preset(_make("SigmaDelta", 0.1, 0.9, activation=torch.relu), low=0.01),
    "TwoCompartmentLIF": Preset(_make("TwoCompartmentLIF", 0.5, 0.9)),
    "RLIF": Preset(_recurrent("RLIF", 0.9)),
    "RSynaptic": Preset(_recurrent("RSynaptic", 0.5, 0.9)),
    "RF": Preset(_make("RF")),
    "BRF": Preset(_make("BRF")),
    "EIF": Preset(_make("EIF", 10.0)),
    "AdEx": Preset(_make("AdEx", 10.0)),
    "QIF": Preset(_make("QIF", 10.0, floor=-2.0)),
    "Izhikevich": Preset(_make("Izhikevich", floor=-90.0), rectify=False, low=10.0, high=60.0),
}

#: Those that may stay further behind LIF, and why.
EXCEPTED: dict[str, str] = {
    "IF": "never forgets: its voltage is the sum of all input, and drifts out of any range",
    "Izhikevich": "a bursting, reset-driven voltage in millivolts says little of its input",
}


@dataclass(frozen=True)
class NeuronsConfig:
    """Train every neuron inside the same network."""

    names: tuple[str, ...] = ()
    """Neurons to train; all if empty."""

    epochs: int = 12
    """Passes over the training recordings, at most 15."""

    lr: float = 4e-4
    """Step size of Adam for weights of their usual scale."""

    seed: int = 0
    """Seed of weights, class signals and batches."""

    hidden: tuple[int, ...] = (256, 256)
    """Widths of the layers."""

    threads: int = 1
    """CPU threads."""

    out: Path = Path("runs/neurons.json")
    """Where to write the figures."""


def calibrated(net: nn.Sequential, x: Tensor, target: float = 0.1) -> dict[int, float]:
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
            start, low, high = synapse.weight.clone(), -6.0, 12.0
            for _ in range(12):
                power = (low + high) / 2
                synapse.weight.copy_(start * 2.0**power)
                spk = _outputs(synapse, neuron, inputs)
                low, high = (low, power) if (spk != 0).float().mean() > target else (power, high)
            factors[id(synapse.weight)] = 2.0**power
            if synapse.bias is not None:
                factors[id(synapse.bias)] = 2.0**power
            inputs = spk
    return factors


def _outputs(synapse: nn.Module, neuron: nn.Module, inputs: Tensor) -> Tensor:
    reset(neuron)
    outputs = torch.stack([neuron(synapse(x_t)) for x_t in inputs])
    reset(neuron)
    return outputs


def train_neuron(
    preset: Preset, config: NeuronsConfig, *, frozen: bool = False
) -> dict[str, float | list[float]]:
    """Train a network of one kind of neuron; return its test accuracies, rates and seconds."""
    train = SaccadeDigits.loader(train=True, batch_size=50, seed=config.seed, shift=1)
    test = SaccadeDigits.loader(train=False, batch_size=100)
    torch.manual_seed(config.seed)
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, width in pairwise((2 * 34 * 34, *config.hidden)):
        layers += [nn.Linear(inputs, width), preset.build(width)]
    net = nn.Sequential(*layers)
    factors = calibrated(net, next(iter(train))[0])
    for synapse in layers[1:-2:2]:
        synapse.requires_grad_(not frozen)
        if frozen:
            layers[layers.index(synapse) + 1].requires_grad_(False)

    def optimizer(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        groups = [{"params": [p], "lr": config.lr * factors.get(id(p), 1.0)} for p in parameters]
        return torch.optim.Adam(groups, fused=True)

    learner = ForwardLearner(
        net,
        SigProp(
            10, rectify=preset.rectify, homeostasis=Homeostasis(low=preset.low, high=preset.high)
        ),
        optimizer=optimizer,
        traces="layer",
        seed=config.seed,
    )
    start = time.perf_counter()
    results = learner.fit(train, epochs=config.epochs)
    seconds = time.perf_counter() - start
    evaluation = learner.evaluate(test)
    return {
        "accuracy": evaluation.accuracy,
        "blocks": evaluation.block_accuracy.tolist(),
        "rates": results[-1].rate.tolist(),
        "seconds": seconds,
    }


def table(results: Mapping[str, Any]) -> str:
    """Return the figures as a Markdown table."""
    lif = results["LIF"]["learned"]["accuracy"] if "LIF" in results else float("nan")
    lines = [
        "| neuron | eligibility | accuracy | against LIF | hidden weights frozen |",
        "|---|---|---|---|---|",
    ]
    for name, figures in results.items():
        learned, frozen = figures["learned"]["accuracy"], figures["frozen"]["accuracy"]
        lines.append(
            f"| {name} | {figures['eligibility']} | {100 * learned:.1f} | "
            f"{100 * (learned - lif):+.1f} | {100 * frozen:.1f} |"
        )
    return "\n".join(lines)


def run(config: NeuronsConfig, say: Callable[[str], None]) -> dict[str, Any]:
    """Train all that the configuration names, writing the file after each.

    Raises
    ------
    ValueError
        For an unknown neuron, or more than 15 epochs.
    """
    names: Sequence[str] = config.names or tuple(PRESETS)
    unknown = sorted(set(names) - set(PRESETS))
    if unknown:
        raise ValueError(f"names has {unknown[0]!r}; known are {', '.join(PRESETS)}")
    if not 1 <= config.epochs <= 15:
        raise ValueError(f"epochs has to lie in 1 .. 15, got {config.epochs}")
    results: dict[str, Any] = {}
    for name in names:
        preset = PRESETS[name]
        neuron = preset.build(config.hidden[0])
        shared = neuron.exact and neuron.filter().shared
        results[name] = {
            "eligibility": "exact" if shared else "filter at rest",
            "learned": train_neuron(preset, config),
            "frozen": train_neuron(preset, config, frozen=True),
        }
        config.out.parent.mkdir(parents=True, exist_ok=True)
        write_text(config.out, json.dumps(results, indent=2) + "\n")
        say(f"{name}: {json.dumps(results[name])}")
    return results


def main() -> int:
    """Read the command line, run, and print the table; return the exit code."""
    import tyro

    config = tyro.cli(NeuronsConfig, description=__doc__)
    torch.set_num_threads(config.threads)
    try:
        results = run(config, say=lambda line: print(line, file=sys.stderr, flush=True))
    except (ValueError, FileNotFoundError) as error:
        print(f"neurons: {error}", file=sys.stderr)
        return 2
    print(table(results))
    for name, reason in EXCEPTED.items():
        if name in results:
            print(f"excepted: {name} {reason}")
    print(config.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
