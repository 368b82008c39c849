"""Random numbers that depend on their key alone.

NumPy guarantees the raw 64-bit stream of a bit generator (and of ``SeedSequence``) for ever, but
not what ``Generator`` makes of it. Recordings, splits, orders and augmentations have to be the same
on every machine and after every upgrade, so they are made from the raw stream, in integers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def raw(key: Sequence[int], count: int) -> NDArray[np.uint64]:
    """Draw ``count`` random 64-bit words that depend on ``key`` (non-negative integers) only."""
    words = np.random.PCG64(np.random.SeedSequence(list(key))).random_raw(count)
    return np.asarray(words, dtype=np.uint64)


def below(words: NDArray[np.uint64], limit: int) -> NDArray[np.int64]:
    """Map 64-bit words to integers ``0 .. limit - 1`` (``limit`` up to 2**31; bias < 2**-32)."""
    high = words >> np.uint64(32)
    scaled: NDArray[np.uint64] = (high * np.uint64(limit)) >> np.uint64(32)
    return scaled.astype(np.int64)


def symmetric(words: NDArray[np.uint64], bound: int) -> NDArray[np.int64]:
    """Map 64-bit words to integers ``-bound .. bound``."""
    return below(words, 2 * bound + 1) - bound


def permutation(key: Sequence[int], count: int) -> NDArray[np.int64]:
    """Order ``0 .. count - 1`` at random, by ``key`` only."""
    return np.argsort(raw(key, count), kind="stable").astype(np.int64)
