"""Working memory that is kept from one batch to the next: fresh pages cost as much as the work."""

from __future__ import annotations

import math
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Buffers"]


class Buffers:
    """Named scratch tensors; what they hold is anything."""

    def __init__(self) -> None:
        self._flat: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}
        self._arrays: dict[tuple[str, torch.dtype], tuple[Tensor, NDArray[Any]]] = {}
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
        self._last[key] = self._room(key, size)[:size].view(shape)
        return self._last[key]

    def array(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> NDArray[Any]:
        """Return the same as an array, a view of a tensor: in a tenth of the time."""
        size, cpu = math.prod(shape), torch.device("cpu")
        flat = self._room((name, dtype, cpu), size)
        kept = self._arrays.get((name, dtype))
        if kept is None or kept[0] is not flat:
            kept = self._arrays[name, dtype] = flat, flat.numpy()
        return kept[1][:size].reshape(shape)

    def _room(self, key: tuple[str, torch.dtype, torch.device], size: int) -> Tensor:
        flat = self._flat.get(key)
        if flat is None or flat.numel() < size:
            _, dtype, device = key
            flat = self._flat[key] = torch.empty(size, dtype=dtype, device=device)
        return flat
