"""What a published setting is, and the command that all of them share.

Nothing is chosen on the test split: it is read once, after the last epoch. Published figures are
often the best of all test epochs, as each file says.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spikeprop.datasets import Binning, EventBatch, make_loader, stored
from spikeprop.datasets.catalogue import CATALOGUE, open_set
from spikeprop.datasets.files import data_root, write_text
from spikeprop.datasets.slicing import EventSlices
from spikeprop.experiments.report import in_percent
from spikeprop.experiments.stills import load
from spikeprop.fit import Callback, EpochResult, TensorBatches
from spikeprop.learner import ForwardLearner
from spikeprop.neurons import IF, LIF, RLIF
from spikeprop.rules.names import make_rule

__all__ = ["Setting", "build_network", "main"]

OPTIMIZERS = {"adam": torch.optim.Adam, "adamax": torch.optim.Adamax, "sgd": torch.optim.SGD}
DRY_RECORDINGS, DRY_STEPS = 2, 2
_LAYER = re.compile(r"(?P<size>\d+)(?:C(?P<kernel>\d+)|(?P<recurrent>R))?")
_POOL = re.compile(r"(?P<kind>[AM])P(?P<size>\d+)")


@dataclass(frozen=True)
class Setting:
    """A published setting.

    Attributes
    ----------
    title, source : str
        What it is, and who published it.
    dataset : str
        Name in the catalogue.
    published : mapping of str to str
        What is reported, in words, by rule; the first rule is the setting's own.
    network : str
        Hidden layers: ``64C3`` a convolution of 64 channels, ``AP2`` and ``MP2`` pooling, ``200`` a
        fully connected layer, ``200R`` one with recurrent connections. The layer of classes is the
        rule's own readout (or its class signals).
    epochs, batch_size : int
        Of the training.
    optimizer, lr, weight_decay
        One of ``OPTIMIZERS``, and its options.
    differs : tuple of str
        Where this is not what was published, or the source does not say.
    options : mapping of str to mapping
        Hyper-parameters of the rules, by rule.
    binning : Binning
        How recordings become time steps.
    first_saccade_only : bool
        For N-MNIST.
    slice_us, test_us : int, optional
        Learn from slices of this length; test on the beginning of this length [µs].
    steps : int
        Still images are the current at so many steps.
    beta : float
        Decay of the voltage; 1 is integrate and fire.
    norm : bool
        A batch norm before every neuron of a convolution.
    cosine : bool
        The rate falls along a half cosine, or stays.
    threshold : float
        Of the neurons.
    update_every : int, optional
        Time steps between two updates; what the rule is meant for if not given.
    """

    title: str
    source: str
    dataset: str
    published: Mapping[str, str]
    network: str
    epochs: int
    batch_size: int
    lr: float
    differs: tuple[str, ...]
    optimizer: str = "adam"
    weight_decay: float = 0.0
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    binning: Binning = field(default_factory=Binning)
    first_saccade_only: bool = False
    slice_us: int | None = None
    test_us: int | None = None
    steps: int = 4
    beta: float = 0.9
    norm: bool = False
    cosine: bool = False
    threshold: float = 1.0
    update_every: int | None = None

    @property
    def still(self) -> bool:
        """Whether the data are still images."""
        return self.dataset in ("mnist", "fashion-mnist")


def build_network(setting: Setting, input_shape: Sequence[int], seed: int) -> nn.Sequential:
    """Build the hidden layers, which map one time step, from the seed alone.

    Raises
    ------
    ValueError
        For a word that is no layer.
    """
    layers: list[nn.Module] = []
    shape = list(input_shape)
    neuron: Any = partial(IF) if setting.beta == 1.0 else partial(LIF, setting.beta)
    neuron = partial(neuron, threshold=setting.threshold, init_hidden=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for word in setting.network.split("-"):
            pool, layer = _POOL.fullmatch(word), _LAYER.fullmatch(word)
            if pool is not None:
                size = int(pool["size"])
                kind: Any = nn.AvgPool2d if pool["kind"] == "A" else nn.MaxPool2d
                layers.append(kind(size))
                shape = [shape[0], *(n // size for n in shape[1:])]
            elif layer is not None and layer["kernel"]:
                outputs, kernel = int(layer["size"]), int(layer["kernel"])
                bias = not setting.norm
                layers.append(nn.Conv2d(shape[0], outputs, kernel, padding=kernel // 2, bias=bias))
                layers += [nn.BatchNorm2d(outputs)] if setting.norm else []
                layers.append(neuron())
                shape = [outputs, *shape[1:]]
            elif layer is not None:
                outputs = int(layer["size"])
                layers += [nn.Flatten()] if len(shape) > 1 else []
                layers.append(nn.Linear(int(np.prod(shape)), outputs))
                recurrent = RLIF(setting.beta, linear_features=outputs, init_hidden=True)
                layers.append(recurrent if layer["recurrent"] else neuron())
                shape = [outputs]
            else:
                raise ValueError(f"network {setting.network!r} has no layer like {word!r}")
        if len(shape) > 1:
            layers.append(nn.Flatten())
    return nn.Sequential(*layers)


def main(setting: Setting, arguments: Sequence[str] | None = None) -> float:
    """Run the setting's command, and return the mean test accuracy (of a dry run: NaN).

    Raises
    ------
    FileNotFoundError
        If the data are missing; the message says which files to put where.
    """
    parser = argparse.ArgumentParser(
        description=f"{setting.title}. {setting.source}",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    own = next(iter(setting.published))
    parser.add_argument("--rule", choices=list(setting.published), default=own)
    parser.add_argument("--data-dir", type=Path, help="folder of the data")
    parser.add_argument("--epochs", type=int, default=setting.epochs)
    parser.add_argument("--batch-size", type=int, default=setting.batch_size)
    parser.add_argument("--lr", type=float, default=setting.lr)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--limit", type=int, help="only so many recordings of each split")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="write the results to this JSON file")
    parser.add_argument(
        "--dry-run", action="store_true", help="learn one small batch, test one, and stop"
    )
    given = parser.parse_args(arguments)
    say_needs(setting, given)
    if given.dry_run:
        _dry_run(setting, given)
        return float("nan")
    train, test, shape, classes = open_split(setting, given)
    print(_expected(setting, given, train, shape, classes), flush=True)
    results = []
    for seed in given.seeds:
        learner = build_learner(setting, given, shape, classes, seed)
        schedule = "cosine" if setting.cosine else "constant"
        start = time.perf_counter()
        learner.fit(train, epochs=given.epochs, schedule=schedule, callbacks=[_Say(given.epochs)])
        found = learner.evaluate(test)
        seconds = time.perf_counter() - start
        results.append(found.accuracy)
        print(
            f"seed {seed}: test accuracy {100 * found.accuracy:.2f} % of {found.samples}, "
            f"{learner.engine_choice}, {seconds:.0f} s",
            flush=True,
        )
    print(f"{given.rule}: {in_percent(results)} %, final epoch")
    print(f"published: {setting.published[given.rule]}")
    if given.out is not None:
        write_text(given.out, json.dumps({**vars(given), "accuracies": results}, default=str))
    return statistics.mean(results)


def say_needs(setting: Setting, given: argparse.Namespace) -> None:
    """Print what the setting is and needs, before anything is opened."""
    entry = CATALOGUE[setting.dataset]
    print(f"{setting.title} ({setting.source})")
    print(f"published: {setting.published[given.rule]}")
    print(f"needs: {entry.about}, in {data_root(given.data_dir)} (download: {entry.size})")
    print(
        f"does: {setting.network} by {given.rule}, {given.epochs} epochs, batch {given.batch_size}"
    )
    for line in setting.differs:
        print(f"differs: {line}")


def open_split(
    setting: Setting, given: argparse.Namespace
) -> tuple[Any, Any, tuple[int, ...], int]:
    """Open both splits: batches to learn from, batches to test, shape of a step, classes."""
    if setting.still:
        parts = []
        for train in (True, False):
            images, labels = load(setting.dataset, given.data_dir, train=train, limit=given.limit)
            x = images.expand(setting.steps, *images.shape)
            parts.append(TensorBatches(x, labels, batch_size=given.batch_size, shuffle=train))
        return parts[0], parts[1], (1, 28, 28), 10
    loaders: list[Any] = []
    for train in (True, False):
        dataset: Any = open_set(
            setting.dataset,
            given.data_dir,
            train=train,
            first_saccade_only=setting.first_saccade_only,
        )
        length = setting.slice_us if train else setting.test_us
        if length is not None or dataset.slow:
            dataset = stored(dataset, given.data_dir)
        if length is not None:
            # A stride longer than any recording leaves one slice of each: its beginning.
            dataset = EventSlices(dataset, length, None if train else 10**9)
        count = min(given.limit or len(dataset), len(dataset))
        loaders.append(
            make_loader(
                dataset,
                batch_size=given.batch_size,
                binning=setting.binning,
                shuffle=train,
                seed=given.seeds[0],
                indices=np.linspace(0, len(dataset) - 1, count).round().astype(np.int64),
                sparse=True,
            )
        )
    return *loaders, setting.binning.features(dataset.sensor_size), len(dataset.classes)


def build_learner(
    setting: Setting, given: argparse.Namespace, shape: Sequence[int], classes: int, seed: int
) -> ForwardLearner:
    """Build the network in a learner by the rule that was asked for."""
    rule = make_rule(given.rule, classes, **setting.options.get(given.rule, {}))
    learner = ForwardLearner(
        build_network(setting, shape, seed),
        rule,
        optimizer=partial(
            OPTIMIZERS[setting.optimizer], lr=given.lr, weight_decay=setting.weight_decay
        ),
        update_every=setting.update_every,
        seed=seed,
    )
    learner.bind(shape)
    return learner.to(given.device)


class _Say(Callback):
    """Prints a line an epoch."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_epoch_end(self, learner: ForwardLearner, result: EpochResult) -> None:
        accuracy = f"{100 * result.train_accuracy:.2f} %"
        print(
            f"epoch {result.epoch} of {self.epochs}: training accuracy {accuracy}, "
            f"{result.seconds:.0f} s",
            flush=True,
        )


def _expected(
    setting: Setting,
    given: argparse.Namespace,
    train: Any,
    shape: Sequence[int],
    classes: int,
) -> str:
    """Say how long the training will take, from two updates of a learner that is thrown away."""
    learner = build_learner(setting, given, shape, classes, 0)
    x, label = next(iter(train))
    learner.update(x, label)  # the first one still sets things up
    start = time.perf_counter()
    learner.update(x, label)
    hours = (time.perf_counter() - start) * len(train) * given.epochs * len(given.seeds) / 3600
    return (
        f"expected: {hours:.1f} h here" if hours >= 0.1 else f"expected: {60 * hours:.0f} min here"
    )


def _dry_run(setting: Setting, given: argparse.Namespace) -> None:
    """Learn one batch of two recordings, cut to a few steps, and test one; print their shapes."""
    given.batch_size = DRY_RECORDINGS
    train, test, shape, classes = open_split(setting, given)
    learner = build_learner(setting, given, shape, classes, given.seeds[0])
    x, label = _cut(train)
    metrics = learner.update(x, label)
    if not torch.isfinite(metrics.loss).all():
        raise FloatingPointError(f"the loss of a batch is {metrics.loss.tolist()}")
    found = learner.evaluate([_cut(test)])
    print(
        f"dry run: learned from a batch {tuple(x.shape)}, loss "
        f"{' '.join(f'{value:.3g}' for value in metrics.loss.tolist())}; tested {found.samples}"
    )


def _cut(batches: Iterable[Any]) -> tuple[Tensor, Tensor]:
    """Return the middle steps of the first batch."""
    x, label = next(islice(batches, 1))
    dense = x.to_dense() if isinstance(x, EventBatch) else x
    begin = max(0, len(dense) // 2 - DRY_STEPS)
    return dense[begin : begin + DRY_STEPS], label
