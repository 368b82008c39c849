"""What the demonstration does: learn, and play recordings meanwhile."""

from __future__ import annotations

import time
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.text import Text

from spikeprop.assemble import binning, build_learner, evaluation_loader, open_dataset
from spikeprop.config import TrainConfig
from spikeprop.datasets import EventBatch, EventDataset, EventStore, make_loader
from spikeprop.demo import DemoConfig
from spikeprop.demo.drawing import bar, blocks, braille, evidence_lines, letters
from spikeprop.fit import Callback, EpochResult
from spikeprop.learner import ForwardLearner, Metrics
from spikeprop.report.behaviour import evidence_over_time
from spikeprop.terminal import text_console
from spikeprop.train import count_backward_passes

__all__ = ["Show", "run"]

EPOCHS = 8
BUDGET_S = 25.0
"""A slow machine makes fewer epochs, so that learning takes about so long at most."""

NARROW = 68
"""Terminals of fewer columns get the parts one below the other, and braille."""

NEXT = (
    ("spikeprop train", "the same in full, kept in a run folder"),
    ("spikeprop report runs/saccade-digits-001", "that run as one page for your browser"),
    ("spikeprop train --dataset folder --data-dir DIR", "your recordings: DIR/<class>/<file>"),
)


@dataclass(frozen=True)
class Recording:
    """A test recording to play: ``x`` is ``(T, P, H, W)``."""

    x: torch.Tensor
    label: int

    def frame(self, step: int) -> NDArray[np.bool_]:
        """Return where events fell in a step and the one before it."""
        seen: NDArray[np.bool_] = (self.x[max(step - 1, 0) : step + 1].sum(dim=0) > 0).numpy()
        return seen


class Show(Callback):
    """Shows a learner at work.

    Parameters
    ----------
    console
        Where to draw.
    recordings
        What is played, in turn.
    epochs
        Epochs in all.
    """

    def __init__(self, console: Console, recordings: list[Recording], epochs: int) -> None:
        self.console, self.recordings, self.epochs = console, recordings, epochs
        self.live: Live | None = None
        self.played = self.step = 0
        self.accuracy: deque[torch.Tensor] = deque(maxlen=10)
        self.batches: int | None = None
        self.where = ""

    @property
    def recording(self) -> Recording:
        """The recording that plays."""
        return self.recordings[self.played % len(self.recordings)]

    def on_epoch_start(self, learner: ForwardLearner, epoch: int, n_batches: int | None) -> None:
        """Remember how long the epoch is."""
        self.batches = n_batches

    def on_batch_end(
        self, learner: ForwardLearner, epoch: int, batch: int, metrics: Metrics
    ) -> None:
        """Play one time step more, with what the network has learned so far."""
        self.accuracy.append(metrics.accuracy.cpu())
        if self.live is None:
            return
        self.where = f"learning: epoch {epoch} of {self.epochs}, batch {batch} of {self.batches}"
        self.draw(learner)
        self.forward()

    def on_epoch_end(self, learner: ForwardLearner, result: EpochResult) -> None:
        """Print the epoch's line where nothing moves."""
        if self.live is None:
            layers = ", ".join(
                f"layer {i} {100 * value:.1f} %"
                for i, value in enumerate(result.train_block_accuracy.tolist(), start=1)
            )
            self.console.print(
                f"epoch {result.epoch} of {self.epochs}: {layers} ({result.seconds:.1f} s)"
            )

    def forward(self) -> None:
        """Go on to the next time step, or recording."""
        self.step += 1
        if self.step >= len(self.recording.x):
            self.step, self.played = 0, self.played + 1

    def draw(self, learner: ForwardLearner) -> None:
        """Draw the present time step."""
        assert self.live is not None, "only a terminal is drawn into"
        self.live.update(self.picture(learner, self.step), refresh=True)

    def picture(self, learner: ForwardLearner, step: int) -> RenderableType:
        """Return the recording after ``step`` (from 0), its evidence, and the layers' accuracy."""
        recording, ascii_only = self.recording, self.console.options.ascii_only
        narrow = self.console.width < NARROW
        evidence = evidence_over_time(learner, recording.x, [step + 1])[0].tolist()
        leads = int(np.argmax(evidence))
        frame = recording.frame(step)
        if ascii_only:
            image = letters(frame)
        elif narrow:
            image = braille(frame)
        else:
            image = blocks(frame, colour=self.console.color_system is not None)
        width = min(24, self.console.width - 8) if narrow else 24
        said = Text(f"step {step + 1:>2} of {len(recording.x)}: looks like a {leads}")
        bars = evidence_lines(evidence, recording.label, width, 6.0, ascii_only=ascii_only)
        gap = [] if narrow else [Text()]  # a small terminal is a low one, too
        beside = Group(said, *gap, bars, *gap, self.layers(width, ascii_only))
        parts: RenderableType = (
            Group(image, beside) if narrow else Columns([Padding(image, (0, 3, 0, 1)), beside])
        )
        return Group(Text(self.where, style="bold"), *gap, parts)

    def layers(self, width: int, ascii_only: bool) -> Text:
        """Return the accuracy of every layer over the last batches."""
        if not self.accuracy:
            return Text()
        mean = torch.stack(list(self.accuracy)).mean(dim=0).tolist()
        lines = [
            f"layer {i} {bar(value, max(width - 9, 4), ascii_only=ascii_only)} {100 * value:3.0f} %"
            for i, value in enumerate(mean, start=1)
        ]
        return Text("accuracy while it learns\n" + "\n".join(lines), no_wrap=True)


def run(config: DemoConfig, console: Console | None = None) -> None:
    """Learn, show, and say what to try next.

    Parameters
    ----------
    config
        Options.
    console
        Where to draw; standard output if not given.
    """
    console = console or text_console()
    if config.threads > 0:
        torch.set_num_threads(config.threads)
    start = time.perf_counter()
    settings = TrainConfig(
        validation=0.0,
        seed=config.seed,
        hidden=(32, 32) if config.quick else (256, 256),
        lr=2e-3 if config.quick else 4e-4,
        lags=(0,) if config.quick else None,  # in a handful of updates they slow layer 2 down
    )
    console.print(
        "A camera that reports only changes looks at ten handwritten digits; a network of spiking "
        "neurons learns to tell them apart, forwards only: no backward pass, no surrogate gradient."
    )
    train_set, test_set = (open_dataset(settings, train=part) for part in (True, False))
    shape = binning(settings).features(train_set.sensor_size)
    batches = make_loader(
        train_set,
        batch_size=settings.batch_size,
        binning=binning(settings),
        shuffle=True,
        seed=settings.seed,
        shift=settings.shift,
        indices=np.arange(0, len(train_set), 4) if config.quick else None,
        sparse=True,
    )
    make = partial(build_learner, settings, shape, len(train_set.classes))
    epochs = 1 if config.quick else _affordable(make(), batches)
    learner = make()
    show = Show(console, _recordings(settings, test_set), epochs)
    with ExitStack() as stack:
        counter = stack.enter_context(count_backward_passes())
        if console.is_terminal:
            live = Live(console=console, auto_refresh=False, transient=True)
            show.live = stack.enter_context(live)
        learner.fit(batches, epochs=epochs, callbacks=[show])
        if show.live is not None:
            show.where = "it has learned; these recordings it has never seen"
            for _ in range(0 if config.quick else 3 * len(show.recording.x)):
                show.draw(learner)
                show.forward()
                time.sleep(0.05)
    evaluation = learner.evaluate(evaluation_loader(settings, test_set))
    _conclude(console, show, learner)
    seconds = time.perf_counter() - start
    console.print(
        f"\nOf {evaluation.samples} recordings that it had not seen it now recognises "
        f"{100 * evaluation.accuracy:.1f} %, after {seconds:.0f} s and {counter.calls} backward "
        "passes."
    )
    console.print("\nTry next:")
    width = max(len(command) for command, _ in NEXT)
    for command, about in NEXT:
        gap = "\n      " if console.width < NARROW + 30 else " " * (width - len(command) + 3)
        console.print(f"  {command}{gap}{about}", markup=False, soft_wrap=True)


def _affordable(learner: ForwardLearner, batches: object) -> int:
    """Return how many epochs this machine makes in the budget, from two updates that are lost."""
    x, label = next(iter(batches))  # type: ignore[call-overload]
    learner.update(x, label)  # the first one still sets things up
    start = time.perf_counter()
    learner.update(x, label)
    learner.update(x, label)
    seconds = (time.perf_counter() - start) / 2 * len(batches)  # type: ignore[arg-type]
    return int(min(EPOCHS, max(1, BUDGET_S // max(seconds, 1e-9))))


def _recordings(config: TrainConfig, dataset: EventDataset | EventStore) -> list[Recording]:
    """Return one test recording of each class, to play."""
    targets = np.asarray(dataset.targets)
    chosen = [int(np.flatnonzero(targets == label)[0]) for label in np.unique(targets)]
    loader = make_loader(
        dataset,
        batch_size=len(chosen),
        binning=binning(config),
        shuffle=False,
        seed=0,
        indices=chosen,
        sparse=True,
    )
    x, labels = next(iter(loader))
    dense = x.to_dense() if isinstance(x, EventBatch) else x
    # Neighbours in the row of digits come apart, so that what plays is no counting.
    order = [(7 * i + 3) % len(chosen) for i in range(len(chosen))]
    return [Recording(dense[:, i], int(labels[i])) for i in order]


def _conclude(console: Console, show: Show, learner: ForwardLearner) -> None:
    """Leave one recording on the terminal, and how its prediction came about."""
    last = len(show.recording.x) - 1
    # As much of a recording as one picture can hold: a third of its way, one saccade.
    show.where = ""
    console.print(show.picture(learner, last // 3))
    ends = sorted({max(1, round(share * (last + 1))) for share in (0.1, 0.25, 0.5, 0.75, 1.0)})
    guesses = evidence_over_time(learner, show.recording.x, ends).argmax(dim=1).tolist()
    steps = ", ".join(f"{guess} (step {end})" for guess, end in zip(guesses, ends, strict=True))
    console.print(f"\nWhat it took this {show.recording.label} for as it went on: {steps}.")
