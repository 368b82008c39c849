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
from spikeprop.kernels.cosine import compare_rows, directions, follow, lead, scratch
from spikeprop.kernels.lanes import aligned, lanes, load, padded, root, spread, store
from spikeprop.kernels.meeting import GONE, LINE, post, wait
from spikeprop.kernels.neuron import integrate
from spikeprop.kernels.sparse import sort_events

Array = NDArray[Any]

__all__ = ["learn", "prepare", "sort_steps"]


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
    signal: Array,
    neurons: Any,
    loss: Any,
    found: Any,
    of_bias: tuple[Array, Array, Array],
    room: Any,
    parts: Array,
    posts: Array,
    k: int,
) -> float:
    """Learn from some steps of sequences, and list the block's spikes, as thread ``k`` of some.

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
        :func:`spikeprop.kernels.neuron.integrate`; ``counts`` ``(threads, N)``.
    of_bias : tuple
        Moments ``(N,)``, or ``(0,)`` for a bias that is not trained, and numbers.
    room : tuple
        What threads work in together: see :func:`prepare`.
    parts : ndarray of int64, shape (threads, 3, 2)
        First input, recording and signal of each thread, and those behind its last.
    posts : ndarray of int64
        Where threads meet: :func:`spikeprop.kernels.meeting.board`.

    Returns
    -------
    float
        This thread's part of the mean loss, summed over time.
    """
    steps, total, threads = arrivals[0].shape[0], 0.0, len(parts)
    to_compare = scratch(len(loss[0]), synapse[0].shape[1], loss[6].shape[1], synapse[0])
    for step in range(steps + 1):
        turn(step, arrivals, synapse, currents[k], traces[0], filters, room, parts[k, 0], k == 0)
        if step == steps or not meet(posts, k, threads, 4 * step + 1):
            break
        fire(step, signal, neurons, filters, currents, loss, found, room, parts[k], k)
        if not meet(posts, k, threads, 4 * step + 2):
            break
        total += respond(currents[0], loss, room, to_compare, parts[k, 1], k)
        if not meet(posts, k, threads, 4 * step + 3):
            break
        if k == 0:
            conclude(step, synapse, filters, traces[1], loss, of_bias, room)
        if not meet(posts, k, threads, 4 * step + 4):
            break
    return total


@kernel
def meet(posts: Array, k: int, threads: int, number: int) -> bool:
    """Wait until all threads are here; return whether none has gone."""
    post(posts, k * LINE, number)
    all_here = True
    for other in range(threads):
        all_here &= wait(posts, other * LINE, number) != GONE
    return all_here


@kernel
def prepare(synapse: Any, loss: Any, driven: int, threads: int) -> Any:
    """Return what threads work in together.

    Returns
    -------
    asleep : ndarray of bool, shape (I,)
        Inputs whose weights have no moments.
    deltas : ndarray, shape (tiles, driven rows, W)
        A step's modulators, cut into tiles of as many columns as a product takes at a time, the
        last one's others zero.
    vectors, lengths : ndarray, shape (C, N) and (C,)
        Directions of class vectors, and what signals' norms are divided by.
    said, along : ndarray, shape (threads, C, N) and (threads, padded C)
        What recordings say to signals; the former is ``(threads, 0, N)`` if these teach nothing.
    totals : ndarray, shape (threads, N)
        Modulators, summed over recordings.
    """
    weights, _, first_moment, second_moment, _ = synapse
    fixed, smallest, logits = loss[1], loss[4], loss[6]
    size, classes, wide = weights.shape[1], logits.shape[1], ABREAST * lanes(weights)
    vectors, lengths = aligned(classes, size, weights), np.empty(classes, weights.dtype)
    answers = fixed.size == 0 and driven > len(loss[0])
    said = aligned(threads * classes if answers else 0, size, weights)
    if fixed.size > 0:
        directions(fixed, vectors, smallest)
    asleep = np.zeros(weights.shape[0] if first_moment.size else 0, np.bool_)
    _find_asleep(first_moment, second_moment, asleep)
    tiles = (size + wide - 1) // wide
    deltas = aligned(tiles * driven, wide, weights)
    deltas[:] = 0
    return (
        asleep, deltas.reshape(tiles, driven, wide), vectors, lengths,
        said.reshape(threads, len(said) // threads, size),
        np.zeros((threads, padded(classes, weights)), weights.dtype),
        np.empty((threads, size), weights.dtype),
    )  # fmt: skip


@kernel
def turn(
    step: int,
    arrivals: Any,
    synapse: Any,
    sums: Array,
    traces: Array,
    filters: tuple[float, Array],
    room: Any,
    part: Array,
    first_thread: bool,
) -> None:
    """Go from one step to the next, for a thread's inputs.

    That is to step on the gradient of the one before ``step``, traces by modulators, and to put
    into ``sums`` ``(R, N)`` what the inputs make of the currents of ``step``, and the first thread
    the bias. Before the first step there is no gradient, behind the last there are no currents.
    """
    asleep, deltas = room[0], room[1]
    first, last = part
    bias = synapse[1] if first_thread else synapse[1][:0]
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
def fire(
    step: int,
    signal: Array,
    neurons: Any,
    filters: tuple[float, Array],
    currents: Array,
    loss: Any,
    found: Any,
    room: Any,
    part: Array,
    k: int,
) -> None:
    """Let a thread's rows of neurons take a step's currents, which become their evidence."""
    mem, free, evidence, threshold, reset = neurons
    labels, fixed, smallest = loss[0], loss[1], loss[4]
    spikes, starts, ends, counts = found
    deltas, vectors, lengths, said, along = room[1:6]
    beta, weights = filters[0], filters[1][:, step : step + 1].copy()
    driven, n, size = deltas.shape[1], len(labels), threshold.size
    in_place = np.empty((0, 0, 0), currents.dtype)
    skipped = step * spikes.shape[1] * spikes.shape[2]
    for shift, (first, last) in ((0, part[1]), (n, part[2])):  # recordings, and signals
        first, last = first + shift, last + shift
        for r in range(first, last):
            if r >= driven:
                currents[0, r] = signal[step, r - driven]
                continue
            for other in range(1, len(currents)):
                for i in range(size):
                    currents[0, r, i] += currents[other, r, i]
        integrate(
            currents[:1], mem, free, threshold, beta, reset, weights, evidence, in_place,
            spikes[step : step + 1], starts[step : step + 1], ends[step : step + 1], counts[k], n,
            0, 1, first, last,
        )  # fmt: skip
        for r in range(first, last):
            starts[step, r] += skipped
            ends[step, r] += skipped
    if fixed.size == 0:
        first, last = part[2]
        lead(currents[0, n + first : n + last], vectors[first:last], lengths[first:last], smallest)
        said[k] = 0
        along[k] = 0


@kernel
def respond(z: Array, loss: Any, room: Any, to_compare: Any, part: Array, k: int) -> float:
    """Make modulators of a thread's recordings; return their part of the mean loss."""
    labels, _, tau, rectify, smallest, logits_sum, logits = loss
    _, deltas, vectors, _, said, along, totals = room
    first, last = part
    found = compare_rows(
        z, labels, first, last, True, tau, rectify, smallest, logits, to_compare, vectors, said[k],
        along[k],
    )  # fmt: skip
    total = totals[k]
    total[:] = 0
    for r in range(first, last):
        for c in range(logits.shape[1]):
            logits_sum[r, c] += logits[r, c]
        row = z[r]
        for n in range(row.size):
            total[n] += row[n]
        _cut(row, r, deltas)
    return found


@kernel
def conclude(
    step: int,
    synapse: Any,
    filters: tuple[float, Array],
    constant: Array,
    loss: Any,
    of_bias: tuple[Array, Array, Array],
    room: Any,
) -> None:
    """Make modulators of signals, and move the bias."""
    bias, learns = synapse[1], synapse[2].size > 0
    labels = loss[0]
    first_of_bias, second_of_bias, numbers = of_bias
    _, deltas, vectors, lengths, said, along, totals = room
    beta, w = filters[0], filters[1][0, step]
    constant[0] = beta * constant[0] + 1.0
    constant[1] += w * (constant[0] - constant[1])
    if not learns:
        return
    total, n = totals[0], len(labels)
    for k in range(1, len(totals)):
        for i in range(total.size):
            total[i] += totals[k, i]
    if said.size > 0:
        for k in range(1, len(said)):
            for c in range(lengths.size):
                along[0, c] += along[k, c]
                for i in range(total.size):
                    said[0, c, i] += said[k, c, i]
        follow(said[0], along[0], vectors, lengths)
        for c in range(lengths.size):
            row = said[0, c]
            for i in range(total.size):
                total[i] += row[i]
            _cut(row, n + c, deltas)
    if first_of_bias.size:
        scale = bias.dtype.type(constant[1])
        for i in range(total.size):
            total[i] *= scale
        beta1, beta2, eps = numbers[1], numbers[2], numbers[3]
        scaled, over = corrections(numbers[0], beta1, beta2, numbers[4] + step + 1)
        step_row(bias, first_of_bias, second_of_bias, total, beta1, beta2, scaled, over, eps)


@kernel
def _cut(row: Array, r: int, deltas: Array) -> None:
    """Put a row of modulators into its place in ``deltas``."""
    wide = deltas.shape[2]
    for tile in range(deltas.shape[0]):
        begin = tile * wide
        for n in range(min(wide, row.size - begin)):
            deltas[tile, r, n] = row[begin + n]


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
