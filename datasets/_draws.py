"""Random numbers for a whole batch at once, each a function of its own key and nothing else.

A counter goes through the finaliser of SplitMix64 (G. L. Steele, D. Lea, C. H. Flood, "Fast
splittable pseudorandom number generators", 2014). The counter is made of seed, epoch, the
recording's index, the number of the augmentation and the place of the draw; so batches, workers and
what was drawn before make no difference.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Draws"]

Words = NDArray[np.uint64]
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mix(words: Words) -> Words:
    """Scramble 64-bit words."""
    words = words + _GOLDEN
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Words = words ^ (words >> np.uint64(31))
    return mixed


class Draws:
    """Draws for the recordings of a batch.

    Parameters
    ----------
    seed
        Seed of the run.
    epochs, indices : array of int, shape (B,)
        Epoch, and number in its set, of every recording.
    stream
        Number of the augmentation that draws.
    """

    def __init__(
        self, seed: int, epochs: NDArray[np.int64], indices: NDArray[np.int64], stream: int = 0
    ) -> None:
        self._seed, self._epochs, self._indices = seed, epochs, indices
        keys = np.full(len(indices), seed % 2**64, dtype=np.uint64)
        for part in (epochs, indices, np.full(len(indices), stream)):
            keys = mix(keys) ^ mix(np.asarray(part).astype(np.uint64) * _GOLDEN)
        self.keys: Words = mix(keys)

    def stream(self, number: int) -> Draws:
        """Return the draws of another augmentation for the same batch."""
        return Draws(self._seed, self._epochs, self._indices, number)

    def words(self, place: int) -> Words:
        """Return one word a recording, shape (B,); ``place`` tells draws apart."""
        return mix(self.keys + np.uint64(place * int(_GOLDEN) % 2**64))

    def uniform(self, place: int, low: float = 0.0, high: float = 1.0) -> NDArray[np.float64]:
        """Return one number a recording, from ``low`` up to but not including ``high``."""
        return low + (high - low) * _fraction(self.words(place))

    def each(self, place: int, lengths: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return numbers in 0 to 1 for ``lengths[i]`` things of recording ``i``, one after another.

        The ``k``-th number of a recording does not depend on how many follow.
        """
        starts = np.cumsum(lengths) - lengths
        count = (np.arange(lengths.sum()) - np.repeat(starts, lengths)).astype(np.uint64)
        keys = np.repeat(mix(self.words(place)), lengths)
        return _fraction(mix(keys + count * _GOLDEN))


def _fraction(words: Words) -> NDArray[np.float64]:
    """Return the upper 53 bits as a number from 0 up to but not including 1, exactly."""
    fraction: NDArray[np.float64] = (words >> np.uint64(11)) * 2.0**-53
    return fraction
