"""The command ``spikeprop dream``: a picture of each class, or one clear line."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import pytest
import torch
from tiny_events import tiny_arguments, write_tiny_events
from torch import nn

from spikeprop import ForwardLearner
from spikeprop.cli import main
from spikeprop.dreams import dream, save_dreams
from spikeprop.neurons import LIF
from spikeprop.rules import CSDP, PredictiveForwardForward


def test_the_command_draws_a_row_for_each_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = tiny_arguments(write_tiny_events(tmp_path / "data"), tmp_path)
    assert main([*arguments, "--rule", "pff", "--name", "p"]) == 0
    picture = tmp_path / "dreams.png"
    assert main(["dream", str(tmp_path / "p"), "--output", str(picture)]) == 0
    assert capsys.readouterr().out.endswith(f"{picture}\n")
    height, width, _ = matplotlib.image.imread(picture).shape
    assert min(height, width) > 100

    def fails(*given: str) -> str:
        assert main(["dream", *given]) == 2
        return capsys.readouterr().err

    run = str(tmp_path / "p")
    assert "output must end in .png" in fails(run, "--output", "dreams.jpg")
    assert "there is no folder" in fails(run, "--output", str(tmp_path / "no" / "d.png"))
    assert "steps must be at least 1, got 0" in fails(run, "--steps", "0")
    assert "is no run folder" in fails(str(tmp_path))
    assert main([*arguments, "--rule", "csdp", "--name", "c"]) == 0
    assert "CSDP generates nothing: train with --rule pff" in fails(str(tmp_path / "c"))


def test_dreams_are_events_and_the_same_for_a_seed(tmp_path: Path) -> None:
    def learner(rule: PredictiveForwardForward | CSDP) -> ForwardLearner:
        return ForwardLearner(nn.Sequential(nn.Linear(12, 8), LIF(0.9, init_hidden=True)), rule)

    made = learner(PredictiveForwardForward(3))
    with pytest.raises(RuntimeError, match="blocks are not known yet"):
        dream(made, 5)
    made.bind((12,))
    events = dream(made, 5)
    assert events.shape == (5, 3, 12)
    assert set(events.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(events, dream(made, 5))
    save_dreams(tmp_path / "line.png", events, ["a", "b", "c"])
    assert (tmp_path / "line.png").stat().st_size > 0
    with pytest.raises(ValueError, match="CSDP generates nothing"):
        dream(learner(CSDP(3)), 5)
