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
from spikeprop.kernels.adam import step as adam_step
from spikeprop.kernels.cosine import ROWS, compare_step, directions
from spikeprop.kernels.deferred import add_inputs, add_matrix
from spikeprop.kernels.lanes import aligned
from spikeprop.kernels.neuron import integrate
from spikeprop.kernels.vector import TILE

Array = NDArray[Any]

__all__ = ["learn"]

#: Inputs whose gradients are made at a time: as many rows of a tile stay in the first-level cache.
INPUTS = 64


@kernel
def learn(
    starts: Array,
    ends: Array,
    channels: Array,
    values: Array,
    signal: Array,
    weights: Array,
    bias: Array,
    mem: Array,
    free: Array,
    evidence: Array,
    threshold: Array,
    beta: float,
    reset: int,
    passing: Array,
    currents: Array,
    carried: Array,
    constant: Array,
    labels: Array,
    fixed: Array,
    tau: float,
    rectify: bool,
    smallest: float,
    logits_sum: Array,
    logits: Array,
    spikes: Array,
    new_starts: Array,
    new_ends: Array,
    counts: Array,
    first_moment: Array,
    second_moment: Array,
    numbers: Array,
    first_of_bias: Array,
    second_of_bias: Array,
    numbers_of_bias: Array,
) -> float:
    """Learn from some steps of sequences, and list the block's spikes.

    Parameters
    ----------
    starts, ends : ndarray, shape (L, driven rows)
        Events of the rows that come through the synapse; their rows learn.
    channels, values : ndarray
        The events; empty ``values`` are ones.
    signal : ndarray, shape (L, C, N)
        Currents of the rows behind them, which come in by no synapse.
    weights, bias : ndarray, shape (I, N) and (N,) or (0,)
        Input-major; are moved.
    mem, free, evidence, threshold, beta, reset, passing
        The neurons, from their start on: see :func:`spikeprop.kernels.neuron.integrate`.
    currents : ndarray, shape (1, R, N)
        For one step's.
    carried : ndarray, shape (2, I, driven rows)
        Traces and filtered traces; go on from where they are.
    constant : ndarray, shape (2,)
        The same of the bias, a synapse from a constant 1.
    labels, fixed, tau, rectify, smallest
        See :func:`spikeprop.kernels.cosine.compare`.
    logits_sum, logits : ndarray, shape (B, C)
        Scores are added, and are those of the last step.
    spikes, new_starts, new_ends, counts
        Are filled: see :func:`spikeprop.kernels.neuron.integrate`.
    first_moment, second_moment : ndarray, shape (I, N), or (0, 0) for a block that does not learn
        Adam's, of the weights.
    numbers, numbers_of_bias : ndarray, shape (5,)
        Rate, two betas, eps, and how many steps have been made; these are counted on.
    first_of_bias, second_of_bias : ndarray, shape (N,), or (0,) for one that is not trained
        Adam's, of the bias.

    Returns
    -------
    float
        Mean loss, summed over time.
    """
    steps, driven, n_recordings = starts.shape[0], starts.shape[1], labels.size
    size, classes, follows = threshold.size, logits.shape[1], fixed.size == 0
    kind = weights.dtype.type
    a, d = aligned(ROWS + 1, size, weights), np.empty((ROWS, classes), weights.dtype)
    vectors = aligned(classes, size, weights)
    lengths, along = np.empty(classes, weights.dtype), np.zeros(classes, weights.dtype)
    if not follows:
        directions(fixed, vectors, smallest)
    learns = first_moment.size > 0
    asleep = np.zeros(weights.shape[0] if learns else 0, np.bool_)
    if learns:
        _find_asleep(first_moment, second_moment, asleep)
    in_place = np.empty((0, 0, 0), weights.dtype)
    loss = 0.0
    for step in range(steps):
        for r in range(driven):
            row = currents[0, r]
            if bias.size > 0:
                row[:] = bias
            else:
                row[:] = 0
            add_inputs(channels, values, starts[step, r], ends[step, r], weights, row)
        for r in range(driven, currents.shape[1]):
            currents[0, r] = signal[step, r - driven]
        integrate(
            currents, mem, free, threshold, beta, reset, passing[:, step : step + 1].copy(),
            evidence, in_place, spikes[step : step + 1], new_starts[step : step + 1],
            new_ends[step : step + 1], counts, n_recordings, 0, 1, 0, currents.shape[1],
        )  # fmt: skip
        skipped = step * spikes.shape[1] * spikes.shape[2]
        for r in range(currents.shape[1]):
            new_starts[step, r] += skipped
            new_ends[step, r] += skipped
        loss += compare_step(
            currents[0], labels, follows, True, tau, rectify, smallest, logits, a, d, vectors,
            lengths, along,
        )  # fmt: skip
        logits_sum += logits
        w = passing[0, step]
        constant[0] = beta * constant[0] + 1.0
        constant[1] += w * (constant[0] - constant[1])
        if not learns:
            continue
        _advance_traces(
            starts[step], ends[step], channels, values, carried, kind(beta), kind(w), asleep
        )
        _step_weights(
            carried[1], currents[0, :driven], asleep, weights, first_moment, second_moment,
            numbers, numbers[4] + step + 1,
        )  # fmt: skip
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
            adam_step(
                bias, first_of_bias, second_of_bias, total, numbers_of_bias[0], numbers_of_bias[1],
                numbers_of_bias[2], numbers_of_bias[3], numbers_of_bias[4] + step + 1, 0, size,
            )  # fmt: skip
    numbers[4] += steps
    numbers_of_bias[4] += steps
    return loss


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
) -> None:
    """Step on the gradient ``traces delta``, some inputs and a tile of outputs at a time."""
    rows, size = traces.shape[1], weights.shape[1]
    factors = np.empty((INPUTS, rows), weights.dtype)
    part = aligned(INPUTS, TILE, weights)
    chosen = np.empty(INPUTS, np.int64)
    rate, beta1, beta2, eps = numbers[0], numbers[1], numbers[2], numbers[3]
    scale, root = corrections(rate, beta1, beta2, t)
    table = aligned(rows, TILE, weights)
    for first in range(0, size, TILE):
        width = min(TILE, size - first)
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
                j += 1
            part[:count] = 0
            add_matrix(factors[:count], table, part, 0, width)
            for k in range(count):
                i = chosen[k]
                step_row(
                    weights[i, first : first + width], first_moment[i, first : first + width],
                    second_moment[i, first : first + width], part[k, :width], beta1, beta2, scale,
                    root, eps,
                )  # fmt: skip
