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
from spikeprop.kernels.cosine import ROWS, cross_entropy, direct, gather_signal, mix, project
from spikeprop.kernels.lanes import aligned
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
    q: Array,
    p: Array,
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
    q, p : ndarray, shape (R, N)
        Become the cotangents of filtered trace and trace from before the window.
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
    scratch = aligned(2, size, x)
    a, spare = scratch[0], scratch[1]
    directed = aligned(classes, size, x)
    directed[:] = vectors
    scores = np.empty((2, classes), x.dtype)
    score, share = scores[0], scores[1]
    loss = 0.0
    at = first * steps * size
    for r in range(first, last):
        m, e = mem[r], evidence[r]
        u = free[r] if free.size else m
        for step in range(steps):
            c = x[r, step, :size]
            fired = advance_row(
                c, m, u, e, threshold, decay, kind(weights[0, step]), reset, free.size > 0,
                spikes[at : at + size],
            )  # fmt: skip
            starts[r, step] = at
            for i in range(at, at + fired):
                counts[spikes[i]] += 1
            at += fired
            ends[r, step] = at
            inverse = direct(c, a, rectify, smallest)
            project(a, directed, score)
            for k in range(classes):
                score[k] *= inverse * heat
                logits_sum[r, k] += score[k]
                logits[r, k] = score[k]
            loss += cross_entropy(score, labels[r], part, share)
            if not learns:
                continue
            along = kind(0)
            for k in range(classes):
                along += share[k] * score[k]
                share[k] *= heat * inverse
            mix(a, directed, share, -along * inverse * inverse, rectify, spare, c)
        if learns:
            _reverse(x[r], weights, decay, q[r], p[r], total)
    return loss


@kernel
def _reverse(
    x: Array,
    weights: Array,
    decay: Any,
    q: Array,
    p: Array,
    total: Array,
) -> None:
    """Run one recording's modulators backwards, in place; see :func:`learn_with_vectors`."""
    steps, size = x.shape[0], total.size
    kind = x.dtype.type
    present = keeps_nothing(weights)
    p[:] = 0
    q[:] = 0
    for back in range(steps):
        step = steps - 1 - back
        reverse_sum(x[step, :size], q, p, kind(weights[0, step]), decay, present, total)
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
    mem, free, evidence, threshold, beta, reset, weights, spikes, starts, ends
        As in :func:`learn_with_vectors`, with C signals for recordings.
    smallest : float
        Norm below which a vector has no direction.
    vectors : ndarray, shape (L, C, N)
        Is filled with directions.
    lengths : ndarray, shape (L, C)
        Is filled with one over the norms.
    """
    steps, size = x.shape[1], threshold.size
    kind = x.dtype.type
    decay = kind(beta)
    at = first * steps * size
    for r in range(first, last):
        m, e = mem[r], evidence[r]
        u = free[r] if free.size else m
        for step in range(steps):
            c = x[r - first, step, :size]
            fired = advance_row(
                c, m, u, e, threshold, decay, kind(weights[0, step]), reset, free.size > 0,
                spikes[at : at + size],
            )  # fmt: skip
            starts[r, step] = at
            at += fired
            ends[r, step] = at
            v = vectors[step, r]
            inverse = direct(c, v, False, smallest)
            lengths[step, r] = inverse
            for n in range(size):
                v[n] *= inverse


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
    q: Array,
    p: Array,
    total: Array,
    answers: Array,
    along_signal: Array,
    fresh: bool,
    first: int,
    last: int,
) -> float:
    """Do as :func:`learn_with_vectors` against signals, ``vectors`` ``(L, C, N)`` of each step.

    What recordings say to them is added to ``answers`` ``(L, C, N)``, or not if that is empty, and
    ``along_signal`` ``(L, C)``; if these are ``fresh``, whatever is in them counts as zero.
    """
    steps, size, classes = x.shape[1], threshold.size, vectors.shape[1]
    kind = x.dtype.type
    heat, part, decay = kind(1) / kind(tau), kind(each), kind(beta)
    rows = min(ROWS, last - first)
    a = aligned(rows + 1, size, x)
    share, score = np.empty((rows, classes), x.dtype), np.empty(classes, x.dtype)
    loss = 0.0
    at = first * steps * size
    for step in range(steps):
        w = kind(weights[0, step])
        if fresh:  # here, where they are near for the first to be added
            along_signal[step] = 0
            if answers.size:
                answers[step] = 0
        for begin in range(first, last, rows):
            block = min(rows, last - begin)
            for k in range(block):
                r = begin + k
                c, m = x[r, step, :size], mem[r]
                u = free[r] if free.size else m
                fired = advance_row(
                    c, m, u, evidence[r], threshold, decay, w, reset, free.size > 0,
                    spikes[at : at + size],
                )  # fmt: skip
                starts[r, step] = at
                for i in range(at, at + fired):
                    counts[spikes[i]] += 1
                at += fired
                ends[r, step] = at
                inverse = direct(c, a[k], rectify, smallest)
                project(a[k], vectors[step], score)
                for i in range(classes):
                    score[i] *= inverse * heat
                    logits_sum[r, i] += score[i]
                    logits[r, i] = score[i]
                loss += cross_entropy(score, labels[r], part, share[k])
                along = kind(0)
                for i in range(classes):
                    along += share[k, i] * score[i]
                    along_signal[step, i] += share[k, i] * score[i]
                    share[k, i] *= heat * inverse
                if learns:
                    mix(
                        a[k], vectors[step], share[k], -along * inverse * inverse, rectify,
                        a[rows], c,
                    )  # fmt: skip
            if learns and answers.size:
                for i in range(classes):
                    gather_signal(answers[step, i], a, share, i, block)
    if learns:
        for r in range(first, last):
            _reverse(x[r], weights, decay, q[r], p[r], total)
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
    q: Array,
    p: Array,
    total: Array,
    first: int,
    last: int,
) -> None:
    """Make the modulators of signals ``first`` to ``last`` of what recordings said to them.

    And run them backwards.

    ``x`` ``(last - first, L, N or more)`` is filled; ``answers`` and ``along_signal`` may have
    several parts, ``(parts, L, C, N)`` and ``(parts, L, C)``, and are used up.
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
    for c in range(first, last):
        _reverse(x[c - first], weights, kind(beta), q[c], p[c], total)
