"""``torchrun -m spikeprop train``: one run folder, whichever way it came about."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import processes
import pytest
import torch
from safetensors.torch import load_file
from tiny_events import tiny_arguments, write_tiny_events

from spikeprop import cli, runs
from spikeprop.checkpoint import load_state
from spikeprop.parallel.channel import BATCH, Channel, Head
from spikeprop.runs import RunFolder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_events(tmp_path_factory.mktemp("data"))


def command(arguments: list[str], expected: int = 0) -> None:
    """Run the command in this rank."""
    assert cli.main(arguments) == expected


def near(a: RunFolder, b: RunFolder) -> None:
    """Sums of float32 come in another order: nearly the same weights, and the same accuracy."""
    one, other = load_file(a / runs.WEIGHTS), load_file(b / runs.WEIGHTS)
    for key, value in one.items():
        torch.testing.assert_close(value, other[key], rtol=1e-3, atol=1e-3)
    assert a.metrics()["confusion_matrix"] == b.metrics()["confusion_matrix"]


def test_two_processes_leave_the_run_of_one(data: Path, tmp_path: Path) -> None:
    arguments = tiny_arguments(data, tmp_path)
    command([*arguments, "--name", "alone"])
    processes.run(2, command, [*arguments, "--name", "both"], folder=tmp_path)
    alone, both = RunFolder(tmp_path / "alone"), RunFolder(tmp_path / "both")
    near(alone, both)
    assert {path.name for path in both.path.iterdir() if "tfevents" not in path.name} == {
        path.name for path in alone.path.iterdir() if "tfevents" not in path.name
    }
    assert (alone.metrics()["processes"], both.metrics()["processes"]) == (1, 2)
    # What stops the first before it begins, all say.
    processes.run(2, command, [*arguments, "--name", "both"], 2, folder=tmp_path)
    processes.run(2, command, [*arguments, "--batch-size", "1"], 2, folder=tmp_path)


@pytest.mark.slow
def test_torchrun_starts_again_and_goes_on(data: Path, tmp_path: Path) -> None:
    """One of two processes is killed; torchrun starts both again, and the run goes on."""
    arguments = tiny_arguments(data, tmp_path)
    arguments[arguments.index("--epochs") + 1] = "8"
    command([*arguments, "--name", "alone"])
    launched = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "--max-restarts", "1", "-m",
        "spikeprop", *arguments, "--name", "both",
    ]  # fmt: skip
    running = subprocess.Popen(
        launched, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True
    )
    both = RunFolder(tmp_path / "both")
    until = time.monotonic() + processes.PATIENCE
    checkpoints: list[Path] = []
    while time.monotonic() < until and not checkpoints and running.poll() is None:
        checkpoints = list(both.path.glob("checkpoint*"))
        time.sleep(0.02)
    assert checkpoints, "no checkpoint was written"
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    _, errors = running.communicate(timeout=processes.PATIENCE)
    assert running.returncode == 0, errors
    near(RunFolder(tmp_path / "alone"), both)


def same(a: RunFolder, b: RunFolder) -> None:
    """The same bits."""
    one, other = load_file(a / runs.WEIGHTS), load_file(b / runs.WEIGHTS)
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[key]) for key, value in one.items())


def staged(data: Path, folder: Path, name: str, *more: str) -> list[str]:
    arguments = tiny_arguments(data, folder)
    arguments[arguments.index("--dropout") + 1] = "0"
    return [*arguments, "--name", name, "--pipeline", *more]


def test_blocks_in_a_pipeline_leave_the_run_of_one_process(data: Path, tmp_path: Path) -> None:
    alone = [item for item in staged(data, tmp_path, "alone") if item != "--pipeline"]
    command(alone)
    processes.run(2, command, staged(data, tmp_path, "staged"), folder=tmp_path)
    one, other = RunFolder(tmp_path / "alone"), RunFolder(tmp_path / "staged")
    near(one, other)
    assert other.metrics()["processes"] == 2
    rows = [(folder.path / runs.CSV).read_text().splitlines() for folder in (one, other)]
    assert len(rows[0]) == len(rows[1]) == 5
    assert rows[0][0] == rows[1][0]


def test_a_staged_run_goes_on_within_an_epoch(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage dies in the third batch of an epoch; the end has the bits of an undisturbed run."""
    every = ("--checkpoint-updates", "1")
    processes.run(2, command, staged(data, tmp_path, "whole"), folder=tmp_path)
    arguments = staged(data, tmp_path, "killed", *every, "--resume", "auto")
    receive = Channel.receive

    def dying(self: Channel) -> tuple[Head, Any]:
        found = receive(self)
        dying.batches += found[0].what == BATCH  # type: ignore[attr-defined]
        if dying.batches == 7:  # type: ignore[attr-defined]
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    dying.batches = 0  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setattr(Channel, "receive", dying)
        first, second = processes.begin(2, command, arguments, 2, folder=tmp_path)
        processes.end([first, second])
    assert (first.exitcode, second.exitcode) == (0, -signal.SIGKILL)
    killed = RunFolder(tmp_path / "killed")
    newest = max(killed.path.glob("checkpoint*"), key=lambda path: path.stat().st_mtime_ns)
    assert newest.name == "checkpoint-000000006.safetensors"  # epochs of four
    processes.run(2, command, arguments, folder=tmp_path)
    same(RunFolder(tmp_path / "whole"), killed)


def test_what_cannot_be_a_pipeline_is_said_before_a_run_begins(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command(staged(data, tmp_path, "alone"), 2)
    assert "several processes: start them by torchrun" in capsys.readouterr().err
    for more in (("--dropout", "0.1"), ("--hidden", "24"), ("--rule", "e-prop")):
        processes.run(2, command, staged(data, tmp_path, "refused", *more), 2, folder=tmp_path)
    assert not (tmp_path / "alone").exists()
    assert not (tmp_path / "refused").exists()


def test_a_live_stream_through_two_processes(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The learner saved after a stream is that of one process."""
    arguments = tiny_arguments(data, tmp_path)
    arguments[arguments.index("--dropout") + 1] = "0"
    command([*arguments, "--name", "run"])
    source = next((data / "Test" / "1").glob("*.bin"))
    stream = ["stream", str(tmp_path / "run"), str(source), "--speed", "0", "--quiet"]
    stream += ["--label", "1", "--save"]
    command([*stream, str(tmp_path / "alone.safetensors")])
    capfd.readouterr()
    processes.run(2, command, [*stream, str(tmp_path / "both.safetensors")], folder=tmp_path)
    shown = capfd.readouterr().out
    assert "accuracy" in shown
    one, other = (
        load_state(tmp_path / f"{name}.safetensors")["network"] for name in ("alone", "both")
    )
    for key, value in one.items():
        torch.testing.assert_close(value, other[key], rtol=1e-6, atol=1e-6, msg=key)
    log = ["--log", str(tmp_path / "log.csv")]
    processes.run(2, command, [*stream[:-1], *log], 2, folder=tmp_path)
