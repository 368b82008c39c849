r"""Weight updates that wait: an update at every time step without touching every weight in it.

Plain gradient steps of size ``lr`` on ``grad_s = sum_k delta_s^k (x) e_s^k`` (k over rows) leave

    W_t = W_0 - lr sum_{s<t} sum_k delta_s^k (x) e_s^k

so that the current of a row r, which is all that anybody wants of ``W_t`` at step t, is

    x_t^r W_t^T = x_t^r W_0^T - sum_{s<t} sum_k kappa_s^{kr} (lr delta_s^k),  kappa_s^{kr} = x_t^r . e_s^k

with the weights as they were at the beginning of a *window* of K steps. ``e_s`` is never formed
within it. With the neuron's decay ``beta``, the evidence filter's weights ``w_s``, and trace and
filtered trace from before the window,

    trace_s = beta trace_{s-1} + x_s,               e_s = e_{s-1} + w_s (trace_s - e_{s-1}),
    P_s     = beta P_{s-1}     + x_t . x_s,     kappa_s = kappa_{s-1} + w_s (P_s - kappa_{s-1}),
    P_{-1}  = x_t . trace_0,                    kappa_{-1} = x_t . e_0,

since the product with ``x_t`` is linear: products of sparse rows only. At the window's end the
reverse filter (:mod:`spikeprop.kernels.neuron`) writes all K updates at once, an input's weights one
after another,

    W_K = W_0 - sum_u g_u (x) x_u - beta p (x) trace_0 - q (x) e_0,
    backwards in s:  q <- q + lr delta_s;  p <- beta p + w_s q;  g_s = p;  q <- (1 - w_s) q,

and trace and filtered trace are taken over the window. Inputs without a trace are not touched.

Nothing is divided by a power of a decay, as a difference of prefix sums would be: no under- or
overflow, nothing cancels, and any decay from 0 to 1 and any filter weights will do. Weights differ
from those of a loop over the steps by rounding alone. Exact for plain gradient steps: momentum,
weight decay or second moments move weights whose input is silent, too.

Cost per step for N outputs, Q rows and a inputs active in each: Q a N for the currents, K/2 Q^2 (N +
a) for what is owed, and at the window's end 1/K (2 Q I N) + Q a N.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeprop.kernels import kernel

Array = NDArray[Any]

__all__ = ["LANES", "add_inputs", "pay", "remember", "settle", "weigh"]

#: Rows are worked on in groups of so many: a number that the compiler knows fills vector units.
LANES = 16
#: Columns that are worked on at a time, so that they stay in the first-level cache.
COLUMNS = 256
#: A trace below this has no influence on anything; left alone it would become denormal.
SILENT = 1e-30


@kernel
def add_inputs(
    channels: Array, values: Array, first: int, last: int, weights: Array, row: Array
) -> None:
    """``row += sum over events of value * weights[channel]``; empty ``values`` are ones."""
    size = row.size
    i = first
    if values.size > 0:
        while i < last:
            v, a = values[i], weights[channels[i]]
            for n in range(size):
                row[n] += v * a[n]
            i += 1
        return
    while i + 4 <= last:  # four rows of weights at once: more of them on their way from memory
        a, b = weights[channels[i]], weights[channels[i + 1]]
        c, d = weights[channels[i + 2]], weights[channels[i + 3]]
        for n in range(size):
            row[n] += (a[n] + b[n]) + (c[n] + d[n])
        i += 4
    while i < last:
        a = weights[channels[i]]
        for n in range(size):
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
    for r in range(n_rows):
        for i in range(starts[r], ends[r]):
            j = channels[i]
            v = values[i] if values.size > 0 else one
            mark[j, r] = v
            trace, filtered = carried[0, j], carried[1, j]
            for k in range(n_rows):
                products[0, k, r] += v * trace[k]
                products[1, k, r] += v * filtered[k]
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
                for group in range(0, kappa.shape[1], LANES):
                    s = kappa[row, group : group + LANES]
                    p = products[0, k, group : group + LANES]
                    e = products[1, k, group : group + LANES]
                    for r in range(LANES):
                        s[r] = 0
                    for i in range(offsets[row], offsets[row + 1]):
                        v = old_values[i]
                        m = mark[old_channels[i], group : group + LANES]
                        for r in range(LANES):
                            s[r] += v * m[r]
                    for r in range(LANES):
                        p[r] = decay * p[r] + s[r]
                        e[r] += w * (p[r] - e[r])
                        s[r] = e[r]
    for r in range(n_rows):
        for i in range(starts[r], ends[r]):
            mark[channels[i], r] = 0


@kernel
def pay(currents: Array, kappa: Array, deltas: Array, first: int, last: int, n_rows: int) -> None:
    """``currents[r] -= sum over m of kappa[m, r] * deltas[m]`` for ``m`` from ``first`` to ``last``.

    ``currents`` ``(R, N)``, of which the first ``n_rows`` rows; ``deltas`` ``(K * Q, N)``.
    """
    size = currents.shape[1]
    for begin in range(0, size, COLUMNS):
        end = min(begin + COLUMNS, size)
        m = first
        while m + 4 <= last:
            d0, d1 = deltas[m, begin:end], deltas[m + 1, begin:end]
            d2, d3 = deltas[m + 2, begin:end], deltas[m + 3, begin:end]
            for r in range(n_rows):
                k0, k1, k2, k3 = kappa[m, r], kappa[m + 1, r], kappa[m + 2, r], kappa[m + 3, r]
                row = currents[r, begin:end]
                for n in range(end - begin):
                    row[n] -= (k0 * d0[n] + k1 * d1[n]) + (k2 * d2[n] + k3 * d3[n])
            m += 4
        while m < last:
            d0 = deltas[m, begin:end]
            for r in range(n_rows):
                k0, row = kappa[m, r], currents[r, begin:end]
                for n in range(end - begin):
                    row[n] -= k0 * d0[n]
            m += 1


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
    deltas : ndarray, shape (K * Q, N)
        Modulators, each times its step size; used up.
    learned : bool
        Whether there are any.
    """
    inputs, size = weights.shape
    n_rows = carried.shape[2]
    kind = weights.dtype.type
    decay, one = kind(beta), kind(1)
    if learned:
        back = np.zeros((2, n_rows, size), weights.dtype)
        pointers = np.zeros(inputs + 1, np.int64)
        order = np.empty((offsets[steps * n_rows], 2), np.int64)
        for k in range(n_rows):
            q, p = back[0, k], back[1, k]
            for later in range(steps):
                u = steps - 1 - later
                w = kind(filter_weights[u])
                g = deltas[u * n_rows + k]
                for n in range(size):
                    value = q[n] + g[n]
                    total = decay * p[n] + w * value
                    p[n] = total
                    g[n] = total
                    q[n] = (one - w) * value
            for n in range(size):
                p[n] *= decay
        _sort(offsets, old_channels, steps * n_rows, pointers, order)
        for j in range(inputs):
            _write(
                weights[j], carried[0, j], carried[1, j], back, deltas, old_values, order,
                pointers[j], pointers[j + 1],
            )  # fmt: skip
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
def _sort(offsets: Array, channels: Array, rows: int, pointers: Array, order: Array) -> None:
    """Sort events by channel: ``order`` ``(events, 2)`` lists row and place, channel by channel."""
    for i in range(offsets[0], offsets[rows]):
        pointers[channels[i] + 1] += 1
    for j in range(pointers.size - 1):
        pointers[j + 1] += pointers[j]
    for m in range(rows):
        for i in range(offsets[m], offsets[m + 1]):
            place = pointers[channels[i]]
            order[place, 0], order[place, 1] = m, i
            pointers[channels[i]] = place + 1
    for j in range(pointers.size - 1, 0, -1):
        pointers[j] = pointers[j - 1]
    pointers[0] = 0


@kernel
def _write(
    row: Array,
    trace: Array,
    filtered: Array,
    back: Array,
    g: Array,
    values: Array,
    order: Array,
    first: int,
    last: int,
) -> None:
    """Write one input's updates: its events of the window, and what its traces brought along."""
    size = row.size
    for k in range(trace.size):
        a, b = trace[k], filtered[k]
        if a != 0 or b != 0:
            q, p = back[0, k], back[1, k]
            for n in range(size):
                row[n] -= a * p[n] + b * q[n]
    i = first
    while i + 2 <= last:
        v0, v1 = values[order[i, 1]], values[order[i + 1, 1]]
        g0, g1 = g[order[i, 0]], g[order[i + 1, 0]]
        for n in range(size):
            row[n] -= v0 * g0[n] + v1 * g1[n]
        i += 2
    if i < last:
        v0, g0 = values[order[i, 1]], g[order[i, 0]]
        for n in range(size):
            row[n] -= v0 * g0[n]
