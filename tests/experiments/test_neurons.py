"""The experiment that trains every neuron: its presets, calibration, choices and table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from spikeprop import ForwardLearner, neurons
from spikeprop.experiments import neurons as experiment
from spikeprop.experiments.neuron_presets import PRESETS
from spikeprop.experiments.neurons import (
    NeuronsConfig,
    NeuronsExperiment,
    calibrated,
    main,
    shortfalls,
    signal_scale,
    table,
)
from spikeprop.experiments.recordings import load
from spikeprop.homeostasis import Homeostasis
from spikeprop.neurons import LIF, FiringNeuron, reset
from spikeprop.rules import SigProp


def test_every_firing_neuron_has_a_preset() -> None:
    classes = {type(preset.build(4)) for preset in PRESETS.values()}
    public = [getattr(neurons, name) for name in neurons.__all__]
    firing = {c for c in public if isinstance(c, type) and issubclass(c, FiringNeuron)}
    assert firing - classes <= {FiringNeuron, neurons.RecurrentNeuron}


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
    scale = signal_scale(net[2], 20, 21, seed=0)
    rule = SigProp(3, rectify=preset.rectify, homeostasis=control, signal_scale=scale)
    learner = ForwardLearner(net, rule, traces="layer")
    before = net[1].weight.clone()
    metrics = learner.update(x, torch.arange(12) % 3)
    assert torch.isfinite(metrics.loss).all()
    assert not torch.equal(net[1].weight, before)


def test_signals_are_scaled_by_the_unit_of_the_current() -> None:
    assert signal_scale(LIF(0.9, init_hidden=True), 30, 21, seed=0) == pytest.approx(0.3, rel=0.02)
    large = LIF(0.9, threshold=7.0, init_hidden=True)
    assert signal_scale(large, 30, 21, seed=0) == pytest.approx(2.1, rel=0.02)


def tiny(out: Path, **options: Any) -> NeuronsConfig:
    return NeuronsConfig(
        names=("LIF", "EIF"), epochs=1, trial_epochs=1, lrs=(1e-4, 4e-4), hidden=(8, 8), out=out,
        **options,
    )  # fmt: skip


def test_it_chooses_by_validation_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = load("saccade-digits").first(train=6, test=3)
    monkeypatch.setattr(experiment, "load", lambda name: few)
    assert NeuronsExperiment(tiny(tmp_path, final=False), print).run() == {}
    work = NeuronsExperiment(tiny(tmp_path), print)
    tested = {cell["split"] for cell in work.store.cells.values()}
    assert tested == {"tuning on seed 0"}, "the test set is not read"
    trials = set(work.tuning.train) | set(work.tuning.test)
    assert trials <= set(work.split.train)
    assert not trials & set(work.split.test)
    results = work.run()
    for name, figures in results.items():
        scores = [
            (cell["accuracy"], -cell["lr"])
            for cell in work.store.cells.values()
            if cell["neuron"] == name and cell["network"] == "learned" and "tuning" in cell["split"]
        ]
        assert len(scores) == 2
        assert figures["learned"]["lr"] == -max(scores)[1]
        assert figures["learned"]["engine"].startswith("event" if name == "LIF" else "reference")

    def never(*args: Any) -> None:
        raise AssertionError("everything is in the store")

    monkeypatch.setattr(NeuronsExperiment, "_train", never)
    assert NeuronsExperiment(tiny(tmp_path), print).run() == results


def figures(learned: float, frozen: float) -> dict[str, Any]:
    return {
        "eligibility": "exact",
        "learned": {"accuracy": learned, "lr": 4e-4},
        "frozen": {"accuracy": frozen},
    }


def test_table_and_what_falls_short() -> None:
    results = {
        "LIF": figures(0.96, 0.9),
        "RF": figures(0.94, 0.9),
        "EIF": figures(0.92, 0.9),
        "IF": figures(0.9, 0.9),
    }
    lines = table(results).splitlines()
    assert lines[-3] == "| RF | exact | 0.0004 | 94.0 | -2.0 | 90.0 |"
    assert shortfalls(results) == [
        "EIF is 4.0 points behind LIF",
        "IF is 6.0 points behind LIF",
        "IF does not beat its frozen twin",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--names", "LIFF"], "names has 'LIFF'"),
        (["--epochs", "16"], "epochs has to lie in 1 .. 15, got 16"),
        (["--lrs", "0"], "lrs has to name step sizes above 0"),
        (["--hidden", "0"], "hidden has to name layers"),
    ],
)
def test_bad_arguments_are_named(
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["neurons", *arguments])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert message in " ".join(capsys.readouterr().err.split())
