"""What a stream has learned is kept: at an interval, on SIGTERM, and gone on with."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_events import recording, tiny_arguments, write_tiny_events

from spikeprop.checkpoint import load_state
from spikeprop.cli import main
from spikeprop.datasets import write_recording
from spikeprop.experiments.benchmarks import endurance
from spikeprop.learner import ForwardLearner
from spikeprop.live import sources
from spikeprop.live.keeping import Keeping


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    data = write_tiny_events(tmp_path_factory.mktemp("data"))
    assert main([*tiny_arguments(data, folder), "--name", "done", "--epochs", "1"]) == 0
    return folder / "done"


@pytest.fixture
def arguments(run: Path, tmp_path: Path) -> list[str]:
    source = tmp_path / "a.npz"
    write_recording(source, recording(1, 0, 3000), (34, 34, 2))
    return [
        "stream", str(run), str(source), "--speed", "0", "--step", "10000", "--quiet",
        "--label", "2", "--save", str(tmp_path / "learned.safetensors"),
    ]  # fmt: skip


@pytest.mark.parametrize("optimizer", ["trained", "sgd"])
def test_sigterm_finishes_the_packet_and_writes(
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    optimizer: str,
) -> None:
    path = Path(arguments[-1])
    arguments = [*arguments, "--optimizer", optimizer]
    original, turns = ForwardLearner.steps, [0]

    def steps(self: ForwardLearner, *given: Any, **options: Any) -> Any:
        turns[0] += 1
        if turns[0] == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, *given, **options)

    with monkeypatch.context() as patch:
        patch.setattr(sources, "TOGETHER", 1)
        patch.setattr(ForwardLearner, "steps", steps)
        assert main(arguments) == 143
    assert "stopped by SIGTERM" in capsys.readouterr().err
    first = load_state(path)
    assert 4 <= first["updates"] < 30
    before = first["updates"]
    assert main([*arguments, "--resume"]) == 0
    second = load_state(path)
    assert second["updates"] > before + 20, "it went on from there"
    path.write_bytes(path.read_bytes()[:-9])
    assert main([*arguments, "--resume"]) == 2
    assert "damaged" in capsys.readouterr().err


def test_it_is_written_now_and_then(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    writes: list[int] = []
    original = Keeping.write

    def write(self: Keeping) -> None:
        original(self)
        writes.append(self.learner.updates)
        assert load_state(Path(arguments[-1]))["updates"] == writes[-1]

    monkeypatch.setattr(Keeping, "write", write)
    monkeypatch.setattr(sources, "TOGETHER", 1)
    assert main([*arguments, "--save-minutes", "1e-9", "--optimizer", "sgd"]) == 0
    assert len(writes) > 2
    assert writes == sorted(writes)
    assert main([*arguments[:-2], "--resume"]) == 2
    assert "--resume needs --save" in capsys.readouterr().err


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's /proc")
def test_a_minute_in_compressed_time(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Short of the hour, which docs/survival.md has: the same checks, on 60,000 steps."""
    before = torch.get_num_threads()
    options = ["--steps", "60000", "--windows", "10", "--out", str(tmp_path / "a.json")]
    code = endurance.main(options)
    assert code == 0, capsys.readouterr().out
    torch.set_num_threads(before)
    assert (tmp_path / "a.json").exists()
    with pytest.raises(ValueError, match="steps has to be a multiple of 500"):
        endurance.EnduranceConfig(steps=7)
    found = {
        "memory_spread": 0.03, "finite": False, "rates": [[0.04, 0.1]], "rate_target": 0.1,
    }  # fmt: skip
    assert len(endurance.faults(found)) == 3
