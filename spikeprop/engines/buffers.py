"""Working memory that is kept from one batch to the next: fresh pages cost as much as the work."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["Buffers"]


class Buffers:
    """Named scratch tensors; what they hold is anything."""

    def __init__(self) -> None:
        self._flat: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}
        self._last: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}

    def take(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: torch.dtype,
        device: torch.device = torch.device("cpu"),  # noqa: B008 - a constant
    ) -> Tensor:
        """Return a contiguous tensor, valid until the same name is taken again."""
        key = (name, dtype, device)
        last = self._last.get(key)
        if last is not None and last.shape == shape:
            return last
        size = math.prod(shape)
        flat = self._flat.get(key)
        if flat is None or flat.numel() < size:
            flat = self._flat[key] = torch.empty(size, dtype=dtype, device=device)
        self._last[key] = flat[:size].view(shape)
        return self._last[key]
