"""Memory of this process: resident set size now, and at its peak.

A figure is the highest resident set size during some work, less the resident set size just before
it. It is measured in a process of its own: the heap of one that has done other work hides what the
next piece of work needs. On Linux the peak comes from ``VmHWM``, which ``/proc/self/clear_refs``
sets back; ``ru_maxrss`` would not do, since a child inherits it from a large parent. Where there is
no ``/proc``, ``ru_maxrss`` is all there is, and figures are lower bounds.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

__all__ = ["peak_mib", "reset_peak", "rss_mib"]

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
