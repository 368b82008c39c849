"""Peak memory of this process, and of fresh ones.

A figure is the highest resident set size during some work, less the resident set size just before
it. It is measured in a process of its own: the heap of one that has done other work hides what the
next piece of work needs. On Linux the peak comes from ``VmHWM``, which ``/proc/self/clear_refs``
sets back; ``ru_maxrss`` would not do, since a child inherits it from a large parent. Where there is
no ``/proc``, ``ru_maxrss`` is all there is, and figures are lower bounds.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["measure_in_child", "peak_mib", "reset_peak", "rss_mib"]

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def rss_mib() -> float:
    """Return the resident set size now, in MiB."""
    return _status("VmRSS:")


def peak_mib() -> float:
    """Return the highest resident set size since the start or :func:`reset_peak`, in MiB."""
    return _status("VmHWM:")


def reset_peak() -> None:
    """Let the peak begin anew at the present size, where the system can do that."""
    try:
        _CLEAR.write_text("5")
    except OSError:  # not Linux, or not allowed: the peak stays that since the process began
        return


def _status(name: str) -> float:
    if not _STATUS.exists():
        scale = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale
    for line in _STATUS.read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    raise OSError(f"{_STATUS} has no line {name}")


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
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"measuring {task} failed: {done.stderr.strip()[-500:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result
