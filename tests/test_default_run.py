"""The run that `make train` makes: what the README promises of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from spikeprop.assemble import build_learner, build_network
from spikeprop.config import TrainConfig
from spikeprop.train import train


@pytest.mark.slow
def test_the_default_run_learns_without_a_backward_pass(tmp_path: Path) -> None:
    config = TrainConfig(runs_dir=tmp_path, quiet=True)
    assert (config.rule, config.hidden, config.dataset) == ("sigprop", (256, 256), "saccade-digits")
    assert build_learner(config, (2, 34, 34), 10).update_every == 1
    folder = train(config)
    metrics = json.loads((folder.path / "metrics.json").read_text())
    assert metrics["test_accuracy"] >= 0.95
    assert metrics["backward_passes"] == 0
    weights = load_file(folder.path / "weights.safetensors")
    start = build_network(config, (2, 34, 34)).state_dict()
    assert weights.keys() == start.keys()
    for name in ("2.weight", "2.bias", "5.weight", "5.bias"):
        assert not torch.equal(weights[name], start[name])
