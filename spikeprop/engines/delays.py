"""Delays in front of a synapse (:class:`spikeprop.neurons.Delay`), window by window.

On sparse rows an event is put where it arrives, and what arrives behind the window waits; on dense
windows the last steps are kept, as the module itself keeps them. A stream's steps come one by one,
or some at a time, and its memory does not grow: it has a place for every input of a step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from spikeprop.engines.rows import Rows
from spikeprop.kernels import delays
from spikeprop.neurons import Delay

__all__ = ["DenseDelay", "SparseDelay", "StreamDelay", "delays_of"]

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


class StreamDelay:
    """Events of a stream on their way to one synapse.

    Parameters
    ----------
    steps : ndarray, shape (inputs,), optional
        Delay of each input; None where events arrive at once.
    rows : int
        Rows R that come through the synapse.
    inputs : int
        Inputs I.
    kind : dtype
        Of what an event holds.

    Attributes
    ----------
    arrays : tuple of ndarray
        ``delays, line, held, counts, spans`` of :func:`spikeprop.kernels.delays.arrive`; empty
        where events arrive at once.
    """

    def __init__(self, steps: Array | None, rows: int, inputs: int, kind: Any) -> None:
        self._steps = np.empty(0, np.int64) if steps is None else steps
        self._longest = int(self._steps.max(initial=0))
        self._rows, self._inputs, self._valued = rows, inputs, False
        self.arrays: tuple[Array, ...] = (
            self._steps,
            np.empty((0, rows, inputs), np.int32),
            np.empty((0, 0, 0), kind),
            np.zeros((0, rows), np.int64),
            np.zeros((2, 0, rows), np.int64),
        )

    def hold_values(self) -> bool:
        """Keep numbers other than 1 from now on, once there is room; return whether that is new."""
        new = bool(self._steps.size) and not self._valued
        self._valued = self._valued or new
        return new

    def make_room(self, steps: int) -> None:
        """Make room for so many steps at once; what is under way stays."""
        if not self._steps.size:
            return
        _, line, held, counts, _ = self.arrays
        shape = (steps + self._longest, self._rows, self._inputs)
        new_line = np.empty(shape, np.int32)
        new_held = np.ones(shape if self._valued else (0, 0, 0), held.dtype)
        new_counts = np.zeros(shape[:2], np.int64)
        under_way = slice(min(self._longest, len(counts)))
        new_line[under_way], new_counts[under_way] = line[under_way], counts[under_way]
        if held.size:
            new_held[under_way] = held[under_way]
        spans = np.zeros((2, steps, self._rows), np.int64)
        self.arrays = (self._steps, new_line, new_held, new_counts, spans)

    def arrive(self, x: Rows, steps: int) -> Rows:
        """Return what arrives in the next steps, of which ``x`` are the rows ``(L, R)``."""
        if not self._steps.size:
            return x
        delays.arrive(steps, *x, *self.arrays)
        _, line, held, _, spans = self.arrays
        return Rows(spans[0], spans[1], line.reshape(-1), held.reshape(-1))

    def pass_on(self, steps: int) -> None:
        """Let so many steps go by, after :meth:`arrive`."""
        if self._steps.size:
            _, line, held, counts, _ = self.arrays
            delays.pass_on(steps, self._longest, line, held, counts)


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
