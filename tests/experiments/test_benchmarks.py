"""The benchmarks do their work; memory does not grow with the length of a stream."""

from __future__ import annotations

import pytest

from spikeprop.experiments.benchmarks import memory, speed
from spikeprop.experiments.benchmarks.memory import MemoryConfig, Row, measure_all, spread
from spikeprop.experiments.benchmarks.speed import SpeedConfig, measure_speed
from spikeprop.experiments.benchmarks.work import Task, measure
from spikeprop.experiments.peak import measure_in_child, peak_mib, rss_mib


@pytest.mark.slow
def test_memory_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    options = ["--steps", "2", "--bptt-steps", "2", "--batch", "2", "--sizes", "20", "8", "3"]
    monkeypatch.setattr("sys.argv", ["memory", *options])
    assert memory.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[2:4]] == [["spikeprop", "2"], ["bptt", "2"]]


def test_speed_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    rows = measure_speed(SpeedConfig(steps=3, batch=2, sizes=(20, 8, 3), repeats=1))
    assert [row.method for row in rows] == ["every step", "once a sequence", "bptt"]
    assert rows[-1].ratio == 1.0
    options = ["--steps", "2", "--batch", "2", "--sizes", "20", "8", "3", "--repeats", "1"]
    monkeypatch.setattr("sys.argv", ["speed", *options])
    assert speed.main() == 0
    assert "over bptt" in capsys.readouterr().out


@pytest.mark.parametrize("method", ["spikeprop", "bptt"])
@pytest.mark.parametrize("work", ["stream", "update"])
def test_every_kind_of_work_runs(method: str, work: str) -> None:
    found = measure(Task(method=method, work=work, steps=3, batch=2, sizes=(20, 8, 3), repeats=2))
    assert found["peak_mib"] >= found["before_mib"] > 0
    assert found["increment_mib"] == found["peak_mib"] - found["before_mib"]


def test_peak_is_at_least_the_present_size() -> None:
    assert peak_mib() >= 0.99 * rss_mib()


def test_spread() -> None:
    rows = [Row("spikeprop", 1, 10.0), Row("spikeprop", 2, 11.0), Row("bptt", 1, 99.0)]
    assert spread(rows, "spikeprop") == pytest.approx(0.1)


@pytest.mark.slow
def test_a_child_that_fails_is_reported() -> None:
    with pytest.raises(RuntimeError, match="method"):
        measure_in_child({"method": "magic"})


def test_wrong_options_are_named() -> None:
    with pytest.raises(ValueError, match="work"):
        Task(work="play")
    with pytest.raises(ValueError, match="steps"):
        MemoryConfig(steps=())
    with pytest.raises(ValueError, match="repeats"):
        SpeedConfig(repeats=0)


@pytest.mark.slow
def test_memory_does_not_depend_on_the_number_of_steps() -> None:
    rows = measure_all(MemoryConfig(steps=(100, 1000), bptt_steps=()))
    assert spread(rows, "spikeprop") < 0.05
