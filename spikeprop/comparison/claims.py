"""Who works on what, among processes and machines that share a results folder.

A piece of work is claimed by a lock on a file in the folder. The system lets go of it when the
process ends, however it ends, and on a network file system (NFS 4, for instance) when the machine
does: whoever comes next goes on with the work.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from spikeprop.locks import locked

__all__ = ["CLAIMS", "Taken", "claimed", "waiting"]

CLAIMS = "claims"
#: Seconds to wait before work that is taken is asked for again.
PAUSE = 0.2


class Taken(RuntimeError):  # noqa: N818 - it says how things stand
    """Another process is at it."""


@contextlib.contextmanager
def claimed(out: Path, name: str) -> Iterator[None]:
    """Hold the claim to a piece of work.

    Raises
    ------
    Taken
        If another process holds it; after a short pause, so that nobody asks all the time.
    """
    folder = out / CLAIMS
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.touch()
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(path, f"{name} is taken"))
        except RuntimeError as error:
            time.sleep(PAUSE)
            raise Taken(str(error)) from None
        yield


@contextlib.contextmanager
def waiting(out: Path, name: str) -> Iterator[None]:
    """Hold the claim to a piece of work, as soon as nobody else does."""
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(claimed(out, name))
                break
            except Taken:
                continue
        yield
