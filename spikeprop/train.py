"""A whole training run: data, learning, final test, run folder; and going on after a kill."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console
from safetensors.torch import save_file

from spikeprop import presets, runs
from spikeprop._version import __version__
from spikeprop.assemble import Data, build_learner, open_data
from spikeprop.checkpoint import load_state, save_state
from spikeprop.config import TrainConfig
from spikeprop.datasets.files import write_atomically
from spikeprop.fit import Callback, EpochResult, Evaluation
from spikeprop.learner import ForwardLearner
from spikeprop.monitor import CsvLog, PlainProgress, ProgressBars, Row, TensorBoardLog
from spikeprop.parallel import Ranks
from spikeprop.parallel.following import Tell, announcing, follow, of_restart
from spikeprop.rules.base import ONCE
from spikeprop.runs import RunFolder

__all__ = ["count_backward_passes", "peak_memory_mib", "train"]


@dataclass
class _Progress:
    """What a run carries across a kill, beside the learner."""

    rows: list[Row]
    seconds: float = 0.0
    peak_memory_mib: float = 0.0
    backward_passes: int = 0

    @property
    def epochs(self) -> int:
        return len(self.rows)


class _Counter:
    """Number of calls, and whether one is going on."""

    def __init__(self) -> None:
        self.calls = 0
        self.inside = False


@contextmanager
def count_backward_passes() -> Iterator[_Counter]:
    """Count the calls of autograd's entry points while the context is open.

    ``torch.Tensor.backward``, ``torch.autograd.backward`` and ``torch.autograd.grad`` are really
    wrapped; the first calls the second, which counts once.

    Yields
    ------
    object
        Its ``calls`` is the number so far.
    """
    counter = _Counter()
    places: list[tuple[Any, str]] = [
        (torch.Tensor, "backward"),
        (torch.autograd, "backward"),
        (torch.autograd, "grad"),
    ]
    originals = [getattr(owner, name) for owner, name in places]

    def wrap(function: Any) -> Any:
        def counted(*args: Any, **kwargs: Any) -> Any:
            if counter.inside:
                return function(*args, **kwargs)
            counter.calls += 1
            counter.inside = True
            try:
                return function(*args, **kwargs)
            finally:
                counter.inside = False

        return counted

    for (owner, name), original in zip(places, originals, strict=True):
        setattr(owner, name, wrap(original))
    try:
        yield counter
    finally:
        for (owner, name), original in zip(places, originals, strict=True):
            setattr(owner, name, original)


def peak_memory_mib() -> float | None:
    """Return the largest resident memory of this process in MiB; None if the system cannot."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak / (2**20 if sys.platform == "darwin" else 2**10))


def train(config: TrainConfig, console: Console | None = None) -> RunFolder:
    """Train, test and leave a run folder; or go on with one (``config.resume``).

    In one of several processes (:func:`spikeprop.parallel.join`) all have to call: they learn
    together, and the first writes the folder.

    Parameters
    ----------
    config
        The run.
    console
        Where to print; standard output if not given.

    Returns
    -------
    RunFolder
        The finished run.

    Raises
    ------
    FileNotFoundError
        If data, or the run to resume, are missing.
    FileExistsError
        If there is already a run of that name.
    ValueError
        If an option does not fit the data, the machine, or the run to resume.
    FloatingPointError
        If a loss or a weight becomes NaN or infinite.
    """
    ranks = Ranks.present()
    if ranks is not None and not ranks.first:
        return follow(ranks, config.data_dir)
    with announcing(ranks) as tell:
        return _train(of_restart(config), console or Console(soft_wrap=True, highlight=False), tell)


def _train(config: TrainConfig, console: Console, tell: Tell) -> RunFolder:
    resumed = runs.find_unfinished(config) if config.resume is not None else None
    settings = config if resumed is None else resumed.config()
    if config.data_dir is not None and resumed is not None:  # the data may have moved meanwhile
        settings = TrainConfig(**{**vars(settings), "data_dir": config.data_dir})
    if settings.threads > 0:
        torch.set_num_threads(settings.threads)
    if settings.preset is not None and resumed is None and not config.quiet:
        console.print(presets.cost(settings.preset))
    data = open_data(settings)
    learner = build_learner(settings, data.input_shape, len(data.classes))
    progress = _Progress(rows=[])
    if resumed is None:
        folder = runs.create(settings)
    else:
        folder = resumed
        progress = _load_checkpoint(folder, learner, data)
    tell(settings, folder, {"start_epoch": progress.epochs})
    if not config.quiet:
        _print_head(
            console, settings, data, folder, progress, resumed is not None, learner.update_every
        )
        if settings.preset is not None and resumed is None:
            console.print(presets.expectation(settings, data))
    _learn(settings, data, learner, folder, progress, console, quiet=config.quiet)
    evaluation = learner.evaluate(data.test)
    _finish(settings, data, learner, folder, progress, evaluation)
    if not config.quiet:
        console.print(
            f"trained in {progress.seconds:.1f} s with {progress.backward_passes} backward passes, "
            f"{learner.engine_choice}"
        )
    console.print(f"test accuracy {100 * evaluation.accuracy:.2f} % ({evaluation.samples} samples)")
    return folder


def _learn(
    config: TrainConfig,
    data: Data,
    learner: ForwardLearner,
    folder: RunFolder,
    progress: _Progress,
    console: Console,
    *,
    quiet: bool,
) -> None:
    with ExitStack() as stack:
        table = CsvLog(folder / runs.CSV, progress.rows)
        board = stack.enter_context(TensorBoardLog(folder.path, progress.epochs))
        callbacks: list[Callback] = [table, board]
        if not quiet and console.is_terminal:
            callbacks.append(stack.enter_context(ProgressBars(config.epochs, console)))
        elif not quiet:
            callbacks.append(PlainProgress(config.epochs, console))
        progress.rows = table.rows
        counter = stack.enter_context(count_backward_passes())
        # Last: a checkpoint says that all else of its epoch is written.
        callbacks.append(_Checkpoint(folder, data, progress, counter))
        learner.fit(
            data.train,
            data.validation,
            epochs=config.epochs,
            start_epoch=progress.epochs,
            schedule=config.schedule,
            callbacks=callbacks,
        )


class _Checkpoint(Callback):
    """Writes all that ``--resume`` needs, in one file, after every epoch."""

    def __init__(
        self, folder: RunFolder, data: Data, progress: _Progress, counter: _Counter
    ) -> None:
        self.folder, self.data, self.progress, self.counter = folder, data, progress, counter
        self.before = progress.backward_passes

    def on_epoch_end(self, learner: ForwardLearner, result: EpochResult) -> None:
        """Write the checkpoint."""
        progress = self.progress
        progress.seconds += result.seconds
        progress.peak_memory_mib = max(progress.peak_memory_mib, peak_memory_mib() or 0.0)
        progress.backward_passes = self.before + self.counter.calls
        state = {
            "learner": learner.state_dict(),
            "rows": json.dumps(progress.rows),
            "seconds": progress.seconds,
            "peak_memory_mib": progress.peak_memory_mib,
            "backward_passes": progress.backward_passes,
            "train_sha256": self.data.summary["train_sha256"],
        }
        save_state(self.folder / runs.CHECKPOINT, state)


def _load_checkpoint(folder: RunFolder, learner: ForwardLearner, data: Data) -> _Progress:
    path = folder / runs.CHECKPOINT
    if not path.is_file():  # killed within its first epoch
        return _Progress(rows=[])
    state = load_state(path)
    try:
        if state["train_sha256"] != data.summary["train_sha256"]:
            raise ValueError(
                f"the training data are not those that the run in {folder.path} began with"
            )
        learner.load_state_dict(state["learner"])
        return _Progress(
            json.loads(state["rows"]),
            float(state["seconds"]),
            float(state["peak_memory_mib"]),
            int(state["backward_passes"]),
        )
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not the checkpoint of a run: {error!r}") from None


def _finish(
    config: TrainConfig,
    data: Data,
    learner: ForwardLearner,
    folder: RunFolder,
    progress: _Progress,
    evaluation: Evaluation,
) -> None:
    from spikeprop.plots import save_curves

    state = {name: value.cpu().contiguous() for name, value in learner.net.state_dict().items()}
    write_atomically(folder / runs.WEIGHTS, lambda path: save_file(state, path))
    learner.save(folder / runs.LEARNER)
    save_curves(folder / runs.CURVES, progress.rows, learner, data.test, data.classes)
    # Last: a run has finished when its metrics are there.
    runs.write_json(folder / runs.METRICS, _metrics(config, data, learner, progress, evaluation))
    (folder / runs.CHECKPOINT).unlink(missing_ok=True)


def _metrics(
    config: TrainConfig,
    data: Data,
    learner: ForwardLearner,
    progress: _Progress,
    evaluation: Evaluation,
) -> dict[str, Any]:
    peak = progress.peak_memory_mib
    metrics: dict[str, Any] = {
        "test_accuracy": evaluation.accuracy,
        **evaluation_summary(evaluation, data.classes),
        "epochs": progress.epochs,
        "seconds": round(progress.seconds, 3),
        "peak_memory_mib": round(peak, 1) if peak else None,
        "backward_passes": progress.backward_passes,
        "parameters": sum(parameter.numel() for parameter in learner.net.parameters()),
        "rule": config.rule,
        "update_every": config.update_every,
        "engine": str(learner.engine_choice),
        "seeds": {
            "weights": config.seed,
            "signals": config.seed,
            "batches": config.seed,
            "validation": config.seed,
        },
        "data": data.summary,
        "device": config.device,
        "threads": torch.get_num_threads(),
        "processes": 1 if learner.ranks is None else learner.ranks.size,
        "versions": versions(),
    }
    if torch.device(config.device).type == "cuda":
        metrics["peak_device_memory_mib"] = torch.cuda.max_memory_allocated() / 2**20
    if progress.rows and "validation_accuracy" in progress.rows[-1]:
        metrics["validation_accuracy"] = progress.rows[-1]["validation_accuracy"]
    return metrics


def evaluation_summary(evaluation: Evaluation, classes: list[str]) -> dict[str, Any]:
    """Return an evaluation as JSON can write it; a class without samples has accuracy None."""
    counts = evaluation.confusion.tolist()
    return {
        "samples": evaluation.samples,
        "layer_accuracy": [round(value, 6) for value in evaluation.block_accuracy.tolist()],
        "per_class_accuracy": {
            name: row[index] / sum(row) if sum(row) else None
            for index, (name, row) in enumerate(zip(classes, counts, strict=True))
        },
        "confusion_matrix": counts,
    }


def versions() -> dict[str, str]:
    """Return the versions of Python, the platform and what the numbers depend on."""
    packages = ("torch", "numpy", "snntorch", "scikit-learn")
    return {
        "spikeprop": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: importlib.metadata.version(name) for name in packages},
    }


def _print_head(
    console: Console,
    config: TrainConfig,
    data: Data,
    folder: RunFolder,
    progress: _Progress,
    resumed: bool,
    update_every: int,
) -> None:
    summary = data.summary
    counts = f"{summary['train']} train, {summary['validation']} validation, {summary['test']} test"
    console.print(f"data {summary['name']}: {counts}")
    if summary["note"]:
        console.print(f"note: {summary['note']}")
    sizes = "-".join(str(size) for size in (torch.Size(data.input_shape).numel(), *config.hidden))
    steps = "once a recording" if update_every == ONCE else f"every {update_every} steps"
    steps = "every time step" if update_every == 1 else steps
    console.print(f"network {sizes}, rule {config.rule}, update {steps}")
    if resumed:
        console.print(f"resuming {folder.path} after epoch {progress.epochs} of {config.epochs}")
