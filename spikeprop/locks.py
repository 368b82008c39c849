"""A lock on a file, which the system lets go of when its process ends, however it ends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: two processes are not kept apart there
    fcntl = None  # type: ignore[assignment]

__all__ = ["locked"]

_held: set[int] = set()


def _let_go() -> None:
    """Leave the locks to the parent: a loader's workers may outlive it for some seconds."""
    for handle in _held:
        with contextlib.suppress(OSError):
            os.close(handle)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


@contextlib.contextmanager
def locked(path: Path, message: str) -> Iterator[None]:
    """Hold the lock of an existing file, which is not changed.

    Parameters
    ----------
    path
        The file.
    message
        Of the error.

    Raises
    ------
    RuntimeError
        If it is held already, by this process or another.
    OSError
        If the file cannot be opened.
    """
    if fcntl is None:
        yield
        return
    handle = os.open(path, os.O_RDONLY)
    _held.add(handle)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(message) from None
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        if handle in _held:  # not in a forked child, which has closed its own
            _held.remove(handle)
            os.close(handle)
