"""``spikeprop compare`` as a whole: in processes, and after a kill."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from spikeprop.comparison.cells import Cell, Result, run_cell
from spikeprop.comparison.claims import Taken, claimed, waiting
from spikeprop.comparison.config import CompareConfig
from spikeprop.comparison.cost import memory_of, time_together
from spikeprop.comparison.kept import load_or_run
from spikeprop.comparison.work import compare, processes, quick

pytestmark = pytest.mark.slow

COMMAND = [
    sys.executable, "-m", "spikeprop", "compare", "sp-voltage", "--quick", "--no-frozen",
    "--no-measure", "--processes", "1",
]  # fmt: skip


def _run(out: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "--out", str(out)], capture_output=True, text=True, check=True, timeout=240
    )


def test_a_killed_comparison_goes_on(tmp_path: Path) -> None:
    first, second = tmp_path / "undisturbed", tmp_path / "killed"
    done = _run(first)
    assert "sp-voltage" in done.stdout
    assert (first / "saccade-digits_12-8.png").exists()
    process = subprocess.Popen(
        [*COMMAND, "--out", str(second)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    for _ in range(1200):
        kept = list((second / "cells").glob("[!.]*.json"))
        if kept or process.poll() is not None:
            break
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    times = {path: path.stat().st_mtime_ns for path in kept}
    assert times
    _run(second)
    assert (second / "table.csv").read_text() == (first / "table.csv").read_text()
    assert {path: path.stat().st_mtime_ns for path in kept} == times


def _asleep() -> int:
    time.sleep(120)
    return 0


def _hold_workers(told: Any) -> None:
    with processes(2) as pool:
        tasks = [pool.submit(_asleep) for _ in range(2)]
        while len(pool._processes) < 2 or not all(task.running() for task in tasks):
            time.sleep(0.05)
        told.send(list(pool._processes))
        tasks[0].result()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_their_parent(how: signal.Signals) -> None:
    context = multiprocessing.get_context("spawn")
    heard, told = context.Pipe(duplex=False)
    parent = context.Process(target=_hold_workers, args=(told,))
    parent.start()
    assert heard.poll(120), "the workers have started"
    workers = heard.recv()
    assert len(workers) == 2
    assert parent.pid is not None
    os.kill(parent.pid, how)
    parent.join()
    end = time.monotonic() + 60
    while any(_is_there(worker) for worker in workers) and time.monotonic() < end:
        time.sleep(0.1)
    left = [worker for worker in workers if _is_there(worker)]
    for worker in left:
        os.kill(worker, signal.SIGKILL)
    assert not left


def _is_there(pid: int) -> bool:
    """Tell whether a process runs that is nobody's child here: a dead one may wait to be read."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_processes_share_a_table_and_one_may_die(tmp_path: Path) -> None:
    """Two commands work on one folder; one is killed, and the other ends with the whole table."""
    rules = ["sp-voltage", "readout-only", "sp-surrogate"]
    command = [*COMMAND[:4], *rules, *COMMAND[5:]]
    alone, both = tmp_path / "alone", tmp_path / "both"
    subprocess.run([*command, "--out", str(alone)], capture_output=True, check=True, timeout=600)
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    shared = [*command, "--out", str(both), "--storage", url]
    ends: list[subprocess.Popen[bytes]] = []
    for _ in range(2):
        silent = subprocess.DEVNULL
        ends.append(subprocess.Popen(shared, stdout=silent, stderr=silent, start_new_session=True))
        for _ in range(1200):  # the first makes the database
            if (tmp_path / "trials.db").exists():
                break
            time.sleep(0.1)
    written: dict[Path, int] = {}
    for _ in range(3000):
        written = {path: path.stat().st_mtime_ns for path in (both / "cells").glob("[!.]*.json")}
        if len(written) >= 3:
            break
        time.sleep(0.1)
    os.killpg(ends[0].pid, signal.SIGKILL)
    ends[0].wait()
    assert ends[1].wait(timeout=600) == 0
    assert (both / "table.csv").read_text() == (alone / "table.csv").read_text()
    kept = {path.name for path in (alone / "cells").glob("[!.]*.json")}
    assert {path.name for path in (both / "cells").glob("[!.]*.json")} == kept
    assert {path: path.stat().st_mtime_ns for path in written} == written


def test_work_is_claimed_by_one_at_a_time(tmp_path: Path) -> None:
    with (
        claimed(tmp_path, "a"),
        claimed(tmp_path, "b"),
        pytest.raises(Taken, match="a is taken"),
        claimed(tmp_path, "a"),
    ):
        pass
    with waiting(tmp_path, "a"):
        pass


def test_a_cell_that_is_finished_is_not_run_again(tmp_path: Path) -> None:
    cell = Cell(
        rule="sp-voltage", network="4", dataset="saccade-digits", options={"lr": 1e-3}, seed=0,
        epochs=1, batch_size=20, time_window=63_000, pool=1, shift=0, beta=0.9, quick=True,
        freeze=True,
    )  # fmt: skip
    result = load_or_run(cell, tmp_path, run_cell, Result)
    (path,) = (tmp_path / "cells").glob("[!.]*.json")
    written = path.stat().st_mtime_ns
    assert load_or_run(cell, tmp_path, run_cell, Result) == result
    assert path.stat().st_mtime_ns == written
    path.write_text("{}")
    with pytest.raises(ValueError, match="is not the result of a training run"):
        load_or_run(cell, tmp_path, run_cell, Result)
    assert all(seconds > 0 for seconds in time_together([cell, cell]))
    assert memory_of(cell) >= 0


def test_unknown_rules_are_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rule must be one of"):
        compare(CompareConfig(rules=("no-such-rule",), out=tmp_path / "new"))
    assert not (tmp_path / "new").exists()
    assert quick(CompareConfig(trials=1)).trials == 1
