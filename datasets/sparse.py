"""A batch of recordings as sparse events: what event-driven code reads in place of frames.

A compressed-sparse-row matrix over sample x time. Row ``b * T + t`` holds the input channels that
are active in time step ``t`` of sample ``b``, in ascending order and each at most once; a channel
is an index into the flattened features of one time step (C order, so ``(p * H + y) * W + x`` for
frames ``(P, H, W)``).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["EventBatch"]


class EventBatch(NamedTuple):
    """Sparse stand-in for a dense batch ``(T, B, *features)``.

    Attributes
    ----------
    offsets : Tensor, int64, shape (B * T + 1,)
        Row ``r`` owns the entries ``offsets[r]`` to ``offsets[r + 1]``; never decreasing.
    channels : Tensor, int32, shape (N,)
        Active channels, row by row.
    values : Tensor, float, shape (N,), or None
        What each channel holds; None where every entry is 1 (binary events).
    time_steps : int
        T.
    features : torch.Size
        Shape of one time step of one sample.
    """

    offsets: Tensor
    channels: Tensor
    values: Tensor | None
    time_steps: int
    features: torch.Size

    @property
    def batch(self) -> int:
        """Number of samples B."""
        return (self.offsets.shape[0] - 1) // self.time_steps

    @property
    def shape(self) -> torch.Size:
        """Shape of the dense batch, ``(T, B, *features)``."""
        return torch.Size((self.time_steps, self.batch, *self.features))

    @property
    def density(self) -> float:
        """Share of cells that are not empty, 0 to 1."""
        cells = math.prod(self.shape)
        return len(self.channels) / cells if cells else 0.0

    def to(self, device: torch.device | str) -> EventBatch:
        """Return the same batch on another device."""
        values = None if self.values is None else self.values.to(device)
        return self._replace(
            offsets=self.offsets.to(device), channels=self.channels.to(device), values=values
        )

    def pin_memory(self) -> EventBatch:
        """Return the same batch in pinned memory (what a ``DataLoader`` calls)."""
        values = None if self.values is None else self.values.pin_memory()
        return self._replace(
            offsets=self.offsets.pin_memory(), channels=self.channels.pin_memory(), values=values
        )

    def to_dense(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the dense batch ``(T, B, *features)``."""
        steps, batch = self.time_steps, self.batch
        size = math.prod(self.features)
        counts = self.offsets.diff()
        row = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
        dense = torch.zeros((batch * steps, size), dtype=dtype, device=counts.device)
        values = dense.new_ones(()) if self.values is None else self.values.to(dtype)
        dense[row, self.channels.long()] = values
        return dense.view(batch, steps, size).transpose(0, 1).reshape(self.shape)

    @classmethod
    def from_dense(cls, x: Tensor) -> EventBatch:
        """Make a sparse batch of a dense one ``(T, B, *features)``.

        Raises
        ------
        ValueError
            If ``x`` has fewer than three dimensions, or no time step or sample.
        """
        if x.dim() < 3 or x.shape[0] == 0 or x.shape[1] == 0:
            raise ValueError(
                f"x has to be time-first, (T, B, *features) with at least one time step and one "
                f"sample, got shape {tuple(x.shape)}"
            )
        steps, batch = x.shape[:2]
        flat = x.transpose(0, 1).reshape(batch * steps, -1)
        row, channel = flat.nonzero(as_tuple=True)
        offsets = torch.zeros(batch * steps + 1, dtype=torch.int64, device=x.device)
        offsets[1:] = torch.bincount(row, minlength=batch * steps).cumsum(0)
        values: Tensor | None = flat[row, channel]
        if values is not None and bool((values == 1).all()):
            values = None
        elif values is not None and not values.is_floating_point():
            values = values.to(torch.float32)
        return cls(offsets, channel.to(torch.int32), values, steps, x.shape[2:])
