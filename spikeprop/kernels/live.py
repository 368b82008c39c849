"""One block of a live stream, step by step: currents, neurons, comparison, an update that waits.

What a step does, in this order (:mod:`.deferred`, :mod:`.neuron` and :mod:`.cosine` have the
equations): what the window owes is written where it is full; currents of the weights as they are,
less what is owed; neurons, evidence, spikes; modulators; the update, remembered; thresholds.

A block's updates depend on nothing behind it, so :func:`advance` runs a block over several steps,
with an update at every one, before the next block sees the first of them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeprop.kernels import kernel
from spikeprop.kernels.cosine import compare_step, scratch
from spikeprop.kernels.deferred import MATRIX, add_inputs, keep, pay, remember, settle, weigh
from spikeprop.kernels.delays import arrive, pass_on
from spikeprop.kernels.lanes import padded
from spikeprop.kernels.neuron import integrate
from spikeprop.kernels.sparse import gather, pack
from spikeprop.kernels.table import cube, matrix, vector
from spikeprop.kernels.vector import TILE

Array = NDArray[Any]

__all__ = ["advance", "advance_blocks", "enter", "flush", "leave", "regulate", "tally"]

#: Places of the counters in ``at``.
STEPS, EVENTS, LEARNED, FIRST = 0, 1, 2, 3


@kernel
def flush(
    weights: Array,
    carried: Array,
    offsets: Array,
    old_channels: Array,
    old_values: Array,
    filter_weights: Array,
    deltas: Array,
    at: Array,
    beta: float,
) -> None:
    """Write what the window owes, and begin another."""
    settle(
        weights, carried, offsets, old_channels, old_values, filter_weights, deltas, at[STEPS],
        at[LEARNED] > 0, beta,
    )  # fmt: skip
    at[:] = 0


@kernel
def enter(
    step: int,
    starts: Array,
    ends: Array,
    channels: Array,
    values: Array,
    signal: Array,
    weights: Array,
    bias: Array,
    beta: float,
    passing: Array,
    currents: Array,
    carried: Array,
    offsets: Array,
    old_channels: Array,
    old_values: Array,
    filter_weights: Array,
    deltas: Array,
    mark: Array,
    kappa: Array,
    at: Array,
    filled: int,
) -> int:
    """Make the currents of a step, and remember its inputs.

    Weights stand still within a window, so that many rows are gathered for all its steps at once.

    Parameters
    ----------
    step : int
        Which of the steps at hand.
    starts, ends : ndarray, shape (L, driven rows)
        Events of the rows that come through the synapse.
    channels, values : ndarray
        The events; empty ``values`` are ones.
    signal : ndarray, shape (1 or L, C, N)
        Currents of the rows behind them, which come in by no synapse.
    weights : ndarray, shape (I, N)
        Input-major.
    bias : ndarray, shape (N,) or (0,)
        Bias, if any.
    beta : float
        Decay of the neurons.
    passing : ndarray, shape (1, L)
        Weights of the evidence filter.
    currents : ndarray, shape (L, R, N)
        Is filled.
    carried, offsets, old_channels, old_values, filter_weights, deltas, mark, kappa
        The window: see :mod:`spikeprop.kernels.deferred`. No row learns where ``carried`` has none.
    at : ndarray of int64, shape (4,)
        Of the window: steps, events, steps with modulators, the first of these.
    filled : int
        Up to which step currents have been gathered.

    Returns
    -------
    int
        The new ``filled``.
    """
    n_rows = carried.shape[2]
    events = 0
    for r in range(n_rows):
        events += ends[step, r] - starts[step, r]
    if at[STEPS] == filter_weights.size or at[EVENTS] + events > old_channels.size:
        flush(
            weights, carried, offsets, old_channels, old_values, filter_weights, deltas, at, beta,
        )  # fmt: skip
        filled = step
    driven = starts.shape[1]
    if driven >= MATRIX and step >= filled:
        filled = min(starts.shape[0], step + filter_weights.size - at[STEPS])
        _fill(
            starts[step:filled], ends[step:filled], channels, values, weights,
            currents[step:filled],
        )  # fmt: skip
    for r in range(driven):
        row = currents[step, r]
        if driven < MATRIX:
            row[:] = 0
            add_inputs(channels, values, starts[step, r], ends[step, r], weights, row, 0, row.size)
        for n in range(bias.size):
            row[n] += bias[n]
    now = min(step, signal.shape[0] - 1)
    for r in range(driven, currents.shape[1]):
        currents[step, r] = signal[now, r - driven]
    if n_rows == 0:
        return filled
    u = at[STEPS]
    if at[LEARNED] > 0:
        weigh(
            starts[step], ends[step], channels, values, carried, offsets, old_channels, old_values,
            filter_weights, u, beta, mark, kappa,
        )  # fmt: skip
        pay(currents[step], kappa, deltas, at[FIRST] * n_rows, u * n_rows, n_rows)
    remember(
        starts[step], ends[step], channels, values, n_rows, u, offsets, old_channels, old_values
    )
    filter_weights[u] = passing[0, step]
    at[STEPS] = u + 1
    at[EVENTS] += events
    return filled


@kernel
def _fill(
    starts: Array, ends: Array, channels: Array, values: Array, weights: Array, currents: Array
) -> None:
    """Gather some steps' currents, tile by tile of the weights."""
    tile = np.empty((weights.shape[0], TILE), weights.dtype)
    nothing = np.empty(0, weights.dtype)
    for first in range(0, weights.shape[1], TILE):
        last = min(first + TILE, weights.shape[1])
        pack(weights, first, last, tile)
        gather(
            starts, ends, channels, values, tile, 0, nothing, currents, 0, starts.shape[1], first,
            last,
        )  # fmt: skip


@kernel
def tally(spikes: Array, spans: Array, n_recordings: int, steps: int, counts: Array) -> None:
    """Count recordings' spikes by neuron: ``spikes`` flattened, ``spans`` ``(2, L, R)``."""
    for step in range(steps):
        for r in range(n_recordings):
            for i in range(spans[0, step, r], spans[1, step, r]):
                counts[spikes[i]] += 1


@kernel
def leave(
    step: int,
    n_rows: int,
    learns: bool,
    size: float,
    bias_size: float,
    bias: Array,
    beta: float,
    passing: Array,
    currents: Array,
    deltas: Array,
    at: Array,
    constant: Array,
) -> None:
    """Take a step's modulators, ``currents[step]``; the bias learns at once.

    ``n_rows`` is the number of rows that learn; ``size`` and ``bias_size`` are the step sizes, 0
    for what is not trained; ``constant`` holds trace and filtered trace of the bias, a synapse from
    a constant 1.
    """
    constant[0] = beta * constant[0] + 1.0
    constant[1] += passing[0, step] * (constant[0] - constant[1])
    if n_rows == 0:
        return
    kind = currents.dtype.type
    u = at[STEPS] - 1
    for k in range(n_rows):
        keep(currents[step, k], size if learns else 0.0, deltas, u * n_rows + k)
    if not learns:
        return
    if at[LEARNED] == 0:
        at[FIRST] = u
    at[LEARNED] += 1
    if bias_size != 0.0:
        rate = kind(bias_size * constant[1])
        for k in range(n_rows):
            delta = currents[step, k]
            for n in range(bias.size):
                bias[n] -= rate * delta[n]


@kernel
def regulate(
    threshold: Array, rates: Array, counts: Array, n_recordings: int, control: Array
) -> None:
    """Move thresholds by leaky averages of the rates: see :mod:`spikeprop.homeostasis`.

    ``control`` holds target, gain, low, high and smoothing.
    """
    kind = threshold.dtype.type
    one, each = kind(1), kind(1) / kind(n_recordings)
    target, gain, smoothing = kind(1.0 / control[0]), kind(control[1]), kind(control[4])
    low, high = kind(control[2]), kind(control[3])
    small = control[1] <= 0.05
    for n in range(threshold.size):
        rate = rates[n] + smoothing * (kind(counts[n]) * each - rates[n])
        rates[n] = rate
        x = gain * min(max(rate * target - one, -one), one)
        if small:  # nine terms are exp(x) to the last bit, and fill vector units
            factor = one
            for i in range(8, 0, -1):
                factor = one + x / kind(i) * factor
        else:
            factor = kind(math.exp(x))
        threshold[n] = min(max(threshold[n] * factor, low), high)


@kernel
def advance(
    steps: int,
    starts: Array,
    ends: Array,
    channels: Array,
    values: Array,
    signal: Array,
    weights: Array,
    bias: Array,
    threshold: Array,
    beta: float,
    reset: int,
    passing: Array,
    mem: Array,
    free: Array,
    evidence: Array,
    currents: Array,
    carried: Array,
    offsets: Array,
    old_channels: Array,
    old_values: Array,
    filter_weights: Array,
    deltas: Array,
    mark: Array,
    kappa: Array,
    at: Array,
    constant: Array,
    rates: Array,
    control: Array,
    labels: Array,
    labelled: bool,
    size: float,
    bias_size: float,
    vectors: Array,
    follows: bool,
    tau: float,
    rectify: bool,
    smallest: float,
    logits: Array,
    losses: Array,
    spikes: Array,
    spans: Array,
    fired: Array,
) -> None:
    """Run a block over ``steps`` steps, learning by the cosine loss at each where ``labelled``.

    Parameters
    ----------
    steps : int
        L.
    starts, ends, channels, values, signal, weights, bias, beta, passing, currents
        As in :func:`enter`, and the window behind them.
    threshold : ndarray, shape (N,)
        Is moved, if ``control`` is not empty.
    mem, free, evidence, reset
        The neurons: see :func:`spikeprop.kernels.neuron.integrate`.
    constant, size, bias_size
        As in :func:`leave`.
    rates, control
        As in :func:`regulate`.
    labels : ndarray of int64, shape (B,)
        Classes; where not ``labelled`` they only say how many recordings there are.
    vectors, follows, tau, rectify, smallest
        As in :func:`spikeprop.kernels.cosine.compare_step`.
    logits : ndarray, shape (L, B, C)
        Is filled with each step's scores.
    losses : ndarray, shape (L,)
        Is filled with each step's mean loss.
    spikes : ndarray of int32, shape (L, R, N + 1)
        Is filled with the active neurons.
    spans : ndarray of int64, shape (2, L, R)
        Is filled with where each row's begin and end in the flattened ``spikes``.
    fired : ndarray of int64, shape (L,)
        Is filled with the number of the recordings' spikes.
    """
    n_rows, n_recordings, classes = carried.shape[2], labels.size, logits.shape[2]
    room = scratch(n_recordings, threshold.size, classes, mem)
    lengths, along = np.empty(classes, mem.dtype), np.empty(padded(classes, mem), mem.dtype)
    in_place = np.empty((0, 0, 0), mem.dtype)
    counts = np.empty(threshold.size, np.int64)
    filled = 0
    for step in range(steps):
        filled = enter(
            step, starts[:steps], ends[:steps], channels, values, signal, weights, bias, beta,
            passing, currents, carried, offsets, old_channels, old_values, filter_weights, deltas,
            mark, kappa, at, filled,
        )  # fmt: skip
        counts[:] = 0
        integrate(
            currents, mem, free, threshold, beta, reset, passing, evidence, in_place, spikes,
            spans[0], spans[1], counts, n_recordings, step, step + 1, 0, currents.shape[1],
        )  # fmt: skip
        fired[step] = 0
        for r in range(n_recordings):
            fired[step] += spans[1, step, r] - spans[0, step, r]
        losses[step] = compare_step(
            currents[step], labels, follows, labelled, tau, rectify, smallest, logits[step],
            room, vectors, lengths, along,
        )  # fmt: skip
        leave(
            step, n_rows, labelled, size, bias_size, bias, beta, passing, currents, deltas, at,
            constant,
        )  # fmt: skip
        if labelled and control.size > 0:
            regulate(threshold, rates, counts, n_recordings, control)


@kernel
def advance_blocks(
    table: Array,
    numbers: Array,
    steps: int,
    starts: Array,
    ends: Array,
    channels: Array,
    values: Array,
    signal: Array,
    passing: Array,
    labels: Array,
    labelled: bool,
    sums: Array,
) -> None:
    """Run all blocks over some steps, one after another, and sum up what is reported of them.

    Parameters
    ----------
    table : ndarray of int64, shape (blocks, entries)
        The arrays of :func:`advance` and :func:`spikeprop.kernels.delays.arrive`, block by block,
        in the order in which they stand below; see :mod:`spikeprop.kernels.table`.
    numbers : ndarray, shape (blocks, 8)
        ``beta, reset, size, bias_size, follows, tau, rectify, smallest``.
    steps, starts, ends, channels, values, signal, passing, labels, labelled
        As in :func:`advance`, for the first block.
    sums : ndarray, shape (3, blocks)
        Losses, right recordings and spikes of the recordings are added.
    """
    one = np.empty(0, np.float64)
    count, place = np.empty(0, np.int64), np.empty(0, np.int32)
    nothing = np.empty(0, values.dtype)
    for block in range(table.shape[0]):
        row, number = table[block], numbers[block]
        logits, losses = cube(row, 20, values), vector(row, 21, one)
        spikes, spans = cube(row, 22, place), cube(row, 23, count)
        fired = vector(row, 24, count)
        delays, line, held = vector(row, 25, count), cube(row, 26, place), cube(row, 27, values)
        waiting, arrivals = matrix(row, 28, count), cube(row, 29, count)
        if delays.size > 0:
            arrive(
                steps, starts, ends, channels, values, delays, line, held, waiting, arrivals,
            )  # fmt: skip
            starts, ends = arrivals[0], arrivals[1]
            channels, values = line.reshape(line.size), held.reshape(held.size)
        advance(
            steps, starts, ends, channels, values, signal, matrix(row, 0, values),
            vector(row, 1, values), vector(row, 2, values), number[0], int(number[1]), passing,
            matrix(row, 3, values), matrix(row, 4, values), cube(row, 5, values),
            cube(row, 6, values), cube(row, 7, values), vector(row, 8, count),
            vector(row, 9, place), vector(row, 10, values), vector(row, 11, one),
            cube(row, 12, values), matrix(row, 13, values), matrix(row, 14, values),
            vector(row, 15, count), vector(row, 16, one), vector(row, 17, values),
            vector(row, 18, one), labels, labelled, number[2], number[3], matrix(row, 19, values),
            number[4] != 0.0, number[5], number[6] != 0.0, number[7], logits, losses, spikes,
            spans, fired,
        )  # fmt: skip
        if delays.size > 0:
            longest = line.shape[0] - arrivals.shape[1]
            pass_on(steps, longest, line, held, waiting)
        for step in range(steps):
            sums[0, block] += losses[step]
            sums[2, block] += fired[step]
            if labelled:
                for r in range(labels.size):
                    best = 0
                    for c in range(logits.shape[2]):
                        if logits[step, r, c] > logits[step, r, best]:
                            best = c
                    sums[1, block] += best == labels[r]
        starts, ends = spans[0], spans[1]
        channels, values = spikes.reshape(spikes.size), nothing
