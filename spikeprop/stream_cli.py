"""``spikeprop stream``: a trained network follows live events, and goes on learning."""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from spikeprop.stopping import Stopping

if TYPE_CHECKING:
    from spikeprop.live import Counters, Follower, Report
    from spikeprop.live.packets import Packet
    from spikeprop.live.view import View
    from spikeprop.parallel.streaming import StagedStream

SGD_RATE = 1e-4


@dataclass(frozen=True)
class StreamConfig:
    """Infer at every time step of live events and, where labels come in, learn at every one."""

    run: tyro.conf.Positional[Path]
    """Run folder, such as runs/saccade-digits-001; its network begins the stream."""

    source: tyro.conf.Positional[str] = "-"
    """Event file (played in real time), - (standard input), udp://HOST:PORT or tcp://HOST:PORT."""

    step: int | None = None
    """Length of a time step; None is that of the training [µs]."""

    learn: bool = True
    """Learn while a label is known; otherwise labels are shown alone."""

    labels: Path | None = None
    """For a file: table with the columns start, stop [µs since its first event] and class."""

    label: str | None = None
    """Class of the whole stream, by name, until packets say otherwise."""

    speed: float = 1.0
    """Play a file so many times faster than real time; 0 is as fast as can be."""

    optimizer: Literal["trained", "sgd"] = "trained"
    """That of the training (Adam), which touches every weight at every step, or plain gradient
    steps, by which the event engine keeps up with a million events a second."""

    lr: float | None = None
    """Learning rate, constant; None is that at the start of the training, and 0.0001 for sgd."""

    update_every: int | None = None
    """Update the weights after every so many time steps; None is as in training [time steps]."""

    window: int = 32
    """So many packets may wait for one that is missing [packets]."""

    seconds: float = math.inf
    """Stop after this time [s]."""

    save: Path | None = None
    """Write the learner to this .safetensors file at the end, on SIGTERM, and now and then."""

    save_minutes: float = 5.0
    """Time between two such writes [min]."""

    resume: bool = False
    """Begin with what --save wrote before, if it is there, in place of the run's network."""

    log: Path | None = None
    """Write a line for every time step to this .csv file: time, prediction, confidence, label."""

    device: str | None = None
    """Where to compute (cpu, cuda, cuda:N); None is the device of the training."""

    quiet: bool = False
    """Show nothing but the result."""


def run(config: StreamConfig) -> None:
    """Follow the stream to its end; print what came of it.

    In one of several processes (``torchrun``) it runs one stage of the network: the first reads the
    source, the last one predicts.

    Raises
    ------
    FileNotFoundError, ValueError, OSError
        If the run, the source or an option is wrong, or a file cannot be written.
    Stopped
        After SIGTERM, once what was learned is written.
    """
    from contextlib import ExitStack
    from functools import partial

    import torch

    from spikeprop import inference
    from spikeprop.assemble import learning_rate
    from spikeprop.live import Counters, Follower, Reorder
    from spikeprop.live.keeping import Keeping
    from spikeprop.live.sources import open_source, read_labels
    from spikeprop.live.view import View
    from spikeprop.parallel import join, leave
    from spikeprop.parallel.live import begin_stream

    for name in ("save", "log"):
        path = getattr(config, name)
        if path is not None and not path.absolute().parent.is_dir():
            raise FileNotFoundError(f"{name}: there is no folder {path.absolute().parent}")
    if config.window < 0 or not config.seconds > 0:
        raise ValueError(
            f"window is 0 or more and seconds above 0, got {config.window} and {config.seconds}"
        )
    if not config.save_minutes > 0 or (config.resume and config.save is None):
        raise ValueError(
            f"save_minutes is above 0, got {config.save_minutes}, and --resume needs --save"
        )
    learner, trained, metrics = inference.load(config.run, on=config.device)
    if config.resume and config.save is not None and config.save.exists():
        learner.load(config.save)
    if config.update_every is not None:
        if config.update_every < 1:
            raise ValueError(f"update_every must be at least 1, got {config.update_every}")
        learner.update_every = config.update_every
    as_trained = config.optimizer == "trained"
    rate = (learning_rate(trained) if as_trained else SGD_RATE) if config.lr is None else config.lr
    if not 0 < rate < math.inf:
        raise ValueError(f"lr must be above 0, got {config.lr}")
    kept = learner.optimizers
    if not as_trained:
        learner.set_optimizer(partial(torch.optim.SGD, lr=rate))
    # A schedule leaves the rate of a finished training at or near zero.
    for optimizer in learner.optimizers:
        for group in [] if optimizer is None else optimizer.param_groups:
            group["lr"] = rate
    data = metrics["data"]
    classes: list[str] = data["classes"]
    sensor = (data["sensor_size"][0], data["sensor_size"][1], data["sensor_size"][2])
    if tuple(data["input_shape"]) != (sensor[2], sensor[1], sensor[0]):
        raise ValueError(f"{config.run} was trained on pooled pixels, which a stream has not")
    ranks = join(config.device or "cpu")
    staged = None if ranks is None else begin_stream(learner, ranks, log=config.log)
    if staged is not None and not staged.pipeline.first:
        _stage(staged, save=config.save is not None)
        return
    counters = Counters()
    labels = None if config.labels is None else read_labels(config.labels, classes)
    packets = open_source(config.source, counters, speed=config.speed, labels=labels)
    view = None if config.quiet or staged is not None else View(counters, classes, sensor)
    # A pipeline's weights are together at its end alone.
    minutes = config.save_minutes if staged is None else math.inf
    keeping = Keeping(learner, kept, config.save, minutes)
    with ExitStack() as stack:
        stopping = stack.enter_context(Stopping((signal.SIGTERM,)))
        log = None if config.log is None else stack.enter_context(config.log.open("w"))
        if log is not None:
            log.write("time_us,prediction,confidence,label\n")
        right = _Score()

        def on_step(report: Report) -> None:
            right.count(report)
            if log is not None:
                label = "" if report.label is None else classes[report.label]
                name = classes[report.prediction]
                log.write(f"{report.time},{name},{report.confidence:.4f},{label}\n")
            if view is not None:
                view.step(report)

        follower = Follower(
            learner if staged is None else staged,
            sensor,
            config.step or trained.time_window,
            counters,
            len(classes),
            learn=config.learn,
            binary=trained.binary,
            on_step=on_step,
        )
        if config.label is not None:
            if config.label not in classes:
                raise ValueError(f"label must be one of {', '.join(classes)}, got {config.label!r}")
            follower.set_label(0, classes.index(config.label))
        if view is not None:
            stack.enter_context(view)
        begun, stopping.busy = time.monotonic(), True

        def over() -> bool:
            keeping.tick()
            return stopping.number is not None or time.monotonic() >= begun + config.seconds

        _follow(packets, Reorder(counters, config.window), follower, view, over)
        seconds = time.monotonic() - begun
        if staged is not None:
            staged.end()
            right = _Score()  # the last stage keeps it
            if config.save is not None:
                staged.pipeline.gather()
        learner.reset()
        keeping.write()
    _print_result(follower, counters, seconds, right)
    if config.save is not None:
        print(config.save)
    leave()
    stopping.check()


def _stage(staged: StagedStream, *, save: bool) -> None:
    """Run a later stage of a pipeline; the last one says how well it predicted."""
    from spikeprop.parallel import leave
    from spikeprop.parallel.live import follow_stage

    steps, labelled, right = follow_stage(staged)
    if staged.pipeline.last and labelled:
        share = 100 * right / labelled
        print(f"accuracy   {share:.2f} % of {labelled:,} of {steps:,} time steps, as they came")
    if save:
        staged.pipeline.gather()
    leave()


class _Score:
    """How often predictions agree with labels."""

    def __init__(self) -> None:
        self.labelled = self.right = 0

    def count(self, report: Report) -> None:
        if report.label is not None:
            self.labelled += 1
            self.right += report.prediction == report.label


def _follow(
    packets: Any, order: Any, follower: Follower, view: View | None, over: Callable[[], bool]
) -> None:
    """Take packets until the stream ends, it is over, or Ctrl-C."""
    ended = False
    try:
        for found in packets:
            ready = [item for packet in found for item in order.push(packet)]
            ended = _take(ready if found else order.flush(), follower, view)
            if view is not None and not found:
                view.tick()
            if over() or ended:
                break
    except KeyboardInterrupt:
        print("spikeprop: stopped", file=sys.stderr)
    finally:
        packets.close()
    _take(order.flush(), follower, view)
    follower.finish()


def _take(packets: Iterable[Packet], follower: Follower, view: View | None) -> bool:
    """Give packets to the follower, events together; return whether one ends the stream."""
    from itertools import groupby

    import numpy as np

    from spikeprop.live.packets import EVENTS, LABEL

    ended = False
    for kind, group in groupby(packets, key=lambda packet: packet.kind):
        alike = list(group)
        if kind == EVENTS:
            events = np.concatenate([item.events for item in alike if item.events is not None])
            if view is not None:
                view.events(events)
            follower.events(events)
        elif kind == LABEL:
            for packet in alike:
                follower.set_label(packet.time, packet.label)
        else:
            ended = True
    return ended


def _print_result(follower: Follower, counters: Counters, seconds: float, score: _Score) -> None:
    print(f"packets    {counters.packets:,}")
    rate = counters.events / seconds if seconds > 0 else 0.0
    print(f"events     {counters.events:,} in {seconds:.1f} s, {rate:,.0f} a second")
    print(f"time steps {follower.steps:,} of {follower.step_us:,} us")
    for name, count in counters.faults().items():
        print(f"{name.replace('_', ' '):<10} {count:,}")
    if score.labelled:
        share = 100 * score.right / score.labelled
        print(f"accuracy   {share:.2f} % of {score.labelled:,} labelled time steps, as they came")
