"""SIGTERM and Ctrl-C: the batch is finished, a checkpoint is written, and the run goes on later."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from test_runs import assert_same_run
from tiny_events import tiny_arguments, tiny_options, write_tiny_events

from spikeprop import runs
from spikeprop.checkpoints import Checkpoints
from spikeprop.cli import main
from spikeprop.config import TrainConfig
from spikeprop.learner import ForwardLearner
from spikeprop.monitor import CsvLog
from spikeprop.stopping import Stopped, Stopping
from spikeprop.train import train

LARGE = {"checkpoint_minutes": 1e6}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_events(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> runs.RunFolder:
    return train(config(data, tmp_path_factory.mktemp("runs")), quiet())


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    yield
    assert before == [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]


def config(data: Path, folder: Path, **changes: Any) -> TrainConfig:
    return TrainConfig(**(tiny_options(data, folder) | LARGE | changes))  # type: ignore[arg-type]


def quiet() -> Console:
    return Console(file=open(os.devnull, "w"))  # noqa: PTH123


class Killing:
    """Sends signals to this process, in the middle of an update or of the validation."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int, *numbers: int, when: str = "_learn"):
        self.at, self.numbers, self.calls = at, numbers, 0
        original = getattr(ForwardLearner, when)

        def method(learner: ForwardLearner, *arguments: Any, **options: Any) -> Any:
            self.calls += 1
            if self.calls == self.at:
                for number in self.numbers:
                    os.kill(os.getpid(), number)
            return original(learner, *arguments, **options)

        patch.setattr(ForwardLearner, when, method)


# Within an epoch, and at the end of one.
@pytest.mark.parametrize(("number", "at"), [(signal.SIGTERM, 2), (signal.SIGINT, 8)])
def test_a_signal_ends_with_a_checkpoint(
    data: Path,
    finished: runs.RunFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
    at: int,
) -> None:
    arguments = [*tiny_arguments(data, tmp_path), "--name", "a", "--resume", "auto"]
    arguments += ["--checkpoint-minutes", "1e6"]
    with monkeypatch.context() as patch:
        Killing(patch, at, number)
        assert main(arguments) == {signal.SIGTERM: 143, signal.SIGINT: 130}[number]
    assert "--resume` goes on" in capsys.readouterr().err
    newest = Checkpoints(tmp_path / "a").paths()[0]
    assert newest.name == f"checkpoint-{at:09d}.safetensors", "the batch was finished"
    assert main(arguments) == 0
    assert_same_run(runs.RunFolder(tmp_path / "a"), finished)
    assert main(arguments) == 0, "a finished run ends at once"
    assert "has finished" in capsys.readouterr().out


def test_validation_ends_at_once(
    data: Path, finished: runs.RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        Killing(patch, 1, signal.SIGTERM, when="logits")
        with pytest.raises(Stopped):
            train(config(data, tmp_path, name="a"), quiet())
    (path,) = Checkpoints(tmp_path / "a").paths()
    assert path.name == "checkpoint-000000004.safetensors"
    resumed = train(config(data, tmp_path, name="a", resume="latest"), quiet())
    assert_same_run(resumed, finished)


def test_the_second_signal_does_not_wait(
    data: Path, finished: runs.RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        Killing(patch, 6, signal.SIGINT, signal.SIGINT)
        with pytest.raises(Stopped):
            train(config(data, tmp_path, name="a"), quiet())
    (path,) = Checkpoints(tmp_path / "a").paths()
    assert path.name == "checkpoint-000000004.safetensors", "half an update is not kept"
    assert_same_run(train(config(data, tmp_path, name="a", resume="auto"), quiet()), finished)


def test_checkpoints_come_by_number_and_by_time_and_are_kept_to_a_number(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    original = Checkpoints.write

    def write(self: Checkpoints, updates: int, state: Any) -> Path:
        written.append(updates)
        path = original(self, updates, state)
        assert len(self.paths()) == min(len(set(written)), self.keep)
        return path

    monkeypatch.setattr(Checkpoints, "write", write)
    train(config(data, tmp_path, epochs=2, checkpoint_updates=3, keep=3), quiet())
    assert written == [3, 4, 7, 8], "and every epoch"
    written.clear()
    now = [0.0]
    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr("spikeprop.resuming.time", clock)
    # A wall clock that jumps back, by an hour a minute, changes nothing.
    monkeypatch.setattr("time.time", lambda: 1e9 - 60 * now[0])

    def on_batch_end(self: Any, learner: Any, epoch: int, batch: int, metrics: Any) -> None:
        now[0] += 40.0

    monkeypatch.setattr(CsvLog, "on_batch_end", on_batch_end)
    train(config(data, tmp_path, epochs=2, checkpoint_minutes=1), quiet())
    assert written == [2, 4, 4, 6, 8, 8]


def test_signals_are_left_alone_in_other_threads() -> None:
    import threading

    before = signal.getsignal(signal.SIGTERM)
    seen: list[Any] = []

    def work() -> None:
        with Stopping() as stopping:
            seen.append(signal.getsignal(signal.SIGTERM))
            stopping.check()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
