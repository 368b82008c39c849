"""Class numbers drawn as glyphs, for signals that enter as an image."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["glyphs"]

#: Five rows of three pixels, a digit a column of this table.
_FONT = {
    "0": "111 101 101 101 111",
    "1": "010 110 010 010 111",
    "2": "111 001 111 100 111",
    "3": "111 001 111 001 111",
    "4": "101 101 111 001 001",
    "5": "111 100 111 001 111",
    "6": "111 100 111 101 111",
    "7": "111 001 010 010 010",
    "8": "111 101 111 101 111",
    "9": "111 101 111 001 111",
}


def glyphs(count: int, features: torch.Size) -> Tensor:
    """Return the numbers 0 to ``count - 1`` as images of 0 and 1, as large as fits, in the middle.

    Parameters
    ----------
    count : int
        Number of classes.
    features : torch.Size
        Shape of the images, ``(..., H, W)``; all channels show the same.

    Returns
    -------
    Tensor
        ``(count, *features)``.

    Raises
    ------
    ValueError
        If the input is no image, or is too small for the numbers.
    """
    width = 4 * len(str(count - 1)) - 1
    if len(features) < 2 or features[-2] < 5 or features[-1] < width:
        raise ValueError(
            f"signal='drawn' draws class numbers of 5 x {width} pixels into the input, which has "
            f"the shape {tuple(features)}; it needs images (..., H, W) of at least that size"
        )
    height, across = features[-2:]
    scale = min(height // 5, across // width)
    found = torch.zeros(count, height, across)
    digits = len(str(count - 1))
    for c in range(count):
        rows = zip(*[_FONT[digit].split() for digit in str(c).zfill(digits)], strict=True)
        small = torch.tensor([[float(p) for p in "0".join(row)] for row in rows])
        large = small.repeat_interleave(scale, 0).repeat_interleave(scale, 1)
        top, left = (height - len(large)) // 2, (across - large.shape[1]) // 2
        found[c, top : top + len(large), left : left + large.shape[1]] = large
    channels = math.prod(features[:-2])
    return found[:, None].expand(-1, channels, -1, -1).reshape(count, *features).contiguous()
