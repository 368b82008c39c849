"""Run folders: what a training run leaves behind, and how it is found again.

::

    runs/<name>/
      config.json              every option (spikeprop.config)
      metrics.csv              one line an epoch
      events.out.tfevents.*    the same for TensorBoard
      checkpoint.safetensors   after every epoch, for --resume; gone when the run has finished
      metrics.json             the final test metrics; there once the run has finished
      weights.safetensors      state_dict of the plain network
      learner.safetensors      what ForwardLearner.save writes: network, class signals, optimisers
      curves.png               learning curves, and spike rasters of one test recording

Each file is whole or not there (:mod:`spikeprop.datasets.files`).
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from spikeprop.config import TrainConfig, differences, from_json, to_json
from spikeprop.datasets.files import write_text

CONFIG = "config.json"
CSV = "metrics.csv"
CHECKPOINT = "checkpoint.safetensors"
METRICS = "metrics.json"
WEIGHTS = "weights.safetensors"
LEARNER = "learner.safetensors"
CURVES = "curves.png"


def write_json(path: Path, value: object) -> None:
    """Write a JSON file in one step."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    # The innermost lists (rows of a confusion matrix) each on a line of their own.
    text = re.sub(r"\[[^][{}\"]*\]", lambda row: re.sub(r"\s+", " ", row[0]), text)
    write_text(path, text + "\n")


class RunFolder:
    """One run's folder.

    Parameters
    ----------
    path
        The folder.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @property
    def finished(self) -> bool:
        """Whether the run has got its final test metrics."""
        return (self / METRICS).is_file()

    def config(self) -> TrainConfig:
        """Read the run's configuration.

        Raises
        ------
        FileNotFoundError
            If this is not a run folder.
        ValueError
            If it comes from another version or is damaged.
        """
        path = self / CONFIG
        try:
            text = path.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(f"{self.path} is no run folder: it has no {CONFIG}") from None
        except UnicodeDecodeError:
            raise ValueError(f"{path} is not a text file") from None
        return from_json(text, str(path))

    def metrics(self) -> dict[str, Any]:
        """Read the final test metrics.

        Raises
        ------
        FileNotFoundError
            If the run has not finished.
        ValueError
            If the file is damaged.
        """
        self.config()
        if not self.finished:
            raise FileNotFoundError(
                f"the run in {self.path} has not finished: it has no {METRICS}; "
                f"spikeprop train --resume {self.path} goes on with it"
            )
        try:
            metrics = json.loads((self / METRICS).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{self / METRICS} is not valid JSON: {error}") from None
        if not isinstance(metrics, dict):
            raise ValueError(f"{self / METRICS} does not hold metrics")
        return metrics


def create(config: TrainConfig) -> RunFolder:
    """Make a new run folder with its ``config.json``; an existing one is never touched.

    Raises
    ------
    FileExistsError
        If there is already a run of the name that ``config`` asks for.
    OSError
        If the folder cannot be made.
    """
    config.runs_dir.mkdir(parents=True, exist_ok=True)
    if config.name is not None:
        path = config.runs_dir / config.name
        try:
            path.mkdir()
        except FileExistsError:
            raise FileExistsError(
                f"there is already a run in {path}: choose another --name, or go on with it by "
                f"--resume {path}"
            ) from None
    else:
        path = _numbered(config.runs_dir, config.dataset)
    folder = RunFolder(path)
    write_text(folder / CONFIG, to_json(config))
    return folder


def _numbered(parent: Path, stem: str) -> Path:
    number = 1
    while True:  # mkdir is the test: two runs that start at once never share a folder
        path = parent / f"{stem}-{number:03d}"
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
        else:
            return path


def find_unfinished(config: TrainConfig) -> RunFolder:
    """Find the folder that ``config.resume`` asks to go on with.

    ``"latest"`` (what ``--resume`` alone means) is the run called ``config.name``, or else the
    unfinished run in ``config.runs_dir`` that was written to last.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If that run has finished, or ``config`` contradicts it.
    """
    assert config.resume is not None
    if config.resume != "latest":
        folder = RunFolder(config.resume)
    elif config.name is not None:
        folder = RunFolder(config.runs_dir / config.name)
    else:
        found = [RunFolder(path.parent) for path in config.runs_dir.glob(f"*/{CONFIG}")]
        unfinished = [folder for folder in found if not folder.finished]
        if not unfinished:
            raise FileNotFoundError(f"there is no unfinished run in {config.runs_dir} to resume")
        folder = max(unfinished, key=lambda folder: folder.path.stat().st_mtime_ns)
    stored = folder.config()
    if folder.finished:
        raise ValueError(f"the run in {folder.path} has finished: there is nothing to resume")
    contradictions = differences(config, stored)
    if contradictions:
        raise ValueError(
            f"the run in {folder.path} has other options: {', '.join(contradictions)}; "
            "leave them out to resume it, or start a new run"
        )
    return folder
