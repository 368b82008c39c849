from __future__ import annotations

import re

import pytest

from spikeprop.experiments.linear import STRENGTHS, main


def test_the_command_tells_sums_of_saccade_digits_apart(capsys: pytest.CaptureFixture[str]) -> None:
    found = main(["--dataset", "saccade-digits"])
    assert found.strength in STRENGTHS
    assert 0.85 < found.test < 0.97  # 91.2 % with a fifth held out
    printed = re.match(r"([\d.]+) % on 397 test recordings", capsys.readouterr().out)
    assert printed is not None
    assert float(printed[1]) == pytest.approx(100 * found.test, abs=0.005)


def test_an_unknown_set_is_named() -> None:
    with pytest.raises(ValueError, match="'letters'"):
        main(["--dataset", "letters"])
