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
    "compare_step",
    "cross_entropy",
    "direct",
    "directions",
    "gather_signal",
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
    sums, n = zeros, 0
    while n < wide:
        v = load(row, n)
        if rectify:
            v = above(zeros, v, zeros, v)  # NaN stays NaN
        sums = sums + v
        n += lane
    mean = total(sums)
    for i in range(wide, size):
        mean += zero if rectify and row[i] < zero else row[i]
    mean = mean / kind(size)
    means, sums, n = spread(mean), zeros, 0
    while n < wide:
        v = load(row, n)
        if rectify:
            v = above(zeros, v, zeros, v)
        v = v - means
        store(centred, n, v)
        sums = sums + v * v
        n += lane
    square = total(sums)
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
    n_recordings, size = len(labels), z.shape[1]
    classes = logits.shape[1]
    kind = z.dtype.type
    zero, one = kind(0), kind(1)
    heat = one / kind(tau)
    each = one / kind(n_recordings)
    spare = a[a.shape[0] - 1]
    if follows:
        for c in range(classes):
            lengths[c] = direct(z[n_recordings + c], vectors[c], False, smallest)
            z[n_recordings + c] = 0
            along_signal[c] = zero
            for i in range(size):
                vectors[c, i] *= lengths[c]
    mean_loss = zero
    for first in range(0, n_recordings, a.shape[0] - 1):
        block = min(a.shape[0] - 1, n_recordings - first)
        for k in range(block):
            row, score, share = z[first + k], logits[first + k], d[k]
            inverse = direct(row, a[k], rectify, smallest)
            project(a[k], vectors, score)
            for c in range(classes):
                score[c] *= inverse * heat
            if not learns:
                continue
            mean_loss += cross_entropy(score, labels[first + k], each, share)
            along = zero
            for c in range(classes):
                along += share[c] * score[c]
                along_signal[c] += share[c] * score[c]
                share[c] *= heat * inverse
            mix(a[k], vectors, share, -along * inverse * inverse, rectify, spare, row)
        if follows and learns:  # dLoss/dz of a signal: the same with the roles changed
            for c in range(classes):
                gather_signal(z[n_recordings + c], a, d, c, block)
    if follows and learns:
        for c in range(classes):
            o, v = z[n_recordings + c], vectors[c]
            k, scale = along_signal[c], lengths[c]
            for i in range(size):
                o[i] = (o[i] - k * v[i]) * scale
    loss: float = mean_loss
    return loss


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
    """``score[c] = a . vectors[c]``, five classes at a time."""
    size, wide, lane = a.size, whole(a), lanes(a)
    kind = a.dtype.type
    classes = score.size
    c = 0
    while c + 5 <= classes:
        v0, v1, v2, v3, v4 = (
            vectors[c], vectors[c + 1], vectors[c + 2], vectors[c + 3], vectors[c + 4],
        )  # fmt: skip
        s0 = spread(kind(0))
        s1, s2, s3, s4 = s0, s0, s0, s0
        n = 0
        while n < wide:
            b = load(a, n)
            s0 = s0 + b * load(v0, n)
            s1 = s1 + b * load(v1, n)
            s2 = s2 + b * load(v2, n)
            s3 = s3 + b * load(v3, n)
            s4 = s4 + b * load(v4, n)
            n += lane
        score[c], score[c + 1], score[c + 2] = total(s0), total(s1), total(s2)
        score[c + 3], score[c + 4] = total(s3), total(s4)
        c += 5
    while c < classes:
        v0, s0, n = vectors[c], spread(kind(0)), 0
        while n < wide:
            s0 = s0 + load(a, n) * load(v0, n)
            n += lane
        score[c] = total(s0)
        c += 1
    for c in range(classes):
        v0 = vectors[c]
        for i in range(wide, size):
            score[c] += a[i] * v0[i]


@kernel
def mix(
    a: Array, vectors: Array, d: Array, k: Any, rectify: bool, spare: Array, row: Array
) -> None:
    """``row = k a + sum over classes of d[c] vectors[c]``, where ``row`` was positive if rectified.

    Five classes at a time, whose factors stay in registers.
    """
    size, wide, lane = a.size, whole(a), lanes(a)
    kind = a.dtype.type
    classes, zero = d.size, kind(0)
    zeros, ks = spread(zero), spread(kind(k))
    out = spare if rectify else row
    c = 0
    while c < classes:
        v0, d0 = vectors[c], spread(d[c])
        n = 0
        if c + 5 <= classes:
            v1, v2, v3, v4 = vectors[c + 1], vectors[c + 2], vectors[c + 3], vectors[c + 4]
            d1, d2, d3, d4 = spread(d[c + 1]), spread(d[c + 2]), spread(d[c + 3]), spread(d[c + 4])
            while n < wide:
                value = ks * load(a, n) if c == 0 else load(out, n)
                value = value + d0 * load(v0, n) + d2 * load(v2, n) + d4 * load(v4, n)
                store(out, n, value + (d1 * load(v1, n) + d3 * load(v3, n)))
                n += lane
            c += 5
        else:
            while n < wide:
                value = ks * load(a, n) if c == 0 else load(out, n)
                store(out, n, value + d0 * load(v0, n))
                n += lane
            c += 1
    if rectify:
        n = 0
        while n < wide:
            store(row, n, above(load(row, n), zeros, load(out, n), zeros))
            n += lane
    for i in range(wide, size):
        last = kind(k) * a[i]
        for c in range(classes):
            last += d[c] * vectors[c, i]
        row[i] = zero if rectify and not row[i] > zero else last


@kernel
def gather_signal(o: Array, a: Array, d: Array, c: int, block: int) -> None:
    """``o += sum over k of d[k, c] a[k]``, four rows at a time."""
    size, wide, lane = o.size, whole(o), lanes(o)
    k = 0
    while k + 4 <= block:
        d0, d1, d2, d3 = (
            spread(d[k, c]),
            spread(d[k + 1, c]),
            spread(d[k + 2, c]),
            spread(d[k + 3, c]),
        )
        a0, a1, a2, a3 = a[k], a[k + 1], a[k + 2], a[k + 3]
        n = 0
        while n < wide:
            value = load(o, n) + d0 * load(a0, n) + d1 * load(a1, n)
            store(o, n, value + d2 * load(a2, n) + d3 * load(a3, n))
            n += lane
        for i in range(wide, size):
            o[i] += (
                d[k, c] * a0[i] + d[k + 1, c] * a1[i] + d[k + 2, c] * a2[i] + d[k + 3, c] * a3[i]
            )
        k += 4
    while k < block:
        d0, a0, n = spread(d[k, c]), a[k], 0
        while n < wide:
            store(o, n, load(o, n) + d0 * load(a0, n))
            n += lane
        for i in range(wide, size):
            o[i] += d[k, c] * a0[i]
        k += 1


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
