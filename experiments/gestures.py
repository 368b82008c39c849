"""Gestures told apart by direction and order in time, by a convolutional network.

    python -m spikeprop.experiments.gestures --methods forward shuffled linear bptt --seeds 0 1 2

Data: :class:`~spikeprop.datasets.SimulatedGestures`, every recording cut into 60 steps of equal
duration, 4 x 4 pixels pooled into one; each step is given together with the second and the fourth
before it. Network: conv 9 x 9 stride 4 and a dense layer, both of LIF neurons, with delays of 0 or
3 steps in front of the second; 277,824 weights. Augmentation: shifts by up to two pixels and mirror
images with the class that they show.

``forward``: signal propagation, an update every ten steps; the class signal changes in the course
of the recording (:class:`~spikeprop.time_codes.Phases`). ``shuffled``: the same, with the steps of
every recording in random order. ``linear``: a linear classifier on frames summed over time.
``bptt``: surrogate gradients in snnTorch, the same layers and a readout of the voltage's mean;
``bptt-phases``: with readout weights that change in the course of the recording as the signal does.

The people of the test split are seen once, after the last epoch. ``--validate`` holds out the last
five people of the training split instead: what the options were chosen on.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import snntorch as snn
import torch
from numpy.typing import NDArray
from snntorch import surrogate
from torch import Tensor, nn

from spikeprop.datasets import Binning, SimulatedGestures, make_loader
from spikeprop.datasets.files import write_text
from spikeprop.evidence import Leaky
from spikeprop.experiments.bptt import BPTT, over_time
from spikeprop.experiments.linear import linear
from spikeprop.experiments.recordings import Split
from spikeprop.experiments.report import in_percent
from spikeprop.experiments.training import train_together
from spikeprop.learner import ForwardLearner
from spikeprop.neurons import LIF, Delay
from spikeprop.rules import SigProp
from spikeprop.time_codes import Phases

__all__ = ["METHODS", "BPTTGestures", "Frames", "build", "main"]

METHODS = ("forward", "shuffled", "linear", "bptt", "bptt-phases")

STEPS, POOL, CLASSES, HELD_OUT = 60, 4, 11, 5
BEFORE = (0, 2, 4)
BETAS = (0.5, 0.8)
LAGS = (0, 3)
HIDDEN = (32 * 8 * 8, 128)
PHASES = Phases(STEPS, 6)
SHIFT = 2


@dataclass(eq=False)
class Frames:
    """Recordings as frames, in memory; gives batches to learn from, or to be tested on.

    Parameters
    ----------
    x : Tensor of uint8, shape (T, N, 2, H, W)
        The frames.
    labels : Tensor of int64, shape (N,)
        Classes.
    people : ndarray, shape (N,)
        Who made each.
    train : bool
        Whether batches are drawn at random, and augmented.
    seed : int
        Of these draws.
    batch_size : int
        Recordings of a batch.
    epoch : int
        Every epoch has its own order and augmentation.
    """

    x: Tensor
    labels: Tensor
    people: NDArray[np.int64]
    train: bool = False
    seed: int = 0
    batch_size: int = 50
    epoch: int = 0

    @classmethod
    def load(cls, train: bool, data_dir: Path | None) -> Frames:
        """Read a split; the first time it is simulated, which takes some minutes."""
        data = SimulatedGestures(data_dir, train=train)
        binning = Binning(n_time_bins=STEPS, pool=POOL)
        batches = list(make_loader(data, batch_size=50, binning=binning, shuffle=False, seed=0))
        x = torch.cat([frames.to(torch.uint8) for frames, _ in batches], dim=1)
        return cls(x, torch.cat([labels for _, labels in batches]), np.asarray(data.groups))

    @property
    def held_out(self) -> NDArray[np.bool_]:
        """Which recordings are of the people that choices are judged on: the last five."""
        return np.isin(self.people, np.unique(self.people)[-HELD_OUT:])

    def of(self, chosen: NDArray[np.bool_]) -> Frames:
        """Return some of the recordings."""
        kept = torch.from_numpy(chosen)
        return replace(
            self, x=self.x[:, kept], labels=self.labels[kept], people=self.people[chosen]
        )

    def shuffled(self, seed: int) -> Frames:
        """Return the same with the steps of every recording in an order of its own."""
        generator = torch.Generator().manual_seed(seed)
        steps = torch.rand(self.x.shape[:2], generator=generator).argsort(dim=0)
        index = steps[..., None, None, None].expand_as(self.x)
        return replace(self, x=self.x.gather(0, index))

    def __len__(self) -> int:
        return -(-len(self.labels) // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Draw anew."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        n = len(self.labels)
        generator = torch.Generator().manual_seed(1000 * self.seed + self.epoch)
        order = torch.randperm(n, generator=generator) if self.train else torch.arange(n)
        for start in range(0, n, self.batch_size):
            part = order[start : start + self.batch_size]
            x, labels = self.x[:, part], self.labels[part]
            if self.train:
                x, labels = _augmented(x, labels, generator)
            yield _with_past(x), labels


def _augmented(x: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mirror half of the recordings, and move each by up to two pixels."""
    mirrored = torch.rand(len(labels), generator=generator) < 0.5
    partner = torch.tensor(SimulatedGestures.mirrored)
    labels = torch.where(mirrored, partner[labels], labels)
    x = torch.where(mirrored[:, None, None, None], x.flip(-1), x)
    moves = torch.randint(-SHIFT, SHIFT + 1, (len(labels), 2), generator=generator).tolist()
    moved = [torch.roll(x[:, i], move, (-2, -1)) for i, move in enumerate(moves)]
    return torch.stack(moved, dim=1), labels


def _with_past(x: Tensor) -> Tensor:
    """Set earlier frames beside each: ``(T, B, 2, H, W)`` to ``(T, B, 2 len(BEFORE), H, W)``."""
    earlier = [torch.cat([torch.zeros_like(x[:n]), x[: len(x) - n]]) for n in BEFORE]
    return torch.cat(earlier, dim=2).float()


def _layers() -> tuple[nn.Module, Delay, nn.Module]:
    """Draw the first synapse, the delays behind it, and the second synapse."""
    return (
        nn.Conv2d(2 * len(BEFORE), 32, 9, stride=4, padding=4, bias=False),
        Delay(torch.tensor(LAGS)[torch.randint(len(LAGS), HIDDEN[:1])], init_hidden=True),
        nn.Linear(*HIDDEN),
    )


def build(seed: int, lr: float = 2e-3) -> ForwardLearner:
    """Return the network in a learner."""
    torch.manual_seed(seed)
    conv, delay, dense = _layers()
    first, second = (LIF(beta, init_hidden=True) for beta in BETAS)
    net = nn.Sequential(conv, first, nn.Flatten(), delay, dense, second)
    rule = SigProp(CLASSES, coding=PHASES, evidence=Leaky(0.6))
    adam = partial(torch.optim.Adam, lr=lr, fused=True)
    return ForwardLearner(net, rule, optimizer=adam, update_every=10, seed=seed)


class BPTTGestures(nn.Module):
    """The same layers in snnTorch, layer by layer, and a readout.

    Parameters
    ----------
    slope : float
        Of the fast sigmoid that stands for the derivative of a spike.
    phases : bool
        Whether the readout's weights change in the course of the recording, as the signal does.
    """

    def __init__(self, slope: float, phases: bool) -> None:
        super().__init__()
        self.conv, self.delay, self.dense = _layers()
        self.neurons = nn.ModuleList(
            snn.Leaky(beta=beta, spike_grad=surrogate.fast_sigmoid(slope=slope)) for beta in BETAS
        )
        self.last = snn.Leaky(beta=BETAS[-1], reset_mechanism="none")
        one = torch.ones(1, 1)
        weights = PHASES.draw(one, torch.Generator())[:, 0] if phases else one.expand(STEPS, 1)
        self.register_buffer("phases", weights)
        self.readout = nn.Linear(HIDDEN[1] * weights.shape[1], CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Return class scores ``(B, C)`` for recordings ``(T, B, ...)``."""
        current = self.conv(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        x = torch.stack(over_time(self.neurons[0], current)[0]).flatten(2)
        self.delay.reset_mem()
        current = self.dense(torch.stack([self.delay(step) for step in x]))
        x = torch.stack(over_time(self.neurons[1], current)[0])
        seen = torch.einsum("tbn,tk->tbnk", x, self.phases).flatten(2)
        _, voltages = over_time(self.last, self.readout(seen))
        return torch.stack(voltages).mean(dim=0)


def _forward(train: Frames, test: Frames, given: argparse.Namespace, seed: int) -> float:
    learner = build(seed, given.lr)
    learner.fit(train, epochs=given.epochs)
    found = learner.evaluate(test)
    layers = " ".join(f"{100 * value:.1f}" for value in found.block_accuracy.tolist())
    print(f"  per layer {layers} %, {learner.engine_choice}", flush=True)
    return found.accuracy


def _shuffled(train: Frames, test: Frames, given: argparse.Namespace, seed: int) -> float:
    return _forward(train.shuffled(seed), test.shuffled(seed + 1), given, seed)


def _bptt(
    train: Frames, test: Frames, given: argparse.Namespace, seed: int, phases: bool = False
) -> float:
    steps = given.epochs * len(train)
    model = BPTT.of(
        lambda: BPTTGestures(given.slope, phases), given.bptt_lr, steps=steps, seed=seed
    )
    train_together({"bptt": model}, train, given.epochs)
    return model.accuracy(test)


def _linear(train: Frames, test: Frames, given: argparse.Namespace, seed: int) -> float:
    summed = [part.x.float().sum(dim=0).flatten(1).numpy() for part in (train, test)]
    n = len(train.labels)
    tuning = Split("tuning", np.flatnonzero(~train.held_out), np.flatnonzero(train.held_out))
    both = Split("test", np.arange(n), np.arange(n, n + len(test.labels)))
    labels = torch.cat([train.labels, test.labels]).numpy()
    return linear(np.concatenate(summed), labels, both, tuning).test


def main(arguments: Sequence[str] | None = None) -> dict[str, list[float]]:
    """Run the command, and return the accuracies of each method, one a seed."""
    parser = argparse.ArgumentParser(
        description="SimulatedGestures by a convolutional network, and what it is compared with.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["forward"])
    parser.add_argument("--data-dir", type=Path, help="where the recordings are kept")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--lr", type=float, default=2e-3, help="Adam's rate, forward")
    parser.add_argument("--bptt-lr", type=float, default=3e-3, help="Adam's rate, BPTT")
    parser.add_argument("--slope", type=float, default=10.0, help="of BPTT's surrogate")
    parser.add_argument("--validate", action="store_true", help="hold out five training people")
    parser.add_argument("--limit", type=int, help="only so many recordings of each split")
    parser.add_argument("--out", type=Path, help="write the results to this JSON file")
    given = parser.parse_args(arguments)
    train = Frames.load(True, given.data_dir)
    if given.validate:
        train, test = train.of(~train.held_out), train.of(train.held_out)
    else:
        test = Frames.load(False, given.data_dir)
    if given.limit is not None:
        train, test = (
            part.of(np.arange(len(part.labels)) % max(1, len(part.labels) // given.limit) == 0)
            for part in (train, test)
        )
    run: dict[str, Callable[..., float]] = {
        "forward": _forward, "shuffled": _shuffled, "linear": _linear, "bptt": _bptt,
        "bptt-phases": partial(_bptt, phases=True),
    }  # fmt: skip
    results: dict[str, list[float]] = {}
    for method in given.methods:
        seeds = given.seeds if method != "linear" else [0]  # nothing in it is drawn
        for seed in seeds:
            start = time.perf_counter()
            found = run[method](replace(train, train=True, seed=seed), test, given, seed)
            results.setdefault(method, []).append(found)
            seconds = time.perf_counter() - start
            print(f"{method}, seed {seed}: {100 * found:.2f} %, {seconds:.0f} s", flush=True)
        print(f"{method}: {in_percent(results[method])} %", flush=True)
        if given.out is not None:
            text = json.dumps({**vars(given), "results": results}, default=str, indent=2)
            write_text(given.out, text + "\n")
    return results


if __name__ == "__main__":
    main()
