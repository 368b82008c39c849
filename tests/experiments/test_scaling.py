"""The simulation of many workers against what can be said in closed form."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from spikeprop.experiments import scaling
from spikeprop.experiments.benchmarks import processes
from spikeprop.experiments.scaling import Link, Model, bptt, data_parallel, pipeline, ring

FREE = Link(0.0, float("inf"))
MODEL = Model(
    blocks=4, width=100, steps=100, batch=64, classes=0, update_every=100, fixed=0.0, per_row=1e-3
)


def test_a_sum_over_a_ring() -> None:
    link = Link(1e-3, 1e6)
    assert ring(link, 1e6, 1) == 0.0
    assert ring(link, 1e6, 4) == pytest.approx(6e-3 + 1.5)
    assert ring(link, 0.0, 1024) == pytest.approx(20e-3)  # a tree


def test_free_links_cost_nothing() -> None:
    alone = MODEL.alone(64)
    assert data_parallel(MODEL, FREE, 1024, 64) == pytest.approx(alone)
    assert bptt(MODEL, FREE, 1024, 64) == pytest.approx(alone)
    # Four stages: full but for three of 10 windows while the first batch comes in.
    assert pipeline(MODEL, FREE, 4, 1, 10) == pytest.approx(alone / 4 * 1.3)
    assert pipeline(MODEL, FREE, 4, 100, 10) == pytest.approx(alone / 4 * 100.3)


def test_all_but_the_last_sum_is_hidden() -> None:
    """Sums as long as a block's computing end one sum after the last block."""
    block = MODEL.block_seconds(64)
    link = Link(block / 2, float("inf"))  # two workers: 2 latencies a sum
    assert data_parallel(MODEL, link, 2, 64) == pytest.approx(5 * block)
    # BPTT has two thirds of its time to hide the same sums in, a block's backward pass each.
    third = MODEL.alone(64) / 3
    assert bptt(MODEL, link, 2, 64) == pytest.approx(third + 2 / 3 * block + 4 * block)


def test_an_update_at_every_step_needs_a_sum_at_every_step() -> None:
    link = Link(1e-3, float("inf"))
    stepwise = replace(MODEL, update_every=1)
    assert data_parallel(stepwise, link, 2, 64) > 100 * 4 * 2e-3
    assert stepwise.windows == 100
    assert MODEL.message == 100 * 64 * 100 * (0.07 + 1 / 255)
    with pytest.raises(ValueError, match="stages has to be 1 to 4"):
        pipeline(MODEL, FREE, 5, 1, 10)


@pytest.mark.slow
def test_the_commands_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = processes.ProcessesConfig(
        out=tmp_path / "p.json", update_every=(4,), signals=("propagated",), steps=8, batch=8,
        width=32, batches=1, rounds=1,
    )  # fmt: skip
    processes.main(small)
    shown = capsys.readouterr().out
    assert "pipeline  2 processes" in shown
    assert "data      2 processes" in shown
    scaling.main(
        scaling.ScalingConfig(tmp_path, workers=(2,), check=(), update_every=(100,), rounds=1)
    )
    assert "forward, data parallel" in (tmp_path / "scaling.md").read_text()
