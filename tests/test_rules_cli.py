"""Rules from the command line: the table, names, options, and classes of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from spikeprop.cli import main
from spikeprop.config import TrainConfig
from spikeprop.homeostasis import Homeostasis
from spikeprop.rule_loading import load_rule, make_rule
from spikeprop.rule_names import RULE_NAMES
from spikeprop.rules import OTTT, RULES, FastSigmoid, Triangle
from spikeprop.rules_cli import HEADINGS, markdown, table

OWN = """
from dataclasses import dataclass
from spikeprop.rules import DFA

@dataclass(frozen=True)
class Mine(DFA):
    extra: float = 1.0

class NoRule:
    pass
"""


def test_names_are_those_of_the_classes() -> None:
    assert tuple(RULES) == RULE_NAMES


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
        load_rule("DECOLE")
    with pytest.raises(ValueError, match="only sigprop, "):
        load_rule("zzzzzz")
    with pytest.raises(ValueError, match="no option 'kapa': did you mean 'kappa'"):
        make_rule("ottt", 3, ["kapa=0.1"])
    with pytest.raises(ValueError, match="NAME=VALUE"):
        make_rule("ottt", 3, ["kappa"])
    with pytest.raises(ValueError, match="did you mean 'triangle'"):
        make_rule("ottt", 3, ["surrogate=triangel"])
    with pytest.raises(ValueError, match="NAME:NUMBER"):
        make_rule("ottt", 3, ["surrogate=triangle:x"])
    with pytest.raises(ValueError, match="no rule_options"):
        TrainConfig(rule_options=("kappa=0.1",))


def test_options_reach_the_rule() -> None:
    rule = make_rule("ottt", 3, ["kappa=0.5", "homeostasis=0.2", "surrogate=triangle:0.4"])
    assert rule == OTTT(3, kappa=0.5, homeostasis=Homeostasis(target=0.2), surrogate=Triangle(0.4))
    rule = make_rule("s-tllr", 3, ["feedback=random", "first-step=2", "surrogate=fast-sigmoid"])
    assert (rule.feedback, rule.first_step, rule.surrogate) == ("random", 2, FastSigmoid())


def test_rule_of_ones_own_comes_from_a_file_or_a_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine_of_test.py").write_text(OWN)
    from_file = load_rule(f"{tmp_path}/mine_of_test.py:Mine")
    assert from_file(3).num_classes == 3
    monkeypatch.chdir(tmp_path)
    assert make_rule("mine_of_test:Mine", 3, ["extra=2.5"]).extra == 2.5
    with pytest.raises(ValueError, match="has no 'Mime': did you mean 'Mine'"):
        load_rule("mine_of_test:Mime")
    with pytest.raises(ValueError, match="is no rule"):
        load_rule("mine_of_test:NoRule")
    with pytest.raises(ValueError, match="no module 'absent_of_test'"):
        load_rule("absent_of_test:Mine")
    with pytest.raises(ValueError, match=r"no file absent\.py"):
        load_rule("absent.py:Mine")


@pytest.mark.parametrize("rule", ["ottt", "e-prop"])
def test_run_trains_by_any_rule_and_is_evaluated(
    rule: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = f"train --rule {rule} --rule-options kappa=0.8 --epochs 1 --hidden 8 --name r"
    given = [
        *arguments.split(),
        "--pool",
        "4",
        "--time-window",
        "60000",
        "--runs-dir",
        f"{tmp_path}",
    ]
    assert main(given) == 0
    text = capsys.readouterr().out
    assert "once a recording" in text if rule == "e-prop" else "every time step" in text
    assert main(["evaluate", str(tmp_path / "r")]) == 0
