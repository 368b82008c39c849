"""Sparse rows over a window of time steps, as compiled kernels read them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spikeprop.datasets import EventBatch
from spikeprop.kernels import share, spans, sparse, worth
from spikeprop.threads import kernel_threads

__all__ = ["Rows", "as_events"]

Array = NDArray[Any]


class Rows(NamedTuple):
    """Active channels of ``L`` steps and ``R`` rows.

    Attributes
    ----------
    starts, ends : ndarray, int64, shape (L, R)
        Row ``r`` of step ``l`` owns ``channels[starts[l, r]:ends[l, r]]``.
    channels : ndarray, int32
        Active channels.
    values : ndarray
        What each holds; empty where every one is 1.
    """

    starts: Array
    ends: Array
    channels: Array
    values: Array

    @property
    def events(self) -> int:
        """Number of events."""
        return int((self.ends - self.starts).sum())

    @classmethod
    def of_window(cls, x: EventBatch, first: int, last: int, dtype: torch.dtype) -> Rows:
        """Return the rows of the time steps ``first`` to ``last`` (exclusive) of a batch."""
        begin, end = _bounds(x, slice(None), slice(first, last))
        return cls(
            np.ascontiguousarray(begin.T),
            np.ascontiguousarray(end.T),
            x.channels.numpy(),
            _values(x, dtype),
        )

    @classmethod
    def of_group(
        cls, x: EventBatch, recordings: tuple[int, int], steps: tuple[int, int], dtype: torch.dtype
    ) -> Rows:
        """Return recordings' rows, recording by recording: ``(R, L)`` in place of ``(L, R)``."""
        begin, end = _bounds(x, slice(*recordings), slice(*steps))
        return cls(
            np.ascontiguousarray(begin),
            np.ascontiguousarray(end),
            x.channels.numpy(),
            _values(x, dtype),
        )

    def dense(
        self,
        width: int,
        rows: int,
        dtype: torch.dtype,
        places: NDArray[np.int32] | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """Return ``(L, rows, width)``; rows that are not listed are zero.

        ``places`` are the columns of the channels, if they are not the channels themselves;
        ``out`` is filled if given.
        """
        if out is None:
            out = torch.empty(len(self.starts), rows, width, dtype=dtype)
        values = self.values.astype(out.numpy().dtype, copy=False)
        table = np.empty(0, np.int32) if places is None else places
        threads = kernel_threads()
        calls = [
            (self.starts, self.ends, self.channels, values, table, out.numpy(), a, b)
            for a, b in spans(rows, threads, worth(len(self.starts) * width))
        ]
        share(sparse.spread, calls, threads)
        return out


def _bounds(x: EventBatch, recordings: slice, steps: slice) -> tuple[Array, Array]:
    """Return where the events of some recordings' steps begin and end, ``(R, L)``."""
    offsets, shape = x.offsets.numpy(), (x.batch, x.time_steps)
    return (
        offsets[:-1].reshape(shape)[recordings, steps],
        offsets[1:].reshape(shape)[recordings, steps],
    )


def _values(x: EventBatch, dtype: torch.dtype) -> Array:
    """Return what all events hold, in the type that is computed in."""
    return _ones(dtype) if x.values is None else x.values.to(dtype).numpy()


@lru_cache(maxsize=8)
def _ones(dtype: torch.dtype) -> Array:
    """Return the values of events that are all 1."""
    return torch.empty(0, dtype=dtype).numpy()


def as_events(x: Tensor) -> EventBatch:
    """List the events of a dense batch ``(T, B, *features)`` on the CPU, in compiled code."""
    steps, batch = x.shape[:2]
    flat = x.reshape(steps, batch, -1)
    if flat.dtype == torch.bool:
        flat = flat.to(torch.uint8)
    cells = flat.contiguous().numpy()
    offsets = np.zeros(steps * batch + 1, dtype=np.int64)
    others = sparse.count_dense(cells, offsets[1:])
    np.cumsum(offsets, out=offsets)
    events = int(offsets[-1])
    channels = np.empty(events + 1, dtype=np.int32)
    values = np.empty(events + 1 if others else 0, dtype=cells.dtype)
    sparse.fill_dense(cells, cells.view(f"u{cells.itemsize}"), offsets, channels, values)
    kept = torch.from_numpy(values[:events]) if others else None
    if kept is not None and not kept.is_floating_point():
        kept = kept.to(torch.float32)
    return EventBatch(
        torch.from_numpy(offsets), torch.from_numpy(channels[:events]), kept, steps, x.shape[2:]
    )
