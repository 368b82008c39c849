"""One block over all steps of a batch, with Adam's step at every one of them.

Adam moves every weight at every step, so that a step's cost is a dense product, traces by
modulators, and a pass over weights and moments. Here it is one pass, some inputs at a time: their
traces go on by a step, the product's result goes into Adam's step without leaving the first-level
cache, and the new weights, while they are near, make the next step's currents. Inputs that have
never been active, nor moved, are left out: which is what Adam's step says of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeprop.kernels import kernel
from spikeprop.kernels.adam import corrections, step_row
from spikeprop.kernels.blocks import ABREAST, HEIGHT, add_block
from spikeprop.kernels.cosine import ROWS, compare_step, directions
from spikeprop.kernels.lanes import aligned, lanes, load, root, spread, store
from spikeprop.kernels.meeting import GONE, LINE, post, wait
from spikeprop.kernels.neuron import integrate
from spikeprop.kernels.sparse import sort_events

Array = NDArray[Any]

__all__ = ["help_learning", "learn", "prepare", "sort_steps"]


@kernel
def sort_steps(
    starts: Array,
    ends: Array,
    channels: Array,
    values: Array,
    offsets: Array,
    first: int,
    last: int,
    pointers: Array,
    rows: Array,
    sorted_values: Array,
) -> None:
    """Sort the events of each of the steps ``first`` to ``last`` by channel.

    Step ``l``'s are those from ``offsets[l]`` to ``offsets[l + 1]`` of ``rows`` then, channel
    ``j``'s among them from ``pointers[l, j]`` to ``pointers[l, j + 1]``: the rows it came in, and
    its values, unless these are empty. Events come as in :mod:`spikeprop.kernels.sparse`.
    """
    for step in range(first, last):
        begin, end = offsets[step], offsets[step + 1]
        held = sorted_values[begin:end] if values.size > 0 else sorted_values
        sort_events(
            starts[step : step + 1], ends[step : step + 1], channels, values, starts.shape[1],
            pointers[step], rows[begin:end], held,
        )  # fmt: skip
        for j in range(pointers.shape[1]):
            pointers[step, j] += begin


@kernel
def learn(
    arrivals: Any,
    synapse: Any,
    currents: Array,
    traces: tuple[Array, Array],
    filters: tuple[float, Array],
    asleep: Array,
    deltas: Array,
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
    arrivals : tuple
        ``pointers, rows, values`` of :func:`sort_steps`: of the events that come through the
        synapse. Empty values are ones.
    synapse : tuple
        Weights ``(I, N)`` and bias ``(N,)`` or ``(0,)``, which are moved, Adam's first and second
        moment of the weights, ``(0, 0)`` for a block that does not learn, and ``numbers``: rate,
        two betas, eps, and how many steps have been made.
    currents : ndarray, shape (threads, R, N)
        For one step's, of the first thread, and what others add to them.
    traces : tuple
        Traces and filtered traces ``(2, I, at least the driven rows)``, whole vectors, which go on
        from where they are, and the same ``(2,)`` of the bias, a synapse from a constant 1.
    filters : tuple
        The neurons' decay, and the weights ``(1, L)`` of the evidence filter.
    asleep, deltas : ndarray
        See :func:`prepare`.
    parts : ndarray of int64, shape (threads, 2)
        First input of each thread, and the one behind its last. This is the first thread; each
        other one is in :func:`help_learning` meanwhile.
    posts : ndarray of int64
        Where they meet: :func:`spikeprop.kernels.meeting.board`.
    signal : ndarray, shape (L, C, N)
        Currents of the rows behind the driven ones, which come in by no synapse.
    neurons : tuple
        ``mem, free, evidence, threshold, reset``, from their start on: see
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
        To work in: see :func:`prepare`.

    Returns
    -------
    float
        Mean loss, summed over time.
    """
    steps, total = arrivals[0].shape[0], 0.0
    for step in range(steps + 1):
        post(posts, 0, step + 1)
        turn(
            step, arrivals, synapse, currents[0], synapse[1], traces[0], filters, asleep, deltas,
            parts[0, 0], parts[0, 1],
        )  # fmt: skip
        for k in range(1, len(parts)):
            wait(posts, k * LINE, step + 1)
        if step < steps:
            total += respond(
                step, signal, synapse, neurons, filters, currents, traces[1], deltas, loss, found,
                of_bias, room,
            )  # fmt: skip
    return total


@kernel
def help_learning(
    arrivals: Any,
    synapse: Any,
    currents: Array,
    traces: tuple[Array, Array],
    filters: tuple[float, Array],
    asleep: Array,
    deltas: Array,
    parts: Array,
    posts: Array,
    k: int,
) -> None:
    """Do thread ``k``'s part of :func:`learn`."""
    for step in range(arrivals[0].shape[0] + 1):
        if wait(posts, 0, step + 1) == GONE:
            return
        turn(
            step, arrivals, synapse, currents[k], synapse[1][:0], traces[0], filters, asleep,
            deltas, parts[k, 0], parts[k, 1],
        )  # fmt: skip
        post(posts, k * LINE, step + 1)


@kernel
def prepare(synapse: Any, loss: Any, driven: int) -> tuple[Any, Array, Array]:
    """Return room for :func:`respond` to work in, ``asleep``, and ``deltas``.

    ``asleep`` ``(I,)`` are the inputs whose weights have no moments. ``deltas`` ``(tiles, driven
    rows, W)`` are a step's modulators, cut into tiles of as many columns as a product takes at a
    time, the last one's others zero.
    """
    weights, _, first_moment, second_moment, _ = synapse
    fixed, smallest, logits = loss[1], loss[4], loss[6]
    size, classes, wide = weights.shape[1], logits.shape[1], ABREAST * lanes(weights)
    a, d = aligned(ROWS + 1, size, weights), np.empty((ROWS, classes), weights.dtype)
    vectors = aligned(classes, size, weights)
    lengths, along = np.empty(classes, weights.dtype), np.zeros(classes, weights.dtype)
    if fixed.size > 0:
        directions(fixed, vectors, smallest)
    asleep = np.zeros(weights.shape[0] if first_moment.size else 0, np.bool_)
    _find_asleep(first_moment, second_moment, asleep)
    tiles = (size + wide - 1) // wide
    deltas = aligned(tiles * driven, wide, weights)
    deltas[:] = 0
    return (a, d, vectors, lengths, along), asleep, deltas.reshape(tiles, driven, wide)


@kernel
def turn(
    step: int,
    arrivals: Any,
    synapse: Any,
    sums: Array,
    bias: Array,
    traces: Array,
    filters: tuple[float, Array],
    asleep: Array,
    deltas: Array,
    first: int,
    last: int,
) -> None:
    """Go from one step to the next, for inputs ``first`` to ``last``.

    That is to step on the gradient of the one before ``step``, traces by ``deltas``, and to put
    into ``sums`` ``(R, N)`` what the inputs make of the currents of ``step``, and the bias unless
    it is empty. Before the first there is no gradient, behind the last there are no currents.
    """
    weights, _, first_moment, second_moment, numbers = synapse
    driven, goes_on = deltas.shape[1], step < arrivals[0].shape[0]
    if goes_on:
        for r in range(driven):
            for n in range(sums.shape[1]):
                sums[r, n] = bias[n] if bias.size > 0 else 0
    if step == 0 or first_moment.size == 0:
        if goes_on:
            for j in range(first, last):
                _send(step, j, arrivals, weights, sums)
        return
    kind = weights.dtype.type
    decay, w = kind(filters[0]), kind(filters[1][0, step - 1])
    factors, chosen = np.zeros((HEIGHT, driven), weights.dtype), np.empty(HEIGHT, np.int64)
    gradient = aligned(HEIGHT, deltas.shape[2], weights)
    scale, over = corrections(numbers[0], numbers[1], numbers[2], numbers[4] + step)
    adam = (numbers[1], numbers[2], scale, over, numbers[3])
    j = first
    while j < last:
        count = 0
        while j < last and count < HEIGHT:
            if _follow(step - 1, j, arrivals, traces, decay, w, asleep):
                chosen[count] = j
                for r in range(driven):
                    factors[count, r] = traces[1, j, r]
                count += 1
            elif goes_on:
                _send(step, j, arrivals, weights, sums)
            j += 1
        for tile in range(deltas.shape[0]):
            gradient[:] = 0
            add_block(factors, 0, deltas[tile], 0, gradient, 0, 0, 0, driven)
            _move(
                gradient, chosen, count, weights, first_moment, second_moment, adam,
                tile * deltas.shape[2],
            )  # fmt: skip
        if goes_on:
            for k in range(count):
                _send(step, chosen[k], arrivals, weights, sums)


@kernel
def respond(
    step: int,
    signal: Array,
    synapse: Any,
    neurons: Any,
    filters: tuple[float, Array],
    currents: Array,
    constant: Array,
    deltas: Array,
    loss: Any,
    found: Any,
    of_bias: tuple[Array, Array, Array],
    room: Any,
) -> float:
    """Let neurons take a step's currents, make modulators of these, and move the bias."""
    bias, first_moment = synapse[1], synapse[2]
    mem, free, evidence, threshold, reset = neurons
    beta, passing = filters
    labels, fixed, tau, rectify, smallest, logits_sum, logits = loss
    spikes, starts, ends, counts = found
    first_of_bias, second_of_bias, numbers = of_bias
    a, d, vectors, lengths, along = room
    driven, size = deltas.shape[1], threshold.size
    in_place = np.empty((0, 0, 0), bias.dtype)
    for k in range(1, len(currents)):
        for r in range(driven):
            for n in range(size):
                currents[0, r, n] += currents[k, r, n]
    for r in range(driven, currents.shape[1]):
        currents[0, r] = signal[step, r - driven]
    integrate(
        currents[:1], mem, free, threshold, beta, reset, passing[:, step : step + 1].copy(),
        evidence, in_place, spikes[step : step + 1], starts[step : step + 1],
        ends[step : step + 1], counts, labels.size, 0, 1, 0, currents.shape[1],
    )  # fmt: skip
    skipped = step * spikes.shape[1] * spikes.shape[2]
    for r in range(currents.shape[1]):
        starts[step, r] += skipped
        ends[step, r] += skipped
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
    wide = deltas.shape[2]
    for tile in range(deltas.shape[0]):
        begin = tile * wide
        for r in range(driven):
            for n in range(min(wide, size - begin)):
                deltas[tile, r, n] = currents[0, r, begin + n]
    if first_of_bias.size:
        total = a[0]
        total[:] = 0
        for r in range(driven):
            row = currents[0, r]
            for n in range(size):
                total[n] += row[n]
        scale = bias.dtype.type(constant[1])
        for n in range(size):
            total[n] *= scale
        beta1, beta2, eps = numbers[1], numbers[2], numbers[3]
        scaled, over = corrections(numbers[0], beta1, beta2, numbers[4] + step + 1)
        step_row(bias, first_of_bias, second_of_bias, total, beta1, beta2, scaled, over, eps)
    return mean


@kernel
def _find_asleep(first_moment: Array, second_moment: Array, asleep: Array) -> None:
    """Note inputs whose weights have no moments."""
    for j in range(asleep.size):
        n = 0
        while n < first_moment.shape[1] and first_moment[j, n] == 0 and second_moment[j, n] == 0:
            n += 1
        asleep[j] = n == first_moment.shape[1]


@kernel
def _follow(
    step: int, j: int, arrivals: Any, traces: Array, decay: Any, w: Any, asleep: Array
) -> bool:
    """Take input ``j``'s traces over a step; return whether it is awake, as who is active is."""
    pointers, rows, values = arrivals
    first, last = pointers[step, j], pointers[step, j + 1]
    if asleep[j]:
        if first == last:
            return False
        asleep[j] = False
    lane, width, one = lanes(traces), traces.shape[2], traces.dtype.type(1)
    at, other = j * width, (traces.shape[1] + j) * width
    if first < last:
        falls = spread(decay)
        for r in range(0, width, lane):
            store(traces, at + r, falls * load(traces, at + r))
        for i in range(first, last):
            traces[0, j, rows[i]] += values[i] if values.size > 0 else one
        decay = one
    falls, passes = spread(decay), spread(w)
    for r in range(0, width, lane):
        trace, filtered = falls * load(traces, at + r), load(traces, other + r)
        store(traces, at + r, trace)
        store(traces, other + r, filtered + passes * (trace - filtered))
    return True


@kernel
def _send(step: int, j: int, arrivals: Any, weights: Array, sums: Array) -> None:
    """Add input ``j``'s weights to the currents of the rows it is active in."""
    pointers, rows, values = arrivals
    lane, size = lanes(weights), weights.shape[1]
    one = weights.dtype.type(1)
    for i in range(pointers[step, j], pointers[step, j + 1]):
        r, v, n = rows[i], values[i] if values.size > 0 else one, 0
        while n + lane <= size:
            sent = load(sums, r * size + n) + spread(v) * load(weights, j * size + n)
            store(sums, r * size + n, sent)
            n += lane
        while n < size:
            sums[r, n] += v * weights[j, n]
            n += 1


@kernel
def _move(
    gradient: Array,
    chosen: Array,
    count: int,
    weights: Array,
    first_moment: Array,
    second_moment: Array,
    adam: tuple[float, float, float, float, float],
    begin: int,
) -> None:
    """Make Adam's step on some columns, from ``begin`` on, of the first ``count`` chosen inputs.

    ``gradient`` has theirs. It is :func:`spikeprop.kernels.adam.step_row`, in vectors; ``adam`` has
    its ``beta1, beta2, size, root, eps``.
    """
    beta1, beta2, scale, over, eps = adam
    kind, lane, size = weights.dtype.type, lanes(weights), weights.shape[1]
    b1, b2, c1, c2 = kind(beta1), kind(beta2), kind(1.0 - beta1), kind(1.0 - beta2)
    rate, corrected, least = spread(kind(scale)), spread(kind(over)), spread(kind(eps))
    old1, old2, new1, new2 = spread(b1), spread(b2), spread(c1), spread(c2)
    width = min(gradient.shape[1], size - begin)
    for k in range(count):
        at, n = chosen[k] * size + begin, 0
        while n + lane <= width:
            g = load(gradient, k * gradient.shape[1] + n)
            a = old1 * load(first_moment, at + n) + new1 * g
            b = old2 * load(second_moment, at + n) + new2 * g * g
            store(first_moment, at + n, a)
            store(second_moment, at + n, b)
            change = rate * a / (root(b) * corrected + least)
            store(weights, at + n, load(weights, at + n) - change)
            n += lane
        if n < width:
            i, rest = chosen[k], slice(begin + n, begin + width)
            step_row(
                weights[i, rest], first_moment[i, rest], second_moment[i, rest],
                gradient[k, n:width], beta1, beta2, scale, over, eps,
            )  # fmt: skip
