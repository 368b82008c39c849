"""Events that arrive some steps later: on sparse rows a delay is another row for an event.

:func:`delay` does a window of whole sequences, in lists as long as there are events; :func:`arrive`
the steps of a stream as they come, in room that is made once, a place for each input of a row.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from spikeprop.kernels import kernel

Array = NDArray[Any]

__all__ = ["arrive", "delay", "pass_on"]


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


@kernel
def arrive(
    steps: int,
    starts: Array,
    ends: Array,
    channels: Array,
    values: Array,
    delays: Array,
    line: Array,
    held: Array,
    counts: Array,
    spans: Array,
) -> None:
    """Put the events of a stream's next steps where they arrive, ``y_j(t) = x_j(t - d_j)``.

    Parameters
    ----------
    steps : int
        L.
    starts, ends : ndarray, shape (L or more, R)
        Events of the steps.
    channels, values : ndarray
        The events; empty ``values`` are ones.
    delays : ndarray of int64, shape (inputs,)
        In time steps, at most D.
    line : ndarray of int32, shape (L + D or more, R, inputs)
        Inputs that arrive in these steps and the D behind them; is added to.
    held : ndarray, shape as ``line`` or (0, 0, 0)
        What each holds; empty where every one is 1, and has to be.
    counts : ndarray of int64, shape (L + D or more, R)
        How many inputs arrive; is counted up.
    spans : ndarray of int64, shape (2, L or more, R)
        Is filled with where each row's begin and end in the flattened ``line``.

    Raises
    ------
    ValueError
        If an input of a row is active twice in a time step.
    """
    rows, inputs = line.shape[1], line.shape[2]
    for step in range(steps):
        for r in range(rows):
            for i in range(starts[step, r], ends[step, r]):
                at = step + delays[channels[i]]
                place = counts[at, r]
                if place == inputs:
                    raise ValueError("a channel is active twice in a time step of one sample")
                line[at, r, place] = channels[i]
                if held.size > 0:
                    held[at, r, place] = values[i] if values.size > 0 else 1
                counts[at, r] = place + 1
            # Nothing arrives at this step any more: delays are not negative.
            spans[0, step, r] = (step * rows + r) * inputs
            spans[1, step, r] = spans[0, step, r] + counts[step, r]


@kernel
def pass_on(steps: int, longest: int, line: Array, held: Array, counts: Array) -> None:
    """Let ``steps`` steps go by: what :func:`arrive` put behind them moves to the front."""
    for at in range(longest):
        for r in range(counts.shape[1]):
            n = counts[at + steps, r]
            line[at, r, :n] = line[at + steps, r, :n]
            if held.size > 0:
                held[at, r, :n] = held[at + steps, r, :n]
            counts[at, r] = n
    counts[longest : longest + steps] = 0
