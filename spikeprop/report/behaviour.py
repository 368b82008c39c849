"""What a trained network does with test recordings: evidence over time, spikes, operations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spikeprop import inference
from spikeprop.assemble import binning, open_dataset
from spikeprop.comparison.activity import Activity, count_activity, fan_out
from spikeprop.config import TrainConfig
from spikeprop.datasets import EventBatch, EventDataset, EventStore, make_loader
from spikeprop.learner import ForwardLearner
from spikeprop.plots import record_spikes
from spikeprop.report.config import ReportConfig
from spikeprop.report.reading import Run

__all__ = ["Behaviour", "Layer", "Shown", "evidence_over_time", "observe"]

FRAMES = 80
"""A longer recording is shown in so many frames at most."""


@dataclass(frozen=True)
class Shown:
    """One test recording as the page plays it.

    Attributes
    ----------
    index : int
        In the test split.
    label, prediction : int
        True and predicted class.
    ends : list of int
        After which time step each frame ends, from 1.
    frames : ndarray of bool, shape (frames, P, H, W)
        Where an event fell.
    evidence : ndarray, shape (frames, C)
        After each frame; see :func:`evidence_over_time`.
    spikes : list of ndarray of bool, shape (frames, neurons)
        Of every layer.
    """

    index: int
    label: int
    prediction: int
    ends: list[int]
    frames: NDArray[np.bool_]
    evidence: NDArray[np.float64]
    spikes: list[NDArray[np.bool_]]


@dataclass(frozen=True)
class Layer:
    """What a layer does in inference, per recording.

    Attributes
    ----------
    rates : ndarray, shape (neurons,)
        Spikes of each neuron per time step.
    arrivals : float
        Inputs that are not zero.
    operations : float
        Synaptic operations.
    dense : float
        Multiply-adds of the same layer computed densely at every time step.
    """

    rates: NDArray[np.float64]
    arrivals: float
    operations: float
    dense: float


@dataclass(frozen=True)
class Behaviour:
    """A trained network, seen at work; what could not be seen is empty, and ``missing`` says why.

    Attributes
    ----------
    weight : Tensor or None
        Of the first synapse ``(F_out, *in)``.
    input_shape : tuple of int
        One time step of one recording.
    shown : list of Shown
        Recordings to play.
    layers : list of Layer
        Each layer's activity.
    counted : int
        On how many recordings.
    steps : int
        Time steps of a recording.
    missing : str
        Why there are no recordings; empty if there are.
    """

    weight: Tensor | None
    input_shape: tuple[int, ...]
    shown: list[Shown]
    layers: list[Layer]
    counted: int
    steps: int
    missing: str


def observe(run: Run, config: ReportConfig) -> Behaviour:
    """Run a finished run's network on its test recordings, as far as these are here.

    Raises
    ------
    FileNotFoundError, ValueError
        If the run folder is damaged; data that are missing raise nothing.
    """
    learner, settings, metrics = inference.load(run.path, on=config.device)
    weight: Any = learner.blocks[0].synapse.weight
    nothing = Behaviour(
        weight.detach().cpu(), tuple(metrics["data"]["input_shape"]), [], [], 0, 0, ""
    )
    try:
        if config.data_dir is not None:
            settings = TrainConfig(**{**vars(settings), "data_dir": config.data_dir})
        dataset = open_dataset(settings, train=False, download=False)
        count = min(config.samples, len(dataset))
        indices = np.linspace(0, len(dataset) - 1, count).round().astype(np.int64)
        predictions, labels = _predict(learner, settings, dataset, indices)
    except (OSError, ValueError) as error:
        return Behaviour(**{**vars(nothing), "missing": str(error)})
    counts = count_activity(learner, _batches(settings, dataset, indices))
    chosen = choose(labels, predictions, config.recordings)
    shown = [
        _show(learner, settings, dataset, int(indices[i]), int(labels[i]), int(predictions[i]))
        for i in chosen
    ]
    return Behaviour(
        nothing.weight,
        nothing.input_shape,
        shown,
        _layers(learner, counts),
        counts.recordings,
        round(counts.steps / counts.recordings),
        "",
    )


def choose(labels: NDArray[np.int64], predictions: NDArray[np.int64], count: int) -> list[int]:
    """Choose recordings to show: the first of each class, and mistakes for up to a third.

    Those of a class are the first that is predicted rightly, or the first. Nothing else is chosen.
    """
    mistakes = [int(i) for i in np.flatnonzero(labels != predictions)]
    firsts = []
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        right = own[predictions[own] == label]
        firsts.append(int(right[0] if len(right) else own[0]))
    others = [i for i in mistakes if i not in firsts]
    room = min(len(others), max(count // 3, count - len(firsts)))
    return [*firsts[: count - room], *others[:room]]


def evidence_over_time(learner: ForwardLearner, x: Tensor, ends: list[int]) -> Tensor:
    """Return the evidence for each class as it adds up over one recording.

    The learner predicts the class whose score, averaged over time, is the largest. With ``s_t``
    the scores of the last layer (or the sum of all, as the rule predicts) at step t, evidence after
    step t is ``sum over t' <= t of (s_t' - mean over classes) / T``: its largest entry is the
    prediction if the recording ended there.

    Parameters
    ----------
    learner
        A trained learner.
    x
        The recording ``(T, *features)``.
    ends
        After which steps, from 1.

    Returns
    -------
    Tensor
        ``(len(ends), C)``.
    """
    rows = []
    for end in ends:
        logits = learner.logits(x[:end, None])[:, 0].cpu()
        mean = logits[-1] if learner.rule.predict_from == "last" else logits.sum(dim=0)
        rows.append((mean - mean.mean()) * (end / len(x)))
    return torch.stack(rows)


def _batches(
    config: TrainConfig, dataset: EventDataset | EventStore, indices: NDArray[np.int64]
) -> Any:
    return make_loader(
        dataset,
        batch_size=config.batch_size,
        binning=binning(config),
        shuffle=False,
        seed=config.seed,
        indices=indices,
        sparse=True,
    )


def _predict(
    learner: ForwardLearner,
    config: TrainConfig,
    dataset: EventDataset | EventStore,
    indices: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    predictions, labels = [], []
    for x, label in _batches(config, dataset, indices):
        predictions.append(learner.predict(x).cpu().numpy())
        labels.append(label.numpy())
    return np.concatenate(predictions), np.concatenate(labels)


def _layers(learner: ForwardLearner, counts: Activity) -> list[Layer]:
    found = []
    for block, spikes, arrivals, operations in zip(
        learner.blocks, counts.spikes, counts.arrivals, counts.operations, strict=True
    ):
        synapse: Any = block.synapse
        steps = counts.steps / counts.recordings
        found.append(
            Layer(
                (spikes.double() / counts.steps).numpy(),
                arrivals / counts.recordings,
                operations / counts.recordings,
                steps * synapse.in_features * fan_out(synapse),
            )
        )
    return found


def _show(
    learner: ForwardLearner,
    config: TrainConfig,
    dataset: EventDataset | EventStore,
    index: int,
    label: int,
    prediction: int,
) -> Shown:
    x, _ = next(iter(_batches(config, dataset, np.array([index]))))
    dense = (x.to_dense() if isinstance(x, EventBatch) else x.float())[:, 0]
    # Ends of the frames, in steps: all of them, or as evenly as whole steps allow.
    cuts = np.linspace(0, len(dense), min(FRAMES, len(dense)) + 1).round().astype(np.int64)
    starts, ends = cuts[:-1], [int(end) for end in cuts[1:]]
    frames = np.logical_or.reduceat(dense.numpy() > 0, starts, axis=0)
    spikes = [
        np.logical_or.reduceat(own.numpy() > 0, starts, axis=0)
        for own in record_spikes(learner, dense)
    ]
    evidence = evidence_over_time(learner, dense, ends).double().numpy()
    return Shown(index, label, prediction, ends, frames, evidence, spikes)
