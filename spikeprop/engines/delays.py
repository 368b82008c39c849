"""Delays in front of a synapse (:class:`spikeprop.neurons.Delay`), window by window.

On sparse rows an event is put where it arrives, and what arrives behind the window waits; on dense
windows the last steps are kept, as the module itself keeps them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from spikeprop.engines.rows import Rows
from spikeprop.kernels import delays
from spikeprop.neurons import Delay

__all__ = ["DenseDelay", "SparseDelay", "delays_of"]

Array = NDArray[Any]


def delays_of(before: tuple[nn.Module, ...], inputs: int) -> Array | None:
    """Return the delay of each of a synapse's inputs, in time steps; None where there is none.

    That is, behind modules of which all others leave every number in its place.
    """
    found = [module.delay for module in before if isinstance(module, Delay)]
    if not any(bool(item.any()) for item in found):
        return None
    total = sum(item.flatten().cpu().expand(inputs) for item in found)
    assert isinstance(total, Tensor), "there is one"
    return total.numpy().astype(np.int64)


class SparseDelay:
    """Events on their way to one synapse.

    Parameters
    ----------
    steps : ndarray, shape (inputs,)
        Delay of each input.
    """

    def __init__(self, steps: Array) -> None:
        self._steps = steps
        self._rows, self._due = np.empty(0, np.int64), np.empty(0, np.int64)
        self._channels: Array = np.empty(0, np.int32)
        self._values: Array | None = None

    def rows(self, x: Rows, first_row: int, first_step: int) -> Rows:
        """Return what arrives in a window, of rows ``first_row, ...``: ``(R, L)``, as ``x``."""
        events, held = x.events, len(self._rows)
        values, waiting = x.values, self._values
        if waiting is None:
            waiting = np.empty(0, x.values.dtype)
        # Values are all there or none is: as soon as one is not 1, all are written out.
        if values.size and not waiting.size:
            waiting = np.ones(held, values.dtype)
        elif waiting.size and not values.size:
            values = np.ones(len(x.channels), waiting.dtype)
        room, valued = events + held, bool(values.size)
        new = (np.empty_like(x.starts), np.empty_like(x.ends))
        channels = np.empty(room, np.int32)
        new_values = np.empty(room if valued else 0, values.dtype)
        rows, due = np.empty(room, np.int64), np.empty(room, np.int64)
        kept_channels, kept_values = np.empty_like(channels), np.empty_like(new_values)
        kept = delays.delay(
            x.starts, x.ends, x.channels, values, self._steps, first_row, first_step, self._rows,
            self._due, self._channels, waiting, *new, channels, new_values, rows, due,
            kept_channels, kept_values,
        )  # fmt: skip
        self._rows, self._due = rows[:kept].copy(), due[:kept].copy()
        self._channels = kept_channels[:kept].copy()
        self._values = kept_values[:kept].copy() if valued else None
        return Rows(*new, channels, new_values)

    def window(self, x: Rows, first_step: int) -> Rows:
        """Do the same on rows ``(L, R)``, all of them."""
        turned = x._replace(starts=_turned(x.starts), ends=_turned(x.ends))
        found = self.rows(turned, 0, first_step)
        return found._replace(starts=_turned(found.starts), ends=_turned(found.ends))


def _turned(matrix: Array) -> Array:
    return np.ascontiguousarray(matrix.T)


class DenseDelay:
    """One :class:`Delay` on dense windows.

    Parameters
    ----------
    module : Delay
        The delay.
    """

    def __init__(self, module: Delay) -> None:
        self._module = module
        self._line: Tensor | None = None

    def window(self, x: Tensor) -> Tensor:
        """Return ``(L, R, *features)`` as they arrive."""
        if self._module.length == 0:
            return x
        late, self._line = self._module.unroll(x, self._line)
        return late
