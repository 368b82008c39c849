"""One cell of a comparison: a training run and all that determines it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch

from spikeprop.assemble import Data, device, open_data
from spikeprop.comparison.activity import activity
from spikeprop.comparison.kept import file_word
from spikeprop.config import DatasetName, TrainConfig, lag_steps
from spikeprop.learner import ForwardLearner
from spikeprop.rules.names import make_rule, split_variant
from spikeprop.rules.readout_only import frozen_twin
from spikeprop.shapes import build_shape

__all__ = ["Cell", "Result", "build_learner", "open_cell", "run_cell"]


@dataclass(frozen=True)
class Cell:
    """A training run: what, by which rule, on which data.

    Attributes
    ----------
    rule, network, dataset : str
        Names, as the command line takes them; ``NAME[OPTION=VALUE,...]`` for a variant of a rule.
    options : mapping
        ``lr``, ``dropout``, ``weight_decay`` and hyper-parameters of the rule.
    seed : int
        Seed of weights, signals, batches and the validation split.
    lags : tuple of int
        Delays of a layer's inputs to draw from, in µs, whole numbers of time steps.
    validation : float
        Share of the training recordings that is held out and measured; 0 trains on all of them and
        measures the test recordings.
    freeze : bool
        Leave the hidden layers as they were drawn.
    limit, order_window : int, optional
        Only so many training recordings; windows of so many µs, half of them backward.
    update_every : int, optional
        Time steps between updates; None for the rule's own.
    device : str
        Where to learn.
    """

    rule: str
    network: str
    dataset: str
    options: Mapping[str, Any]
    seed: int
    epochs: int
    batch_size: int
    time_window: int
    pool: int
    shift: int
    beta: float
    limit: int | None = None
    order_window: int | None = None
    update_every: int | None = None
    lags: tuple[int, ...] = ()
    validation: float = 0.0
    freeze: bool = False
    data_dir: str | None = None
    quick: bool = False
    device: str = "cpu"

    def as_dict(self) -> dict[str, Any]:
        """Return all fields as JSON can write them; ``Cell(**fields)`` is the cell again."""
        return {**asdict(self), "options": dict(self.options)}

    @property
    def key(self) -> str:
        """Name of the cell's file: readable, with a digest of all that determines the result."""
        identity = self.as_dict()
        identity.pop("data_dir")
        # Cells from before there was such an option keep their names.
        for name in ("limit", "order_window", "update_every", "lags"):
            if not identity[name]:
                identity.pop(name)
        if self.device == "cpu":
            identity.pop("device")
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
        words = [file_word(word) for word in (self.rule, self.network, self.dataset)]
        part = "tune" if self.validation else "test"
        frozen = ["frozen"] if self.freeze else []
        return "_".join([*words, part, *frozen, f"seed{self.seed}", digest])


class Result(NamedTuple):
    """What a cell gave, after the last epoch.

    Attributes
    ----------
    accuracy : float
        On the test recordings, or on the validation part in tuning; 0 to 1.
    block_accuracy : list of float
        The same, read from each block alone (NaN where a rule reads from the last only).
    spikes : float
        Spikes of all neurons per recording, in inference.
    operations : float
        Synaptic operations per recording: every spike and input event times its fan-out.
    seconds : float
        Time that training took.
    engine : str
        Which engine ran, and why.
    data_sha256 : str
        Fingerprint of the training recordings.
    """

    accuracy: float
    block_accuracy: list[float]
    spikes: float
    operations: float
    seconds: float
    engine: str
    data_sha256: str


def train_config(cell: Cell) -> TrainConfig:
    """Return the options of the data that a cell learns from."""
    return TrainConfig(
        dataset=cast(DatasetName, cell.dataset),
        data_dir=None if cell.data_dir is None else Path(cell.data_dir),
        time_window=cell.time_window,
        pool=cell.pool,
        shift=cell.shift,
        batch_size=cell.batch_size,
        validation=cell.validation,
        limit=cell.limit,
        order_window=cell.order_window,
        seed=cell.seed,
        threads=1,
    )


def open_cell(cell: Cell) -> Data:
    """Open a cell's recordings.

    Raises
    ------
    FileNotFoundError, ValueError
        If the data are missing, or an option does not fit them.
    """
    return open_data(train_config(cell))


def build_learner(cell: Cell, data: Data) -> ForwardLearner:
    """Build a cell's network and learner, before the first update.

    Raises
    ------
    ValueError
        If the rule is unknown, an option or the network does not fit, or the device is not there.
    """
    name, fixed = split_variant(cell.rule)
    options = {**cell.options, **fixed}
    lr, dropout = options.pop("lr", 4e-4), options.pop("dropout", 0.0)
    decay = options.pop("weight_decay", 0.0)
    net = build_shape(
        cell.network,
        data.input_shape,
        beta=cell.beta,
        dropout=dropout,
        seed=cell.seed,
        lags=lag_steps(cell.lags, cell.time_window),
    )
    rule = make_rule(name, len(data.classes), **options)
    learner = ForwardLearner(
        net,
        frozen_twin(rule) if cell.freeze else rule,
        optimizer=partial(torch.optim.Adam, lr=lr, weight_decay=decay, fused=True),
        update_every=cell.update_every or rule.update_every,
        seed=cell.seed,
    )
    learner.bind(data.input_shape)
    learner.to(device(cell.device))
    if cell.freeze:
        # A rule with a readout of its own trains that alone; else the last block is the readout.
        has_readout = learner.bound().learns_outputs
        for block in learner.blocks if has_readout else learner.blocks[:-1]:
            learner.optimizers[block.index] = torch.optim.SGD(block.parameters, lr=0.0)
    return learner


def run_cell(cell: Cell) -> Result:
    """Train and measure.

    Raises
    ------
    FileNotFoundError, ValueError, FloatingPointError
        If the data are missing, an option does not fit, or learning diverged.
    """
    data = open_cell(cell)
    learner = build_learner(cell, data)
    start = time.perf_counter()
    train: Any = list(islice(data.train, 3)) if cell.quick else data.train
    learner.fit(train, epochs=cell.epochs)
    seconds = time.perf_counter() - start
    judged: Any = data.test if data.validation is None else data.validation
    judged = list(islice(judged, 2)) if cell.quick else judged
    found = learner.evaluate(judged)
    spikes, operations = activity(learner, judged)
    return Result(
        found.accuracy,
        found.block_accuracy.tolist(),
        spikes,
        operations,
        seconds,
        str(learner.engine_choice),
        data.summary["train_sha256"],
    )
