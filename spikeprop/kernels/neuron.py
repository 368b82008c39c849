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

Array = NDArray[Any]

__all__ = ["RESETS", "integrate", "reverse"]

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
    n_neurons = x.shape[2]
    filters = evidence.shape[0]
    kind = mem.dtype.type
    decay = kind(beta)
    zero = kind(0)
    in_place = out.size == 0
    for r in range(first_row, last_row):
        m = mem[r]
        u = free[r] if free.size else m
        for step in range(first_step, last_step):
            c = x[step, r]
            if free.size:
                for n in range(n_neurons):
                    u[n] = decay * u[n] + c[n]
            if reset == 1:
                for n in range(n_neurons):
                    old = m[n]
                    m[n] = decay * old + c[n] - (threshold[n] if old > threshold[n] else zero)
            elif reset == 2:
                for n in range(n_neurons):
                    old = m[n]
                    m[n] = decay * (zero if old > threshold[n] else old) + c[n]
            else:
                for n in range(n_neurons):
                    m[n] = decay * m[n] + c[n]
            if in_place:
                e = evidence[0, r]
                w = kind(weights[0, step])
                for n in range(n_neurons):
                    value = e[n] + w * (u[n] - e[n])
                    e[n] = value
                    c[n] = value
            else:
                for k in range(filters):
                    e = evidence[k, r]
                    w = kind(weights[k, step])
                    o = out[step, r, k * n_neurons : (k + 1) * n_neurons]
                    for n in range(n_neurons):
                        value = e[n] + w * (u[n] - e[n])
                        e[n] = value
                        o[n] = value
            fired = 0
            places = spikes[step, r]
            for n in range(n_neurons):
                places[fired] = n
                if m[n] > threshold[n]:
                    fired += 1
            start = (step * spikes.shape[1] + r) * spikes.shape[2]
            starts[step, r] = start
            ends[step, r] = start + fired
            if r < n_recordings:
                for i in range(fired):
                    counts[places[i]] += 1


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
    for r in range(first_row, last_row):
        pr = p[r]
        pr[:] = 0
        q[:, r] = 0
        for back in range(steps):
            step = steps - 1 - back
            for k in range(filters):
                d = delta[step, r, k * n_neurons : (k + 1) * n_neurons]
                qr = q[k, r]
                w = kind(weights[k, step])
                rest = kind(1) - w
                keep = decay if k == 0 else kind(1)
                for n in range(n_neurons):
                    value = qr[n] + d[n]
                    pr[n] = keep * pr[n] + w * value
                    qr[n] = rest * value
            for tile in range(tiles.shape[0]):
                first = tile * width
                g = tiles[tile, step * n_rows + r]
                for n in range(min(width, n_neurons - first)):
                    g[n] = pr[first + n]
        for n in range(n_neurons):
            pr[n] *= decay
