"""Whatever the rule, a learner that is saved in the middle goes on to the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from toy import CLASSES, network, recordings

from spikeprop import ForwardLearner
from spikeprop.rule_names import RULE_NAMES
from spikeprop.rules.names import make_rule


def make(name: str) -> ForwardLearner:
    net = network(hidden=12)
    net.insert(2, torch.nn.Dropout(0.2))
    adam: Any = torch.optim.Adam
    return ForwardLearner(
        net, make_rule(name, CLASSES), optimizer=lambda p: adam(p, lr=1e-3, fused=True), seed=1
    )


@pytest.mark.parametrize("name", RULE_NAMES)
def test_it_goes_on_to_the_same_bits(name: str, tmp_path: Path) -> None:
    x, label = recordings(12, steps=5)
    whole, half = make(name), make(name)
    for update in range(4):
        whole.update(x, label)
        if update < 2:
            half.update(x, label)
    half.save(tmp_path / "half.safetensors")
    rest = make(name).load(tmp_path / "half.safetensors")
    for _ in range(2):
        rest.update(x, label)
    found, expected = rest.state_dict(), whole.state_dict()
    for part in ("network", "signals"):
        assert found[part].keys() == expected[part].keys()
        for key, value in expected[part].items():
            assert torch.equal(found[part][key], value), f"{part}.{key}"
