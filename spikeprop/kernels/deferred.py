r"""Weight updates that wait: an update at every time step without touching every weight in it.

Plain gradient steps of size ``lr`` on ``grad_s = sum_k delta_s^k (x) e_s^k`` (k over rows) leave

    W_t = W_0 - lr sum_{s<t} sum_k delta_s^k (x) e_s^k

so that the current of a row r, which is all that anybody wants of ``W_t`` at step t, is

    x_t^r W_t^T = x_t^r W_0^T - sum_{s<t} sum_k kappa_s^{kr} (lr delta_s^k),
    kappa_s^{kr} = x_t^r . e_s^k

with the weights as they were at the beginning of a *window* of K steps. ``e_s`` is never formed
within it. With the neuron's decay ``beta``, the evidence filter's weights ``w_s``, and trace and
filtered trace from before the window,

    trace_s = beta trace_{s-1} + x_s,               e_s = e_{s-1} + w_s (trace_s - e_{s-1}),
    P_s     = beta P_{s-1}     + x_t . x_s,     kappa_s = kappa_{s-1} + w_s (P_s - kappa_{s-1}),
    P_{-1}  = x_t . trace_0,                    kappa_{-1} = x_t . e_0,

since the product with ``x_t`` is linear: products of sparse rows only. At the window's end the
reverse filter (:mod:`spikeprop.kernels.neuron`) writes all K updates at once, input by input,

    W_K = W_0 - sum_u g_u (x) x_u - beta p (x) trace_0 - q (x) e_0,
    backwards in s:  q <- q + lr delta_s;  p <- beta p + w_s q;  g_s = p;  q <- (1 - w_s) q,

and trace and filtered trace are taken over the window. Inputs without a trace are not touched.

Nothing is divided by a power of a decay, as a difference of prefix sums would be: no under- or
overflow, nothing cancels, and any decay from 0 to 1 and any filter weights will do. Weights differ
from those of a loop over the steps by rounding alone. Exact for plain gradient steps: momentum,
weight decay or second moments move weights whose input is silent, too.

Multiply-adds per step for N outputs, I inputs, Q rows and a inputs active in each: Q a N for the
currents, K/2 Q^2 (N + a) for what is owed, and 2 Q I N / K + Q a N for the window's end.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeprop.kernels import kernel
from spikeprop.kernels.blocks import add_matrix
from spikeprop.kernels.lanes import lanes, load, spread, store, whole
from spikeprop.kernels.vector import TILE, add_rows, add_scaled

Array = NDArray[Any]

__all__ = ["add_inputs", "keep", "pay", "remember", "settle", "weigh"]

#: Bytes of weights from which they come from far away: then whole rows, several at once.
FAR = 1 << 21
#: Rows from which products with their traces are made as those of matrices.
MATRIX = 16
#: A trace below this has no influence on anything; left alone it would become denormal.
SILENT = 1e-30


@kernel
def add_inputs(
    channels: Array,
    values: Array,
    first: int,
    last: int,
    weights: Array,
    row: Array,
    begin: int,
    end: int,
) -> None:
    """``row += sum over events of value * weights[channel]`` in columns ``begin`` to ``end``.

    Empty ``values`` are ones.
    """
    if (end - begin) % TILE or weights.size * weights.itemsize > FAR:
        _add_whole_rows(channels, values, first, last, weights, row, begin, end)
        return
    for column in range(begin, end, TILE):
        part = row[column : column + TILE]
        if values.size > 0:
            add_scaled(weights, column, channels, values, first, last, row, column, part)
        else:
            add_rows(weights, column, channels, first, last, row, column, part)


@kernel
def _add_whole_rows(
    channels: Array,
    values: Array,
    first: int,
    last: int,
    weights: Array,
    row: Array,
    begin: int,
    end: int,
) -> None:
    """Do as :func:`add_inputs`, with four rows of weights on their way from memory at once."""
    i = first
    if values.size > 0:
        while i < last:
            v, a = values[i], weights[channels[i]]
            for n in range(begin, end):
                row[n] += v * a[n]
            i += 1
        return
    while i + 4 <= last:
        a, b = weights[channels[i]], weights[channels[i + 1]]
        c, d = weights[channels[i + 2]], weights[channels[i + 3]]
        for n in range(begin, end):
            row[n] += (a[n] + b[n]) + (c[n] + d[n])
        i += 4
    while i < last:
        a = weights[channels[i]]
        for n in range(begin, end):
            row[n] += a[n]
        i += 1


@kernel
def weigh(
    starts: Array,
    ends: Array,
    channels: Array,
    values: Array,
    carried: Array,
    offsets: Array,
    old_channels: Array,
    old_values: Array,
    filter_weights: Array,
    steps: int,
    beta: float,
    mark: Array,
    kappa: Array,
) -> None:
    """Fill ``kappa`` ``(steps * Q, lanes)``: products of the rows with every ``e_s`` of the window.

    Parameters
    ----------
    starts, ends : ndarray, shape (Q,)
        The new rows' events, in ``channels`` and ``values`` (empty: ones).
    carried : ndarray, shape (2, I, Q)
        Trace and filtered trace from before the window.
    offsets, old_channels, old_values : ndarray
        The window's events: row ``k`` of step ``u`` has those from ``offsets[u * Q + k]`` on.
    filter_weights : ndarray
        ``w_u`` of each step.
    steps : int
        Steps in the window so far.
    beta : float
        Decay of the trace.
    mark : ndarray, shape (I, lanes)
        Zeros; zeros again afterwards. ``lanes`` is ``Q`` rounded up to a multiple of ``LANES``.
    kappa : ndarray, shape (K * Q, lanes)
        Row ``u * Q + k``, column ``r``.
    """
    n_rows = carried.shape[2]
    kind = carried.dtype.type
    decay = kind(beta)
    one = kind(1)
    products = np.zeros((2, n_rows, kappa.shape[1]), carried.dtype)
    own = np.empty((2, n_rows), carried.dtype)
    for r in range(n_rows):
        own[:] = 0
        for i in range(starts[r], ends[r]):
            j = channels[i]
            v = values[i] if values.size > 0 else one
            mark[j, r] = v
            _add_two(own, carried[0, j], carried[1, j], v)
        for k in range(n_rows):
            products[0, k, r], products[1, k, r] = own[0, k], own[1, k]
    if n_rows == 1:
        p, e = products[0, 0, 0], products[1, 0, 0]
        for u in range(steps):
            s = kind(0)
            for i in range(offsets[u], offsets[u + 1]):
                s += old_values[i] * mark[old_channels[i], 0]
            p = decay * p + s
            e += kind(filter_weights[u]) * (p - e)
            kappa[u, 0] = e
    else:
        for u in range(steps):
            w = kind(filter_weights[u])
            for k in range(n_rows):
                row = u * n_rows + k
                _weigh_row(
                    mark, old_channels, old_values, offsets[row], offsets[row + 1], decay, w,
                    products[0, k], products[1, k], kappa[row],
                )  # fmt: skip
    for r in range(n_rows):
        for i in range(starts[r], ends[r]):
            mark[channels[i], r] = 0


@kernel
def _add_two(own: Array, trace: Array, filtered: Array, v: Any) -> None:
    """Add ``v`` times trace and filtered trace."""
    first, second, n, vs = own[0], own[1], 0, spread(v)
    while n < whole(trace):
        store(first, n, load(first, n) + vs * load(trace, n))
        store(second, n, load(second, n) + vs * load(filtered, n))
        n += lanes(own)
    for k in range(n, trace.size):
        first[k] += v * trace[k]
        second[k] += v * filtered[k]


@kernel
def _weigh_row(
    mark: Array,
    channels: Array,
    values: Array,
    first: int,
    last: int,
    decay: Any,
    w: Any,
    p: Array,
    e: Array,
    out: Array,
) -> None:
    """Take ``P`` and ``kappa`` of an older row over its time step; four vectors at a time."""
    lane, n = lanes(mark), 0
    falls, passes, zeros = spread(decay), spread(w), spread(decay - decay)
    while n < p.size:
        s0, s1, s2, s3 = zeros, zeros, zeros, zeros
        if n + 4 * lane <= p.size:
            for i in range(first, last):
                row, v = mark[channels[i]], spread(values[i])
                s0 = s0 + v * load(row, n)
                s1 = s1 + v * load(row, n + lane)
                s2 = s2 + v * load(row, n + 2 * lane)
                s3 = s3 + v * load(row, n + 3 * lane)
            _follow(falls, passes, s0, p, e, out, n)
            _follow(falls, passes, s1, p, e, out, n + lane)
            _follow(falls, passes, s2, p, e, out, n + 2 * lane)
            _follow(falls, passes, s3, p, e, out, n + 3 * lane)
            n += 4 * lane
        else:
            for i in range(first, last):
                s0 = s0 + spread(values[i]) * load(mark[channels[i]], n)
            _follow(falls, passes, s0, p, e, out, n)
            n += lane


@kernel
def _follow(falls: Any, passes: Any, s: Any, p: Array, e: Array, out: Array, n: int) -> None:
    """``p = decay p + s;  e += w (p - e)``, of one vector."""
    new = falls * load(p, n) + s
    store(p, n, new)
    new = load(e, n) + passes * (new - load(e, n))
    store(e, n, new)
    store(out, n, new)


@kernel
def pay(currents: Array, kappa: Array, deltas: Array, first: int, last: int, n_rows: int) -> None:
    """``currents[r] -= sum of kappa[m, r] * deltas[m]`` over ``m`` from ``first`` to ``last``.

    ``currents`` ``(R, N)``, of which the first ``n_rows`` rows; ``deltas`` as :func:`settle` has
    them.
    """
    size = currents.shape[1]
    factors = np.empty((n_rows, last - first), deltas.dtype)
    for m in range(first, last):
        for r in range(n_rows):
            factors[r, m - first] = -kappa[m, r]
    if n_rows >= 4:
        for tile in range(deltas.shape[0]):
            begin = tile * TILE
            table = deltas[tile, first:last]
            add_matrix(factors, table, currents[:n_rows], begin, min(begin + TILE, size))
        return
    index = np.arange(first, last).astype(np.int32)
    part = np.zeros(TILE, deltas.dtype)
    for tile in range(deltas.shape[0]):
        width = min(TILE, size - tile * TILE)
        for r in range(n_rows):
            row = currents[r, tile * TILE : tile * TILE + width]
            part[:width] = row
            add_scaled(deltas[tile], 0, index, factors[r], 0, last - first, part, 0, part)
            row[:] = part[:width]


@kernel
def keep(delta: Array, rate: float, deltas: Array, m: int) -> None:
    """``deltas[m] = rate * delta``, ``delta`` ``(N,)``; ``deltas`` as :func:`settle` has them."""
    scale = deltas.dtype.type(rate)
    for tile in range(deltas.shape[0]):
        kept = deltas[tile, m]
        width = min(TILE, delta.size - tile * TILE)
        part = delta[tile * TILE : tile * TILE + width]
        for n in range(width):
            kept[n] = scale * part[n]


@kernel
def remember(
    starts: Array,
    ends: Array,
    channels: Array,
    values: Array,
    n_rows: int,
    step: int,
    offsets: Array,
    old_channels: Array,
    old_values: Array,
) -> None:
    """Note a step's rows behind those of the window's earlier steps."""
    at = offsets[step * n_rows]
    for r in range(n_rows):
        for i in range(starts[r], ends[r]):
            old_channels[at] = channels[i]
            old_values[at] = values[i] if values.size > 0 else 1
            at += 1
        offsets[step * n_rows + r + 1] = at


@kernel
def settle(
    weights: Array,
    carried: Array,
    offsets: Array,
    old_channels: Array,
    old_values: Array,
    filter_weights: Array,
    deltas: Array,
    steps: int,
    learned: bool,
    beta: float,
) -> None:
    """Write the window's updates into ``weights`` ``(I, N)``, and take the traces over it.

    Parameters
    ----------
    weights, carried, offsets, old_channels, old_values, filter_weights, steps, beta
        As in :func:`weigh`.
    deltas : ndarray, shape (tiles, (K + 2) * Q, TILE)
        Modulators, each times its step size: ``K * Q`` rows cut into column tiles, so that those
        of a tile lie side by side. Used up, as the places behind them are.
    learned : bool
        Whether there are any.
    """
    inputs = weights.shape[0]
    n_rows = carried.shape[2]
    kind = weights.dtype.type
    if learned:
        for tile in range(deltas.shape[0]):
            for k in range(n_rows):
                _reverse(deltas[tile], k, n_rows, steps, filter_weights, beta)
        # Traces of many rows are a matrix that is not sparse; those of few mostly are.
        many = n_rows >= MATRIX
        if many:
            _write_carried(weights, carried, deltas, steps)
        most = offsets[steps * n_rows] + (0 if many else 2 * n_rows * inputs)
        pointers = np.zeros(inputs + 1, np.int64)
        index, factors = np.empty(most, np.int32), np.empty(most, weights.dtype)
        _list_terms(
            not many, carried, offsets, old_channels, old_values, steps, pointers, index, factors
        )
        _write(weights, deltas, pointers, index, factors)
    # The same recursion for numbers, from a cotangent of 1 on e behind the window.
    rest, total = 1.0, 0.0
    for later in range(steps):
        u = steps - 1 - later
        total = beta * total + filter_weights[u] * rest
        rest *= 1.0 - filter_weights[u]
    keep, kept = kind(rest), kind(beta * total)
    fall = kind(beta**steps)
    for j in range(inputs):
        trace, filtered = carried[0, j], carried[1, j]
        for k in range(n_rows):
            if trace[k] != 0 or filtered[k] != 0:
                filtered[k] = keep * filtered[k] + kept * trace[k]
                trace[k] *= fall
                if abs(trace[k]) < SILENT and abs(filtered[k]) < SILENT:
                    trace[k], filtered[k] = 0, 0
    rest, total, power = 1.0, 0.0, 1.0
    for later in range(steps):
        u = steps - 1 - later
        total = beta * total + filter_weights[u] * rest
        rest *= 1.0 - filter_weights[u]
        to_trace, to_filtered = kind(power), kind(total)
        power *= beta
        for k in range(n_rows):
            for i in range(offsets[u * n_rows + k], offsets[u * n_rows + k + 1]):
                carried[0, old_channels[i], k] += to_trace * old_values[i]
                carried[1, old_channels[i], k] += to_filtered * old_values[i]


@kernel
def _reverse(
    rows: Array, k: int, n_rows: int, steps: int, filter_weights: Array, beta: float
) -> None:
    """Run row ``k``'s modulators in a tile backwards; ``q`` and ``beta p`` come behind them."""
    kind = rows.dtype.type
    decay, one = kind(beta), kind(1)
    q, p = rows[steps * n_rows + k], rows[(steps + 1) * n_rows + k]
    q[:] = 0
    p[:] = 0
    for later in range(steps):
        u = steps - 1 - later
        w = kind(filter_weights[u])
        g = rows[u * n_rows + k]
        for n in range(TILE):
            value = q[n] + g[n]
            total = decay * p[n] + w * value
            p[n] = total
            g[n] = total
            q[n] = (one - w) * value
    for n in range(TILE):
        p[n] *= decay


@kernel
def _list_terms(
    traces: bool,
    carried: Array,
    offsets: Array,
    channels: Array,
    values: Array,
    steps: int,
    pointers: Array,
    index: Array,
    factors: Array,
) -> None:
    """List what is added to each input's weights: rows of the modulators, and factors.

    Input ``j`` has those from ``pointers[j]`` to ``pointers[j + 1]``: its traces times ``q`` and
    ``p``, which follow the rows of the window, and its events times the rows they came in. Without
    ``traces``, only the latter.
    """
    inputs, n_rows = carried.shape[1], carried.shape[2]
    rows = steps * n_rows
    for i in range(offsets[0], offsets[rows]):
        pointers[channels[i] + 1] += 1
    for j in range(inputs):
        for k in range(n_rows if traces else 0):
            pointers[j + 1] += 1 if carried[0, j, k] != 0 else 0
            pointers[j + 1] += 1 if carried[1, j, k] != 0 else 0
    for j in range(inputs):
        pointers[j + 1] += pointers[j]
    for j in range(inputs):
        place = pointers[j]
        for k in range(n_rows if traces else 0):
            if carried[1, j, k] != 0:
                index[place], factors[place] = rows + k, -carried[1, j, k]
                place += 1
            if carried[0, j, k] != 0:
                index[place], factors[place] = rows + n_rows + k, -carried[0, j, k]
                place += 1
        pointers[j] = place
    for m in range(rows):
        for i in range(offsets[m], offsets[m + 1]):
            place = pointers[channels[i]]
            index[place], factors[place] = m, -values[i]
            pointers[channels[i]] = place + 1
    for j in range(inputs, 0, -1):
        pointers[j] = pointers[j - 1]
    pointers[0] = 0


@kernel
def _write_carried(weights: Array, carried: Array, deltas: Array, steps: int) -> None:
    """Add the terms of traces from before the window, as matrix products."""
    inputs, n_rows = carried.shape[1], carried.shape[2]
    size, few = weights.shape[1], 128
    factors = np.empty((few, 2 * n_rows), weights.dtype)
    begin = steps * n_rows
    for tile in range(deltas.shape[0]):
        table = deltas[tile, begin : begin + 2 * n_rows]
        first = tile * TILE
        for j in range(0, inputs, few):
            count = min(few, inputs - j)
            for i in range(count):
                trace, filtered = carried[0, j + i], carried[1, j + i]
                for k in range(n_rows):
                    factors[i, k], factors[i, n_rows + k] = -filtered[k], -trace[k]
            add_matrix(
                factors[:count], table, weights[j : j + count], first, min(first + TILE, size)
            )


@kernel
def _write(weights: Array, deltas: Array, pointers: Array, index: Array, factors: Array) -> None:
    """``weights[j] += sum over input j's terms of factor * deltas[row]``."""
    inputs, size = weights.shape
    part = np.zeros(TILE, weights.dtype)
    for tile in range(deltas.shape[0]):
        table = deltas[tile]
        width = min(TILE, size - tile * TILE)
        for j in range(inputs):
            first, last = pointers[j], pointers[j + 1]
            if first == last:
                continue
            row = weights[j, tile * TILE : tile * TILE + width]
            if width == TILE:
                add_scaled(table, 0, index, factors, first, last, row, 0, row)
            else:
                part[:width] = row
                add_scaled(table, 0, index, factors, first, last, part, 0, part)
                row[:] = part[:width]
