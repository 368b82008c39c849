"""A ``Linear`` in tiles of columns, for runs in which its weights stand still for a while.

Every group of recordings reads all of the weights, and adds to all of a gradient, some columns at a
time. In a matrix whose rows are a power of two apart these columns would share a few sets of the
cache, and three quarters of what memory sends ahead would be of other columns. So weights are
copied, once between two updates, into tiles ``(tiles, inputs, TILE)``, whose rows lie one behind
another, and each worker's sum of gradients is in such tiles, from which the optimiser steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from spikeprop.engines.adam import CompiledAdam
from spikeprop.engines.buffers import Buffers
from spikeprop.engines.calls import Call
from spikeprop.engines.products import SparseProduct
from spikeprop.engines.rows import Rows
from spikeprop.kernels import adam, runs, sparse

__all__ = ["Tiles"]


class Tiles:
    """Weights and gradients of one block.

    Parameters
    ----------
    product : SparseProduct
        The synapse.
    workers : int
        Threads that each have a sum of gradients of their own.
    buffers : Buffers
        Working memory.

    Attributes
    ----------
    weights : ndarray
        In tiles since :meth:`calls_to_pack`; or ``(1, inputs, outputs)``, as they stand.
    """

    def __init__(self, product: SparseProduct, workers: int, buffers: Buffers) -> None:
        self._product, self._buffers, self._workers = product, buffers, workers
        self.weights, self._filled = product.weights[None], set[int]()
        inputs, outputs = product.weights.shape
        self._shape = (1, inputs, outputs)
        if product.large:
            self._shape = (-(-outputs // sparse.TILE), inputs, sparse.TILE)
        self._sums = np.empty((0, 0, 0, 0), product.weights.dtype)
        if product.learns:
            self._sums = self._take("sums", (workers, *self._shape))

    def _take(self, name: str, shape: tuple[int, ...]) -> Any:
        product = self._product
        return self._buffers.array(f"{name}.{product.block.index}", shape, product.dtype)

    def calls_to_pack(self, events: float) -> list[Call]:
        """Return each worker's call that copies its part of the weights.

        None if that does not pay: of an input with few of a group's ``events`` nothing is read
        again while it is near.
        """
        weights = self._product.weights
        self.weights = weights[None]
        if not self._product.packs(events):
            return []
        self.weights = self._take("tiles", self._shape)
        parts = runs(len(weights), self._workers)
        return [(sparse.pack_all, (weights, self.weights, a, b)) for a, b in parts]

    def call_to_fill(self, x: Rows, out: Any) -> Call:
        """Return the call that gathers the weights of rows ``x`` ``(A, B)``.

        Into ``out`` ``(A, B, N or more)``.
        """
        product = self._product
        arguments = (*x, self.weights, product.offset, out, product.outputs)
        return sparse.gather_from_tiles, arguments

    def sum_of(self, worker: int) -> tuple[Any, bool]:
        """Return a worker's sum for compiled code to add to, and whether it counts as zero."""
        fresh = worker not in self._filled
        self._filled.add(worker)
        return self._sums[worker], fresh

    def add_to(self, gradient: Tensor) -> None:
        """Add all workers' sums to a gradient ``(inputs, outputs)``; they begin anew."""
        for worker in sorted(self._filled):
            for k, tile in enumerate(self._sums[worker]):
                columns = gradient[:, k * tile.shape[1] : (k + 1) * tile.shape[1]]
                columns += torch.from_numpy(tile[:, : columns.shape[1]])
        self._filled.clear()

    def calls_to_step(self, optimizer: CompiledAdam) -> list[Call]:
        """Return each worker's call that steps on its part of the weights, by all workers' sums.

        These begin anew.
        """
        held = np.array(sorted(self._filled), dtype=np.int64)
        self._filled.clear()
        numbers = optimizer.arguments(self._product.module.weight)
        parts = runs(self._product.inputs, self._workers)
        return [(adam.step_on_tiles, (self._sums, held, *numbers, a, b)) for a, b in parts]
