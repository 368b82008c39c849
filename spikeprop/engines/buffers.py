"""Working memory that is kept from one batch to the next: fresh pages cost as much as the work."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["Buffers"]


class Buffers:
    """Named scratch tensors; what they hold is anything."""

    def __init__(self) -> None:
        self._flat: dict[tuple[str, torch.dtype], Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return a contiguous tensor, valid until the same name is taken again."""
        size = math.prod(shape)
        flat = self._flat.get((name, dtype))
        if flat is None or flat.numel() < size:
            flat = self._flat[name, dtype] = torch.empty(size, dtype=dtype)
        return flat[:size].view(shape)
