"""Compiled kernels: plain loops over NumPy arrays, made machine code by numba where it is there.

Nothing here knows of rules, learners or torch. Kernels release the interpreter lock and work on a
range of rows or columns, so that :func:`share` can spread one call over a few threads of its own;
numba's own threading is not used, whose thread pools do not survive a fork.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeVar

__all__ = [
    "available",
    "can_run_on",
    "crew",
    "free_threads",
    "kernel",
    "runs",
    "share",
    "spans",
    "triton_runs_on",
    "worth",
]

_LOG = logging.getLogger("spikeprop")
_F = TypeVar("_F", bound=Callable[..., Any])

#: Sums may be regrouped, which vector units need. NaN and infinity keep their meaning.
_FAST_MATH = {"reassoc", "contract", "nsz", "arcp"}

_here = threading.local()


@lru_cache(maxsize=1)
def available() -> bool:
    """Tell whether numba can be imported; ``SPIKEPROP_NO_NUMBA=1`` says no."""
    if os.environ.get("SPIKEPROP_NO_NUMBA", "") not in ("", "0"):
        return False
    if importlib.util.find_spec("numba") is None:
        return False
    try:
        import numba  # noqa: F401
    except Exception as error:  # a broken installation of numba must not break the library
        _LOG.warning("numba cannot be imported (%s); engines fall back to torch", error)
        return False
    return True


def can_run_on(tensor: Any) -> bool:
    """Tell whether kernels can work on a torch tensor in place."""
    return (
        available()
        and tensor.device.type == "cpu"
        and tensor.is_contiguous()
        and str(tensor.dtype) in ("torch.float32", "torch.float64")
    )


def triton_runs_on(device: Any) -> bool:
    """Tell whether the Triton kernels run on a torch device.

    That is a CUDA device where Triton is installed, which PyTorch's CUDA builds for Linux bring;
    ``SPIKEPROP_NO_TRITON=1`` says no. (In Triton's interpreter they also run on the CPU, slowly:
    for tests.)
    """
    return device.type == "cuda" and _triton_installed()


@lru_cache(maxsize=1)
def _triton_installed() -> bool:
    if os.environ.get("SPIKEPROP_NO_TRITON", "") not in ("", "0"):
        return False
    if importlib.util.find_spec("triton") is None:
        return False
    try:
        import triton  # noqa: F401
    except Exception as error:  # a broken installation of Triton must not break the library
        _LOG.warning("Triton cannot be imported (%s); engines fall back to torch", error)
        return False
    return True


def kernel(function: _F) -> _F:
    """Compile ``function`` at its first call for each set of types, and cache it on disk.

    Where no cache folder can be written the kernel is compiled anew in each process.
    """
    if not available():
        return function
    import numba

    _announce_compilation()
    options: dict[str, Any] = {"nogil": True, "fastmath": _FAST_MATH}
    options["error_model"] = "numpy"  # no checks for a zero divisor, which keep loops scalar
    try:
        compiled = numba.njit(cache=True, **options)(function)
        _depend_on_all_kernels(compiled)
    except RuntimeError:  # numba found no folder that it may write to
        compiled = numba.njit(**options)(function)
    result: _F = compiled
    return result


def _depend_on_all_kernels(compiled: Any) -> None:
    """Let cached machine code count as old when any kernel's source has changed.

    numba looks at the file of a function alone, not at those of the functions that it calls: it
    would go on with machine code that has an older version of them built in.
    """
    file: Any = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if hasattr(file, "_source_stamp"):
        file._source_stamp = (file._source_stamp, _fingerprint())


@lru_cache(maxsize=1)
def _fingerprint() -> str:
    """Return a hash of all sources of kernels."""
    whole = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        whole.update(path.name.encode())
        whole.update(path.read_bytes())
    return whole.hexdigest()


@lru_cache(maxsize=1)
def _announce_compilation() -> None:
    """Say once per process that compiling takes a while; loading from the cache is silent."""
    from numba.core import event

    class Announcer(event.Listener):
        said = False

        def on_start(self, event: Any) -> None:
            module = getattr(
                getattr(event.data.get("dispatcher"), "py_func", None), "__module__", ""
            )
            if not self.said and module.startswith(__name__):
                self.said = True
                _LOG.warning(
                    "compiling kernels for this machine (some seconds, once after installation)"
                )

        def on_end(self, event: Any) -> None:
            """Nothing to say at the end."""

    event.register("numba:compile", Announcer())  # type: ignore[no-untyped-call]


def spans(n: int, parts: int, least: int = 1) -> list[tuple[int, int]]:
    """Cut ``range(n)`` into at most ``parts`` runs of nearly equal length, none below ``least``."""
    parts = max(1, min(parts, n // max(1, least)))
    return [(a, b) for a, b in runs(n, parts) if b > a]


def runs(n: int, parts: int) -> list[tuple[int, int]]:
    """Cut ``range(n)`` into ``parts`` runs of nearly equal length, some of them perhaps empty."""
    return list(pairwise(n * i // parts for i in range(parts + 1)))


def worth(per_item: int) -> int:
    """Return how many items of ``per_item`` multiply-adds are worth a thread of their own."""
    return max(1, 65536 // max(1, per_item))


@contextmanager
def crew(threads: int) -> Iterator[None]:
    """Let :func:`free_threads` say so many meanwhile, to the calling thread."""
    before = getattr(_here, "threads", None)
    _here.threads = threads
    try:
        yield
    finally:
        _here.threads = before


def free_threads(usual: int) -> int:
    """Return how many threads :func:`share` may use here.

    That is one in work that is shared out itself, and else what :func:`crew` says, or the usual.
    """
    return getattr(_here, "threads", None) or usual


def share(work: Callable[..., Any], calls: Sequence[tuple[Any, ...]], threads: int) -> list[Any]:
    """Run ``work(*arguments)`` for each of ``calls`` on up to ``threads`` threads.

    If calls fail, the first one's error is raised, when all have ended. The threads belong to the
    process that asks for them: a forked child makes its own.
    """
    if threads <= 1 or len(calls) <= 1:
        return [work(*arguments) for arguments in calls]
    helpers = _helpers_of(os.getpid())
    ended: SimpleQueue[_Ended] = SimpleQueue()
    others = [(work, arguments, place, ended) for place, arguments in enumerate(calls[1:], 1)]
    helpers.put(others, threads - 1)
    _run(work, calls[0], 0, ended)
    found = sorted((ended.get() for _ in calls), key=lambda item: item.place)
    for item in found:
        if item.error is not None:
            raise item.error
    return [item.result for item in found]


class _Ended(NamedTuple):
    """What has come of a call."""

    place: int
    result: Any
    error: BaseException | None


class _Helpers:
    """Threads that wait for calls, and are never sent away.

    ``ThreadPoolExecutor`` does the same, and takes a tenth of a millisecond more to begin and end.
    """

    def __init__(self) -> None:
        self.calls: SimpleQueue[Any] = SimpleQueue()
        self._count, self._alone = 0, threading.Lock()

    def put(self, calls: Sequence[Any], threads: int) -> None:
        """Let so many threads at least work on calls, which may wait for each other.

        None of another's come between them: with some of both begun, each of which waits for one
        behind the others, nobody would go on.
        """
        with self._alone:
            for _ in range(self._count, threads):
                threading.Thread(
                    target=_help, args=(self.calls,), name="spikeprop", daemon=True
                ).start()
            self._count = max(self._count, threads)
            for call in calls:
                self.calls.put(call)


@lru_cache(maxsize=1)
def _helpers_of(process: int) -> _Helpers:
    """Return a process's helpers: a forked child's copies of its parent's have no threads."""
    return _Helpers()


def _help(calls: SimpleQueue[Any]) -> None:
    while True:
        _run(*calls.get())


def _run(
    work: Callable[..., Any], arguments: tuple[Any, ...], place: int, ended: SimpleQueue[_Ended]
) -> None:
    try:
        with crew(1):
            ended.put(_Ended(place, work(*arguments), None))
    except BaseException as error:
        ended.put(_Ended(place, None, error))
