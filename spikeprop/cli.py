"""The command line: ``spikeprop train | evaluate | predict | compare | rules | stream | ...``.

Options are the fields of dataclasses (tyro turns them into arguments and help); heavy modules load
once a command runs, so that help and mistakes answer at once.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from spikeprop import data_cli, dreams, neurons_cli, presets, rules_cli, stream_cli
from spikeprop._version import __version__
from spikeprop.bits import QuantizeConfig, measure_bits
from spikeprop.comparison.config import CompareConfig
from spikeprop.completion import CompletionConfig, script
from spikeprop.config import TrainConfig
from spikeprop.demo import DemoConfig
from spikeprop.doctor import DoctorConfig
from spikeprop.names import meant
from spikeprop.neurons_cli import NeuronsConfig
from spikeprop.report.config import ReportConfig
from spikeprop.stopping import Stopped

if TYPE_CHECKING:
    from spikeprop.fit import Evaluation

BAD_INPUT = 2
INTERRUPTED = 130
"""Ctrl-C; a run that a signal stopped ends with 128 and its number: 143 for SIGTERM."""
LATEST = "latest"
DEBUG = "SPIKEPROP_DEBUG"

DESCRIPTION = f"""Spiking networks that learn event recordings in forward passes only.

`spikeprop COMMAND --help` lists the options of a command, with defaults and units. On bad input one
line says what is wrong and the exit code is {BAD_INPUT}; {DEBUG}=1 shows the traceback."""


@dataclass(frozen=True)
class EvaluateConfig:
    """Measure the accuracy of a finished run on the test recordings of its data set."""

    run: tyro.conf.Positional[Path]
    """Run folder, such as runs/saccade-digits-001."""

    data_dir: Path | None = None
    """Folder of the data set, if it is not where it was in training."""

    device: str | None = None
    """Where to compute (cpu, cuda, cuda:N); None is the device of the training."""

    output: Path | None = None
    """Write accuracies and the confusion matrix to this .json file as well."""


@dataclass(frozen=True)
class PredictConfig:
    """Predict the classes of event files, or of a whole split, with a finished run."""

    run: tyro.conf.Positional[Path]
    """Run folder, such as runs/saccade-digits-001."""

    files: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Event files of any format: .aedat, .raw, .dat, .es, .bin, .npy, .h5, .csv and more."""

    split: Literal["train", "test"] | None = None
    """Predict this split of the run's data set instead of files."""

    data_dir: Path | None = None
    """With --split: folder of the data set, if it is not where it was in training."""

    device: str | None = None
    """Where to compute (cpu, cuda, cuda:N); None is the device of the training."""

    output: Path | None = None
    """Write predictions and scores to this .csv or .json file instead of the terminal."""


COMMANDS: dict[str, type] = {
    "demo": DemoConfig,
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
    "predict": PredictConfig,
    "report": ReportConfig,
    "stream": stream_cli.StreamConfig,
    "quantize": QuantizeConfig,
    "neurons": NeuronsConfig,
    "rules": rules_cli.RulesConfig,
    "compare": CompareConfig,
    "dream": dreams.DreamConfig,
    "doctor": DoctorConfig,
    "completion": CompletionConfig,
}
GROUPS: dict[str, dict[str, type]] = {"data": data_cli.COMMANDS}
"""Commands that have commands of their own."""

_ALL = (*COMMANDS, *GROUPS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments
        Without the program's name; those of the process if not given.

    Returns
    -------
    int
        Exit code: 0, 1 if `doctor` finds something broken, 2 for bad input, 130 after Ctrl-C, 143
        after SIGTERM.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        config = parse(given)
        return _run(config)
    except SystemExit:  # help has been printed
        return 0
    except KeyboardInterrupt:
        print("spikeprop: interrupted", file=sys.stderr)
        if given[:1] == ["train"]:
            print("spikeprop: `spikeprop train --resume` goes on with the run", file=sys.stderr)
        return INTERRUPTED
    except Stopped as stop:
        print(f"spikeprop: {stop}", file=sys.stderr)
        if given[:1] == ["train"]:
            print("spikeprop: `spikeprop train --resume` goes on with the run", file=sys.stderr)
        return stop.exit_code
    except BrokenPipeError:  # the reader of a pipe has gone, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except (ValueError, TypeError, OSError, ArithmeticError, RuntimeError) as error:
        if os.environ.get(DEBUG, "0") not in ("", "0"):
            raise
        print(f"spikeprop: error: {_message(error)}", file=sys.stderr)
        return BAD_INPUT


def parse(arguments: Sequence[str]) -> Any:
    """Return the configuration dataclass that the arguments describe.

    Raises
    ------
    SystemExit
        After help.
    ValueError
        If the arguments cannot be read, or a value is not allowed.
    """
    given = list(arguments)
    if given == ["--version"]:
        print(f"spikeprop {__version__}")
        raise SystemExit(0)
    commands, program = COMMANDS, "spikeprop"
    if given[:1] == ["train"]:
        given = presets.complete(_complete_resume(given))
    elif given and given[0] in GROUPS:
        commands, program = GROUPS[given[0]], f"spikeprop {given[0]}"
        given = _complete_show(given[1:])
    union: Any = None
    for name, kind in _shown(commands).items():
        command: Any = Annotated[kind, tyro.conf.subcommand(name, prefix_name=False)]
        union = command if union is None else union | command
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                union,
                prog=program,
                description=DESCRIPTION if commands is COMMANDS else data_cli.__doc__,
                args=given or ["--help"],
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
            )
    except SystemExit as exit_:
        if exit_.code in (None, 0):
            raise
        if not given[0].startswith("-") and given[0] not in commands:
            names = ", ".join(_ALL if commands is COMMANDS else commands)
            raise ValueError(f"there is no command {given[0]!r}: choose one of {names}") from None
        name = f" {given[0]}" if given[0] in commands else ""
        message = _out_of_the_box(complaint.getvalue())
        raise ValueError(f"{message} (see {program}{name} --help)") from None


@dataclass(frozen=True)
class _Data:
    """List, download, check, show and convert data: see `spikeprop data --help`."""


def _shown(commands: dict[str, type]) -> dict[str, type]:
    """Return the commands with those that have commands of their own, for help."""
    return {**commands, "data": _Data} if commands is COMMANDS else commands


def _complete_show(arguments: list[str]) -> list[str]:
    """Let ``data NAME`` mean ``data show NAME``; ``--dataset`` may be said as in ``train``."""
    given = [argument for argument in arguments if argument != "--dataset"]
    first = given[0] if given else "--help"
    return given if first in data_cli.COMMANDS or first.startswith("-") else ["show", *given]


def _out_of_the_box(complaint: str) -> str:
    """Return the words of one of tyro's framed messages on one line, without its footer."""
    words = []
    for line in complaint.splitlines():
        text = line.strip("│ ")
        if text.startswith("─"):
            break
        if text and text[0] not in "╭╰":
            words.append(text)
    message = " ".join(" ".join(words).split())
    choice = re.search(r"invalid choice '([^']+)' .*\(('.+')\)", message)
    if choice is not None:
        message = message.rstrip(".") + meant(choice[1], re.findall(r"'([^']+)'", choice[2]))
    return re.sub(r"^Error parsing \w+: ", "", message) or "the arguments cannot be read"


def _complete_resume(arguments: list[str]) -> list[str]:
    """``--resume`` alone means the latest run: give it that value."""
    completed = []
    for index, argument in enumerate(arguments):
        completed.append(argument)
        following = arguments[index + 1 : index + 2]
        if argument == "--resume" and (not following or following[0].startswith("-")):
            completed.append(LATEST)
    return completed


def _run(config: Any) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = _show_warning
        if isinstance(config, TrainConfig):
            _train(config)
        elif isinstance(config, EvaluateConfig):
            _evaluate(config)
        elif isinstance(config, PredictConfig):
            _predict(config)
        elif isinstance(config, stream_cli.StreamConfig):
            stream_cli.run(config)
        elif isinstance(config, QuantizeConfig):
            measure_bits(config)
        elif isinstance(config, NeuronsConfig):
            neurons_cli.run(config)
        elif isinstance(config, rules_cli.RulesConfig):
            rules_cli.run(config)
        elif isinstance(config, CompareConfig):
            from spikeprop.comparison.command import run

            run(config)
        elif isinstance(config, dreams.DreamConfig):
            dreams.run(config)
        elif isinstance(config, CompletionConfig):
            print(script(config.shell, COMMANDS, GROUPS))
        elif isinstance(config, DoctorConfig):
            from spikeprop import doctor

            return doctor.run(config)
        elif isinstance(config, DemoConfig):
            from spikeprop.demo import show

            show.run(config)
        elif isinstance(config, ReportConfig):
            from spikeprop.report import command

            command.run(config)
        else:
            data_cli.run(config)
    return 0


def _train(config: TrainConfig) -> None:
    from spikeprop.parallel import join, leave
    from spikeprop.train import train

    ranks = join(config.device)
    try:
        folder = train(config)
    finally:
        leave()
    if ranks is None or ranks.first:
        print(folder.path)


def _evaluate(config: EvaluateConfig) -> None:
    from spikeprop import inference, runs
    from spikeprop.train import evaluation_summary

    output = config.output
    if output is not None:
        if output.suffix != ".json":
            raise ValueError(f"output must end in .json, got {output}")
        inference.check_output(output)
    evaluation, dataset = inference.evaluate(config.run, data_dir=config.data_dir, on=config.device)
    print(f"data {dataset.name}: {evaluation.samples} test samples")
    if dataset.note:
        print(f"note: {dataset.note}")
    _print_evaluation(evaluation, dataset.classes)
    if output is not None:
        summary = evaluation_summary(evaluation, dataset.classes)
        runs.write_json(output, {"test_accuracy": evaluation.accuracy, **summary})


def _print_evaluation(evaluation: Evaluation, classes: list[str]) -> None:
    layers = " ".join(f"{100 * value:.2f}" for value in evaluation.block_accuracy.tolist())
    print(f"test accuracy {100 * evaluation.accuracy:.2f} %")
    print(f"accuracy per layer {layers} %")
    width = max(6, *(len(name) + 1 for name in classes))
    print("confusion (rows: true class, columns: predicted) and accuracy per class")
    print(" " * width + "".join(f"{name:>{width}}" for name in classes) + "       %")
    rows = zip(classes, evaluation.confusion.tolist(), evaluation.per_class.tolist(), strict=True)
    for name, counts, share in rows:
        numbers = "".join(f"{count:>{width}}" for count in counts)
        shown = "-" if sum(counts) == 0 else f"{100 * share:.1f}"
        print(f"{name:>{width}}{numbers}{shown:>8}")


def _predict(config: PredictConfig) -> None:
    from spikeprop import inference, runs

    if bool(config.files) == (config.split is not None):
        raise ValueError("give event files or --split, one of the two")
    if config.data_dir is not None and config.split is None:
        raise ValueError("--data-dir belongs to --split; files are given by their own paths")
    if config.output is not None:
        inference.check_output(config.output)
    if config.split is not None:
        found = inference.predict_split(
            config.run, config.split, data_dir=config.data_dir, on=config.device
        )
    else:
        found = inference.predict_files(config.run, config.files, on=config.device)
    if config.output is None:
        for item in found:
            label = "" if item.label is None else f"  (is {item.label})"
            print(f"{item.recording}  {item.prediction}{label}")
    else:
        classes = runs.RunFolder(config.run).metrics()["data"]["classes"]
        inference.write_predictions(config.output, found, classes)
    labelled = [item for item in found if item.label is not None]
    if labelled:
        right = sum(item.prediction == item.label for item in labelled)
        print(f"accuracy {100 * right / len(labelled):.2f} % of {len(labelled)}")
    if config.output is not None:
        print(config.output)


def _message(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    if isinstance(error, OSError) and error.strerror:  # without the system's error number
        where = "" if error.filename is None else f": {error.filename}"
        text = f"{error.strerror}{where}"
    return text.replace("\n", "\n  ")


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"spikeprop: warning: {' '.join(str(message).split())}", file=sys.stderr)
