"""What a training run counts: backward passes, and memory."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["BackwardPasses", "count_backward_passes", "peak_memory_mib"]


class BackwardPasses:
    """Number of calls, and whether one is going on."""

    def __init__(self) -> None:
        self.calls = 0
        self.inside = False


@contextmanager
def count_backward_passes() -> Iterator[BackwardPasses]:
    """Count the calls of autograd's entry points while the context is open.

    ``torch.Tensor.backward``, ``torch.autograd.backward`` and ``torch.autograd.grad`` are really
    wrapped; the first calls the second, which counts once.

    Yields
    ------
    object
        Its ``calls`` is the number so far.
    """
    counter = BackwardPasses()
    places: list[tuple[Any, str]] = [
        (torch.Tensor, "backward"),
        (torch.autograd, "backward"),
        (torch.autograd, "grad"),
    ]
    originals = [getattr(owner, name) for owner, name in places]

    def wrap(function: Any) -> Any:
        def counted(*args: Any, **kwargs: Any) -> Any:
            if counter.inside:
                return function(*args, **kwargs)
            counter.calls += 1
            counter.inside = True
            try:
                return function(*args, **kwargs)
            finally:
                counter.inside = False

        return counted

    for (owner, name), original in zip(places, originals, strict=True):
        setattr(owner, name, wrap(original))
    try:
        yield counter
    finally:
        for (owner, name), original in zip(places, originals, strict=True):
            setattr(owner, name, original)


def peak_memory_mib() -> float | None:
    """Return the largest resident memory of this process in MiB; None if the system cannot."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak / (2**20 if sys.platform == "darwin" else 2**10))
