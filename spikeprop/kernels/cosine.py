"""The cosine loss in compiled loops: a row's whole work while it lies in the first-level cache."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeprop.kernels import kernel
from spikeprop.kernels.lanes import above, aligned, lanes, load, spread, store, total, whole

Array = NDArray[Any]

__all__ = [
    "ROWS",
    "compare",
    "compare_rows",
    "compare_step",
    "cross_entropy",
    "direct",
    "directions",
    "follow",
    "gather_signal",
    "lead",
    "mix",
    "project",
]

#: Recordings whose centred rows are kept at once.
ROWS = 8


@kernel
def direct(row: Array, centred: Array, rectify: bool, smallest: float) -> float:
    """Fill ``centred`` with ``row`` (or ``max(row, 0)``) less its mean; return 1 / norm, or 0."""
    size, wide, lane = row.size, whole(row), lanes(row)
    kind = row.dtype.type
    zero = kind(0)
    zeros = spread(zero)
    # Four sums in turn: one would wait for its own last addition.
    s0, s1, s2, s3 = zeros, zeros, zeros, zeros
    n = 0
    while n < wide:
        v = load(row, n)
        if rectify:
            v = above(zeros, v, zeros, v)  # NaN stays NaN
        s0, s1, s2, s3 = s1, s2, s3, s0 + v
        n += lane
    mean = total((s0 + s1) + (s2 + s3))
    for i in range(wide, size):
        mean += zero if rectify and row[i] < zero else row[i]
    mean = mean / kind(size)
    means, s0, s1, s2, s3 = spread(mean), zeros, zeros, zeros, zeros
    n = 0
    while n < wide:
        v = load(row, n)
        if rectify:
            v = above(zeros, v, zeros, v)
        v = v - means
        store(centred, n, v)
        s0, s1, s2, s3 = s1, s2, s3, s0 + v * v
        n += lane
    square = total((s0 + s1) + (s2 + s3))
    for i in range(wide, size):
        last = (zero if rectify and row[i] < zero else row[i]) - mean
        centred[i] = last
        square += last * last
    norm = kind(math.sqrt(square))
    inverse: float = kind(1) / norm if norm > kind(smallest) else zero
    return inverse


@kernel
def directions(z: Array, vectors: Array, smallest: float) -> None:
    """Fill ``vectors`` ``(C, F)`` with the directions of ``z``'s rows; 0 below a smallest norm."""
    for c in range(vectors.shape[0]):
        inverse = direct(z[c], vectors[c], False, smallest)
        for i in range(vectors.shape[1]):
            vectors[c, i] *= inverse


@kernel
def compare_step(
    z: Array,
    labels: Array,
    follows: bool,
    learns: bool,
    tau: float,
    rectify: bool,
    smallest: float,
    logits: Array,
    a: Array,
    d: Array,
    vectors: Array,
    lengths: Array,
    along_signal: Array,
) -> float:
    """Do one time step's part of :func:`compare` on ``z`` ``(R, F)``; return the mean loss.

    ``a`` ``(ROWS + 1, F)``, ``d`` ``(ROWS, C)``, ``lengths`` and ``along_signal`` ``(C,)`` are
    scratch; so is ``vectors`` ``(C, F)`` where the class vectors follow the recordings, and has
    their directions where not. Without ``learns`` there are scores alone, ``z`` keeps its
    recordings, and ``labels`` count.
    """
    signals = z[len(labels) :] if follows else z[:0]
    if follows:
        lead(signals, vectors, lengths, smallest)
        signals[:] = 0
        along_signal[:] = 0
    loss = compare_rows(
        z, labels, 0, len(labels), learns, tau, rectify, smallest, logits, a, d, vectors, signals,
        along_signal,
    )  # fmt: skip
    if follows and learns:
        follow(signals, along_signal, vectors, lengths)
    return loss


@kernel
def lead(signals: Array, vectors: Array, lengths: Array, smallest: float) -> None:
    """Fill ``vectors`` with the directions of ``signals``, both ``(C, F)``, and ``lengths``.

    The latter ``(C,)`` are one over norms.
    """
    for c in range(lengths.size):
        lengths[c] = direct(signals[c], vectors[c], False, smallest)
        for i in range(vectors.shape[1]):
            vectors[c, i] *= lengths[c]


@kernel
def compare_rows(
    z: Array,
    labels: Array,
    first: int,
    last: int,
    learns: bool,
    tau: float,
    rectify: bool,
    smallest: float,
    logits: Array,
    a: Array,
    d: Array,
    vectors: Array,
    said: Array,
    along_signal: Array,
) -> float:
    """Compare recordings ``first`` to ``last`` with class vectors; return their part of the loss.

    What they say to signals is added to ``said`` ``(C, F)``, or not if that is empty, and to
    ``along_signal`` ``(C,)``. Others as in :func:`compare_step`.
    """
    classes, kind = logits.shape[1], z.dtype.type
    zero, one = kind(0), kind(1)
    heat = one / kind(tau)
    each = one / kind(len(labels))
    spare = a[a.shape[0] - 1]
    loss = zero
    for begin in range(first, last, a.shape[0] - 1):
        block = min(a.shape[0] - 1, last - begin)
        for k in range(block):
            row, score, share = z[begin + k], logits[begin + k], d[k]
            inverse = direct(row, a[k], rectify, smallest)
            project(a[k], vectors, score)
            for c in range(classes):
                score[c] *= inverse * heat
            if not learns:
                continue
            loss += cross_entropy(score, labels[begin + k], each, share)
            along = zero
            for c in range(classes):
                along += share[c] * score[c]
                along_signal[c] += share[c] * score[c]
                share[c] *= heat * inverse
            mix(a[k], vectors, share, -along * inverse * inverse, rectify, spare, row)
        if said.size > 0 and learns:  # dLoss/dz of a signal: the same with the roles changed
            for c in range(classes):
                gather_signal(said[c], a, d, c, block)
    found: float = loss
    return found


@kernel
def follow(said: Array, along_signal: Array, vectors: Array, lengths: Array) -> None:
    """Make signals' modulators of what recordings ``said`` to them ``(C, F)``, in place."""
    for c in range(lengths.size):
        o, v = said[c], vectors[c]
        k, scale = along_signal[c], lengths[c]
        for i in range(v.size):
            o[i] = (o[i] - k * v[i]) * scale


@kernel
def cross_entropy(score: Array, own: int, each: Any, share: Array) -> Any:
    """Fill ``share`` with ``each (softmax(score) - onehot(own))``; return ``each`` x the loss."""
    kind = score.dtype.type
    classes = score.size
    top = score[0]
    for c in range(1, classes):
        top = max(top, score[c])
    below = kind(0)
    for c in range(classes):
        share[c] = kind(math.exp(score[c] - top))
        below += share[c]
    scale = each / below
    for c in range(classes):
        share[c] *= scale
    share[own] -= each
    return (top + kind(math.log(below)) - score[own]) * each


@kernel
def project(a: Array, vectors: Array, score: Array) -> None:
    """``score[c] = a . vectors[c]``, ten classes at a time, so that no sum waits for its last one.

    ``vectors`` ``(C, F)`` is contiguous.
    """
    size, wide, lane = a.size, whole(a), lanes(a)
    kind = a.dtype.type
    classes = score.size
    c = 0
    while c < classes:
        s0, n, v = spread(kind(0)), 0, c * size
        if c + 10 > classes:
            while n < wide:
                s0 = s0 + load(a, n) * load(vectors, v + n)
                n += lane
            score[c] = total(s0)
            c += 1
            continue
        s1, s2, s3, s4, s5, s6, s7, s8, s9 = s0, s0, s0, s0, s0, s0, s0, s0, s0
        while n < wide:
            b, v = load(a, n), c * size + n
            s0 = s0 + b * load(vectors, v)
            s1 = s1 + b * load(vectors, v + size)
            s2 = s2 + b * load(vectors, v + 2 * size)
            s3 = s3 + b * load(vectors, v + 3 * size)
            s4 = s4 + b * load(vectors, v + 4 * size)
            s5 = s5 + b * load(vectors, v + 5 * size)
            s6 = s6 + b * load(vectors, v + 6 * size)
            s7 = s7 + b * load(vectors, v + 7 * size)
            s8 = s8 + b * load(vectors, v + 8 * size)
            s9 = s9 + b * load(vectors, v + 9 * size)
            n += lane
        score[c], score[c + 1], score[c + 2] = total(s0), total(s1), total(s2)
        score[c + 3], score[c + 4], score[c + 5] = total(s3), total(s4), total(s5)
        score[c + 6], score[c + 7], score[c + 8] = total(s6), total(s7), total(s8)
        score[c + 9] = total(s9)
        c += 10
    for c in range(classes):
        for i in range(wide, size):
            score[c] += a[i] * vectors[c, i]


@kernel
def mix(
    a: Array, vectors: Array, d: Array, k: Any, rectify: bool, spare: Array, row: Array
) -> None:
    """``row = k a + sum over classes of d[c] vectors[c]``, where ``row`` was positive if rectified.

    Ten classes at a time, whose factors stay in registers. ``vectors`` ``(C, F)`` is contiguous.
    """
    size, wide, lane = a.size, whole(a), lanes(a)
    kind = a.dtype.type
    classes, zero = d.size, kind(0)
    zeros, ks = spread(zero), spread(kind(k))
    c = 0
    while c < classes:
        d0, n, v = spread(d[c]), 0, c * size
        if c + 10 > classes:
            while n < wide:
                value = ks * load(a, n) if c == 0 else load(spare, n)
                store(spare, n, value + d0 * load(vectors, v + n))
                n += lane
            c += 1
            continue
        d1, d2, d3, d4 = spread(d[c + 1]), spread(d[c + 2]), spread(d[c + 3]), spread(d[c + 4])
        d5, d6, d7, d8 = spread(d[c + 5]), spread(d[c + 6]), spread(d[c + 7]), spread(d[c + 8])
        d9 = spread(d[c + 9])
        while n < wide:
            value, v = ks * load(a, n) if c == 0 else load(spare, n), c * size + n
            value = value + d0 * load(vectors, v) + d2 * load(vectors, v + 2 * size)
            value = value + d4 * load(vectors, v + 4 * size) + d6 * load(vectors, v + 6 * size)
            more = d1 * load(vectors, v + size) + d3 * load(vectors, v + 3 * size)
            more = more + d5 * load(vectors, v + 5 * size) + d7 * load(vectors, v + 7 * size)
            more = more + d8 * load(vectors, v + 8 * size) + d9 * load(vectors, v + 9 * size)
            store(spare, n, value + more)
            n += lane
        c += 10
    n = 0
    while n < wide:
        value = load(spare, n)
        if rectify:
            value = above(load(row, n), zeros, value, zeros)
        store(row, n, value)
        n += lane
    for i in range(wide, size):
        last = kind(k) * a[i]
        for c in range(classes):
            last += d[c] * vectors[c, i]
        row[i] = zero if rectify and not row[i] > zero else last


@kernel
def gather_signal(o: Array, a: Array, d: Array, c: int, block: int) -> None:
    """``o += sum over k of d[k, c] a[k]``, four rows at a time; ``a`` is contiguous."""
    size, wide, lane = o.size, whole(o), lanes(o)
    k = 0
    while k + 4 <= block:
        d0, d1, d2, d3 = (
            spread(d[k, c]),
            spread(d[k + 1, c]),
            spread(d[k + 2, c]),
            spread(d[k + 3, c]),
        )
        n = 0
        while n < wide:
            v = k * size + n
            value = load(o, n) + d0 * load(a, v) + d1 * load(a, v + size)
            store(o, n, value + d2 * load(a, v + 2 * size) + d3 * load(a, v + 3 * size))
            n += lane
        k += 4
    while k < block:
        d0, n = spread(d[k, c]), 0
        while n < wide:
            store(o, n, load(o, n) + d0 * load(a, k * size + n))
            n += lane
        k += 1
    for k in range(block):
        for i in range(wide, size):
            o[i] += d[k, c] * a[k, i]


@kernel
def compare(
    z: Array,
    fixed: Array,
    labels: Array,
    tau: float,
    rectify: bool,
    smallest: float,
    value: Array,
    logits: Array,
    first_step: int,
    last_step: int,
) -> None:
    """Put the modulators of the cosine loss in the place of the evidence, step by step.

    One walk over a row while it lies in the first-level cache, for recordings: its direction, its
    cosines with the class vectors, softmax, and the gradient back through the direction.

    Parameters
    ----------
    z : ndarray, shape (L, R, F)
        Evidence of ``len(labels)`` recordings and, if ``fixed`` is empty, of the class signals
        behind them; becomes dLoss/dz, with the loss averaged over the recordings.
    fixed : ndarray, shape (C, F)
        Class vectors, or empty.
    labels : ndarray of int64
        Class of each recording.
    tau, rectify, smallest
        Temperature, whether recordings are compared by ``max(z, 0)``, and the norm below which a
        row has no direction.
    value : ndarray, shape (L,)
        Mean loss.
    logits : ndarray, shape (L, B, C)
        Scores.
    """
    size, classes = z.shape[2], logits.shape[2]
    follows = fixed.shape[0] == 0
    a = aligned(ROWS + 1, size, z)
    d = np.empty((ROWS, classes), z.dtype)
    vectors = aligned(classes, size, z)
    lengths = np.empty(classes, z.dtype)
    along_signal = np.zeros(classes, z.dtype)
    if not follows:
        directions(fixed, vectors, smallest)
    for step in range(first_step, last_step):
        value[step] = compare_step(
            z[step], labels, follows, True, tau, rectify, smallest, logits[step], a, d, vectors,
            lengths, along_signal,
        )  # fmt: skip
