"""The neuron that the documentation writes in under 40 lines learns exactly, and converts."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from local_autograd import ReferenceStep, local_gradients
from test_exact_updates import Recorder
from toy import CLASSES, recordings

from spikeprop import ForwardLearner
from spikeprop.neurons import reset
from spikeprop.rules import SigProp

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "own_neuron.md"


@pytest.fixture
def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.S)


def run(blocks: list[str]) -> dict[str, Any]:
    names: dict[str, Any] = {}
    torch.manual_seed(0)
    for block in blocks:
        exec(block, names)
    return names


def test_it_is_short_and_learns(blocks: list[str]) -> None:
    assert len(blocks[0].strip().splitlines()) < 40
    learner = run(blocks[:2])["learner"]
    x, labels = recordings()
    beta = learner.net[1].beta.detach().clone()
    before = (learner.predict(x) == labels).float().mean()
    for _ in range(40):
        learner.update(x, labels)
    assert (learner.predict(x) == labels).float().mean() > max(0.8, before)
    assert learner.net[1].beta != beta


def test_its_update_is_exact(blocks: list[str]) -> None:
    """Where the whole reset term is an input; without spikes there is none."""
    net = run(blocks[:2])["net"].double()
    for neuron in (net[1], net[3]):
        neuron.threshold.fill_(1e6)
    rule = SigProp(CLASSES, homeostasis=None, stream_homeostasis=None, signal="projection")
    x, labels = recordings(6)
    before = copy.deepcopy(net)
    with torch.no_grad():
        before[3].threshold.fill_(1e6)
    learner = ForwardLearner(net, rule, optimizer=Recorder, update_every=len(x))
    learner.update(x.double(), labels)
    wanted = local_gradients(learner, x.double(), labels, before, ReferenceStep)[0]
    found = learner.optimizers[0].seen[0]  # type: ignore[union-attr]
    assert len(found) == 3
    for a, b in zip(found, wanted, strict=True):
        assert a.abs().max() > 0
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_it_converts(blocks: list[str]) -> None:
    pytest.importorskip("nir")
    names = run(blocks)
    net, again = names["net"], names["again"]
    x, _ = recordings(8, 200)
    outputs = []
    for network in (net, again):
        reset(network)
        with torch.no_grad():
            outputs.append(torch.stack([network(x_t) for x_t in x]))
        reset(network)
    assert outputs[0].mean() > 0.01
    assert torch.equal(outputs[0], outputs[1])
