"""The command ``spikeprop dream``: event frames that a generative circuit makes of each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

if TYPE_CHECKING:
    from torch import Tensor

    from spikeprop.learner import ForwardLearner

__all__ = ["DreamConfig", "dream", "run", "save_dreams"]

MOMENTS = 6


@dataclass(frozen=True)
class DreamConfig:
    """Draw what a run of --rule pff dreams of each class into a .png file."""

    run: tyro.conf.Positional[Path]
    """Run folder, such as runs/saccade-digits-001."""

    output: Path = Path("dreams.png")
    """The .png file to write."""

    steps: int | None = None
    """Length of the dreams; None is that of the recordings, or 20 [time steps]."""

    seed: int = 0
    """Seed of the events, which are drawn from the dreamt probabilities."""

    device: str | None = None
    """Where to compute (cpu, cuda, cuda:N); None is the device of the training."""


def run(config: DreamConfig) -> None:
    """Load the run, dream, and draw.

    Raises
    ------
    FileNotFoundError
        If it is no finished run, or the picture's folder is missing.
    ValueError
        If its rule generates nothing, or an option is outside its range.
    """
    from spikeprop import inference
    from spikeprop.assemble import binning

    if config.output.suffix != ".png":
        raise ValueError(f"output must end in .png, got {config.output}")
    if not config.output.absolute().parent.is_dir():
        raise FileNotFoundError(f"output: there is no folder {config.output.absolute().parent}")
    if config.steps is not None and config.steps < 1:
        raise ValueError(f"steps must be at least 1, got {config.steps}")
    learner, settings, metrics = inference.load(config.run, on=config.device)
    steps = config.steps or binning(settings).steps(metrics["data"]["duration_us"]) or 20
    events = dream(learner, steps, seed=config.seed)
    save_dreams(config.output, events, metrics["data"]["classes"])
    print(config.output)


def dream(learner: ForwardLearner, time_steps: int, *, seed: int = 0) -> Tensor:
    """Let a learner's generative circuit make a recording of each class.

    Parameters
    ----------
    learner : ForwardLearner
        It learned by :class:`~spikeprop.rules.PredictiveForwardForward`.
    time_steps : int
        Length T of the recordings.
    seed : int
        Seed of the events, drawn from the dreamt probabilities.

    Returns
    -------
    Tensor
        ``(T, C, *features)`` of zeros and ones, one recording for each class.

    Raises
    ------
    ValueError
        If the learner's rule generates nothing.
    RuntimeError
        If the learner has seen no data yet.
    """
    import torch

    from spikeprop.rules import PredictiveForwardForward

    rule = learner.rule
    if not isinstance(rule, PredictiveForwardForward):
        raise ValueError(
            f"the rule {type(rule).__name__} generates nothing: train with --rule pff "
            f"(PredictiveForwardForward) to dream"
        )
    classes = torch.arange(rule.num_classes, device=learner.device)
    odds = rule.dream(learner.bound().tensors, classes, time_steps).cpu()
    events = torch.bernoulli(odds, generator=torch.Generator().manual_seed(seed))
    return events.reshape(time_steps, rule.num_classes, *(learner.input_shape or ()))


def save_dreams(path: Path, events: Tensor, classes: Sequence[str]) -> None:
    """Draw a row for each class: a few moments one after another, then all of them together.

    Parameters
    ----------
    path : Path
        The ``.png`` file.
    events : Tensor
        ``(T, C, polarities, height, width)``, or any other features, drawn in one line.
    classes : sequence of str
        Their names.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from spikeprop.datasets.files import write_atomically

    if events.dim() != 5:
        events = events.flatten(2)[:, :, None, None]
    moments = [part.sum(dim=0) for part in events.tensor_split(min(MOMENTS, len(events)))]
    frames = [*moments, events.sum(dim=0)]
    figure = Figure(figsize=(1.1 * len(frames) + 0.5, 1.1 * len(classes)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(classes), len(frames), squeeze=False)
    for column, frame in enumerate(frames):
        # ON minus OFF; of a single polarity, its events.
        signed = frame[:, -1] - frame[:, 0] if frame.shape[1] > 1 else frame[:, 0]
        limit = max(1.0, float(signed.abs().max()))
        for row, name in enumerate(classes):
            axis = axes[row][column]
            axis.imshow(
                signed[row].numpy(),
                cmap="RdBu_r",
                vmin=-limit,
                vmax=limit,
                interpolation="nearest",
                aspect="auto" if frame.shape[2] == 1 else "equal",
            )
            axis.set_xticks([])
            axis.set_yticks([])
            if column == 0:
                axis.set_ylabel(name, rotation=0, ha="right", va="center")
            if row == 0:
                axis.set_title("all" if column == len(moments) else f"{column + 1}", fontsize=9)
    write_atomically(path, lambda file: figure.savefig(file, dpi=110, format="png"))
