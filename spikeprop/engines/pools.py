"""Pooling of spikes in lists: a cell of a maximum pooling is active where one of its inputs is."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

__all__ = ["Pool", "pool_of"]


class Pool(NamedTuple):
    """Where spikes go.

    Attributes
    ----------
    places : ndarray of int32
        Cell of each input, flattened; -1 for inputs that no cell sees.
    features : torch.Size
        Shape of the cells.
    """

    places: NDArray[np.int32]
    features: torch.Size


def pool_of(module: nn.Module, features: torch.Size) -> Pool | None:
    """Return how a module pools spikes ``(C, H, W)``; None if it is no pooling of apart windows."""
    if type(module) is not nn.MaxPool2d or len(features) != 3:
        return None
    kernel = _pair(module.kernel_size)
    plain = _pair(module.padding) == (0, 0) and _pair(module.dilation) == (1, 1)
    if not plain or _pair(module.stride) != kernel or module.ceil_mode or module.return_indices:
        return None
    if features[1] < kernel[0] or features[2] < kernel[1]:
        return None  # the module has an error to raise
    return _pool(kernel, features)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


@lru_cache(maxsize=64)
def _pool(kernel: tuple[int, int], features: torch.Size) -> Pool:
    channels, height, width = features
    y, x = np.arange(height) // kernel[0], np.arange(width) // kernel[1]
    cells = torch.Size((channels, height // kernel[0], width // kernel[1]))
    places = (np.arange(channels)[:, None, None] * cells[1] + y[:, None]) * cells[2] + x
    seen = (y < cells[1])[:, None] & (x < cells[2])
    return Pool(np.where(seen, places, -1).astype(np.int32).reshape(-1), cells)
