"""Still images for experiments: MNIST or Fashion-MNIST, the same image at each time step.

The command line, training and report that the commands on still images share. Nothing is chosen on
the test split: it is read once, after the last epoch.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from spikeprop.datasets import MNIST, FashionMNIST
from spikeprop.datasets.files import write_text
from spikeprop.experiments.report import in_percent
from spikeprop.fit import Callback, EpochResult
from spikeprop.learner import ForwardLearner, OptimizerFactory

__all__ = ["Run", "load", "main"]

SETS = {"mnist": MNIST, "fashion-mnist": FashionMNIST}


@dataclass(frozen=True)
class Run:
    """Defaults of a command.

    Parameters
    ----------
    build : callable
        ``(seed, optimizer) -> ForwardLearner``.
    steps : int
        Time steps T.
    epochs, batch_size : int
        Passes over the training images, and images of a batch.
    lr : float
        Step size of Adam at the start; it falls to zero along a half cosine.
    """

    build: Callable[[int, OptimizerFactory], ForwardLearner]
    steps: int
    epochs: int
    batch_size: int
    lr: float


def load(
    name: str, folder: Path | None, *, train: bool, limit: int | None = None
) -> tuple[Tensor, Tensor]:
    """Return images ``(N, 1, 28, 28)`` from 0 to 1, and their labels ``(N,)``.

    Raises
    ------
    FileNotFoundError
        If the files are missing; the message says what to put where.
    """
    found = SETS[name](folder, train=train)
    images = torch.from_numpy(found.images[:limit].astype(np.float32) / 255).unsqueeze(1)
    return images, torch.from_numpy(found.targets[:limit])


class _Say(Callback):
    def on_epoch_end(self, learner: ForwardLearner, result: EpochResult) -> None:
        rates = " ".join(f"{rate:.3f}" for rate in result.rate.tolist())
        print(
            f"epoch {result.epoch}: training accuracy {100 * result.train_accuracy:.2f} %, active "
            f"share {rates}, {result.seconds:.1f} s",
            flush=True,
        )


def main(description: str, run: Run, arguments: Sequence[str] | None = None) -> float:
    """Train with each seed, print, and return the mean test accuracy after the last epoch."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--dataset", choices=SETS, default="mnist")
    parser.add_argument("--data-dir", type=Path, help="folder of the IDX files")
    parser.add_argument("--epochs", type=int, default=run.epochs)
    parser.add_argument("--batch-size", type=int, default=run.batch_size)
    parser.add_argument("--lr", type=float, default=run.lr)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--limit", type=int, help="only so many images of each split")
    parser.add_argument("--out", type=Path, help="write the results to this JSON file")
    given = parser.parse_args(arguments)
    images, labels = load(given.dataset, given.data_dir, train=True, limit=given.limit)
    accuracies, seconds = [], []
    for seed in given.seeds:
        learner = run.build(seed, partial(torch.optim.Adam, lr=given.lr, fused=True))
        start = time.perf_counter()
        learner.fit(
            (images.expand(run.steps, *images.shape), labels),
            epochs=given.epochs,
            batch_size=given.batch_size,
            callbacks=[_Say()],
        )
        seconds.append(time.perf_counter() - start)
        test, wanted = load(given.dataset, given.data_dir, train=False, limit=given.limit)
        found = learner.evaluate((test.expand(run.steps, *test.shape), wanted), batch_size=200)
        accuracies.append(found.accuracy)
        layers = " ".join(f"{100 * value:.2f}" for value in found.block_accuracy.tolist())
        print(
            f"seed {seed}: test accuracy {100 * found.accuracy:.2f} %, per layer {layers} %, "
            f"{learner.engine_choice}, {seconds[-1]:.0f} s",
            flush=True,
        )
    print(f"{given.dataset}: test accuracy {in_percent(accuracies)} %")
    if given.out is not None:
        results = {**vars(given), "accuracies": accuracies, "seconds": seconds}
        write_text(given.out, json.dumps(results, default=str, indent=2) + "\n")
    return statistics.mean(accuracies)
