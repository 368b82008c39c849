"""Rules from the command line: the table, names, options, and classes of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from spikeprop.cli import main
from spikeprop.config import TrainConfig
from spikeprop.homeostasis import Homeostasis
from spikeprop.rule_names import RULE_NAMES
from spikeprop.rules import DFA, OTTT, RULES, FastSigmoid, Triangle
from spikeprop.rules.names import find_rule, make_rule, parse_options
from spikeprop.rules_cli import HEADINGS, markdown, table

OWN = """
from dataclasses import dataclass
from spikeprop.rules import DFA

@dataclass(frozen=True)
class Mine(DFA):
    extra: float = 1.0
"""


def test_names_are_those_of_the_classes() -> None:
    assert set(RULE_NAMES) == set(RULES)
    assert len(RULE_NAMES) == len(RULES)


def test_table_has_every_rule(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["rules"]) == 0
    printed = capsys.readouterr().out
    for name in RULES:
        assert f"\n{name} " in printed
    page = tmp_path / "rules.md"
    assert main(["rules", "--output", str(page)]) == 0
    text = page.read_text()
    assert text == markdown(table())
    assert text.count("\n| ") == len(RULES)
    assert all(len(row) == len(HEADINGS) for row in table())
    assert main(["rules", "--output", str(tmp_path / "rules.txt")]) == 2


def test_unknown_names_are_answered_with_near_ones() -> None:
    with pytest.raises(ValueError, match="did you mean 'e-prop'"):
        TrainConfig(rule="eprop")
    with pytest.raises(ValueError, match="did you mean 'decolle'"):
        find_rule("DECOLE")
    with pytest.raises(ValueError, match=r"has no kapa; .*; did you mean 'kappa'"):
        make_rule("ottt", 3, kapa=0.1)
    with pytest.raises(ValueError, match="NAME=VALUE"):
        parse_options(["kappa"])
    with pytest.raises(ValueError, match="did you mean 'triangle'"):
        make_rule("ottt", 3, surrogate="triangel")
    with pytest.raises(ValueError, match="NAME:NUMBER"):
        make_rule("ottt", 3, surrogate="triangle:x")
    with pytest.raises(ValueError, match="has to be a function"):
        make_rule("ottt", 3, surrogate=3)
    with pytest.raises(ValueError, match="needs a surrogate"):
        make_rule("ottt", 3, surrogate=None)
    with pytest.raises(ValueError, match="no rule_options"):
        TrainConfig(rule_options=("kappa=0.1",))


def test_options_reach_the_rule() -> None:
    given = parse_options(["kappa=0.5", "homeostasis=0.2", "surrogate=triangle:0.4"])
    rule = OTTT(3, kappa=0.5, homeostasis=Homeostasis(target=0.2), surrogate=Triangle(0.4))
    assert make_rule("ottt", 3, **given) == rule
    given = parse_options(["feedback=random", "first-step=2", "surrogate=fast-sigmoid"])
    rule = make_rule("s-tllr", 3, **given)
    assert (rule.feedback, rule.first_step, rule.surrogate) == ("random", 2, FastSigmoid())


def test_rule_of_ones_own_comes_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine_of_test.py").write_text(OWN)
    rule = make_rule(f"{tmp_path}/mine_of_test.py:Mine", 3, extra=2.5)
    assert isinstance(rule, DFA)
    assert rule.extra == 2.5
    with pytest.raises(ValueError, match=r"there is no file absent\.py"):
        find_rule("absent.py:Mine")


@pytest.mark.parametrize("rule", ["ottt", "e-prop"])
def test_run_trains_by_any_rule_and_is_evaluated(
    rule: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = f"train --rule {rule} --rule-options kappa=0.8 --epochs 1 --hidden 8 --name r"
    arguments += " --pool 4 --time-window 60000 --runs-dir"
    given = [*arguments.split(), str(tmp_path)]
    assert main(given) == 0
    text = capsys.readouterr().out
    assert ("once a recording" if rule == "e-prop" else "every time step") in text
    assert main(["evaluate", str(tmp_path / "r")]) == 0
