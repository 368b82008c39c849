"""One block over all steps of a batch, with Adam's step at every one of them.

Adam moves every weight at every step, so that a step's cost is a dense product, traces by
modulators, and a pass over weights and moments. Here the product's result goes into the step
without being written, and inputs that have never been active, nor moved, are left out: which is
what Adam's step says of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeprop.kernels import kernel
from spikeprop.kernels.adam import corrections, step_row
from spikeprop.kernels.cosine import ROWS, compare_step, directions
from spikeprop.kernels.deferred import add_inputs, add_matrix
from spikeprop.kernels.lanes import aligned, lanes, prefetch
from spikeprop.kernels.meeting import GONE, LINE, post, wait
from spikeprop.kernels.neuron import integrate
from spikeprop.kernels.vector import TILE

Array = NDArray[Any]

__all__ = ["help_learning", "learn", "prepare"]

#: Inputs whose gradients are made at a time: as many rows of a tile stay in the first-level cache,
#: beside the modulators of some recordings.
INPUTS = 16


@kernel
def learn(
    events: Any,
    synapse: Any,
    currents: Array,
    traces: tuple[Array, Array],
    asleep: Array,
    parts: Array,
    posts: Array,
    signal: Array,
    neurons: Any,
    loss: Any,
    found: Any,
    of_bias: tuple[Array, Array, Array],
    room: Any,
) -> float:
    """Learn from some steps of sequences, and list the block's spikes.

    Parameters
    ----------
    events : tuple
        ``starts, ends`` ``(L, driven rows)``, channels and values: of the rows that come through
        the synapse, which learn. Empty values are ones.
    synapse : tuple
        Weights ``(I, N)`` and bias ``(N,)`` or ``(0,)``, which are moved, Adam's first and second
        moment of the weights, ``(0, 0)`` for a block that does not learn, and ``numbers``: rate,
        two betas, eps, and how many steps have been made.
    currents : ndarray, shape (1, R, N)
        For one step's.
    traces : tuple
        Traces and filtered traces ``(2, I, driven rows)``, which go on from where they are, and the
        same ``(2,)`` of the bias, a synapse from a constant 1.
    asleep : ndarray of bool, shape (I,)
        Inputs whose weights have no moments: see :func:`prepare`.
    parts : ndarray of int64, shape (threads, 2)
        First neuron of each thread, and the one behind its last. This is the first thread; each
        other one is in :func:`help_learning` meanwhile.
    posts : ndarray of int64
        Where they meet: :func:`spikeprop.kernels.meeting.board`.
    signal : ndarray, shape (L, C, N)
        Currents of the rows behind them, which come in by no synapse.
    neurons : tuple
        ``mem, free, evidence, threshold, beta, reset, passing``, from their start on: see
        :func:`spikeprop.kernels.neuron.integrate`.
    loss : tuple
        ``labels, fixed, tau, rectify, smallest`` of :func:`spikeprop.kernels.cosine.compare`, and
        scores ``(B, C)``: their sum, to which is added, and those of the last step.
    found : tuple
        ``spikes, starts, ends, counts``, which are filled: see
        :func:`spikeprop.kernels.neuron.integrate`.
    of_bias : tuple
        Moments ``(N,)``, or ``(0,)`` for a bias that is not trained, and numbers.
    room : tuple
        To work in: the first of what :func:`prepare` returns.

    Returns
    -------
    float
        Mean loss, summed over time.
    """
    steps, total = events[0].shape[0], 0.0
    for step in range(steps + 1):
        post(posts, 0, step + 1)
        turn(step, events, synapse, currents, traces, asleep, parts[0, 0], parts[0, 1])
        for k in range(1, len(parts)):
            wait(posts, k * LINE, step + 1)
        if step < steps:
            total += respond(
                step, events, signal, synapse, neurons, currents, traces, loss, found, of_bias,
                room, asleep,
            )  # fmt: skip
    return total


@kernel
def help_learning(
    events: Any,
    synapse: Any,
    currents: Array,
    traces: tuple[Array, Array],
    asleep: Array,
    parts: Array,
    posts: Array,
    k: int,
) -> None:
    """Do thread ``k``'s part of :func:`learn`."""
    for step in range(events[0].shape[0] + 1):
        if wait(posts, 0, step + 1) == GONE:
            return
        turn(step, events, synapse, currents, traces, asleep, parts[k, 0], parts[k, 1])
        post(posts, k * LINE, step + 1)


@kernel
def prepare(synapse: Any, loss: Any) -> tuple[Any, Array]:
    """Return room for :func:`respond` to work in, and which inputs' weights have no moments."""
    weights, _, first_moment, second_moment, _ = synapse
    fixed, smallest, logits = loss[1], loss[4], loss[6]
    size, classes = weights.shape[1], logits.shape[1]
    a, d = aligned(ROWS + 1, size, weights), np.empty((ROWS, classes), weights.dtype)
    vectors = aligned(classes, size, weights)
    lengths, along = np.empty(classes, weights.dtype), np.zeros(classes, weights.dtype)
    if fixed.size > 0:
        directions(fixed, vectors, smallest)
    asleep = np.zeros(weights.shape[0] if first_moment.size else 0, np.bool_)
    if first_moment.size:
        _find_asleep(first_moment, second_moment, asleep)
    return (a, d, vectors, lengths, along), asleep


@kernel
def turn(
    step: int,
    events: Any,
    synapse: Any,
    currents: Array,
    traces: tuple[Array, Array],
    asleep: Array,
    first: int,
    last: int,
) -> None:
    """Go from one step to the next, for neurons ``first`` to ``last``, which begin with a tile.

    That is to step on the gradient of the one before ``step``, whose modulators stand where its
    currents were, and to make the currents of ``step``. Before the first there is no gradient,
    behind the last there are no currents.
    """
    starts, ends, channels, values = events
    weights, bias, first_moment, second_moment, numbers = synapse
    driven = starts.shape[1]
    if step > 0 and first_moment.size > 0:
        _step_weights(
            traces[0][1], currents[0, :driven], asleep, weights, first_moment, second_moment,
            numbers, numbers[4] + step, first, last,
        )  # fmt: skip
    if step == starts.shape[0]:
        return
    for r in range(driven):
        row = currents[0, r]
        for n in range(first, last):
            row[n] = bias[n] if bias.size > 0 else 0
        add_inputs(channels, values, starts[step, r], ends[step, r], weights, row, first, last)


@kernel
def respond(
    step: int,
    events: Any,
    signal: Array,
    synapse: Any,
    neurons: Any,
    currents: Array,
    traces: tuple[Array, Array],
    loss: Any,
    found: Any,
    of_bias: tuple[Array, Array, Array],
    room: Any,
    asleep: Array,
) -> float:
    """Let neurons take a step's currents, make modulators of these, and move the bias."""
    starts, ends, channels, values = events
    weights, bias, first_moment, _, _ = synapse
    mem, free, evidence, threshold, beta, reset, passing = neurons
    carried, constant = traces
    labels, fixed, tau, rectify, smallest, logits_sum, logits = loss
    spikes, new_starts, new_ends, counts = found
    first_of_bias, second_of_bias, numbers = of_bias
    a, d, vectors, lengths, along = room
    driven, size, kind = starts.shape[1], threshold.size, weights.dtype.type
    in_place = np.empty((0, 0, 0), weights.dtype)
    for r in range(driven, currents.shape[1]):
        currents[0, r] = signal[step, r - driven]
    integrate(
        currents, mem, free, threshold, beta, reset, passing[:, step : step + 1].copy(), evidence,
        in_place, spikes[step : step + 1], new_starts[step : step + 1], new_ends[step : step + 1],
        counts, labels.size, 0, 1, 0, currents.shape[1],
    )  # fmt: skip
    skipped = step * spikes.shape[1] * spikes.shape[2]
    for r in range(currents.shape[1]):
        new_starts[step, r] += skipped
        new_ends[step, r] += skipped
    mean = compare_step(
        currents[0], labels, fixed.size == 0, True, tau, rectify, smallest, logits, a, d, vectors,
        lengths, along,
    )  # fmt: skip
    logits_sum += logits
    w = passing[0, step]
    constant[0] = beta * constant[0] + 1.0
    constant[1] += w * (constant[0] - constant[1])
    if first_moment.size == 0:
        return mean
    _advance_traces(
        starts[step], ends[step], channels, values, carried, kind(beta), kind(w), asleep
    )
    if first_of_bias.size:
        total = a[0]
        total[:] = 0
        for r in range(driven):
            row = currents[0, r]
            for n in range(size):
                total[n] += row[n]
        scale = kind(constant[1])
        for n in range(size):
            total[n] *= scale
        beta1, beta2, eps = numbers[1], numbers[2], numbers[3]
        scaled, root = corrections(numbers[0], beta1, beta2, numbers[4] + step + 1)
        step_row(bias, first_of_bias, second_of_bias, total, beta1, beta2, scaled, root, eps)
    return mean


@kernel
def _find_asleep(first_moment: Array, second_moment: Array, asleep: Array) -> None:
    """Note inputs whose weights have no moments."""
    for j in range(asleep.size):
        moved = False
        m, v = first_moment[j], second_moment[j]
        for n in range(m.size):
            moved |= (m[n] != 0) | (v[n] != 0)
        asleep[j] = not moved


@kernel
def _advance_traces(
    starts: Array,
    ends: Array,
    channels: Array,
    values: Array,
    carried: Array,
    decay: Any,
    w: Any,
    asleep: Array,
) -> None:
    """Take traces and filtered traces over a step; who is active is awake."""
    one = carried.dtype.type(1)
    for r in range(starts.size):
        for i in range(starts[r], ends[r]):
            asleep[channels[i]] = False
    for j in range(asleep.size):
        if not asleep[j]:
            trace = carried[0, j]
            for r in range(trace.size):
                trace[r] *= decay
    for r in range(starts.size):
        for i in range(starts[r], ends[r]):
            carried[0, channels[i], r] += values[i] if values.size > 0 else one
    for j in range(asleep.size):
        if not asleep[j]:
            trace, filtered = carried[0, j], carried[1, j]
            for r in range(trace.size):
                filtered[r] += w * (trace[r] - filtered[r])


@kernel
def _step_weights(
    traces: Array,
    delta: Array,
    asleep: Array,
    weights: Array,
    first_moment: Array,
    second_moment: Array,
    numbers: Array,
    t: float,
    first_column: int,
    last_column: int,
) -> None:
    """Step on the gradient ``traces delta``, some inputs and a tile of outputs at a time."""
    rows = traces.shape[1]
    factors = np.empty((INPUTS, rows), weights.dtype)
    part = aligned(INPUTS, TILE, weights)
    chosen = np.empty(INPUTS, np.int64)
    scale, root = corrections(numbers[0], numbers[1], numbers[2], t)
    kind = weights.dtype.type
    b1, b2, c1, c2 = (
        kind(numbers[1]), kind(numbers[2]), kind(1.0 - numbers[1]), kind(1.0 - numbers[2])
    )  # fmt: skip
    size, over, small = kind(scale), kind(root), kind(numbers[3])
    table = aligned(rows, TILE, weights)
    for first in range(first_column, last_column, TILE):
        width = min(TILE, last_column - first)
        for r in range(rows):
            table[r, :width] = delta[r, first : first + width]
        j = 0
        while j < asleep.size:
            count = 0
            while j < asleep.size and count < INPUTS:
                if not asleep[j]:
                    chosen[count] = j
                    factors[count] = traces[j]
                    count += 1
                    for n in range(first, first + width, lanes(weights)):
                        prefetch(weights[j], n)
                        prefetch(first_moment[j], n)
                        prefetch(second_moment[j], n)
                j += 1
            part[:count] = 0
            add_matrix(factors[:count], table, part, 0, width)
            for k in range(count):
                i = chosen[k]
                w, g = weights[i, first : first + width], part[k]
                m = first_moment[i, first : first + width]
                v = second_moment[i, first : first + width]
                for n in range(width):  # what step_row does, without its call
                    a = b1 * m[n] + c1 * g[n]
                    b = b2 * v[n] + c2 * g[n] * g[n]
                    m[n] = a
                    v[n] = b
                    w[n] -= size * a / (np.sqrt(b) * over + small)
