"""The experiment that trains every neuron: its presets, calibration and table."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from spikeprop import ForwardLearner, neurons
from spikeprop.experiments.neurons import EXCEPTED, PRESETS, NeuronsConfig, calibrated, run, table
from spikeprop.homeostasis import Homeostasis
from spikeprop.neurons import FiringNeuron, reset
from spikeprop.rules import SigProp


def test_every_firing_neuron_has_a_preset() -> None:
    classes = {type(preset.build(4)) for preset in PRESETS.values()}
    public = [getattr(neurons, name) for name in neurons.__all__]
    firing = {c for c in public if isinstance(c, type) and issubclass(c, FiringNeuron)}
    assert firing - classes <= {FiringNeuron, getattr(neurons, "RecurrentNeuron", FiringNeuron)}
    assert set(EXCEPTED) <= set(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_calibrated_layers_fire_and_learn(name: str) -> None:
    torch.manual_seed(0)
    preset = PRESETS[name]
    x = (torch.rand(21, 12, 2, 5, 5) < 0.2).float()
    net = nn.Sequential(nn.Flatten(), nn.Linear(50, 20), preset.build(20), nn.Linear(20, 20))
    net.append(preset.build(20))
    factors = calibrated(net, x)
    assert len(factors) == 4
    with torch.no_grad():
        reset(net)
        spk = torch.stack([net(x_t) for x_t in x])
        reset(net)
    assert 0.03 < (spk != 0).float().mean() < 0.3
    control = Homeostasis(low=preset.low, high=preset.high)
    rule = SigProp(3, rectify=preset.rectify, homeostasis=control)
    learner = ForwardLearner(net, rule, traces="layer")
    before = net[1].weight.clone()
    metrics = learner.update(x, torch.arange(12) % 3)
    assert torch.isfinite(metrics.loss).all()
    assert not torch.equal(net[1].weight, before)


def test_table_and_bad_arguments() -> None:
    figures = {"eligibility": "exact", "frozen": {"accuracy": 0.9}}
    lines = table(
        {
            "LIF": {**figures, "learned": {"accuracy": 0.96}},
            "RF": {**figures, "learned": {"accuracy": 0.94}},
        }
    ).splitlines()
    assert lines[-1] == "| RF | exact | 94.0 | -2.0 | 90.0 |"
    with pytest.raises(ValueError, match="names has 'LIFF'"):
        run(NeuronsConfig(names=("LIFF",)), print)
    with pytest.raises(ValueError, match=r"1 \.\. 15, got 16"):
        run(NeuronsConfig(epochs=16), print)
