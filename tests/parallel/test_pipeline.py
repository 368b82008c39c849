"""Blocks in different processes learn what they learn in one."""

from __future__ import annotations

from pathlib import Path

import jobs
import processes
import pytest
import torch
from toy import network

from spikeprop import ForwardLearner
from spikeprop.parallel.pipeline import Pipeline
from spikeprop.parallel.stages import balanced
from spikeprop.rules import SigProp


@pytest.mark.parametrize("size", [2, 3])
def test_stages_give_the_weights_of_one_process(size: int, tmp_path: Path) -> None:
    names = ["event", "once", "chunked", "reference"]
    processes.run(size, jobs.stages, str(tmp_path), ",".join(names), "50", folder=tmp_path)
    assert_same(tmp_path, names, size, 50)


def test_so_do_batch_norms_and_convolutions(tmp_path: Path) -> None:
    processes.run(2, jobs.stages, str(tmp_path), "normed", "6", folder=tmp_path)
    assert_same(tmp_path, ["normed"], 2, 6)


def assert_same(out: Path, names: list[str], size: int, updates: int) -> None:
    for name in names:
        alone = jobs.staged(name, updates)
        for rank in range(size):
            found = jobs.read(out, name, rank)
            assert found.keys() == alone.keys()
            for key, value in alone.items():
                tolerance = 1e-6 if key == "metrics" else 1e-10
                torch.testing.assert_close(
                    found[key], value, rtol=0, atol=tolerance, msg=f"{name} {key} {rank}"
                )


@pytest.mark.parametrize("size", [2, 3])
def test_a_stream_runs_through_the_stages(size: int, tmp_path: Path) -> None:
    alone = jobs.followed(str(tmp_path))
    processes.run(size, jobs.followed, str(tmp_path), folder=tmp_path)
    for rank in range(size):
        found = jobs.read(tmp_path, "followed", rank)
        for key, value in alone.items():
            if key not in ("prediction", "logits") or rank == size - 1:
                torch.testing.assert_close(found[key], value, rtol=0, atol=1e-10, msg=key)


def test_what_cannot_be_cut_is_refused(tmp_path: Path) -> None:
    processes.run(2, jobs.unpipelined, folder=tmp_path)


def test_a_process_alone_is_no_pipeline() -> None:
    learner = ForwardLearner(network(), SigProp(num_classes=3))
    learner.bind((24,))
    with pytest.raises(ValueError, match="several processes"):
        Pipeline(learner)


def test_stages_cost_about_the_same() -> None:
    assert balanced([1, 1, 1, 1], 2) == [slice(0, 2), slice(2, 4)]
    assert balanced([9, 1, 1, 1], 2) == [slice(0, 1), slice(1, 4)]
    assert balanced([1, 1, 5, 1], 3) == [slice(0, 2), slice(2, 3), slice(3, 4)]
