"""The runner of snnTorch's unit tests, on a checkout of two tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from spikeprop.experiments import snntorch_tests

CHECKOUT = """
import snntorch as snn

def test_any():
    assert snn.Leaky(0.5).beta == 0.5

def test_whose():
    assert snn.Leaky.__module__ == "snntorch._neurons.leaky"
"""


@pytest.mark.slow
def test_our_neurons_take_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "test_one.py").write_text(CHECKOUT, encoding="utf-8")
    monkeypatch.setattr(snntorch_tests, "TESTS", ("test_one.py",))
    assert snntorch_tests.main([str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert "with snnTorch's neurons   2 passed, 0 failed" in shown
    assert "with spikeprop's neurons  1 passed, 1 failed" in shown


def test_a_folder_that_is_no_checkout() -> None:
    with pytest.raises(FileNotFoundError, match=r"test_snntorch\.py is missing"):
        snntorch_tests.run(Path("nowhere"), exchange=True)
