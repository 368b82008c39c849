"""``torchrun -m spikeprop train``: one run folder, whichever way it came about."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import processes
import pytest
import torch
from safetensors.torch import load_file
from tiny_events import tiny_arguments, write_tiny_events

from spikeprop import cli, runs
from spikeprop.checkpoint import load_state
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
