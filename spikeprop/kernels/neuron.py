r"""The leaky neuron with its evidence filters over a window of steps, and the filters in reverse.

Forward, row by row (see ``spikeprop.neurons.lif`` for the reset mechanisms):

    mem_t = beta * mem_{t-1} + current_t - reset_t
    u_t   = mem_t,  or the free potential  beta * u_{t-1} + current_t
    v_t   = v_{t-1} + w_t (u_t - v_{t-1})                        for each filter

Reverse, for modulators ``delta_t = d L_t / d v_t`` while the weights stand still:

    q <- q + delta_t;  p <- beta p + w_t q;  g_t = p;  q <- (1 - w_t) q

so that the sum of ``delta_t (x) e_t`` over the window is the sum of ``g_t (x) x_t``, plus
``beta p (x) trace`` and ``q (x) e`` with the traces from before the window.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from spikeprop.kernels import kernel
from spikeprop.kernels.lanes import above, lanes, list_above, load, spread, store, whole

Array = NDArray[Any]

__all__ = [
    "RESETS",
    "advance_row",
    "integrate",
    "keeps_nothing",
    "reverse",
    "reverse_row",
    "reverse_sum",
]

RESETS = {"none": 0, "subtract": 1, "zero": 2}


@kernel
def integrate(
    x: Array,
    mem: Array,
    free: Array,
    threshold: Array,
    beta: float,
    reset: int,
    weights: Array,
    evidence: Array,
    out: Array,
    spikes: Array,
    starts: Array,
    ends: Array,
    counts: Array,
    n_recordings: int,
    first_step: int,
    last_step: int,
    first_row: int,
    last_row: int,
) -> None:
    """Run currents ``x`` ``(L, R, N)`` of some rows and steps through neuron and filters.

    ``mem``, ``free`` ``(R, N)`` and ``evidence`` ``(filters, R, N)`` go on from where they are; an
    empty ``free`` says that evidence is made of the voltage. The filters'
    values of every step are written into ``out`` ``(L, R, filters * N)``, or over ``x`` if ``out``
    is empty and there is one filter. The spikes of a row are listed in
    ``spikes[l, r]`` (at least ``N + 1`` places), from ``starts`` to ``ends`` of the flattened list,
    and counted into ``counts`` ``(N,)`` for recordings.
    """
    n_rows, n_neurons = x.shape[1], x.shape[2]
    filters = evidence.shape[0]
    kind = mem.dtype.type
    decay, apart = kind(beta), free.size > 0
    in_place = out.size == 0
    c, m, e, places = x.reshape(-1), mem.reshape(-1), evidence.reshape(-1), spikes.reshape(-1)
    u, o = free.reshape(-1) if apart else m, out.reshape(-1)
    for r in range(first_row, last_row):
        j = r * n_neurons
        for step in range(first_step, last_step):
            i, start = step * n_rows + r, (step * spikes.shape[1] + r) * spikes.shape[2]
            if in_place:
                w = kind(weights[0, step])
                fired = advance_row(
                    c, i * n_neurons, m, u, e, j, threshold, decay, w, reset, apart, places, start
                )
            else:
                fired = _fire(
                    c, i * n_neurons, m, u, j, threshold, decay, reset, apart, places, start
                )
                for k in range(filters):
                    to, of = (i * filters + k) * n_neurons, (k * mem.shape[0] + r) * n_neurons
                    w = kind(weights[k, step])
                    for n in range(n_neurons):
                        value = e[of + n] + w * (u[j + n] - e[of + n])
                        e[of + n] = value
                        o[to + n] = value
            starts[step, r] = start
            ends[step, r] = start + fired
            if r < n_recordings:
                for k in range(start, start + fired):
                    counts[places[k]] += 1


@kernel
def advance_row(
    c: Array,
    i: int,
    m: Array,
    u: Array,
    e: Array,
    j: int,
    threshold: Array,
    decay: Any,
    w: Any,
    reset: int,
    apart: bool,
    places: Array,
    k: int,
) -> int:
    """Do one row's step with one filter, whose value takes the place of the current.

    Arrays are flat, since to take a row out of a matrix takes as long as ten loads: currents ``c``
    from ``i`` on, voltage ``m``, potential ``u`` and evidence ``e`` from ``j`` on. What fired
    is listed in ``places`` from ``k`` on, where there is room for ``N``; return how many did.
    ``apart`` says that ``u`` is the free potential and not the voltage ``m`` itself.
    """
    kind, size, lane = c.dtype.type, threshold.size, lanes(c)
    zero, falls, passes = kind(0), spread(decay), spread(w)
    zeros = spread(zero)
    present = w == kind(1)
    fired, n, wide = k, 0, whole(threshold)
    while n < wide:
        now, old, limit = load(c, i + n), load(m, j + n), load(threshold, n)
        potential, before = load(u, j + n), load(e, j + n)
        if reset == 1:
            new = falls * old + now - above(old, limit, limit, zeros)
        elif reset == 2:
            new = falls * above(old, limit, zeros, old) + now
        else:
            new = falls * old + now
        store(m, j + n, new)
        fired = list_above(new, limit, n, places, fired)
        if apart:
            new = falls * potential + now
            store(u, j + n, new)
        if not present:
            new = before + passes * (new - before)
        store(e, j + n, new)
        store(c, i + n, new)
        n += lane
    while n < size:
        fired = _fire_one(c, i, m, u, j, threshold, decay, reset, apart, places, n, fired)
        value = e[j + n] + w * (u[j + n] - e[j + n])
        e[j + n] = value
        c[i + n] = value
        n += 1
    return fired - k


@kernel
def _fire(
    c: Array,
    i: int,
    m: Array,
    u: Array,
    j: int,
    threshold: Array,
    decay: Any,
    reset: int,
    apart: bool,
    places: Array,
    k: int,
) -> int:
    """Do as :func:`advance_row` without a filter."""
    fired = k
    for n in range(threshold.size):
        fired = _fire_one(c, i, m, u, j, threshold, decay, reset, apart, places, n, fired)
    return fired - k


@kernel
def _fire_one(
    c: Array,
    i: int,
    m: Array,
    u: Array,
    j: int,
    threshold: Array,
    decay: Any,
    reset: int,
    apart: bool,
    places: Array,
    n: int,
    fired: int,
) -> int:
    """Do one neuron's step; the equation that vectors follow."""
    zero, now, old, limit = c.dtype.type(0), c[i + n], m[j + n], threshold[n]
    if apart:
        u[j + n] = decay * u[j + n] + now
    if reset == 1:
        new = decay * old + now - (limit if old > limit else zero)
    elif reset == 2:
        new = decay * (zero if old > limit else old) + now
    else:
        new = decay * old + now
    m[j + n] = new
    places[fired] = n
    return fired + (1 if new > limit else 0)


@kernel
def reverse(
    delta: Array,
    weights: Array,
    beta: float,
    q: Array,
    p: Array,
    tiles: Array,
    first_row: int,
    last_row: int,
) -> None:
    """Run rows of modulators ``(L, R, filters * N)`` backwards within a window.

    ``g_t`` goes into ``tiles`` ``(tiles, L * rows, width)``, a matrix ``(L * rows, N)`` cut into
    column tiles; ``q`` ``(filters, rows, N)`` and ``p`` ``(rows, N)`` end as the cotangents of the
    filtered traces and of the trace from before the window. Rows behind ``p``'s are left out.
    """
    steps = delta.shape[0]
    n_rows, n_neurons = p.shape
    filters = q.shape[0]
    kind = p.dtype.type
    decay = kind(beta)
    width = tiles.shape[2]
    p[first_row:last_row] = 0
    q[:, first_row:last_row] = 0
    present = keeps_nothing(weights)
    for back in range(steps):
        step = steps - 1 - back
        for r in range(first_row, last_row):
            pr = p[r]
            for k in range(filters):
                d = delta[step, r, k * n_neurons : (k + 1) * n_neurons]
                qr = q[k, r]
                w = kind(weights[k, step])
                keep = decay if k == 0 else kind(1)
                reverse_row(d, qr, pr, w, keep, present)
            for tile in range(tiles.shape[0]):
                first = tile * width
                g = tiles[tile, step * n_rows + r]
                for n in range(min(width, n_neurons - first)):
                    g[n] = pr[first + n]
    for r in range(first_row, last_row):
        pr = p[r]
        for n in range(n_neurons):
            pr[n] *= decay


@kernel
def keeps_nothing(weights: Array) -> bool:
    """Tell whether evidence is the present alone, for all filters: then ``q`` stays 0."""
    present = True
    for w in weights.flat:
        present = present and w == 1.0
    return present


@kernel
def reverse_row(d: Array, q: Array, p: Array, w: Any, keep: Any, present: bool) -> None:
    """Do one row's step back through one filter."""
    kind = p.dtype.type
    rest = kind(1) - w
    falls, passes, rests = spread(keep), spread(w), spread(rest)
    n, wide = 0, whole(p)
    while n < wide:
        value = load(d, n)
        if not present:
            value = value + load(q, n)
            store(q, n, rests * value)
        store(p, n, falls * load(p, n) + passes * value)
        n += lanes(p)
    while n < p.size:
        last = q[n] + d[n]
        p[n] = keep * p[n] + w * last
        q[n] = rest * last
        n += 1


@kernel
def reverse_sum(
    d: Array, i: int, q: Array, p: Array, w: Any, keep: Any, present: bool, total: Array
) -> None:
    """Do as :func:`reverse_row` with ``d`` from ``i`` on, where the new ``p`` is put, too.

    And added to ``total``.
    """
    kind = p.dtype.type
    rest = kind(1) - w
    falls, passes, rests = spread(keep), spread(w), spread(rest)
    n, wide = 0, whole(p)
    while n < wide:
        value = load(d, i + n)
        if not present:
            value = value + load(q, n)
            store(q, n, rests * value)
        value = falls * load(p, n) + passes * value
        store(p, n, value)
        store(d, i + n, value)
        store(total, n, load(total, n) + value)
        n += lanes(p)
    while n < p.size:
        last = q[n] + d[i + n]
        p[n] = keep * p[n] + w * last
        d[i + n] = p[n]
        total[n] += p[n]
        q[n] = rest * last
        n += 1
