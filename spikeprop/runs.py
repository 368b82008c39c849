"""Run folders: what a training run leaves behind, and how it is found again.

::

    runs/<name>/
      config.json              every option (spikeprop.config)
      metrics.csv              one line an epoch
      events.out.tfevents.*    the same for TensorBoard
      checkpoint-*.safetensors for --resume, by number of updates; gone when the run has finished
      metrics.json             the final test metrics; there once the run has finished
      weights.safetensors      state_dict of the plain network
      learner.safetensors      what ForwardLearner.save writes: network, class signals, optimisers
      curves.png               learning curves, and spike rasters of one test recording

Each file is whole or not there (:mod:`spikeprop.datasets.files`), and so is the folder with its
``config.json``. What is read again carries a SHA-256 of its content.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from spikeprop.config import TrainConfig, differences, from_json, to_json
from spikeprop.datasets.files import flush_folder, write_text
from spikeprop.locks import locked
from spikeprop.seals import seal, unseal

CONFIG = "config.json"
CSV = "metrics.csv"
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
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{self / METRICS} is not valid JSON: {error}") from None
        if not isinstance(metrics, dict):
            raise ValueError(f"{self / METRICS} does not hold metrics")
        return unseal(metrics, str(self / METRICS))

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        """Write the final test metrics: with them the run has finished."""
        write_json(self / METRICS, seal(metrics))

    def lock(self) -> AbstractContextManager[None]:
        """Keep other processes from training in this folder, as long as the context is open.

        Raises
        ------
        RuntimeError
            If one does.
        """
        return locked(
            self / CONFIG,
            f"the run in {self.path} is being trained by another process: wait for it, or stop it",
        )

    def tidy(self) -> None:
        """Remove what a killed process left half-written; only with the lock."""
        for path in self.path.glob(".*"):
            if re.fullmatch(r"\..+\.[0-9a-f]{12}(\.\w+)?", path.name) and path.is_file():
                path.unlink(missing_ok=True)


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
    # A folder without its config.json would be neither a run nor a free name.
    beside = config.runs_dir / f".new-run.{secrets.token_hex(6)}"
    beside.mkdir()
    try:
        write_text(beside / CONFIG, to_json(replace(config, resume=None)))
        if config.name is None:
            return RunFolder(_numbered(beside, config.runs_dir, config.dataset))
        path = config.runs_dir / config.name
        if not _moved(beside, path):
            raise FileExistsError(
                f"there is already a run in {path}: choose another --name, or go on with it by "
                f"--resume {path}"
            )
        return RunFolder(path)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _numbered(beside: Path, parent: Path, stem: str) -> Path:
    number = 1
    while True:  # moving is the test: two runs that start at once never share a folder
        path = parent / f"{stem}-{number:03d}"
        if _moved(beside, path):
            return path
        number += 1


def _moved(source: Path, path: Path) -> bool:
    """Move a folder to a free name; return whether it was free."""
    if path.exists() or path.is_symlink():
        return False
    try:
        source.rename(path)  # refused where a folder with files has come meanwhile
    except OSError:
        if path.exists():
            return False
        raise
    flush_folder(path.parent)
    return True


def find(config: TrainConfig) -> RunFolder | None:
    """Find the folder to go on with; None if a new run is to begin.

    ``"auto"`` goes on with the run called ``config.name`` if it is there, finished or not.

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`find_unfinished`.
    """
    if config.resume is None:
        return None
    if config.resume == "auto":
        assert config.name is not None, "checked by the configuration"
        folder = RunFolder(config.runs_dir / config.name)
        if not (folder / CONFIG).exists():
            return None
        if folder.finished:
            return folder
        config = replace(config, resume="latest")
    return find_unfinished(config)


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
        found = [RunFolder(path.parent) for path in config.runs_dir.glob(f"[!.]*/{CONFIG}")]
        unfinished = [folder for folder in found if not folder.finished]
        if not unfinished:
            raise FileNotFoundError(f"there is no unfinished run in {config.runs_dir} to resume")
        # Without those that are being trained just now, unless there are no others.
        unfinished = [folder for folder in unfinished if _free(folder)] or unfinished
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


def _free(folder: RunFolder) -> bool:
    try:
        with folder.lock():
            return True
    except (RuntimeError, OSError):
        return False
