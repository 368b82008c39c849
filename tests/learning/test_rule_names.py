"""Rules are found by name, or in a user's own file."""

from __future__ import annotations

from pathlib import Path

import pytest

from spikeprop.losses import Cosine
from spikeprop.rules import RULES, SigProp, SPVoltage
from spikeprop.rules.names import find_rule, make_rule

OWN = """
from spikeprop.rules import SPVoltage

class Mine(SPVoltage):
    pass

NOT_A_RULE = 3
"""


def test_every_name_finds_its_rule() -> None:
    assert {name: find_rule(name) for name in RULES} == RULES


def test_an_unknown_name_lists_near_ones() -> None:
    with pytest.raises(ValueError, match=r"got 'sigprob'; did you mean 'sigprop'"):
        find_rule("sigprob")


def test_a_rule_in_the_current_folder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_own_rules.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    assert issubclass(find_rule("my_own_rules:Mine"), SPVoltage)
    with pytest.raises(ValueError, match="derived from Rule, found 3"):
        find_rule("my_own_rules:NOT_A_RULE")
    with pytest.raises(ValueError, match="derived from Rule, found nothing"):
        find_rule("my_own_rules:Missing")
    with pytest.raises(ValueError, match="'no_such_file:Mine' cannot be imported"):
        find_rule("no_such_file:Mine")


def test_hyper_parameters_reach_the_rule() -> None:
    rule = make_rule("sigprop", 4, tau=0.1, signal_scale=0.5)
    assert isinstance(rule, SigProp)
    assert (rule.loss, rule.signal_scale) == (Cosine(0.1), 0.5)
    with pytest.raises(ValueError, match="has no colour; it has num_classes, loss"):
        make_rule("sigprop", 4, colour="red")


def test_the_first_of_every_search_space_is_the_default() -> None:
    for name in RULES:
        space = find_rule(name).search
        first = {k: v[0] for k, v in space.items() if k not in ("lr", "dropout")}
        assert make_rule(name, 4, **first).config() == make_rule(name, 4).config()
