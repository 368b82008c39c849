"""Recordings through one block, over all steps of a window, while the weights stand still.

What :mod:`.neuron` and :mod:`.cosine` say of one row and step is done here one right after the
other, so that a row is still in the first-level cache for the next thing, and a recording's rows in
the second-level cache for the filter that comes back through them. Rows are recording-major:
``(R, L, N)``, as sparse recordings are stored.

Class signals that travel through the network do not depend on the recordings beside them, as long
as the weights stand still. So they go first (:func:`send_signals`), recordings are compared with
what is kept of them, in any number of groups, and the sum of what recordings say to a signal is the
signal's own modulator (:func:`answer_signals`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeprop.kernels import kernel
from spikeprop.kernels.cosine import direct, gather_signals, judge, mix, project, scratch
from spikeprop.kernels.neuron import advance_row, keeps_nothing, reverse_sum

Array = NDArray[Any]

__all__ = ["answer_signals", "learn_with_signals", "learn_with_vectors", "send_signals"]


@kernel
def learn_with_vectors(
    x: Array,
    mem: Array,
    free: Array,
    evidence: Array,
    threshold: Array,
    beta: float,
    reset: int,
    weights: Array,
    spikes: Array,
    starts: Array,
    ends: Array,
    counts: Array,
    labels: Array,
    vectors: Array,
    tau: float,
    rectify: bool,
    smallest: float,
    each: float,
    logits_sum: Array,
    logits: Array,
    learns: bool,
    cotangents: Array,
    total: Array,
    first: int,
    last: int,
) -> float:
    """Run recordings ``first`` to ``last`` through neurons, loss and reverse filter.

    Parameters
    ----------
    x : ndarray, shape (R, L, N or more)
        Currents, of which what comes out of the reverse filter takes the place. Rows may have more
        entries than there are neurons: a power of two apart they would share a few cache sets.
    mem, free, evidence : ndarray, shape (R, N)
        Go on from where they are; an empty ``free`` says that evidence is made of the voltage.
    threshold, beta, reset
        The neurons: see :mod:`spikeprop.kernels.neuron`.
    weights : ndarray, shape (1, L)
        Of the evidence filter.
    spikes : ndarray of int32, shape (R * L * N,)
        Is filled with active neurons, row by row from ``starts`` to ``ends`` ``(R, L)``.
    counts : ndarray of int64, shape (N,)
        Spikes are added.
    labels : ndarray of int64, shape (R,)
        Classes.
    vectors : ndarray, shape (C, N)
        Directions of the class vectors.
    tau, rectify, smallest
        See :func:`spikeprop.kernels.cosine.compare`.
    each : float
        Weight of a recording in the mean loss.
    logits_sum, logits : ndarray, shape (R, C)
        Scores are added, and are those of the last step.
    learns : bool
        Whether there is a reverse filter at all.
    cotangents : ndarray, shape (R, 2, N or more)
        Become those of trace and filtered trace from before the window, ``p`` and ``q``; or
        ``(R, 1, N or more)`` for a filter that keeps nothing, whose ``q`` is zero.
    total : ndarray, shape (N,)
        What comes out of the reverse filter is added, summed over all rows.

    Returns
    -------
    float
        These recordings' part of the mean loss, summed over time.
    """
    steps, size, classes = x.shape[1], threshold.size, vectors.shape[0]
    kind = x.dtype.type
    heat, part, decay = kind(1) / kind(tau), kind(each), kind(beta)
    a, scores, shares, shut = scratch(min(2, steps), size, classes, x)
    nothing = first - first  # numba would compile all these anew for a literal
    unused = np.zeros(scores.shape[1], x.dtype)
    inverse, factor = np.empty(2, x.dtype), np.empty(2, x.dtype)
    flat, ways, m, e = x.reshape(-1), vectors.reshape(-1), mem.reshape(-1), evidence.reshape(-1)
    apart, wide = free.size > 0, x.shape[2]
    u = free.reshape(-1) if apart else m
    loss = 0.0
    at = first * steps * size
    for r in range(first, last):
        for begin in range(0, steps, 2):  # two at a time, for the products
            two, row = min(2, steps - begin), (r * steps + begin) * wide
            for i in range(two):
                step = begin + i
                w = kind(weights[0, step])
                fired = advance_row(
                    flat, row + i * wide, m, u, e, r * size, threshold, decay, w, reset, apart,
                    spikes, at,
                )  # fmt: skip
                starts[r, step] = at
                for k in range(at, at + fired):
                    counts[spikes[k]] += 1
                at += fired
                ends[r, step] = at
                inverse[i] = direct(flat, row + i * wide, size, a, i, rectify, smallest)
            project(a, nothing, two - 1, ways, nothing, classes, scores)
            for i in range(two):
                more, factor[i] = judge(
                    scores, i, shut, inverse[i], heat, labels[r], part, shares, unused, nothing
                )
                loss += more
                for k in range(classes):
                    logits_sum[r, k] += scores[i, k]
                    logits[r, k] = scores[i, k]
            if learns:
                mix(
                    a, nothing, two - 1, ways, nothing, classes, shares, factor[0],
                    factor[two - 1], rectify, flat, row, row + (two - 1) * wide,
                )  # fmt: skip
        if learns:
            _reverse(flat, r * steps * wide, steps, wide, weights, decay, cotangents[r], total)
    return loss


@kernel
def _reverse(
    x: Array,
    first: int,
    steps: int,
    wide: int,
    weights: Array,
    decay: Any,
    cotangents: Array,
    total: Array,
) -> None:
    """Run one recording's modulators backwards, in place; see :func:`learn_with_vectors`.

    They are ``steps`` rows of a flat array, ``wide`` numbers apart, from ``first`` on.
    """
    size, kind = total.size, x.dtype.type
    p = cotangents[0, :size]
    q = cotangents[1, :size] if len(cotangents) > 1 else np.zeros(size, x.dtype)
    present = keeps_nothing(weights)
    p[:] = 0
    q[:] = 0
    for back in range(steps):
        step = steps - 1 - back
        row, w = first + step * wide, kind(weights[0, step])
        reverse_sum(x, row, q, p, w, decay, present, total)
    for n in range(size):
        p[n] *= decay


@kernel
def send_signals(
    x: Array,
    mem: Array,
    free: Array,
    evidence: Array,
    threshold: Array,
    beta: float,
    reset: int,
    weights: Array,
    spikes: Array,
    starts: Array,
    ends: Array,
    smallest: float,
    vectors: Array,
    lengths: Array,
    first: int,
    last: int,
) -> None:
    """Run class signals ``first`` to ``last`` through neurons, and keep their directions.

    Parameters
    ----------
    x : ndarray, shape (last - first, L, N or more)
        Their currents.
    mem, free, evidence, threshold, beta, reset, weights
        As in :func:`learn_with_vectors`, with C signals for recordings.
    spikes, starts, ends
        As there, of these signals alone.
    smallest : float
        Norm below which a vector has no direction.
    vectors : ndarray, shape (L, C, N)
        Is filled with directions; empty where nobody asks for them.
    lengths : ndarray, shape (L, C)
        Is filled with one over the norms.
    """
    steps, size = x.shape[1], threshold.size
    kind = x.dtype.type
    decay = kind(beta)
    flat, m, e = x.reshape(-1), mem.reshape(-1), evidence.reshape(-1)
    apart, wide, ways = free.size > 0, x.shape[2], vectors.reshape(-1, size)
    u = free.reshape(-1) if apart else m
    at = 0
    for r in range(first, last):
        for step in range(steps):
            row, k = ((r - first) * steps + step) * wide, step * vectors.shape[1] + r
            fired = advance_row(
                flat, row, m, u, e, r * size, threshold, decay, kind(weights[0, step]), reset,
                apart, spikes, at,
            )  # fmt: skip
            starts[r - first, step] = at
            at += fired
            ends[r - first, step] = at
            if vectors.size == 0:
                continue
            inverse = direct(flat, row, size, ways, k, False, smallest)
            lengths[step, r] = inverse
            for n in range(size):
                ways[k, n] *= inverse


@kernel
def learn_with_signals(
    x: Array,
    mem: Array,
    free: Array,
    evidence: Array,
    threshold: Array,
    beta: float,
    reset: int,
    weights: Array,
    spikes: Array,
    starts: Array,
    ends: Array,
    counts: Array,
    labels: Array,
    vectors: Array,
    tau: float,
    rectify: bool,
    smallest: float,
    each: float,
    logits_sum: Array,
    logits: Array,
    learns: bool,
    cotangents: Array,
    total: Array,
    answers: Array,
    along_signal: Array,
    fresh: bool,
    first: int,
    last: int,
) -> float:
    """Do as :func:`learn_with_vectors` against signals, ``vectors`` ``(L, C, N)`` of each step.

    What recordings say to them is added to ``answers`` ``(L, C, N)``, or not if that is empty, and
    ``along_signal`` ``(L, padded C)``; if these are ``fresh``, whatever is in them counts as zero.
    """
    steps, size, classes = x.shape[1], threshold.size, vectors.shape[1]
    kind = x.dtype.type
    heat, part, decay = kind(1) / kind(tau), kind(each), kind(beta)
    a, scores, shares, shut = scratch(last - first, size, classes, x)
    rows = len(scores)
    inverse, factor = np.empty(rows, x.dtype), np.empty(rows, x.dtype)
    flat, ways, m, e = x.reshape(-1), vectors.reshape(-1), mem.reshape(-1), evidence.reshape(-1)
    said, alongs = answers.reshape(-1), along_signal.reshape(-1)
    apart, wide, padding = free.size > 0, x.shape[2], along_signal.shape[1]
    u = free.reshape(-1) if apart else m
    loss = 0.0
    at = first * steps * size
    for step in range(steps):
        of_step = step * classes * size
        w = kind(weights[0, step])
        if fresh:  # here, where they are near for the first to be added
            along_signal[step] = 0
            if answers.size:
                answers[step] = 0
        for begin in range(first, last, rows):
            block = min(rows, last - begin)
            for i in range(0, block, 2):  # two at a time, for the products
                j = min(i + 1, block - 1)
                row = ((begin + i) * steps + step) * wide
                other = row + (j - i) * steps * wide
                for k in range(i, j + 1):
                    r, here = begin + k, row if k == i else other
                    fired = advance_row(
                        flat, here, m, u, e, r * size, threshold, decay, w, reset, apart, spikes,
                        at,
                    )  # fmt: skip
                    starts[r, step] = at
                    for n in range(at, at + fired):
                        counts[spikes[n]] += 1
                    at += fired
                    ends[r, step] = at
                    inverse[k] = direct(flat, here, size, a, k, rectify, smallest)
                project(a, i, j, ways, of_step, classes, scores)
                for k in range(i, j + 1):
                    r = begin + k
                    more, factor[k] = judge(
                        scores, k, shut, inverse[k], heat, labels[r], part, shares,
                        alongs, step * padding,
                    )  # fmt: skip
                    loss += more
                    for n in range(classes):
                        logits_sum[r, n] += scores[k, n]
                        logits[r, n] = scores[k, n]
                if learns:
                    mix(
                        a, i, j, ways, of_step, classes, shares, factor[i], factor[j], rectify,
                        flat, row, other,
                    )  # fmt: skip
            if learns and answers.size:
                gather_signals(said, of_step, classes, a, shares, block)
    if learns:
        for r in range(first, last):
            _reverse(flat, r * steps * wide, steps, wide, weights, decay, cotangents[r], total)
    return loss


@kernel
def answer_signals(
    vectors: Array,
    lengths: Array,
    answers: Array,
    along_signal: Array,
    x: Array,
    weights: Array,
    beta: float,
    cotangents: Array,
    total: Array,
    first: int,
    last: int,
) -> None:
    """Make the modulators of signals ``first`` to ``last`` of what recordings said to them.

    And run them backwards.

    ``x`` ``(last - first, L, N or more)`` is filled; ``answers`` and ``along_signal`` may have
    several parts, ``(parts, L, C, N)`` and ``(parts, L, padded C)``, and are used up.
    """
    steps, _, size = vectors.shape
    kind = x.dtype.type
    for step in range(steps):
        for c in range(first, last):
            o, v = answers[0, step, c], vectors[step, c]
            k, scale = along_signal[0, step, c], lengths[step, c]
            for part in range(1, answers.shape[0]):
                k += along_signal[part, step, c]
                more = answers[part, step, c]
                for n in range(size):
                    o[n] += more[n]
            row = x[c - first, step, :size]
            for n in range(size):
                row[n] = (o[n] - k * v[n]) * scale
    flat, decay, wide = x.reshape(-1), kind(beta), x.shape[2]
    for c in range(first, last):
        row = (c - first) * steps * wide
        _reverse(flat, row, steps, wide, weights, decay, cotangents[c], total)
