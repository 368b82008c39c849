"""The picture of a run, and the spikes that it shows."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from spikeprop import ForwardLearner
from spikeprop.neurons import LIF
from spikeprop.plots import record_spikes, save_curves
from spikeprop.rules import SigProp


@pytest.fixture
def learner() -> ForwardLearner:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Flatten(),
        nn.Linear(32, 6),
        LIF(0.9, init_hidden=True),
        nn.Dropout(0.5),
        nn.Linear(6, 5),
        LIF(0.9, init_hidden=True, output=True),
    )
    learner = ForwardLearner(net, SigProp(3))
    learner.bind((2, 4, 4))
    return learner


def recordings(steps: int, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return 2.0 * (torch.rand(steps, count, 2, 4, 4, generator=generator) < 0.4)


def test_spikes_are_those_of_the_plain_network(learner: ForwardLearner) -> None:
    x = recordings(30, 2)
    first, second = record_spikes(learner, x[:, 1])
    assert first.shape == (30, 6)
    assert second.shape == (30, 5)
    assert first.sum() > 0
    neuron = learner.blocks[0].neuron
    with torch.no_grad():
        current = learner.net[1](x[:, 1].flatten(1)).unsqueeze(1)
        expected = LIF(0.9, threshold=neuron.threshold).unroll(current)[0][:, 0]
    assert torch.equal(first, expected)
    assert all(module._forward_hooks == {} for module in learner.net.modules())
    assert learner.net.training


@pytest.mark.parametrize("validation", [True, False])
def test_picture(learner: ForwardLearner, tmp_path: Path, validation: bool) -> None:
    rows = []
    for epoch in (1, 2, 3):
        row = {"epoch": epoch}
        for name in ("train_accuracy", "train_loss", "rate"):
            row |= {f"{name}_layer_{layer}": 0.1 * epoch * layer for layer in (1, 2)}
        rows.append(row | ({"validation_accuracy": 0.5} if validation else {}))
    path = tmp_path / "curves.png"
    save_curves(path, rows, learner, [(recordings(10, 2), torch.tensor([1, 2]))], list("abc"))
    pixels = np.asarray(Image.open(path).convert("RGB"))
    assert pixels.shape[0] > 500
    assert pixels.shape[1] > 1000
    blue, orange = (pixels == (0, 114, 178)).all(-1), (pixels == (213, 94, 0)).all(-1)
    assert blue.sum() > 100  # the curves and spikes of layer 1
    assert orange.sum() > 100  # and of layer 2
    assert [item.name for item in tmp_path.iterdir()] == ["curves.png"]


def test_picture_of_a_run_without_epochs(learner: ForwardLearner, tmp_path: Path) -> None:
    path = tmp_path / "curves.png"
    one_polarity = recordings(10, 2)
    save_curves(path, [], learner, [(one_polarity, torch.tensor([0, 0]))], list("abc"))
    assert path.stat().st_size > 1000
