"""A whole training run: data, learning, final test, run folder; and going on after a kill."""

from __future__ import annotations

import importlib.metadata
import platform
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch
from rich.console import Console

from spikeprop import presets, runs
from spikeprop._version import __version__
from spikeprop.assemble import Data, build_learner, open_data
from spikeprop.checkpoint import write_tensors
from spikeprop.checkpoints import Checkpoints
from spikeprop.config import TrainConfig
from spikeprop.counting import count_backward_passes, peak_memory_mib
from spikeprop.epochs import run_epochs
from spikeprop.fit import Callback, Evaluation
from spikeprop.learner import ForwardLearner
from spikeprop.monitor import CsvLog, PlainProgress, ProgressBars, TensorBoardLog
from spikeprop.parallel import Ranks
from spikeprop.parallel.following import Tell, announcing, follow, of_restart
from spikeprop.parallel.staged import check_staged
from spikeprop.resuming import Progress, go_on
from spikeprop.rules.base import ONCE
from spikeprop.runs import RunFolder
from spikeprop.stopping import Stopping
from spikeprop.terminal import text_console

__all__ = ["count_backward_passes", "peak_memory_mib", "train"]

AFRESH = ("data_dir", "checkpoint_minutes", "checkpoint_updates", "keep")
"""Options that may be given anew when a run is resumed."""


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
    RuntimeError
        If another process trains in the run's folder.
    Stopped
        After SIGTERM or Ctrl-C, once a checkpoint is written.
    """
    ranks = Ranks.present()
    console = console or text_console(soft_wrap=True)
    with Stopping() as stopping:
        if ranks is not None and not ranks.first:
            return follow(ranks, stopping, config.data_dir)
        with announcing(ranks) as tell:
            return _train(of_restart(config), console, stopping, tell)


def _train(config: TrainConfig, console: Console, stopping: Stopping, tell: Tell) -> RunFolder:
    resumed = runs.find(config)
    if resumed is not None and config.resume == "auto" and resumed.finished:
        with resumed.lock():  # killed after its last word, before it had cleared up
            resumed.tidy()
            Checkpoints(resumed.path).remove()
        console.print(f"the run in {resumed.path} has finished")
        tell(resumed.config(), resumed, None)
        return resumed
    settings = config if resumed is None else resumed.config()
    if resumed is not None:  # the data may have moved meanwhile
        given = {name: getattr(config, name) for name in AFRESH}
        defaults = {name: getattr(TrainConfig(), name) for name in AFRESH}
        settings = replace(settings, **{k: v for k, v in given.items() if v != defaults[k]})
    if settings.threads > 0:
        torch.set_num_threads(settings.threads)
    if settings.preset is not None and resumed is None and not config.quiet:
        console.print(presets.cost(settings.preset))
    data = open_data(settings)
    learner = build_learner(settings, data.input_shape, len(data.classes))
    if settings.pipeline:
        check_staged(learner)
    folder = runs.create(settings) if resumed is None else resumed
    with folder.lock():
        folder.tidy()
        kept = Checkpoints(folder.path, settings.keep)
        progress = go_on(kept, learner, data.summary["train_sha256"])
        tell(settings, folder, progress)
        if not config.quiet:
            _print_head(
                console, settings, data, folder, progress, resumed is not None, learner.update_every
            )
            if settings.preset is not None and resumed is None:
                console.print(presets.expectation(settings, data))
        _learn(settings, data, learner, folder, progress, console, stopping, quiet=config.quiet)
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
    progress: Progress,
    console: Console,
    stopping: Stopping,
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
        run_epochs(
            config,
            data,
            learner,
            Checkpoints(folder.path, config.keep),
            progress,
            stopping,
            start_epoch=progress.epochs,
            callbacks=callbacks,
        )


def _finish(
    config: TrainConfig,
    data: Data,
    learner: ForwardLearner,
    folder: RunFolder,
    progress: Progress,
    evaluation: Evaluation,
) -> None:
    from spikeprop.plots import save_curves

    state = {name: value.cpu().contiguous() for name, value in learner.net.state_dict().items()}
    write_tensors(folder / runs.WEIGHTS, state)
    learner.save(folder / runs.LEARNER)
    save_curves(folder / runs.CURVES, progress.rows, learner, data.test, data.classes)
    # Last: a run has finished when its metrics are there.
    folder.write_metrics(_metrics(config, data, learner, progress, evaluation))
    Checkpoints(folder.path).remove()


def _metrics(
    config: TrainConfig,
    data: Data,
    learner: ForwardLearner,
    progress: Progress,
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
    progress: Progress,
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
        within = "" if progress.part is None else f" and {progress.part.batches} batches"
        done = f"epoch {progress.epochs}{within} of {config.epochs}"
        console.print(f"resuming {folder.path} after {done}")
