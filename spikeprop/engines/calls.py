"""Work that is prepared first and done later, by one worker or by several.

Between two kernels Python costs ten times what it costs else: it finds the caches full of their
numbers. So calls are prepared one after the other, and then run one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from spikeprop.kernels import share

__all__ = ["Call", "meet", "run"]

#: A piece of work, mostly a kernel, and what it is to be called with.
Call = tuple[Callable[..., Any], tuple[Any, ...]]


def run(calls: Iterable[Call]) -> None:
    """Make calls, each when the one before it has ended."""
    for work, arguments in calls:
        work(*arguments)


def meet(phase: Sequence[Iterable[Call]]) -> None:
    """Let each worker make its own calls, if there are any, and wait for all."""
    if any(phase):
        share(run, [(own,) for own in phase], len(phase))
