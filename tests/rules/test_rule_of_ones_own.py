"""The example of a rule of one's own in the documentation works as printed."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import torch
from toy import CLASSES, network, recordings

from spikeprop import ForwardLearner
from spikeprop.rules.names import make_rule

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "own_rule.md"


def test_documented_rule_learns(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (example,) = [block for block in blocks if "class SignDFA" in block]
    assert example.count("\n") < 40
    file = tmp_path / "rules_of_the_docs.py"
    file.write_text(example)
    rule = make_rule(f"{file}:SignDFA", CLASSES)
    x, labels = recordings(60, 8)
    learner = ForwardLearner(network(), rule, optimizer=partial(torch.optim.Adam, lr=3e-3))
    for _ in range(20):
        learner.update(x, labels)
    assert (learner.predict(x) == labels).float().mean() > 0.8
