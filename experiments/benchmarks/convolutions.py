"""Where a convolution of events beats the dense one, by density.

First its currents and its gradient alone: random input, and both products learn the same batch in
turn, once a batch (all steps in one window) and at every step. Making dense frames of the events is
not counted, in favour of the dense product. Then whole updates of a network, the convolution and a
dense layer behind: signal propagation with learned class signals by the event and the chunked
engine, and BPTT, from sparse batches.

``python -m spikeprop.experiments.benchmarks.convolutions``
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from spikeprop.blocks import find_blocks
from spikeprop.datasets import EventBatch
from spikeprop.engines.buffers import Buffers
from spikeprop.engines.chain import chain_of
from spikeprop.engines.event_convolution import EventConvolution
from spikeprop.engines.filters import advance_over, weights_of
from spikeprop.engines.products import Backward, DenseProduct, Product
from spikeprop.engines.rows import Rows, as_events
from spikeprop.evidence import Leaky
from spikeprop.experiments.benchmarks.report import table
from spikeprop.experiments.benchmarks.timing import interleave, use_threads
from spikeprop.learner import ForwardLearner
from spikeprop.rules import BPTT, Rule, SigProp
from spikeprop.shapes import build_shape

__all__ = ["ConvolutionConfig", "main", "measure", "measure_training"]

CLASSES = 10
BETA = 0.5
EVIDENCE = Leaky(0.7)


@dataclass(frozen=True)
class ConvolutionConfig:
    """Options."""

    pixels: int = 34
    """Rows and columns of the picture, of two polarities."""
    outputs: int = 16
    """Channels that come out."""
    kernel: int = 5
    """Rows and columns of the kernel."""
    stride: int = 2
    """Pixels from one place to the next."""
    steps: int = 20
    """Time steps T."""
    batch: int = 50
    """Recordings B."""
    densities: tuple[float, ...] = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
    """Shares of active inputs."""
    threads: int = 1
    """Threads."""
    hidden: int = 40
    """Neurons behind the convolution, where whole updates are timed."""
    rounds: int = 9
    """Rounds that count."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, int) and value < 1:
                raise ValueError(f"{name} has to be at least 1, got {value}")
        if self.kernel > self.pixels:
            raise ValueError(f"kernel has to be at most {self.pixels}, got {self.kernel}")
        if not all(0.0 <= density <= 1.0 for density in self.densities):
            raise ValueError(f"densities have to lie within [0, 1], got {self.densities}")


def measure(config: ConvolutionConfig, density: float) -> dict[str, dict[str, float]]:
    """Return seconds of a batch of both products, for updates once a batch and at every step."""
    torch.manual_seed(0)
    net, x = _network(config), _drawn(config, density)
    link = chain_of(net, find_blocks(net, x[0, :2], whole_sequence=False))[0]
    batch = as_events(x)
    delta = torch.randn(config.steps, config.batch, link.block.features.numel())
    events = EventConvolution(link, config.batch, 1, Buffers(), learns=True)
    dense = DenseProduct(link, config.batch, 1, learns=True)
    found = {}
    for name, length in _updates(config):
        spans = [(first, first + length) for first in range(0, config.steps, length)]
        by_events = [Rows.of_window(batch, *span, x.dtype) for span in spans]
        works = {
            "events": partial(_learn, events, by_events, delta, length),
            "dense": partial(_learn, dense, [x[a:b] for a, b in spans], delta, length),
        }
        samples = interleave(works, config.rounds)
        found[name] = {case: own.seconds("cpu") for case, own in samples.items()}
    return found


def measure_training(config: ConvolutionConfig, density: float) -> dict[str, dict[str, float]]:
    """Return seconds of an update of a whole network, for both schedules."""
    torch.manual_seed(0)
    x = EventBatch.from_dense(_drawn(config, density))
    label = torch.randint(CLASSES, (config.batch,))
    net = _network(config)
    found = {}
    for name, length in _updates(config):

        def update(
            rule: Rule, engine: Literal["event", "chunked", "auto"], every: int = length
        ) -> Callable[[], object]:
            learner = ForwardLearner(
                deepcopy(net),
                rule,
                engine=engine,
                optimizer=partial(torch.optim.Adam, lr=2e-3, fused=True),
                update_every=every,
            )
            return partial(learner.update, x, label)

        learned = SigProp(CLASSES, signal="learned")
        works = {
            "event engine": update(learned, "event"),
            "chunked engine": update(learned, "chunked"),
            "BPTT": update(BPTT(CLASSES), "auto"),
        }
        samples = interleave(works, config.rounds, warm_up=2)
        found[name] = {case: own.seconds("cpu") for case, own in samples.items()}
    return found


def _network(config: ConvolutionConfig) -> nn.Sequential:
    word = f"conv:{config.outputs}k{config.kernel}s{config.stride}:{config.hidden}"
    return build_shape(word, (2, config.pixels, config.pixels), beta=BETA, dropout=0.0, seed=0)


def _drawn(config: ConvolutionConfig, density: float) -> Tensor:
    shape = (config.steps, config.batch, 2, config.pixels, config.pixels)
    return (torch.rand(shape) < density).float()


def _updates(config: ConvolutionConfig) -> tuple[tuple[str, int], ...]:
    return ("once a batch", config.steps), ("every step", 1)


@torch.no_grad()
def _learn(product: Product, windows: list[Any], delta: Tensor, length: int) -> None:
    """Run all windows forward and let them learn."""
    rows, size = delta.shape[1:]
    advance = advance_over(BETA, weights_of([EVIDENCE], 1, length))
    for first, x in zip(range(0, len(delta), length), windows, strict=True):
        product.currents(x, rows)
        window = delta[first : first + length]
        if length == 1:
            product.learn_step(x, window[0], advance)
        else:  # the filters reversed give a matrix of the same shape
            before = window[:1]
            backward = Backward(window.reshape(1, -1, size), before, before[0], [True])
            product.learn(x, backward, advance, goes_on=False)
        product.take_gradients()
        product.clear_gradients()


def main() -> int:
    """Read the command line, run, and print the table; return the exit code."""
    import tyro

    config = tyro.cli(ConvolutionConfig, description=__doc__)
    use_threads(config.threads)
    print(f"{config}, ms a batch\n")
    for title, timed in (("Products", measure), ("Updates", measure_training)):
        rows, cases = [], []
        for density in config.densities:
            for update, seconds in timed(config, density).items():
                cases, times = list(seconds), list(seconds.values())
                ratios = [f"{t / times[0]:.2f}" for t in times[1:]]
                found = [*[f"{1e3 * t:.1f}" for t in times], *ratios]
                rows.append([f"{100 * density:g} %", update, *found])
        relative = [f"{case} / {cases[0]}" for case in cases[1:]]
        print(f"{title}\n\n{table(['active', 'update', *cases, *relative], rows)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
