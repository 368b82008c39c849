"""The rule that the documentation writes in under 40 lines learns, exactly, from both sides."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_events import tiny_arguments, write_tiny_events
from torch.nn.functional import cross_entropy
from toy import recordings

from spikeprop import ForwardLearner
from spikeprop.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "own_rule.md"


@pytest.fixture
def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.S)


def run(blocks: list[str]) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": __name__}
    torch.manual_seed(0)
    for block in blocks:
        exec(block, names)
    return names


def test_it_is_short_and_learns(blocks: list[str]) -> None:
    assert len(blocks[0].strip().splitlines()) < 40
    names = run(blocks)
    learner = ForwardLearner(
        names["net"], names["learner"].rule, optimizer=lambda p: torch.optim.Adam(p, lr=2e-3)
    )
    x, labels = recordings()
    before = (learner.predict(x) == labels).float().mean()
    for _ in range(40):
        learner.update(x, labels)
    assert (learner.predict(x) == labels).float().mean() > max(0.8, before)
    assert str(learner.engine_choice).startswith("event engine")
    assert learner.step(x[0]).prediction.shape == labels.shape
    with pytest.raises(TypeError, match="RandomReadout has no linear readout"):
        learner.export(time_steps=8)


def test_its_modulator_is_the_gradient_of_its_loss(blocks: list[str]) -> None:
    rule = run(blocks)["RandomReadout"](3)
    tensors = rule.draw([torch.Size([5])], torch.Generator().manual_seed(0))
    v = torch.randn(4, 5, requires_grad=True)
    labels = torch.tensor([0, 2, 1, 1])
    loss = cross_entropy(v @ tensors["readout.0"].T, labels)
    (expected,) = torch.autograd.grad(loss, v)
    found = rule.modulate(0, v.detach(), labels, tensors)
    torch.testing.assert_close(found.delta, expected)
    torch.testing.assert_close(found.value, loss.detach())


def test_the_command_line_finds_it(
    blocks: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "my_rules.py").write_text(blocks[0], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    arguments = tiny_arguments(write_tiny_events(tmp_path / "data"), tmp_path)
    assert main([*arguments, "--rule", "my_rules:RandomReadout", "--name", "own"]) == 0
    metrics = json.loads((tmp_path / "own" / "metrics.json").read_text())
    assert metrics["rule"] == "my_rules:RandomReadout"
    assert main(["evaluate", str(tmp_path / "own")]) == 0
    assert main([*arguments, "--rule", "my_rules:Missing"]) == 2
    assert "found nothing" in capsys.readouterr().err
