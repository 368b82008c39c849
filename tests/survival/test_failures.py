"""Disks, folders, data, workers and clocks that fail: a clear line, and nothing whole is lost."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_events import tiny_arguments, write_tiny_events
from toy import CLASSES, network, recordings

from spikeprop import ForwardLearner, runs
from spikeprop.checkpoint import load_state, save_state
from spikeprop.checkpoints import Checkpoints
from spikeprop.cli import main
from spikeprop.config import TrainConfig
from spikeprop.datasets import SaccadeDigits
from spikeprop.datasets.loader import _Keyed
from spikeprop.fit import Callback, Part
from spikeprop.locks import locked
from spikeprop.monitor import CsvLog
from spikeprop.rules import SigProp


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_tiny_events(tmp_path / "data")


def arguments(data: Path, *more: str) -> list[str]:
    return [*tiny_arguments(data, data.parent / "runs"), "--name", "a", "--resume", "auto", *more]


def at_batch(patch: pytest.MonkeyPatch, epoch: int, batch: int, do: Any) -> None:
    def on_batch_end(self: Any, learner: Any, e: int, b: int, metrics: Any) -> None:
        if (e, b) == (epoch, batch):
            do()

    patch.setattr(CsvLog, "on_batch_end", on_batch_end)


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    lines = [x for x in capsys.readouterr().err.splitlines() if "warning" not in x]
    assert len(lines) == 1
    assert lines[0].startswith("spikeprop: error: ")
    assert "Errno" not in lines[0]
    return lines[0]


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "No space left on device"), (errno.EROFS, "Read-only")]
)
def test_a_disk_that_fails(
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
    words: str,
) -> None:
    real = os.open

    def refuse(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if flags & os.O_CREAT and "runs" in str(path):
            raise OSError(number, os.strerror(number), str(path))
        return real(path, flags, *rest, **options)

    with monkeypatch.context() as patch:
        at_batch(patch, 3, 2, lambda: patch.setattr(os, "open", refuse))
        assert main(arguments(data, "--checkpoint-updates", "1")) == 2
    line = one_line(capsys)
    assert words in line
    assert "checkpoint-000000009.safetensors is whole" in line
    newest = Checkpoints(data.parent / "runs" / "a").paths()
    assert [load_state(path)["learner"]["updates"] for path in newest] == [9, 8]
    assert main(arguments(data)) == 0


def test_a_full_disk_in_the_middle_of_a_file(tmp_path: Path) -> None:
    """A real limit of the system, on the size of a file, met while it is written."""
    resource = pytest.importorskip("resource")
    path = tmp_path / "a.safetensors"
    save_state(path, {"x": torch.zeros(10)})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(OSError, match=r"cannot write .*a\.safetensors: File too large"):
            save_state(path, {"x": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert torch.equal(load_state(path)["x"], torch.zeros(10))
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(self: Path, *rest: Any, **options: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", refuse)
        assert main(arguments(data)) == 2
    line = one_line(capsys)
    assert "Permission denied" in line
    assert "runs" in line


def test_data_that_vanish(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lazily = _Keyed.__getitems__  # tiny sets are held in memory

    def read(self: Any, keys: Any) -> Any:
        (data / "Train" / "0" / "00000.bin").read_bytes()
        return lazily(self, keys)

    with monkeypatch.context() as patch:
        patch.setattr(_Keyed, "__getitems__", read)
        at_batch(patch, 2, 2, lambda: data.rename(data.with_name("elsewhere")))
        assert main(arguments(data)) == 2
    assert str(data) in one_line(capsys)
    (newest, *_) = Checkpoints(data.parent / "runs" / "a").paths()
    assert newest.name == "checkpoint-000000006.safetensors", "all that was learned is kept"
    assert main(arguments(data.with_name("elsewhere"))) == 0


def test_a_run_folder_that_vanishes(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        at_batch(patch, 1, 2, lambda: shutil.rmtree(data.parent / "runs"))
        assert main(arguments(data)) == 2
    assert "there is no folder" in one_line(capsys)


def test_two_runs_of_one_name(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[str] = []

    def another() -> None:
        at_batch(patch, 0, 0, lambda: None)
        for more in (("--resume", "auto"), ("--resume",)):
            given = [a for a in arguments(data) if a not in ("--resume", "auto")]
            assert main([*given, *more]) == 2
            seen.append(one_line(capsys))
        assert main([a for a in arguments(data) if a not in ("--resume", "auto")]) == 2
        seen.append(one_line(capsys))

    with monkeypatch.context() as patch:
        at_batch(patch, 2, 1, another)
        assert main(arguments(data)) == 0, "the first is not disturbed"
    assert ["being trained by another process" in line for line in seen] == [True, True, False]
    assert "already a run in" in seen[2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_lock_ends_with_its_process_and_not_with_its_children(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    ready, go = os.pipe(), os.pipe()
    holder = os.fork()
    if holder == 0:
        with locked(path, "held"):
            if os.fork() == 0:  # a child that outlives it
                os.write(ready[1], b"x")  # it runs: until then it may have its parent's files
                os.read(go[0], 1)
                os._exit(0)
            os.read(go[0], 1)
        os._exit(0)
    try:
        os.read(ready[0], 1)
        with pytest.raises(RuntimeError, match="held"), locked(path, "held"):
            pass
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
        with locked(path, "held"), pytest.raises(RuntimeError, match="held"), locked(path, "held"):
            pass
    finally:
        os.write(go[1], b"xx")  # a child left behind would hold all that this process had open


def test_the_run_that_nobody_trains_is_the_latest(data: Path) -> None:
    folder = data.parent / "runs"
    names = ["dead", "alive"]
    made = [runs.create(TrainConfig(name=name, runs_dir=folder)) for name in names]
    with made[1].lock():
        found = runs.find_unfinished(TrainConfig(resume="latest", runs_dir=folder))
    assert found.path.name == "dead"
    assert runs.find_unfinished(TrainConfig(resume="latest", runs_dir=folder)).path.name == "alive"


class Dying:
    """A recording that takes its worker process along."""

    def __init__(self) -> None:
        self.kept = SaccadeDigits(train=True)
        self.sensor_size, self.classes = self.kept.sensor_size, self.kept.classes
        self.targets, self.duration = self.kept.targets[:60], self.kept.duration

    def __len__(self) -> int:
        return 60

    def __getitem__(self, index: int) -> Any:
        if index == 47:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.kept[index]


def _hear_nothing(*_: object) -> None:
    """Handle a signal."""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_loader_s_worker_that_dies() -> None:
    from spikeprop.datasets import Binning, make_loader

    class Watch(Callback):
        parts: list[Part] = []  # noqa: RUF012
        failed: list[Part] = []  # noqa: RUF012

        def on_part(self, learner: ForwardLearner, part: Part) -> None:
            self.parts.append(part)

        def on_failure(self, learner: ForwardLearner, part: Part) -> None:
            self.failed.append(part)

    loader = make_loader(
        Dying(), batch_size=15, binning=Binning(time_window=60_000), shuffle=False, seed=0,
        num_workers=1,
    )  # fmt: skip
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2312, 8), network()[1])
    handlers: list[Any] = []

    def fit() -> None:
        try:
            ForwardLearner(net, SigProp(10)).fit(loader, epochs=1, callbacks=[Watch()])
        finally:
            # torch's own raises once more when it is told of the death, wherever Python then is.
            handlers.append(signal.signal(signal.SIGCHLD, _hear_nothing))

    with pytest.raises(RuntimeError, match=r"worker.*(killed|exited)"):
        fit()
    signal.signal(signal.SIGCHLD, handlers[0])
    # The system may tell of the death while a batch is learned from: that batch then is none.
    assert Watch.failed in ([], [Watch.parts[-1]])
    assert len(Watch.parts) <= 3


def test_a_part_that_does_not_fit() -> None:
    learner = ForwardLearner(network(), SigProp(CLASSES))
    with pytest.raises(ValueError, match="part is of epoch 3, and start_epoch=1"):
        learner.fit(recordings(9), epochs=4, start_epoch=1, part=Part.empty(3))
