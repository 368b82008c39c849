"""The delay task: what is drawn, what is kept, and what a rule without a memory misses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from spikeprop.experiments.delays import (
    CHANNELS,
    CUE,
    QUESTION,
    DelaysConfig,
    main,
    recordings,
    run,
    run_cell,
)

TINY = DelaysConfig(
    rules=("ottt", "sltt", "bptt", "sigprop"),
    neurons=("lif", "alif"),
    delays=(3, 6),
    hidden=8,
    updates=2,
    batch_size=4,
    seeds=1,
)


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
        rule: run_cell(TINY, rule, "lif", 10, 0) for rule in ("sltt", "ottt", "e-prop", "bptt")
    }
    assert found["sltt"]["alignment"] == 0.0
    assert found["bptt"]["alignment"] == pytest.approx(1.0)
    assert 0.2 < found["ottt"]["alignment"] < 1.0
    assert found["e-prop"]["alignment"] > found["ottt"]["alignment"]


def test_finished_cells_are_kept_and_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = DelaysConfig(**{**vars(TINY), "out": tmp_path})
    text = run(config, say=lambda line: None)
    assert text.count("\n| lif ") == text.count("\n| alif ") == 4
    assert (tmp_path / "delays.png").read_bytes().startswith(b"\x89PNG")

    def never(*_: object) -> dict[str, float]:
        raise AssertionError("a finished cell was run again")

    monkeypatch.setattr("spikeprop.experiments.delays.run_cell", never)
    assert run(config, say=lambda line: None) == text
    assert main(["--rules", "no-such-rule", "--out", str(tmp_path)]) == 2
    assert "no-such-rule" in capsys.readouterr().err
