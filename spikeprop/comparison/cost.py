"""Time and memory of learning, beside each other: ratios are all that is reported.

Time: in one process the learners of all rules learn the same batches in turn; the figure is the
median over batches of processor time. Memory: peak resident set size of a few updates over that
before them, each rule in a fresh process.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from spikeprop.comparison.cells import Cell, build_learner, open_cell
from spikeprop.memory import peak_mib, reset_peak, rss_mib

__all__ = ["Cost", "measure_costs"]

BATCHES = 7
WARM_UP = 2
TIMEOUT = 1800


class Cost(NamedTuple):
    """What a batch costs a rule.

    Attributes
    ----------
    seconds : float
        Processor time of the median update.
    mib : float
        Memory that learning adds to the process at its peak.
    """

    seconds: float
    mib: float


def measure_costs(cells: Sequence[Cell], out: Path) -> list[Cost]:
    """Measure the cells' rules on the cells' network and data, in fresh processes.

    Raises
    ------
    RuntimeError
        If a process fails; with the end of what it wrote.
    """
    seconds = _child({"task": "time", "cells": [cell.as_dict() for cell in cells]}, out)
    costs = []
    for cell, own in zip(cells, seconds, strict=True):
        mib = _child({"task": "memory", "cells": [cell.as_dict()]}, out)
        costs.append(Cost(own, mib[0]))
    return costs


def _child(task: dict[str, Any], out: Path) -> list[float]:
    command = [sys.executable, "-m", "spikeprop.comparison.cost", json.dumps(task)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT)
    if done.returncode != 0:
        raise RuntimeError(f"measuring failed: {done.stderr.strip()[-500:]}")
    result: list[float] = json.loads(done.stdout.splitlines()[-1])
    return result


def time_together(cells: Sequence[Cell]) -> list[float]:
    """Return the processor time of each rule's median update, in seconds."""
    data = open_cell(cells[0])
    learners = [build_learner(cell, data) for cell in cells]
    seconds: list[list[float]] = [[] for _ in cells]
    for number, (x, label) in enumerate(islice(data.train, WARM_UP + BATCHES)):
        for own, learner in zip(seconds, learners, strict=True):
            start = time.process_time()
            learner.update(x, label)
            if number >= WARM_UP:
                own.append(time.process_time() - start)
    return [median(own) if own else float("nan") for own in seconds]


def memory_of(cell: Cell) -> float:
    """Return the peak of some updates over what the process had before, in MiB."""
    data = open_cell(cell)
    learner = build_learner(cell, data)
    batches = list(islice(data.train, 3))
    before = rss_mib()
    reset_peak()
    for x, label in batches:
        learner.update(x, label)
    return peak_mib() - before


def _main(task: dict[str, Any]) -> list[float]:
    import torch

    torch.set_num_threads(1)
    cells = [Cell(**fields) for fields in task["cells"]]
    if task["task"] == "time":
        return time_together(cells)
    return [memory_of(cell) for cell in cells]


if __name__ == "__main__":
    print(json.dumps(_main(json.loads(sys.argv[1]))))
