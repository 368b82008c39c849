"""Products of sparse rows with dense matrices.

A row is a list of active channels (and their values), ``channels[starts[l, r]:ends[l, r]]`` for
time step ``l`` and sample ``r``; weights are input-major, ``(inputs, outputs)``, so that an event
is one contiguous row of them. A product with the transpose is the same gather over the events
sorted by channel. Columns are worked on in tiles that fit the cache, each packed into memory of its
own first: rows that lie a power of two apart would share a few cache sets only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeprop.kernels import kernel, spans
from spikeprop.kernels.lanes import lanes, prefetch
from spikeprop.kernels.vector import TILE, add_rows

Array = NDArray[Any]

__all__ = [
    "TILE",
    "advance",
    "columns",
    "count_dense",
    "fill_dense",
    "fit",
    "gather",
    "gather_from_tiles",
    "gather_rows",
    "gather_tiles",
    "pack",
    "pack_all",
    "sort_events",
    "sum_products",
    "sum_rows",
]

#: Entries of a dense row that are looked at together.
LOOK = 8


@kernel
def pack(weights: Array, first: int, last: int, tile: Array) -> None:
    """Copy columns ``first`` to ``last`` of ``weights`` ``(inputs, outputs)`` into a tile.

    The tile is ``(inputs, at least so many)``; it stays near, weights are sent for in time.
    """
    width, ahead = last - first, 8
    for j in range(weights.shape[0]):
        if j + ahead < weights.shape[0]:
            for n in range(first, last, lanes(weights)):
                prefetch(weights[j + ahead], n)
        row, packed = weights[j, first:last], tile[j]
        for n in range(width):
            packed[n] = row[n]


@kernel
def pack_all(weights: Array, tiles: Array, first: int, last: int) -> None:
    """Copy rows ``first`` to ``last`` of ``weights`` into tiles ``(tiles, inputs, TILE)``."""
    outputs = weights.shape[1]
    for j in range(first, last):
        for k in range(tiles.shape[0]):
            row, packed = weights[j, k * TILE : min(k * TILE + TILE, outputs)], tiles[k, j]
            for n in range(row.size):
                packed[n] = row[n]


@kernel
def gather(
    starts: Array,
    ends: Array,
    channels: Array,
    values: Array,
    table: Array,
    column: int,
    bias: Array,
    out: Array,
    first_row: int,
    last_row: int,
    first: int,
    last: int,
) -> None:
    """``out[l, r, n] = bias[n] + sum over events of values * weights[channel, n]``.

    For rows and columns in the given ranges, at most ``TILE`` columns. The weights of column
    ``first + n`` are in ``table[:, column + n]``. ``values`` is empty where every event counts 1,
    and ``bias`` where there is none.
    """
    width = last - first
    whole = width == TILE and values.size == 0
    start = bias if bias.size > 0 else np.zeros(out.shape[2], out.dtype)
    for step in range(starts.shape[0]):
        for r in range(first_row, last_row):
            row = out[step, r, first:last]
            i, end = starts[step, r], ends[step, r]
            if r + 1 < last_row:
                for n in range(first, last, lanes(out)):
                    prefetch(out[step, r + 1], n)
            if whole:
                add_rows(table, column, channels, i, end, start, first, row)
                continue
            for n in range(width):
                row[n] = start[first + n]
            if values.size > 0:
                while i < end:
                    v = values[i]
                    a = table[channels[i], column : column + width]
                    for n in range(width):
                        row[n] += v * a[n]
                    i += 1
            else:
                while i < end:
                    a = table[channels[i], column : column + width]
                    for n in range(width):
                        row[n] += a[n]
                    i += 1


@kernel
def gather_rows(
    starts: Array,
    ends: Array,
    channels: Array,
    values: Array,
    weights: Array,
    bias: Array,
    out: Array,
    first_row: int,
    last_row: int,
    first_column: int,
    last_column: int,
) -> None:
    """Do as :func:`gather` for any number of columns, row by row of ``out``.

    Weights are read as they stand, a whole row of them for an event.
    """
    start = bias if bias.size > 0 else np.zeros(out.shape[2], out.dtype)
    for step in range(starts.shape[0]):
        for r in range(first_row, last_row):
            i, end = starts[step, r], ends[step, r]
            for first in range(first_column, last_column, TILE):
                last = min(first + TILE, last_column)
                row = out[step, r, first:last]
                if last - first == TILE and values.size == 0:
                    add_rows(weights, first, channels, i, end, start, first, row)
                else:
                    for n in range(last - first):
                        row[n] = start[first + n]
                    sum_rows(weights, first, channels, values, i, end, row)


@kernel
def gather_tiles(
    starts: Array,
    ends: Array,
    channels: Array,
    values: Array,
    weights: Array,
    tile: Array,
    bias: Array,
    out: Array,
    first_row: int,
    last_row: int,
    first_column: int,
    last_column: int,
) -> None:
    """Do as :func:`gather` for any number of columns, tile by tile.

    Each is packed into ``tile`` ``(inputs, TILE)`` first.
    """
    for first in range(first_column, last_column, TILE):
        last = min(first + TILE, last_column)
        pack(weights, first, last, tile)
        gather(
            starts, ends, channels, values, tile, 0, bias, out, first_row, last_row, first, last
        )  # fmt: skip


@kernel
def gather_from_tiles(
    starts: Array,
    ends: Array,
    channels: Array,
    values: Array,
    tiles: Array,
    bias: Array,
    out: Array,
    outputs: int,
) -> None:
    """Do as :func:`gather` for all rows and columns.

    Of weights in tiles ``(any number, inputs, TILE)``, or as they stand ``(1, inputs, outputs)``.
    """
    rows = starts.shape[1]
    if tiles.shape[2] != TILE:
        gather_rows(starts, ends, channels, values, tiles[0], bias, out, 0, rows, 0, outputs)
        return
    for k in range(tiles.shape[0]):
        first, last = k * TILE, min(k * TILE + TILE, outputs)
        gather(starts, ends, channels, values, tiles[k], 0, bias, out, 0, rows, first, last)


@kernel
def spread(
    starts: Array,
    ends: Array,
    channels: Array,
    values: Array,
    places: Array,
    out: Array,
    first_row: int,
    last_row: int,
) -> None:
    """Write rows of events into ``out`` ``(L, R or more, N)``; whatever is not listed is zero.

    ``places``, int32, are columns of the channels, below 0 for none; empty where they are the
    channels themselves.
    """
    one = out.dtype.type(1)
    for step in range(out.shape[0]):
        for r in range(first_row, last_row):
            row = out[step, r]
            row[:] = 0
            if r >= starts.shape[1]:
                continue
            for i in range(starts[step, r], ends[step, r]):
                n = channels[i]
                if places.size > 0:
                    n = places[n]
                if n >= 0:
                    row[n] = values[i] if values.size > 0 else one


@kernel
def sort_events(
    starts: Array,
    ends: Array,
    channels: Array,
    values: Array,
    n_rows: int,
    pointers: Array,
    rows: Array,
    sorted_values: Array,
) -> None:
    """Sort the events of the first ``n_rows`` samples by channel (counting sort).

    Channel ``j`` then owns ``rows[pointers[j]:pointers[j + 1]]``, each ``step * n_rows + r``.
    """
    pointers[:] = 0
    steps = starts.shape[0]
    for step in range(steps):
        for r in range(n_rows):
            for i in range(starts[step, r], ends[step, r]):
                pointers[channels[i] + 1] += 1
    for j in range(pointers.size - 1):
        pointers[j + 1] += pointers[j]
    for step in range(steps):
        for r in range(n_rows):
            for i in range(starts[step, r], ends[step, r]):
                place = pointers[channels[i]]
                rows[place] = step * n_rows + r
                if values.size > 0:
                    sorted_values[place] = values[i]
                pointers[channels[i]] = place + 1
    for j in range(pointers.size - 1, 0, -1):
        pointers[j] = pointers[j - 1]
    pointers[0] = 0


@kernel
def sum_products(
    pointers: Array,
    rows: Array,
    values: Array,
    tables: Array,
    outs: Array,
    fresh: bool,
    first_column: int,
    last_column: int,
) -> None:
    """``out[j, n] += sum over channel j's events of values * table[row, n]``, all in tiles or not.

    Parameters
    ----------
    pointers : ndarray of int64, shape (inputs + 1,)
        Channel ``j`` owns ``rows[pointers[j]:pointers[j + 1]]``.
    rows : ndarray of int32
        Rows of the table.
    values : ndarray
        What the events hold; empty where each counts 1.
    tables : ndarray, shape (A, all rows, C)
        The table: its column ``n`` is column ``n % C`` of ``tables[n // C]``; unless A is 1, C is
        ``TILE``.
    outs : ndarray, shape (B, inputs, D)
        What is added to, its columns as those of the tables.
    fresh : bool
        Whatever is in ``outs`` counts as zero.
    first_column, last_column : int
        Range of columns; begins at a tile.
    """
    zeros, wide, long = np.zeros(TILE, outs.dtype), tables.shape[2], outs.shape[2]
    for first in range(first_column, last_column, TILE):
        width = min(TILE, last_column - first)
        table, column = tables[first // wide], first % wide
        out, place = outs[first // long], first % long
        # Calls for every row would take as long as a few events each.
        whole = width == TILE and values.size == 0
        for j in range(out.shape[0]):
            if j + 1 < out.shape[0]:
                for n in range(place, place + width, lanes(out)):
                    prefetch(out[j + 1], n)
            row = out[j, place : place + width]
            i, end = pointers[j], pointers[j + 1]
            if not whole:
                if fresh:
                    for n in range(width):
                        row[n] = 0
                sum_rows(table, column, rows, values, i, end, row)
            elif fresh:
                add_rows(table, column, rows, i, end, zeros, 0, row)
            elif i < end:
                add_rows(table, column, rows, i, end, row, 0, row)


@kernel
def sum_rows(
    table: Array,
    column: int,
    rows: Array,
    values: Array,
    first: int,
    last: int,
    row: Array,
) -> None:
    """``row += sum over i of values[i] * table[rows[i], column:]``, as wide as ``row``."""
    width = row.size
    for i in range(first, last):
        a = table[rows[i], column : column + width]
        if values.size > 0:
            v = values[i]
            for n in range(width):
                row[n] += v * a[n]
        else:
            for n in range(width):
                row[n] += a[n]


@kernel
def advance(
    starts: Array,
    ends: Array,
    channels: Array,
    values: Array,
    carried: Array,
    from_self: Array,
    from_trace: Array,
    from_input: Array,
    first_row: int,
    last_row: int,
) -> None:
    """Take trace and filtered traces over a window at once: they are linear in what came before.

    ``carried`` is ``(1 + filters, rows, inputs)``, the trace first;

        filtered <- from_self * filtered + from_trace * trace + sum of from_input[step] * x
    """
    kind = carried.dtype.type
    for r in range(first_row, last_row):
        trace = carried[0, r]
        for k in range(1, carried.shape[0]):
            e, a, b = carried[k, r], kind(from_self[k]), kind(from_trace[k])
            for j in range(e.size):
                e[j] = a * e[j] + b * trace[j]
        a = kind(from_trace[0])
        for j in range(trace.size):
            trace[j] *= a
        filtered = carried[1, r]
        for step in range(starts.shape[0]):
            a, b = kind(from_input[0, step]), kind(from_input[1, step])
            for i in range(starts[step, r], ends[step, r]):
                j = channels[i]
                v = values[i] if values.size > 0 else kind(1)
                trace[j] += a * v
                filtered[j] += b * v
        for k in range(2, carried.shape[0]):
            filtered = carried[k, r]
            for step in range(starts.shape[0]):
                b = kind(from_input[k, step])
                for i in range(starts[step, r], ends[step, r]):
                    filtered[channels[i]] += b * (values[i] if values.size > 0 else kind(1))


@kernel
def fit(offsets: Array, channels: Array, size: int) -> bool:
    """Tell whether offsets grow from 0 to the number of channels, and all of these are below size.

    ``channels`` are int32 seen as uint32: a negative one is a large one.
    """
    if offsets[0] != 0 or offsets[offsets.size - 1] != channels.size:
        return False
    good = True
    for r in range(offsets.size - 1):
        good &= offsets[r] <= offsets[r + 1]
    for i in range(channels.size):
        good &= channels[i] < size
    return good


@kernel
def count_dense(x: Array, counts: Array) -> int:
    """Count the non-zero entries of each ``x[t, b]`` into ``counts[b * T + t]``.

    Returns
    -------
    int
        How many of them are not 1.
    """
    steps, batch, size = x.shape
    others = 0
    for b in range(batch):
        for t in range(steps):
            row = x[t, b]
            count, odd = 0, 0
            for j in range(size):  # without a branch, so that lanes do it
                count += row[j] != 0
                odd += (row[j] != 0) & (row[j] != 1)
            counts[b * steps + t] = count
            others += odd
    return others


@kernel
def fill_dense(x: Array, bits: Array, offsets: Array, channels: Array, values: Array) -> None:
    """List the non-zero entries that :func:`count_dense` has counted.

    Parameters
    ----------
    x : ndarray, shape (T, B, N)
        The entries.
    bits : ndarray, shape (T, B, N)
        The same memory as unsigned integers: all zero for several entries is soon seen.
    offsets : ndarray of int64, shape (B * T + 1,)
        Row ``b * T + t`` owns ``channels[offsets[b * T + t]:offsets[b * T + t + 1]]``.
    channels, values : ndarray
        Are filled; one place longer than the list. ``values`` may be empty.
    """
    steps, batch, size = x.shape
    whole = size - size % LOOK
    for b in range(batch):
        for t in range(steps):
            row, word, i = x[t, b], bits[t, b], offsets[b * steps + t]
            for first in range(0, whole, LOOK):
                seen = word[first]
                for k in range(1, LOOK):
                    seen |= word[first + k]
                if seen != 0:
                    i = _list(row, first, first + LOOK, channels, values, i)
            _list(row, whole, size, channels, values, i)


@kernel
def _list(row: Array, first: int, last: int, channels: Array, values: Array, i: int) -> int:
    """List some entries of a row from place ``i`` on; return the place behind them."""
    for j in range(first, last):  # each is written, and by the next one again if it was zero
        channels[i] = j
        if values.size > 0:
            values[i] = row[j]
        i += row[j] != 0
    return i


def columns(outputs: int, threads: int) -> list[tuple[int, int]]:
    """Share whole tiles of columns out among threads."""
    parts = spans(-(-outputs // TILE), threads)
    return [(a * TILE, min(b * TILE, outputs)) for a, b in parts]
