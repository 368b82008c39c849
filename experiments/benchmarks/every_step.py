"""An update at every time step by Adam on a device, beside one a batch, the reference, and BPTT.

The default recipe, and its form with fixed class vectors, on 2312-512-512 with inputs that arrive
at once or three steps later; random input of a density. All cases learn the same batch in turn; the
clock waits for the device, and the figures are medians over rounds. BPTT is ours, by snnTorch's
surrogates, of the same layers.

``python -m spikeprop.experiments.benchmarks.every_step [--device cuda]``
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from spikeprop.experiments.benchmarks.report import table
from spikeprop.experiments.benchmarks.timing import find_device, interleave, wait_for
from spikeprop.learner import ForwardLearner
from spikeprop.neurons import LIF, Delay
from spikeprop.rules import BPTT, Rule, SigProp

__all__ = ["EveryStepConfig", "main", "measure"]

CLASSES = 10
LAG = 3
BETA = 0.5

Case = Callable[[Tensor, Tensor], object]


@dataclass(frozen=True)
class EveryStepConfig:
    """Options."""

    device: str = "cuda"
    """cuda, or cpu to see that it works."""
    lengths: tuple[int, ...] = (20, 100)
    """Time steps T."""
    batch: int = 64
    """Recordings B."""
    inputs: int = 2312
    """Input lines."""
    hidden: tuple[int, ...] = (512, 512)
    """Neurons of the layers."""
    density: float = 0.03
    """Share of active inputs."""
    warm_up: int = 4
    """Updates of each case before the clock runs: launches are recorded in the third."""
    rounds: int = 7
    """Updates that count."""

    def __post_init__(self) -> None:
        numbers = (*self.lengths, self.batch, self.inputs, *self.hidden, self.warm_up, self.rounds)
        if min(numbers) < 1:
            raise ValueError(f"sizes and counts have to be at least 1, got {self}")
        if not 0.0 <= self.density <= 1.0:
            raise ValueError(f"density has to lie within [0, 1], got {self.density}")


def measure(config: EveryStepConfig, length: int) -> dict[str, float]:
    """Return the seconds of a batch of ``length`` steps, by case.

    Raises
    ------
    RuntimeError
        If ``device`` is "cuda" and there is none.
    """
    device = find_device(config.device)
    drawn = torch.Generator().manual_seed(0)
    x = torch.rand(length, config.batch, config.inputs, generator=drawn) < config.density
    label = torch.randint(CLASSES, (config.batch,), generator=drawn)
    data = (x.float().to(device), label.to(device))
    works = {
        name: partial(_finish, case, data, device)
        for name, case in _cases(config, length, device).items()
    }
    samples = interleave(works, config.rounds, config.warm_up)
    return {name: own.seconds("wall") for name, own in samples.items()}


def _finish(case: Case, data: tuple[Tensor, Tensor], device: torch.device) -> None:
    case(*data)
    wait_for(device)


def _cases(config: EveryStepConfig, length: int, device: torch.device) -> dict[str, Case]:
    def case(rule: Rule, every: int, engine: Literal["auto", "reference"] = "auto") -> Case:
        return ForwardLearner(
            _network(config).to(device),
            rule,
            engine=engine,
            optimizer=partial(torch.optim.Adam, lr=4e-4, fused=True),
            update_every=every,
        ).update

    fixed = partial(SigProp, CLASSES, signal="projection")
    return {
        "every step": case(SigProp(CLASSES), 1),
        "every step, fixed vectors": case(fixed(), 1),
        "every step, reference engine": case(SigProp(CLASSES), 1, "reference"),
        "one update a batch": case(SigProp(CLASSES), length),
        "BPTT": case(BPTT(CLASSES), length),
    }


def _network(config: EveryStepConfig) -> nn.Sequential:
    torch.manual_seed(1)
    layers: list[nn.Module] = []
    for before, size in zip((config.inputs, *config.hidden), config.hidden, strict=False):
        delay = Delay(LAG * torch.randint(2, (before,)), init_hidden=True)
        layers += [delay, nn.Linear(before, size), LIF(beta=BETA, init_hidden=True)]
    return nn.Sequential(*layers)


def main() -> int:
    """Read the command line, run, and print the table; return the exit code."""
    import tyro

    try:
        config = tyro.cli(EveryStepConfig, description=__doc__)
        found = {length: measure(config, length) for length in config.lengths}
    except (ValueError, RuntimeError) as error:
        print(f"every_step: {error}", file=sys.stderr)
        return 2
    name = torch.cuda.get_device_name() if config.device == "cuda" else config.device
    print(f"{name}, torch {torch.__version__}, ms a batch of {config.batch}\n")
    rows = [
        [f"T = {length}", case, f"{1e3 * seconds:.2f}"]
        for length, cases in found.items()
        for case, seconds in cases.items()
    ]
    print(table(["", "case", "ms"], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
