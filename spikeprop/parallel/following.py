"""A training run by several processes: the first keeps the run folder, the others follow it.

The first opens data, folder and checkpoint, and then says what is to be done, or what went wrong.
From there on all of them learn and evaluate in step; files are written by the first alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from spikeprop import runs
from spikeprop.assemble import build_learner, open_data
from spikeprop.checkpoints import Checkpoints
from spikeprop.config import TrainConfig, from_json, to_json
from spikeprop.epochs import run_epochs
from spikeprop.fit import Part
from spikeprop.parallel.ranks import Ranks, restarted
from spikeprop.resuming import Progress
from spikeprop.runs import RunFolder
from spikeprop.stopping import Stopping

__all__ = ["Tell", "announcing", "follow", "of_restart"]

Tell = Callable[[TrainConfig, RunFolder, Progress | None], None]


@contextmanager
def announcing(ranks: Ranks | None) -> Iterator[Tell]:
    """Let the first process prepare a run; tell the others of it, or of what prevents it.

    Yields
    ------
    callable
        To be called with settings, folder and how far the run has come; None if it is finished.
    """
    told = False

    def tell(settings: TrainConfig, folder: RunFolder, progress: Progress | None) -> None:
        nonlocal told
        if ranks is None:
            return
        told = True
        part = None if progress is None or progress.part is None else vars(progress.part)
        ranks.state_of_first(
            {
                "config": to_json(settings),
                "folder": str(folder.path),
                "epochs": None if progress is None else progress.epochs,
                "part": part,
            }
        )

    try:
        yield tell
    except Exception as error:
        if ranks is not None and not told:
            ranks.state_of_first({"error": str(error) or type(error).__name__})
        raise


def follow(ranks: Ranks, stopping: Stopping, data_dir: Path | None = None) -> RunFolder:
    """Learn and evaluate as the first process says; return the run's folder.

    Parameters
    ----------
    ranks : Ranks
        The processes.
    stopping : Stopping
        Tells of signals.
    data_dir : Path, optional
        Where the data lie on this machine, if not where the first has them.

    Raises
    ------
    RuntimeError
        With the words of the first, if it could not begin.
    ConnectionError
        If a process is lost.
    Stopped
        If any of the processes was asked to stop.
    """
    told = ranks.state_of_first(None)
    if "error" in told:
        raise RuntimeError(f"rank 0: {told['error']}")
    folder = RunFolder(told["folder"])
    if told["epochs"] is None:
        return folder
    settings = from_json(told["config"])
    if data_dir is not None:
        settings = replace(settings, data_dir=data_dir)
    if settings.threads > 0:
        torch.set_num_threads(settings.threads)
    data = open_data(settings)
    learner = build_learner(settings, data.input_shape, len(data.classes))
    part = None if told["part"] is None else Part(**told["part"])
    # It writes nothing here, but stops after the same batch as the first.
    run_epochs(
        settings,
        data,
        learner,
        Checkpoints(folder.path),
        Progress(part=part),
        stopping,
        start_epoch=told["epochs"],
    )
    learner.evaluate(data.test)
    return folder


def of_restart(config: TrainConfig) -> TrainConfig:
    """Return what processes that were started again have to do: go on with the run, if it began.

    It is the run of the name given, or else the unfinished run with these very options that was
    written to last.
    """
    if not restarted() or config.resume is not None:
        return config
    if config.name is not None:
        found = [RunFolder(config.runs_dir / config.name)]
    else:
        found = [RunFolder(path.parent) for path in config.runs_dir.glob(f"*/{runs.CONFIG}")]
    wanted = replace(config, resume=None)
    begun = [folder for folder in found if _is(folder, wanted)]
    if not begun:
        return config
    last = max(begun, key=lambda folder: folder.path.stat().st_mtime_ns)
    return replace(config, resume=str(last.path))


def _is(folder: RunFolder, wanted: TrainConfig) -> bool:
    if not (folder / runs.CONFIG).is_file() or folder.finished:
        return False
    try:
        return folder.config() == wanted
    except (ValueError, OSError):
        return False
