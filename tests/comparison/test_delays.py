"""The delay task: what is drawn, what is kept, and what a rule without a memory misses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from spikeprop.comparison.command import run
from spikeprop.comparison.config import CompareConfig
from spikeprop.comparison.delays import (
    CHANNELS,
    CUE,
    QUESTION,
    DelayCell,
    DelayResult,
    recordings,
    run_cell,
)
from spikeprop.comparison.kept import load_or_run


def test_classes_differ_in_the_cue_alone() -> None:
    x, labels = recordings(7, 50, torch.Generator().manual_seed(0))
    assert x.shape == (CUE + 7 + QUESTION, 50, 3 * CHANNELS)
    assert set(labels.tolist()) == {0, 1}
    assert not x[CUE:-QUESTION].any()
    assert not x[-QUESTION:, :, : 2 * CHANNELS].any()
    assert not x[:CUE, :, 2 * CHANNELS :].any()
    for label in (0, 1):
        own = slice(label * CHANNELS, (label + 1) * CHANNELS)
        rate = x[:CUE, labels == label, own].mean()
        assert rate == x[:CUE, labels == label].sum() / x[:CUE, labels == label, own].numel()
        assert 0.4 < rate < 0.6


def test_rule_without_a_trace_has_nothing_to_credit_the_cue_by() -> None:
    found = {
        rule: run_cell(DelayCell(rule, "lif", 10, 0, hidden=8, updates=2, batch_size=4))
        for rule in ("sltt", "ottt", "e-prop", "bptt")
    }
    assert found["sltt"].alignment == 0.0
    assert found["bptt"].alignment == pytest.approx(1.0)
    assert 0.2 < found["ottt"].alignment < 1.0
    assert found["e-prop"].alignment > found["ottt"].alignment


def test_finished_cells_are_kept_and_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = CompareConfig(
        rules=("ottt", "sigprop"), neurons=("lif", "alif"), delays=(3, 6), seeds=1, quick=True,
        processes=1, out=tmp_path,
    )  # fmt: skip
    run(config)
    text = capsys.readouterr().out
    assert text.count("| lif ") == text.count("| alif ") == 2
    assert (tmp_path / "delays.png").read_bytes().startswith(b"\x89PNG")
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "cells").glob("*.json")}
    assert len(kept) == 8
    run(config)
    assert capsys.readouterr().out == text
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_a_damaged_result_is_named(tmp_path: Path) -> None:
    cell = DelayCell("ottt", "lif", 3, 0, hidden=8, updates=2, batch_size=4)
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / f"{cell.key}.json").write_text("{}")
    with pytest.raises(ValueError, match="is not the result of a training run"):
        load_or_run(cell, tmp_path, run_cell, DelayResult)


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no-such-rule"):
        run(CompareConfig(rules=("no-such-rule",), delays=(3,), out=tmp_path))
    with pytest.raises(ValueError, match="delays must be numbers of time steps"):
        CompareConfig(delays=(3, 3))
