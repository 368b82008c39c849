"""From a configuration to its data, network and learner."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from spikeprop.config import TrainConfig, lag_steps
from spikeprop.datasets import (
    Binning,
    EventDataset,
    EventLoader,
    EventStore,
    TimeOrder,
    hold_out,
    make_loader,
    split_validation,
    stored,
)
from spikeprop.datasets.catalogue import open_set
from spikeprop.datasets.files import data_root
from spikeprop.learner import ForwardLearner
from spikeprop.recipes import sigprop_of
from spikeprop.rules import Rule
from spikeprop.rules.names import find_rule, make_rule, parse_options
from spikeprop.shapes import build_shape

FINGERPRINT_SAMPLES = 64
FEW_STEPS = 5
"""With fewer time steps a network sees hardly more than a picture."""
LEARNING_RATE = 4e-4
"""Of a rule that says none."""


@dataclass(frozen=True)
class Data:
    """The recordings of a run.

    Attributes
    ----------
    train, validation, test : EventLoader
        Loaders of ``(x (T, B, P, H, W), labels (B,))``, ``x`` as sparse events; ``validation`` is
        None without one.
    classes : list of str
        Names of the classes.
    input_shape : tuple of int
        One time step of one recording, ``(P, H, W)``.
    summary : dict
        Name, counts, note and fingerprints, for ``metrics.json``.
    """

    train: EventLoader
    validation: EventLoader | None
    test: EventLoader
    classes: list[str]
    input_shape: tuple[int, int, int]
    summary: dict[str, Any]


def open_dataset(
    config: TrainConfig, *, train: bool, download: bool = True
) -> EventDataset | EventStore:
    """Open one split of the configured data set.

    A set whose files are slow to read is converted into a store in the data folder first, once.
    Without ``download`` a published set that is not here counts as missing.

    Raises
    ------
    FileNotFoundError
        If the data are missing; the message says which files to put where.
    ValueError
        If an option does not fit the set.
    """
    dataset = open_set(
        config.dataset,
        config.data_dir,
        train=train,
        first_saccade_only=config.first_saccade_only,
        stabilize=config.stabilize,
        download=download,
    )
    opened: EventDataset | EventStore = dataset
    if dataset.slow:
        try:
            opened = stored(dataset, config.data_dir)
        except OSError as error:
            warnings.warn(f"{error}; recordings are read from their files", stacklevel=2)
    if config.order_window is None:
        return opened
    return TimeOrder(opened, config.order_window, seed=0 if train else 1)


def data_folder(given: Path | None) -> Path:
    """Return the folder that data sets lie in."""
    return data_root(given)


def binning(config: TrainConfig) -> Binning:
    """Say how recordings are cut into time steps."""
    if config.n_time_bins is not None:
        return Binning(None, config.n_time_bins, None, config.binary, config.pool)
    if config.event_count is not None:
        return Binning(None, None, config.event_count, config.binary, config.pool)
    return Binning(config.time_window, None, None, config.binary, config.pool)


def evaluation_loader(config: TrainConfig, dataset: EventDataset | EventStore) -> EventLoader:
    """Make batches in the order of the set, without augmentation."""
    return make_loader(
        dataset,
        batch_size=config.batch_size,
        binning=binning(config),
        shuffle=False,
        seed=config.seed,
        sparse=True,
    )


def open_data(config: TrainConfig) -> Data:
    """Open both splits, and take the validation part out of the training split.

    Raises
    ------
    FileNotFoundError
        If the data are missing; the message says which files to put where.
    ValueError
        If an option does not fit the data.
    """
    train_set, test_set = open_dataset(config, train=True), open_dataset(config, train=False)
    _warn_of_few_steps(config, train_set)
    make = partial(
        make_loader,
        train_set,
        batch_size=config.batch_size,
        binning=binning(config),
        seed=config.seed,
        sparse=True,
    )
    kept, validation = _limited(train_set, config.limit), None
    if config.validation > 0:
        groups = None if train_set.groups is None else np.asarray(train_set.groups)[kept]
        part, held_out = split_validation(
            np.asarray(train_set.targets)[kept], config.validation, config.seed, groups=groups
        )
        validation = make(shuffle=False, indices=kept[held_out])
        kept = kept[part]
    train = make(shuffle=True, shift=config.shift, indices=kept)
    input_shape = binning(config).features(train_set.sensor_size)
    summary = {
        "name": train_set.name,
        "note": "; ".join(note for note in (train_set.note, test_set.note) if note) or None,
        "classes": train_set.classes,
        "sensor_size": list(train_set.sensor_size),
        "input_shape": list(input_shape),
        "duration_us": train_set.duration,
        "train": len(kept),
        "validation": 0 if validation is None else len(held_out),
        "test": len(test_set),
        "train_sha256": fingerprint(train_set),
        "test_sha256": fingerprint(test_set),
    }
    return Data(
        train,
        validation,
        evaluation_loader(config, test_set),
        train_set.classes,
        input_shape,
        summary,
    )


def _limited(train_set: EventDataset | EventStore, limit: int | None) -> Any:
    """Return the indices of the recordings to learn from; the same ones for all seeds."""
    if limit is None or limit == len(train_set):
        return np.arange(len(train_set))
    if limit > len(train_set):
        raise ValueError(f"limit must be at most {len(train_set)}, got {limit}")
    return hold_out(train_set.targets, limit, seed=0)[1]


def _warn_of_few_steps(config: TrainConfig, dataset: EventDataset | EventStore) -> None:
    """Say so where time bins are too long for the recordings to be seen to move."""
    if config.n_time_bins is not None or config.event_count is not None:
        return
    steps = -(-dataset.duration // config.time_window)
    if steps < FEW_STEPS:
        warnings.warn(
            f"recordings of {dataset.duration / 1e3:g} ms are {steps} time steps of "
            f"{config.time_window} µs; --time-window {max(1, dataset.duration // 20)} would give "
            "twenty",
            stacklevel=3,
        )


def fingerprint(dataset: EventDataset | EventStore) -> str:
    """Return the SHA-256 of all labels and of 64 recordings spread over the set.

    Not of every recording: N-MNIST has 60,000 files.
    """
    digest = hashlib.sha256(np.ascontiguousarray(dataset.targets, dtype="<i8").tobytes())
    count = min(FINGERPRINT_SAMPLES, len(dataset))
    for index in np.linspace(0, len(dataset) - 1, count).round().astype(int):
        events, _ = dataset[int(index)]
        for name in ("x", "y", "t", "p"):
            digest.update(np.ascontiguousarray(events[name], dtype="<i8").tobytes())
    return digest.hexdigest()


def build_network(config: TrainConfig, input_shape: tuple[int, ...]) -> nn.Sequential:
    """Build a fully connected network that maps one time step, from the seed alone."""
    return build_shape(
        "-".join(map(str, config.hidden)),
        input_shape,
        beta=config.decay,
        dropout=config.dropout,
        seed=config.seed,
        lags=lag_steps(config.lags, config.time_window),
    )


def build_rule(config: TrainConfig, num_classes: int) -> Rule:
    """Build the learning rule."""
    if config.rule != "sigprop":
        return make_rule(config.rule, num_classes, **parse_options(config.rule_options))
    return sigprop_of(config, num_classes)


def learning_rate(config: TrainConfig) -> float:
    """Return the step size: as configured, or where a search over the rule's own begins."""
    if config.lr is not None:
        return config.lr
    space = find_rule(config.rule).search
    return float(space["lr"][0]) if "lr" in space else LEARNING_RATE


def build_learner(
    config: TrainConfig, input_shape: tuple[int, ...], num_classes: int
) -> ForwardLearner:
    """Build the learner of a configuration, before its first update.

    Raises
    ------
    ValueError
        If the device is not there.
    """
    learner = ForwardLearner(
        build_network(config, input_shape),
        build_rule(config, num_classes),
        optimizer=partial(torch.optim.Adam, lr=learning_rate(config), fused=True),
        update_every=config.update_every,
        seed=config.seed,
    )
    learner.bind(input_shape)
    return learner.to(device(config.device))


def device(name: str) -> torch.device:
    """Return the device called ``name``.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    try:
        found = torch.device(name)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {name!r} cannot be used: {reason}") from None
    return found
