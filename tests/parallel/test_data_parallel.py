"""Several processes that split every batch learn what one process learns from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jobs
import processes
import pytest
import torch
from torch import Tensor
from toy import CLASSES

from spikeprop.engines import grouped, grouped_block
from spikeprop.parallel import Ranks
from spikeprop.rules import RULES


def assert_same(out: Path, names: list[str], size: int, updates: int, tolerance: float) -> None:
    processes.run(size, jobs.weights, str(out), ",".join(names), str(updates), folder=out)
    for name in names:
        alone = jobs.learn(name, updates)
        first = jobs.read(out, name, 0)
        assert first.keys() == alone.keys()
        for key, value in alone.items():
            torch.testing.assert_close(
                first[key], value, rtol=0, atol=tolerance, equal_nan=True, msg=f"{name} {key}"
            )
        for rank in range(1, size):  # no rank ever drifts from another
            other = jobs.read(out, name, rank)
            assert all(torch.equal(first[key], other[key]) for key in first if key != "metrics")


@pytest.mark.parametrize("size", [2, 4])
def test_ranks_give_the_weights_of_one_process(size: int, tmp_path: Path) -> None:
    """Batches of 12, 7 and 1: uneven parts, and empty ones."""
    assert_same(tmp_path, ["reference", "event", "chunked", "once", "grouped"], size, 50, 1e-10)


@pytest.mark.parametrize("size", [2, 5])
def test_so_do_ranks_that_divide_the_class_signals(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uneven parts of the batch and of the signals; a rank without a recording has no signals."""
    monkeypatch.setattr(grouped_block, "DIVIDED_NUMBERS", 0)
    monkeypatch.setattr(grouped_block, "DIVIDED_EVENTS", 0)
    monkeypatch.setattr(grouped, "SIGNAL_ROWS", 2 * CLASSES)  # two windows between two updates
    collect = Ranks.collect

    def noted(ranks: Ranks, parts: Sequence[Tensor]) -> None:
        (tmp_path / f"divided.{ranks.rank}").touch()
        collect(ranks, parts)

    monkeypatch.setattr(Ranks, "collect", noted)
    assert_same(tmp_path, ["grouped"], size, 50, 1e-10)
    assert len(list(tmp_path.glob("divided.*"))) == size
    for file in tmp_path.glob("divided.*"):
        file.unlink()
    monkeypatch.setattr(Ranks, "near", lambda ranks: False)  # a network may be too slow for it
    assert_same(tmp_path, ["grouped"], size, 3, 1e-10)
    assert not list(tmp_path.glob("divided.*"))


def test_so_do_all_kinds_of_networks_and_signals(tmp_path: Path) -> None:
    assert_same(tmp_path, [*jobs.CASES[5:]], 3, 6, 1e-12)


def test_a_rule_is_split_exactly_or_refused_by_name(tmp_path: Path) -> None:
    undivided = {
        name: rule(num_classes=CLASSES).undivided
        for name, rule in RULES.items()
        if rule(num_classes=CLASSES).undivided is not None
    }
    assert set(undivided) == {
        "forward-forward", "forward-forward-trace", "forward-forward-rate", "csdp", "pff",
        "traces-propagation", "stdp", "r-stdp",
    }  # fmt: skip
    divided = [f"rule:{name}" for name in RULES if name not in undivided]
    assert_same(tmp_path, divided, 2, 3, 1e-12)
    processes.run(2, jobs.refused, "csdp", "CSDP .* draws wrong labels", folder=tmp_path)


def test_fit_and_evaluate_split_whole_batches(tmp_path: Path) -> None:
    jobs.fitted(str(tmp_path))
    processes.run(2, jobs.fitted, str(tmp_path), folder=tmp_path)
    alone = jobs.load_file(tmp_path / "fitted.alone")
    for rank in range(2):
        found = jobs.load_file(tmp_path / f"fitted.{rank}")
        for key, value in alone.items():
            torch.testing.assert_close(found[key], value, rtol=0, atol=1e-10, msg=key)


def test_all_go_on_with_the_weights_of_the_first(tmp_path: Path) -> None:
    processes.run(2, jobs.unlike, str(tmp_path), folder=tmp_path)
    first, second = (jobs.load_file(tmp_path / f"unlike.{rank}") for rank in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_what_cannot_work_is_said_at_once(tmp_path: Path) -> None:
    processes.run(2, jobs.mistaken, folder=tmp_path)


@pytest.mark.parametrize(("how", "timeout"), [("dies", "200"), ("sleeps", "4")])
def test_a_lost_rank_is_named(
    how: str, timeout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPIKEPROP_PEER_TIMEOUT", timeout)
    running = processes.begin(3, jobs.losing, str(tmp_path), how, folder=tmp_path)
    for process in running[:2]:
        process.join(processes.PATIENCE)
        assert process.exitcode == 0
    processes.end(running[:2])
    running[2].kill()
    running[2].join()
    for rank in range(2):
        seconds, words = (tmp_path / f"lost.{rank}").read_text().split(" ", 1)
        assert f"rank {rank} of 3 lost rank 2: dead, or silent" in words
        assert float(seconds) < 60


def test_a_bad_timeout_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKEPROP_PEER_TIMEOUT", "soon")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(ValueError, match="number of seconds above 0, got 'soon'"):
        processes.join()
