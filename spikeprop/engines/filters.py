"""Filters over a window of time steps: their weights, and what a window makes of carried values."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spikeprop.evidence import Evidence, Instantaneous, Leaky, RunningMean

__all__ = ["Advance", "advance_over", "as_tensor", "weights_of"]

Array = NDArray[Any]


class Advance(NamedTuple):
    """A window's effect on a trace (index 0) and on its filtered versions (1, 2, ...).

    After the window, with the values from before it on the right and ``x_l`` the inputs within,

        value_k <- from_self[k] value_k + from_trace[k] trace + sum_l from_input[k, l] x_l

    where the trace's own term is ``from_trace[0]`` (``from_self[0]`` is 0).
    """

    from_self: Array
    from_trace: Array
    from_input: Array


def weights_of(filters: Sequence[Evidence], first_step: int, steps: int) -> Array:
    """Return the weights ``(filters, steps)`` of the time steps from ``first_step`` (from 1)."""
    return np.array([_weights(item, first_step, steps) for item in filters], dtype=np.float64)


def _weights(item: Evidence, first_step: int, steps: int) -> Array:
    if type(item) is Instantaneous or type(item) is Leaky or type(item) is RunningMean:
        return _fixed_weights(item, first_step, steps)
    return _ask(item, first_step, steps)


def _ask(item: Evidence, first_step: int, steps: int) -> Array:
    return np.array([item.weight(t) for t in range(first_step, first_step + steps)])


@lru_cache(maxsize=1024)  # batch after batch asks for the same windows of what never changes
def _fixed_weights(item: Instantaneous | Leaky | RunningMean, first_step: int, steps: int) -> Array:
    return _ask(item, first_step, steps)


def advance_over(beta: float, weights: Array) -> Advance:
    """Compose a window's steps into one linear map, which is not to be written to."""
    return _advance_over(beta, weights.shape, weights.tobytes())


@lru_cache(maxsize=1024)
def _advance_over(beta: float, shape: tuple[int, int], content: bytes) -> Advance:
    weights = np.frombuffer(content).reshape(shape)
    filters, steps = shape
    if steps == 1:
        w = np.concatenate([[1.0], weights[:, 0]])
        from_self = 1.0 - w
        from_self[0] = 0.0
        return Advance(from_self, beta * w, w[:, None])
    from_self, from_trace = np.zeros(1 + filters), np.zeros(1 + filters)
    from_input = np.zeros((1 + filters, steps))
    from_trace[0] = beta**steps
    from_input[0] = beta ** np.arange(steps - 1, -1, -1.0)
    # The reverse filter of a cotangent of 1 at the last step reads off each step's part.
    for k in range(filters):
        q, p = 1.0, 0.0
        for step in range(steps - 1, -1, -1):
            w = weights[k, step]
            p = beta * p + w * q
            q *= 1.0 - w
            from_input[k + 1, step] = p
        from_self[k + 1], from_trace[k + 1] = q, beta * p
    return Advance(from_self, from_trace, from_input)


def as_tensor(numbers: Array, like: Tensor) -> Tensor:
    """Return a window's numbers where ``like`` is, and as it is; not to be written to.

    To copy them to a device anew for every batch would wait for it each time.
    """
    return _tensor(numbers.tobytes(), numbers.shape, like.dtype, like.device)


@lru_cache(maxsize=1024)
def _tensor(
    content: bytes, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> Tensor:
    numbers = np.frombuffer(content).reshape(shape)
    return torch.tensor(numbers, dtype=dtype, device=device)
