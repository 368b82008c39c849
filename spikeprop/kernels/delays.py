"""Events that arrive some steps later: on sparse rows a delay is another row for an event."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from spikeprop.kernels import kernel

Array = NDArray[Any]

__all__ = ["delay"]


@kernel
def delay(
    starts: Array,
    ends: Array,
    channels: Array,
    values: Array,
    delays: Array,
    first_row: int,
    first_step: int,
    held_rows: Array,
    held_steps: Array,
    held_channels: Array,
    held_values: Array,
    new_starts: Array,
    new_ends: Array,
    new_channels: Array,
    new_values: Array,
    kept_rows: Array,
    kept_steps: Array,
    kept_channels: Array,
    kept_values: Array,
) -> int:
    """Let the events of a window arrive when they are due, ``y_j(t) = x_j(t - d_j)``.

    Parameters
    ----------
    starts, ends : ndarray, shape (R, L)
        Events of rows ``first_row, ...`` and time steps ``first_step, ...`` of the sequence.
    channels, values : ndarray
        The events; ``values`` are empty where every one is 1, and so are then all others.
    delays : ndarray of int64, shape (inputs,)
        In time steps.
    held_rows, held_steps, held_channels, held_values : ndarray
        Events under way from before, of any rows, and the time steps in which they are due.
    new_starts, new_ends, new_channels, new_values
        Are filled with the events that arrive in the window.
    kept_rows, kept_steps, kept_channels, kept_values
        Are filled with those that are under way afterwards.

    Returns
    -------
    int
        How many these are.
    """
    rows, steps = starts.shape
    last_step = first_step + steps
    new_ends[:] = 0
    for r in range(rows):
        for step in range(steps):
            for i in range(starts[r, step], ends[r, step]):
                at = step + delays[channels[i]]
                if at < steps:
                    new_ends[r, at] += 1
    for i in range(held_rows.size):
        r, at = held_rows[i] - first_row, held_steps[i]
        if 0 <= r < rows and at < last_step:
            new_ends[r, at - first_step] += 1
    place = 0
    for r in range(rows):
        for step in range(steps):
            new_starts[r, step] = place
            place += new_ends[r, step]
            new_ends[r, step] = new_starts[r, step]
    kept = 0
    for i in range(held_rows.size):
        r, at = held_rows[i] - first_row, held_steps[i]
        if 0 <= r < rows and at < last_step:
            place = new_ends[r, at - first_step]
            new_channels[place] = held_channels[i]
            if values.size > 0:
                new_values[place] = held_values[i]
            new_ends[r, at - first_step] = place + 1
        else:
            kept_rows[kept], kept_steps[kept] = held_rows[i], at
            kept_channels[kept] = held_channels[i]
            if values.size > 0:
                kept_values[kept] = held_values[i]
            kept += 1
    for r in range(rows):
        for step in range(steps):
            for i in range(starts[r, step], ends[r, step]):
                at = step + delays[channels[i]]
                if at < steps:
                    place = new_ends[r, at]
                    new_channels[place] = channels[i]
                    if values.size > 0:
                        new_values[place] = values[i]
                    new_ends[r, at] = place + 1
                else:
                    kept_rows[kept], kept_steps[kept] = first_row + r, first_step + at
                    kept_channels[kept] = channels[i]
                    if values.size > 0:
                        kept_values[kept] = values[i]
                    kept += 1
    return kept
