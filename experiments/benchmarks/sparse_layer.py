"""An event-driven first layer for BPTT: what a sceptic would ask for, "give BPTT your kernels too".

The forward product and the weight's gradient read the events alone, by the event engine's own
kernels in the event engine's own windows. Nothing else of BPTT gets cheaper: the hidden layers need
the gradient of their input, which is dense.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spikeprop.datasets.sparse import EventBatch
from spikeprop.engines.layout import input_major
from spikeprop.engines.rows import Rows
from spikeprop.engines.windows import WINDOW_ROWS
from spikeprop.kernels import share, sparse

__all__ = ["EventLinear"]


class EventLinear(nn.Module):
    """A ``Linear`` that takes an :class:`EventBatch` and gives ``(T, B, outputs)``.

    Parameters
    ----------
    linear : nn.Linear
        Its weight and bias are used; the weight is laid out input by input.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        input_major(linear, None)
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, events: EventBatch) -> Tensor:
        """Return the currents of all time steps."""
        product: Tensor = _Product.apply(  # type: ignore[no-untyped-call]
            self.weight, self.bias, events
        )
        return product


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor, events: EventBatch) -> Tensor:
        ctx.events, ctx.inputs = events, weight.shape[1]
        rows = Rows.of_window(events, 0, events.time_steps, weight.dtype)
        steps, batch = rows.starts.shape
        outputs, threads = len(weight), torch.get_num_threads()
        out = torch.empty(steps, batch, outputs, dtype=weight.dtype)
        tiles = _packed(weight.detach().t().numpy(), threads)
        start, target = bias.detach().numpy(), out.numpy()
        calls = [(rows, tiles, start, target, *part) for part in sparse.columns(outputs, threads)]
        share(_gather, calls, threads)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        events, threads = ctx.events, torch.get_num_threads()
        outputs = gradient.shape[2]
        out = torch.zeros(ctx.inputs, outputs, dtype=gradient.dtype)
        length = max(1, WINDOW_ROWS // events.batch)
        for first in range(0, events.time_steps, length):
            part = gradient[first : first + length]
            rows = Rows.of_window(events, first, first + len(part), gradient.dtype)
            count = int((rows.ends - rows.starts).sum())
            pointers = np.empty(ctx.inputs + 1, dtype=np.int64)
            places = np.empty(count, dtype=np.int32)
            values = np.empty(count if rows.values.size else 0, dtype=rows.values.dtype)
            sparse.sort_events(*rows, events.batch, pointers, places, values)
            tiles = _packed(part.reshape(-1, outputs).contiguous().numpy(), threads)
            calls = [
                (pointers, places, values, tiles, out.numpy()[None], False, *part)
                for part in sparse.columns(outputs, threads)
            ]
            share(sparse.sum_products, calls, threads)
        return out.t(), gradient.sum(dim=(0, 1)), None


def _gather(
    rows: Rows, tiles: Any, start: Any, target: Any, first_column: int, last_column: int
) -> None:
    for first in range(first_column, last_column, sparse.TILE):
        last = min(first + sparse.TILE, last_column)
        tile = tiles[first // sparse.TILE]
        sparse.gather(*rows, tile, 0, start, target, 0, target.shape[1], first, last)


def _packed(matrix: Any, threads: int) -> Any:
    """Return a matrix ``(rows, outputs)`` cut into column tiles."""
    rows, outputs = matrix.shape
    shape = (-(-outputs // sparse.TILE), rows, sparse.TILE)
    tiles = torch.from_numpy(matrix).new_empty(shape).numpy()  # at lines of the cache
    share(_pack, [(matrix, tiles, *part) for part in sparse.columns(outputs, threads)], threads)
    return tiles


def _pack(matrix: Any, tiles: Any, first_column: int, last_column: int) -> None:
    for first in range(first_column, last_column, sparse.TILE):
        last = min(first + sparse.TILE, last_column)
        sparse.pack(matrix, first, last, tiles[first // sparse.TILE])
