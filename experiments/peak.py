"""Peak memory of a piece of work in a fresh process; see :mod:`spikeprop.memory`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

__all__ = ["measure_in_child"]


def measure_in_child(task: dict[str, Any]) -> dict[str, Any]:
    """Run a task of :mod:`spikeprop.experiments.benchmarks.work` in a fresh process.

    Parameters
    ----------
    task : dict
        Arguments of :class:`~spikeprop.experiments.benchmarks.work.Task`.

    Returns
    -------
    dict
        ``before_mib``, ``peak_mib`` and ``increment_mib``.

    Raises
    ------
    RuntimeError
        If the process fails; with the end of what it wrote.
    """
    command = [sys.executable, "-m", "spikeprop.experiments.benchmarks.work", json.dumps(task)]
    # glibc else learns from the sizes freed so far what it will keep, and figures differ by luck.
    env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(32 * 1024)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    if done.returncode != 0:
        raise RuntimeError(f"measuring {task} failed: {done.stderr.strip()[-500:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result
