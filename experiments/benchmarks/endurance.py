"""An hour's stream in compressed time: 3.6 million steps of 1 ms, one recording, learning at each.

``python -m spikeprop.experiments.benchmarks.endurance [--steps 3600000]``

Ten classes, each of which fires cells of its own more often, on the sensor of N-MNIST; the class
changes every half second. Reported by the minute of the stream are resident memory, the firing
rate of each layer and how often the class was right; at the end, whether all weights are finite and
how many thresholds stand at an end of their range (a class's half second is long enough to get
there). The exit code is 1 if memory moved by more than 2 % after the first tenth, a weight is not
finite, or the rate of a layer left the range from half to twice its target in a minute.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from spikeprop.datasets import EventBatch
from spikeprop.datasets.files import write_text
from spikeprop.learner import ForwardLearner
from spikeprop.neurons import LIF
from spikeprop.rules import SigProp

__all__ = ["EnduranceConfig", "endure", "faults", "main"]

FEATURES, CLASSES = torch.Size((2, 34, 34)), 10
#: Steps of a class at a time, and how many such pieces of each class there are.
PIECE, PIECES = 500, 4


@dataclass(frozen=True)
class EnduranceConfig:
    """Options of the run."""

    steps: int = 3_600_000
    """Time steps; a multiple of 500 times the windows."""
    windows: int = 60
    """So many parts are reported each by itself, at least 10."""
    hidden: tuple[int, ...] = (64, 64)
    """Neurons of each hidden layer."""
    events: int = 100
    """Events a time step."""
    lr: float = 1e-4
    """Step size of plain gradient steps."""
    threads: int = 1
    """CPU threads."""
    out: Path | None = None
    """Write the result to this JSON file."""

    def __post_init__(self) -> None:
        if self.windows < 10 or self.steps < 1 or self.steps % (PIECE * self.windows):
            raise ValueError(
                f"steps has to be a multiple of {PIECE} times the windows, at least 10 of them, "
                f"got {self.steps} and {self.windows}"
            )


def endure(config: EnduranceConfig) -> dict[str, Any]:
    """Run the stream; return the figures."""
    torch.set_num_threads(config.threads)
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in zip((FEATURES.numel(), *config.hidden), config.hidden, strict=False):
        layers += [nn.Linear(inputs, outputs), LIF(beta=0.9, init_hidden=True)]
    learner = ForwardLearner(
        nn.Sequential(*layers),
        SigProp(CLASSES),
        optimizer=lambda p: torch.optim.SGD(p, lr=config.lr),
        seed=0,
    )
    pieces, random = _pieces(config.events), np.random.default_rng(1)
    windows: list[dict[str, Any]] = []
    begun = time.process_time()
    count = config.steps // config.windows // PIECE
    for _ in range(config.windows):
        rates, right, count = (
            torch.zeros(len(config.hidden)),
            0,
            config.steps // config.windows // PIECE,
        )
        for _ in range(count):
            label, piece = int(random.integers(CLASSES)), int(random.integers(PIECES))
            metrics = learner.steps(pieces[label][piece], torch.tensor([label]))
            rates += metrics.rate
            right += int(metrics.prediction[0]) == label
        windows.append(
            {
                "memory_mib": resident_mib(),
                "rates": [round(float(rate), 4) for rate in rates / count],
                "accuracy": right / count,
            }
        )
    seconds = time.process_time() - begun
    learner.reset()
    control = learner.rule.stream_homeostasis
    assert control is not None, "it is on unless it is turned off"
    found = learner.net.state_dict()
    thresholds = torch.cat([v.flatten() for n, v in found.items() if n.endswith("threshold")])
    memory = [window["memory_mib"] for window in windows[config.windows // 10 :]]
    settled = [window["rates"] for window in windows[config.windows // 10 :]]
    return {
        "steps": config.steps,
        "hidden": list(config.hidden),
        "engine": str(learner.engine_choice),
        "processor_seconds": round(seconds, 1),
        "us_a_step": round(1e6 * seconds / config.steps, 1),
        "memory_mib": [round(min(memory), 1), round(max(memory), 1)],
        "memory_spread": max(memory) / min(memory) - 1.0,
        "finite": all(bool(torch.isfinite(value).all()) for value in found.values()),
        "rate_target": control.target,
        "rates": [[min(layer), max(layer)] for layer in zip(*settled, strict=True)],
        "thresholds": [float(thresholds.min()), float(thresholds.max())],
        "threshold_range": [control.low, control.high],
        "at_the_end": float(
            ((thresholds <= control.low) | (thresholds >= control.high)).float().mean()
        ),
        "accuracy": [window["accuracy"] for window in windows],
    }


def faults(found: dict[str, Any]) -> list[str]:
    """List what does not hold; see the module's head."""
    target = found["rate_target"]
    wrong = []
    if found["memory_spread"] > 0.02:
        wrong.append(f"memory moved by {100 * found['memory_spread']:.1f} %")
    if not found["finite"]:
        wrong.append("a weight is not finite")
    for number, (low, high) in enumerate(found["rates"], start=1):
        if not target / 2 <= low <= high <= 2 * target:
            wrong.append(f"layer {number} fires at {low:.3f} to {high:.3f}, its target is {target}")
    return wrong


def _pieces(events: int) -> list[list[EventBatch]]:
    """Return pieces of each class: half of the events on cells of its own, half on all."""
    random, cells = np.random.default_rng(0), FEATURES.numel()
    found: list[list[EventBatch]] = []
    for label in range(CLASSES):
        own = np.arange(label, cells, CLASSES)
        found.append([_piece(random, own, cells, events) for _ in range(PIECES)])
    return found


def _piece(random: np.random.Generator, own: Any, cells: int, events: int) -> EventBatch:
    steps = []
    for _ in range(PIECE):
        drawn = np.r_[
            random.choice(own, events // 2), random.integers(0, cells, events - events // 2)
        ]
        steps.append(np.unique(drawn))
    offsets = np.r_[0, np.cumsum([len(step) for step in steps])]
    channels = np.concatenate(steps).astype(np.int32)
    return EventBatch(torch.from_numpy(offsets), torch.from_numpy(channels), None, PIECE, FEATURES)


def resident_mib() -> float:
    """Return this process's resident memory; NaN where the system does not tell."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    line = next(x for x in status.read_text().splitlines() if x.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, run, and print the figures; return the exit code."""
    import tyro

    try:
        config = tyro.cli(EnduranceConfig, description=__doc__, args=arguments)
    except ValueError as error:
        print(f"endurance: {error}", file=sys.stderr)
        return 2
    result = endure(config)
    wrong = faults(result)
    text = json.dumps({**result, "faults": wrong}, indent=2)
    if config.out is not None:
        write_text(config.out, text + "\n")
    print(text)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
