"""Traces from before a window, input by input: what they teach, and how they go on over it.

With ``p`` and ``q`` of the reverse filter (:mod:`.neuron`) a window's gradient has, beside its own
events', the terms ``p (x) trace + q (x) e`` of each row, a dense product. It is added to a few
inputs' gradient while that is in the first-level cache for their events. Traces of some rows lie
input by input like the gradient, ``(inputs, 2 rows)``: trace and filtered trace ``e`` of a row side
by side, as ``p`` and ``q`` stand one below the other in ``(2 rows, N or more)``. So they go on in
place as soon as the rows have learned, by the list of events that have just been summed. Where the
filter keeps nothing, ``q`` is zero, and there are neither ``e`` nor ``q``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeprop.kernels import kernel
from spikeprop.kernels.blocks import ABREAST, HEIGHT, add_block, add_part
from spikeprop.kernels.lanes import lanes
from spikeprop.kernels.sparse import sum_rows
from spikeprop.kernels.vector import TILE, add_rows

Array = NDArray[Any]

__all__ = ["go_on", "sum_biases", "sum_with_traces"]

#: Inputs that are worked on together: for a block of each the same columns of cotangents, which are
#: as large as the first-level cache where all recordings are in one group.
INPUTS = 4 * HEIGHT


@kernel
def sum_with_traces(
    pointers: Array,
    rows: Array,
    values: Array,
    table: Array,
    traces: Array,
    cotangents: Array,
    outs: Array,
    size: int,
    fresh: bool,
) -> None:
    """Add what events teach, and what traces do, to the gradient of ``size`` outputs.

    Parameters
    ----------
    pointers, rows, values
        Events by input: see :func:`spikeprop.kernels.sparse.sum_products`.
    table : ndarray, shape (all rows, N or more)
        What came out of the reverse filter.
    traces, cotangents : ndarray, shape (inputs, terms) and (terms, N or more)
        See above; one or two terms a row.
    outs, fresh
        ``(tiles, inputs, TILE)``, or ``(1, inputs, outputs)``, is added to; if fresh, whatever is
        in it counts as zero.
    """
    inputs, long = outs.shape[1], outs.shape[2]
    terms, wide = traces.shape[1], ABREAST * lanes(outs)
    for column in range(0, size, TILE):
        end = min(column + TILE, size)
        out, place = outs[column // long], column % long
        shift, stop = place - column, place + end - column
        whole = end - column == TILE and values.size == 0
        for begin in range(0, inputs, INPUTS):
            behind = min(begin + INPUTS, inputs)
            if fresh:
                for j in range(begin, behind):
                    for n in range(place, stop):
                        out[j, n] = 0
            if behind - begin == INPUTS and (end - column) % wide == 0:  # no call for so little
                for n in range(column, end, wide):
                    for r in range(begin, behind, HEIGHT):
                        add_block(traces, r, cotangents, n, out, r, n + shift, 0, terms)
            else:
                add_part(traces, begin, behind, cotangents, shift, out, place, stop, 0, terms)
            for j in range(begin, behind):
                row, i, k = out[j, place:stop], pointers[j], pointers[j + 1]
                if not whole:
                    sum_rows(table, column, rows, values, i, k, row)
                elif i < k:
                    add_rows(table, column, rows, i, k, row, 0, row)


@kernel
def sum_biases(cotangents: Array, traces: Array, total: Array) -> None:
    """Add what a bias's traces teach, one or two that all rows share, to its ``total`` ``(N,)``.

    ``traces`` are empty if no bias learns.
    """
    kind, kept = total.dtype.type, traces.size
    if kept > 0:
        for term in range(cotangents.shape[0]):
            trace = kind(traces[term % kept])
            for n in range(total.size):
                total[n] += trace * cotangents[term, n]


@kernel
def go_on(
    pointers: Array,
    rows: Array,
    values: Array,
    steps: int,
    traces: Array,
    kept: int,
    started: bool,
    from_self: Array,
    from_trace: Array,
    from_input: Array,
) -> None:
    """Take traces over a window, in place.

    They are linear in what came before (:class:`spikeprop.engines.filters.Advance`), which is zero
    if nothing has ``started``. ``kept`` is 2, or 1 for traces alone. Of the window's events
    ``rows[k]`` is ``steps`` times a row plus the time step.
    """
    kind, terms = traces.dtype.type, traces.shape[1]
    # What an event of each row does: to divide for every event would take as long as all else.
    places = np.empty(terms // kept * steps, np.int32)
    impulses = np.empty((places.size, kept), traces.dtype)
    for n in range(places.size):
        places[n] = n // steps * kept
        for i in range(kept):
            impulses[n, i] = kind(from_input[i, n % steps])
    falls, keeps, passes = kind(from_trace[0]), kind(from_self[1]), kind(from_trace[1])
    for j in range(traces.shape[0]):
        row = traces[j]
        if not started:
            for i in range(terms):
                row[i] = 0
        elif kept == 1:
            for i in range(terms):
                row[i] *= falls
        else:
            for i in range(0, terms, 2):
                row[i + 1] = keeps * row[i + 1] + passes * row[i]
                row[i] *= falls
        for k in range(pointers[j], pointers[j + 1]):
            n, v = rows[k], values[k] if values.size > 0 else kind(1)
            i = places[n]
            for more in range(kept):
                row[i + more] += impulses[n, more] * v
