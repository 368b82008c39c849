"""The Open Neuromorphic workload, learning included, for a machine with a GPU.

One ``Linear(n, n)`` and a layer of leaky neurons, batch 16, T = 500, n = 4,096 / 8,192 / 16,384,
input from a normal distribution, float32. Published figures time forward and backward pass without
waiting for the device; here the clock waits (``torch.cuda.synchronize``), one measured step is the
forward pass, learning, and the step of plain SGD, and the peak of the device's memory is set back
before each case; the input itself is left out of it. ``--lengths`` also runs n = 4,096 over longer
sequences, ``--precision high`` allows all methods products in TF32 (11 bits).

Methods: our rule with one update a sequence (``spikeprop``) and at every step (``spikeprop_step``),
snnTorch, SpikingJelly with its own choice of backend (``SJ_LIF_CUDA_IMPLEMENTATION`` in the
environment asks for ``torch``, ``triton`` or ``cuda``).

``python -m spikeprop.experiments.benchmarks.open_neuromorphic [--device cuda]``

Source of the workload: open-neuromorphic.org, "SNN library benchmarks", and its repository
open-neuromorphic/snn-library-benchmarks.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch
from torch import Tensor, nn

from spikeprop.datasets.files import write_text
from spikeprop.experiments.benchmarks.cases import available, rule
from spikeprop.experiments.benchmarks.report import table
from spikeprop.experiments.benchmarks.timing import find_device, wait_for
from spikeprop.experiments.benchmarks.workload import BETA
from spikeprop.learner import ForwardLearner
from spikeprop.neurons import LIF

__all__ = ["METHODS", "OpenConfig", "main", "measure_all"]

METHODS = ("spikeprop", "spikeprop_step", "snntorch", "spikingjelly")
CLASSES = 10

Row = dict[str, Any]
Step = Callable[[], object]


@dataclass(frozen=True)
class OpenConfig:
    """Options of the workload."""

    device: str = "cuda"
    """cuda, or cpu to see that it works."""
    widths: tuple[int, ...] = (4096, 8192, 16384)
    """Inputs and neurons n."""
    steps: int = 500
    """Time steps T."""
    lengths: tuple[int, ...] = (1000, 2000, 5000)
    """Further T, with the first width."""
    batch: int = 16
    """Recordings B."""
    methods: tuple[str, ...] = METHODS
    """Which methods."""
    rounds: int = 5
    """Steps that count; their median is reported."""
    precision: Literal["highest", "high"] = "highest"
    """Of products in float32; see ``torch.set_float32_matmul_precision``."""
    out: Path = Path("runs/open_neuromorphic")
    """Folder of the results."""

    def __post_init__(self) -> None:
        if unknown := [name for name in self.methods if name not in METHODS]:
            raise ValueError(f"methods has to be some of {METHODS}, got {unknown}")
        numbers = (*self.widths, *self.lengths, self.steps, self.batch, self.rounds)
        if min(numbers) < 1:
            raise ValueError(f"sizes and counts have to be at least 1, got {self}")


def measure_all(config: OpenConfig, say: Callable[[Row], None] = lambda row: None) -> list[Row]:
    """Measure every width, then every length; a case that runs out of memory is a row that says so.

    Raises
    ------
    RuntimeError
        If ``device`` is "cuda" and there is none.
    """
    device = find_device(config.device)
    torch.set_float32_matmul_precision(config.precision)
    settings = [(n, config.steps) for n in config.widths]
    settings += [(config.widths[0], length) for length in config.lengths]
    rows = []
    for n, steps in settings:
        for name in config.methods:
            if not available(name):
                continue
            row = {"method": name, "n": n, "T": steps, "B": config.batch}
            rows.append({**row, **_measure(name, n, steps, config, device)})
            say(rows[-1])
    return rows


def _measure(name: str, n: int, steps: int, config: OpenConfig, device: torch.device) -> Row:
    on_gpu = device.type == "cuda"
    gc.collect()  # what the case before it left in cycles
    if on_gpu:
        torch.cuda.empty_cache()
    try:
        data = _data(n, steps, config.batch, device)
        before = 0  # snnTorch keeps a list of its neurons, and they their last graph
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
        work = _MAKERS[name](n, *data)
        work()  # compiles, and lets allocators grow
        seconds = []
        for _ in range(config.rounds):
            wait_for(device)
            start = time.perf_counter()
            work()
            wait_for(device)
            seconds.append(time.perf_counter() - start)
    except torch.OutOfMemoryError:
        return {"seconds": None, "gib": None}
    peak = None
    if on_gpu:
        peak = (torch.cuda.max_memory_allocated() - before) / 2**30
    return {"seconds": median(seconds), "gib": peak}


def _data(n: int, steps: int, batch: int, device: torch.device) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(steps, batch, n, generator=generator).to(device)
    return x, torch.randint(CLASSES, (batch,), generator=generator).to(device)


def _ours(n: int, x: Tensor, label: Tensor, every: int) -> Step:
    net = nn.Sequential(nn.Linear(n, n), LIF(beta=BETA, init_hidden=True)).to(x.device)
    learner = ForwardLearner(
        net,
        rule("plain", CLASSES),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=1e-7),
        update_every=every,
    )
    return lambda: learner.update(x, label)


def _trained(
    linear: nn.Linear, neurons: Callable[[Tensor], Tensor], x: Tensor, reset: Step
) -> Step:
    optimizer = torch.optim.SGD(linear.parameters(), lr=1e-7)

    def step() -> None:
        reset()
        optimizer.zero_grad(set_to_none=True)
        neurons(linear(x)).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def _snntorch(n: int, x: Tensor, label: Tensor) -> Step:
    import snntorch

    neuron: Any = snntorch.Leaky(beta=BETA).to(x.device)

    def run(currents: Tensor) -> Tensor:
        mem, spikes = neuron.reset_mem(), []
        for current in currents:
            spk, mem = neuron(current, mem)
            spikes.append(spk)
        return torch.stack(spikes)

    return _trained(nn.Linear(n, n, device=x.device), run, x, lambda: None)


def _spikingjelly(n: int, x: Tensor, label: Tensor) -> Step:
    from spikingjelly.activation_based import functional, neuron, surrogate

    node: Any = neuron.LIFNode(
        tau=1.0 / (1.0 - BETA), decay_input=False, v_threshold=1.0, v_reset=None,
        surrogate_function=surrogate.ATan(), detach_reset=True, step_mode="m",
    ).to(x.device)  # fmt: skip
    linear = nn.Linear(n, n, device=x.device)
    return _trained(linear, node, x, lambda: functional.reset_net(node))


_MAKERS: dict[str, Callable[[int, Tensor, Tensor], Step]] = {
    "spikeprop": lambda n, x, label: _ours(n, x, label, len(x)),
    "spikeprop_step": lambda n, x, label: _ours(n, x, label, 1),
    "snntorch": _snntorch,
    "spikingjelly": _spikingjelly,
}


def main() -> int:
    """Read the command line, run, and print the table; return the exit code."""
    import tyro

    def say(row: Row) -> None:
        print(row, file=sys.stderr, flush=True)

    try:
        config = tyro.cli(OpenConfig, description=__doc__)
        rows = measure_all(config, say)
    except (ValueError, RuntimeError) as error:
        print(f"open_neuromorphic: {error}", file=sys.stderr)
        return 2
    name = torch.cuda.get_device_name() if config.device == "cuda" else "cpu"
    setting = {"device": name, "torch": torch.__version__, "precision": config.precision}
    content = {**setting, "rows": rows}
    write_text(config.out / "results.json", json.dumps(content, indent=1), parents=True)
    print(f"{name}, torch {torch.__version__}, products {config.precision}, learning included\n")
    print(
        table(
            ["method", "n", "T", "B", "seconds", "peak beside input, GiB"],
            (
                [row["method"], row["n"], row["T"], row["B"], *_shown(row)]
                for row in rows
            ),
        )
    )  # fmt: skip
    return 0


def _shown(row: Row) -> tuple[str, str]:
    if row["seconds"] is None:
        return "out of memory", ""
    return f"{row['seconds']:.4f}", "" if row["gib"] is None else f"{row['gib']:.2f}"


if __name__ == "__main__":
    sys.exit(main())
