"""Evaluating and predicting from a run folder alone."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spikeprop import runs
from spikeprop.assemble import binning, build_learner, device, evaluation_loader, open_dataset
from spikeprop.checks import finite_weights
from spikeprop.config import TrainConfig
from spikeprop.datasets import (
    EVENT_DTYPE,
    EventDataset,
    Events,
    EventStore,
    bin_events,
    formats,
    read_events,
)
from spikeprop.datasets import first_saccade as keep_first_saccade
from spikeprop.datasets import stabilize as take_out_motion
from spikeprop.datasets.files import write_text
from spikeprop.datasets.recording_files import check_sensor
from spikeprop.fit import Evaluation
from spikeprop.learner import ForwardLearner
from spikeprop.runs import RunFolder

__all__ = [
    "Prediction",
    "check_output",
    "evaluate",
    "load",
    "predict_files",
    "predict_split",
    "read_recording",
    "write_predictions",
]


@dataclass(frozen=True)
class Prediction:
    """One recording's prediction.

    Attributes
    ----------
    recording : str
        The file, or the split and index.
    prediction : str
        Name of the predicted class.
    label : str or None
        Name of the true class where it is known.
    scores : list of float
        Score of every class, averaged over time: what the prediction is the largest of.
    """

    recording: str
    prediction: str
    label: str | None
    scores: list[float]


def load(path: str | Path, *, on: str | None = None) -> tuple[ForwardLearner, TrainConfig, Any]:
    """Load the trained learner of a finished run, its configuration and its metrics.

    Parameters
    ----------
    path
        The run folder.
    on
        Device to compute on instead of the one that it was trained on.

    Raises
    ------
    FileNotFoundError
        If it is not a run folder, or the run has not finished.
    ValueError
        If it comes from another version, or a file in it is damaged.
    """
    folder = RunFolder(path)
    config = folder.config()
    metrics = folder.metrics()
    if on is not None:
        config = replace(config, device=on)
    device(config.device)
    if config.threads > 0:
        torch.set_num_threads(config.threads)
    try:
        classes = metrics["data"]["classes"]
        shape = metrics["data"]["input_shape"]
        learner = build_learner(config, tuple(shape), len(classes))
    except (KeyError, TypeError) as error:
        raise ValueError(f"{folder / runs.METRICS} is damaged: {error!r}") from None
    learner.load(folder / runs.LEARNER)
    finite_weights(learner.net)
    return learner.to(config.device), config, metrics


def evaluate(
    path: str | Path, *, data_dir: Path | None = None, on: str | None = None
) -> tuple[Evaluation, EventDataset | EventStore]:
    """Measure the accuracy of a finished run on the test split of its data set.

    Parameters
    ----------
    path
        The run folder.
    data_dir
        Folder of the data set, if it is not where it was in training.
    on
        Device to compute on instead of the one that it was trained on.

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`load`, and if the data are missing or damaged.
    """
    learner, config, _ = load(path, on=on)
    dataset = open_dataset(_at(config, data_dir), train=False)
    return learner.evaluate(evaluation_loader(config, dataset)), dataset


def predict_split(
    path: str | Path, split: str, *, data_dir: Path | None = None, on: str | None = None
) -> list[Prediction]:
    """Predict the classes of a whole split of the run's data set.

    Parameters
    ----------
    path
        The run folder.
    split
        ``"train"`` or ``"test"``.
    data_dir, on
        As in :func:`evaluate`.

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`evaluate`.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    learner, config, metrics = load(path, on=on)
    dataset = open_dataset(_at(config, data_dir), train=split == "train")
    classes = metrics["data"]["classes"]
    found: list[Prediction] = []
    for x, labels in evaluation_loader(config, dataset):
        for (predicted, scores), label in zip(_classify(learner, x), labels.tolist(), strict=True):
            name = f"{split}/{len(found)}"
            found.append(Prediction(name, classes[predicted], classes[label], scores))
    return found


def predict_files(
    path: str | Path, files: Sequence[str | Path], *, on: str | None = None
) -> list[Prediction]:
    """Predict the classes of recordings in files.

    Parameters
    ----------
    path
        The run folder.
    files
        ``.bin`` files in N-MNIST's format, ``.npy`` files of a structured array with the fields x,
        y (pixels), t (microseconds) and p (polarity), or any other format of
        :mod:`spikeprop.datasets.formats`.
    on
        Device to compute on instead of the one that it was trained on.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is damaged or of another kind, or an event lies outside the run's sensor.
    """
    learner, config, metrics = load(path, on=on)
    data = metrics["data"]
    sensor = (data["sensor_size"][0], data["sensor_size"][1], data["sensor_size"][2])
    recordings = [_prepared(read_recording(file, sensor), config) for file in files]
    found: list[Prediction] = []
    for start in range(0, len(files), config.batch_size):
        batch = slice(start, start + config.batch_size)
        x = bin_events(recordings[batch], binning(config), sensor, data["duration_us"])
        for file, (predicted, scores) in zip(files[batch], _classify(learner, x), strict=True):
            found.append(Prediction(str(file), data["classes"][predicted], None, scores))
    return found


def read_recording(path: str | Path, sensor_size: tuple[int, int, int]) -> Events:
    """Read one recording from a file, sorted in time.

    Times of ``.bin`` and ``.npy`` files count as they are; those of other formats, which may count
    from any moment, from the first event.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is damaged, of another kind, empty, or has events outside the sensor.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if path.suffix == ".bin":
        return read_events(path, sensor_size)
    if path.suffix != ".npy":
        events = formats.read_recording(path, from_zero=True).events
        check_sensor(events, sensor_size, path)
        return events
    try:
        given = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path}: not a readable .npy file: {error}") from None
    names = given.dtype.names or ()
    if given.ndim != 1 or not {"x", "y", "t", "p"} <= set(names):
        raise ValueError(
            f"{path}: expected a one-dimensional structured array with the fields x, y, t, p; got "
            f"shape {given.shape}, {given.dtype}"
        )
    if len(given) == 0:
        raise ValueError(f"{path}: empty recording: the file holds no event")
    events = np.empty(len(given), dtype=EVENT_DTYPE)
    for name in ("x", "y", "t", "p"):
        if given[name].dtype.kind not in "iub":
            raise ValueError(f"{path}: field {name} must be integers, got {given[name].dtype}")
        events[name] = given[name]
    for name, limit in zip(("x", "y", "p"), sensor_size, strict=True):
        low, high = events[name].min(), events[name].max()
        if low < 0 or high >= limit:
            raise ValueError(
                f"{path}: {name} reaches from {low} to {high}; the sensor allows 0 to {limit - 1}"
            )
    if events["t"].min() < 0:
        raise ValueError(f"{path}: t begins at {events['t'].min()} us; times count from 0")
    return events[np.argsort(events["t"], kind="stable")]


def write_predictions(path: Path, predictions: Sequence[Prediction], classes: list[str]) -> None:
    """Write predictions as a table (``.csv``) or as JSON (``.json``), in one step.

    Raises
    ------
    ValueError
        If the name ends in something else.
    """
    check_output(path)
    if path.suffix == ".json":
        items = [
            {
                "recording": item.recording,
                "prediction": item.prediction,
                "label": item.label,
                "scores": dict(zip(classes, item.scores, strict=True)),
            }
            for item in predictions
        ]
        runs.write_json(path, items)
        return
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["recording", "prediction", "label", *(f"score_{name}" for name in classes)])
    for item in predictions:
        table.writerow([item.recording, item.prediction, item.label or "", *item.scores])
    write_text(path, text.getvalue())


def check_output(path: Path) -> None:
    """Refuse a file that :func:`write_predictions` cannot write, before any work is done.

    Raises
    ------
    FileNotFoundError
        If its folder is missing.
    ValueError
        If the name does not end in ``.csv`` or ``.json``.
    """
    if path.suffix not in (".csv", ".json"):
        raise ValueError(f"output must end in .csv or .json, got {path}")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"output: there is no folder {path.absolute().parent}")


def _at(config: TrainConfig, data_dir: Path | None) -> TrainConfig:
    return config if data_dir is None else replace(config, data_dir=data_dir)


def _prepared(events: Events, config: TrainConfig) -> Events:
    if config.first_saccade_only:
        events = keep_first_saccade(events)
    return take_out_motion(events) if config.stabilize else events


def _classify(learner: ForwardLearner, x: torch.Tensor) -> list[tuple[int, list[float]]]:
    """Predicted class and scores of each row of ``x`` ``(T, B, P, H, W)``."""
    logits = learner.logits(x)
    chosen = logits[-1] if learner.rule.predict_from == "last" else logits.sum(dim=0)
    return list(zip(chosen.argmax(dim=1).tolist(), chosen.tolist(), strict=True))
