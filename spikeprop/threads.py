"""Who computes with how many threads: torch, or compiled kernels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from spikeprop import kernels

__all__ = ["for_kernels", "kernel_threads"]


def kernel_threads() -> int:
    """Return how many threads kernels may be shared among here: torch's number, or a crew's."""
    return kernels.free_threads(torch.get_num_threads())


@contextmanager
def for_kernels(apply: bool) -> Iterator[None]:
    """Let compiled kernels have torch's threads meanwhile, and torch one, if ``apply``.

    A thread of torch that has nothing to do waits for more in a loop, for some milliseconds, on the
    core that a thread of the kernels is to begin on.
    """
    threads = torch.get_num_threads()
    if not apply or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        with kernels.crew(threads):
            yield
    finally:
        torch.set_num_threads(threads)
