"""The cosine loss in compiled loops: a row's whole work while it lies in the first-level cache."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeprop.kernels import kernel
from spikeprop.kernels.lanes import (
    above,
    aligned,
    exponential,
    greatest,
    lanes,
    load,
    padded,
    spread,
    store,
    total,
)

Array = NDArray[Any]

__all__ = [
    "ROWS",
    "compare",
    "compare_rows",
    "compare_step",
    "direct",
    "directions",
    "follow",
    "gather_signals",
    "judge",
    "lead",
    "mix",
    "project",
    "scratch",
]

#: Recordings whose centred rows are kept at once.
ROWS = 8
#: What is added to a score behind the last class.
SHUT = -1e30


@kernel
def direct(z: Array, r: int, size: int, a: Array, i: int, rectify: bool, smallest: float) -> float:
    """Fill row ``i`` of ``a`` with a row (or its positive part) less its mean; return 1 / norm.

    The row is ``z[r : r + size]`` of a flat array, as everywhere here: to take a row out of a
    matrix takes as long as ten loads. Below a smallest norm, return 0.
    """
    lane, at = lanes(z), i * size
    wide, kind = size - size % lane, z.dtype.type
    zero = kind(0)
    zeros = spread(zero)
    # Four sums in turn: one would wait for its own last addition.
    s0, s1, s2, s3 = zeros, zeros, zeros, zeros
    n = 0
    while n < wide:
        v = load(z, r + n)
        if rectify:
            v = above(zeros, v, zeros, v)  # NaN stays NaN
        s0, s1, s2, s3 = s1, s2, s3, s0 + v
        n += lane
    mean = total((s0 + s1) + (s2 + s3))
    for n in range(wide, size):
        mean += zero if rectify and z[r + n] < zero else z[r + n]
    mean = mean / kind(size)
    means, s0, s1, s2, s3 = spread(mean), zeros, zeros, zeros, zeros
    n = 0
    while n < wide:
        v = load(z, r + n)
        if rectify:
            v = above(zeros, v, zeros, v)
        v = v - means
        store(a, at + n, v)
        s0, s1, s2, s3 = s1, s2, s3, s0 + v * v
        n += lane
    square = total((s0 + s1) + (s2 + s3))
    for n in range(wide, size):
        last = (zero if rectify and z[r + n] < zero else z[r + n]) - mean
        a[i, n] = last
        square += last * last
    norm = kind(math.sqrt(square))
    inverse: float = kind(1) / norm if norm > kind(smallest) else zero
    return inverse


@kernel
def directions(z: Array, vectors: Array, smallest: float) -> None:
    """Fill ``vectors`` ``(C, F)`` with the directions of ``z``'s rows; 0 below a smallest norm."""
    lead(z, vectors, np.empty(len(vectors), z.dtype), smallest)


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
    room: Any,
    vectors: Array,
    lengths: Array,
    along_signal: Array,
) -> float:
    """Do one time step's part of :func:`compare` on ``z`` ``(R, F)``; return the mean loss.

    ``room`` is that of :func:`scratch`. ``lengths`` ``(C,)`` and ``along_signal`` ``(padded C,)``
    are to work in, and so is ``vectors`` ``(C, F)`` where the class vectors follow the recordings;
    where not it has their directions. Without ``learns`` there are scores alone, ``z`` keeps its
    recordings, and ``labels`` count.
    """
    signals = z[len(labels) :] if follows else z[:0]
    if follows:
        lead(signals, vectors, lengths, smallest)
        signals[:] = 0
        along_signal[:] = 0
    loss = compare_rows(
        z, labels, 0, len(labels), learns, tau, rectify, smallest, logits, room, vectors, signals,
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
    size, flat = vectors.shape[1], signals.reshape(-1)
    for c in range(lengths.size):
        lengths[c] = direct(flat, c * size, size, vectors, c, False, smallest)
        for i in range(size):
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
    room: Any,
    vectors: Array,
    said: Array,
    along_signal: Array,
) -> float:
    """Compare recordings ``first`` to ``last`` with class vectors; return their part of the loss.

    What they say to signals is added to ``said`` ``(C, F)``, or not if that is empty, and to
    ``along_signal`` ``(padded C,)``. Others as in :func:`compare_step`.
    """
    kind, size = z.dtype.type, z.shape[1]
    heat, each, loss = kind(1) / kind(tau), kind(1) / kind(len(labels)), kind(0)
    a, scores, shares, shut = room
    rows, classes = len(scores), logits.shape[1]
    flat, ways, answers = z.reshape(-1), vectors.reshape(-1), said.reshape(-1)
    inverse, factor = np.empty(2, z.dtype), np.empty(2, z.dtype)
    for begin in range(first, last, rows):
        block = min(rows, last - begin)
        for i in range(0, block, 2):  # two at a time, for the products
            two, at = min(2, block - i), (begin + i) * size
            j, to = i + two - 1, (begin + i + two - 1) * size
            for k in range(two):
                inverse[k] = direct(flat, at + k * size, size, a, i + k, rectify, smallest)
            project(a, i, j, ways, 0, classes, scores)
            for k in range(two):
                r = begin + i + k
                if learns:
                    more, factor[k] = judge(
                        scores, i + k, shut, inverse[k], heat, labels[r], each, shares,
                        along_signal, 0,
                    )  # fmt: skip
                    loss += more
                else:
                    for c in range(classes):
                        scores[i + k, c] *= inverse[k] * heat
                for c in range(classes):
                    logits[r, c] = scores[i + k, c]
            if learns:
                mix(
                    a, i, j, ways, 0, classes, shares, factor[0], factor[two - 1], rectify, flat,
                    at, to,
                )  # fmt: skip
        if said.size > 0 and learns:  # dLoss/dz of a signal: the same with the roles changed
            gather_signals(answers, 0, classes, a, shares, block)
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
def judge(
    scores: Array,
    i: int,
    shut: Array,
    inverse: Any,
    heat: Any,
    own: int,
    each: Any,
    shares: Array,
    along_signal: Array,
    along: int,
) -> tuple[Any, Any]:
    """Make a recording's scores of its products, and of these what it says to class vectors.

    Row ``i`` of ``scores`` is taken times ``inverse``, one over the recording's norm, and ``heat``,
    one over the temperature; cross-entropy with softmax, times ``each``, is its part of the loss.
    That of ``shares`` becomes the factors of the vectors' directions in the gradient, and how much
    of a vector's own length is in its gradient is added to ``along_signal``, flat, from ``along``
    on. All three are in whole vectors, with ``shut`` of :func:`scratch`. Return the part of the
    loss, and the factor of the recording's direction, times its norm, in its gradient.
    """
    lane, size, kind = lanes(scores), scores.shape[1], scores.dtype.type
    at, factor = i * size, kind(inverse * heat)
    factors, most, n = spread(factor), spread(kind(SHUT)), 0
    while n < size:
        score = factors * load(scores, at + n)
        store(scores, at + n, score)
        score = score + load(shut, n)
        most = above(score, most, score, most)
        n += lane
    top, zeros, n = greatest(most), spread(kind(0)), 0
    tops, sums = spread(top), zeros
    while n < size:
        share = exponential(load(scores, at + n) + load(shut, n) - tops)
        store(shares, at + n, share)
        sums = sums + share
        n += lane
    below = total(sums)
    scale, sums, n = kind(each / below), zeros, 0
    scales = spread(scale)
    while n < size:
        share = scales * load(shares, at + n)
        said = share * load(scores, at + n)
        store(along_signal, along + n, load(along_signal, along + n) + said)
        sums = sums + said
        store(shares, at + n, factors * share)
        n += lane
    # The class of its own: apart, for a vector that is loaded where a number was just stored waits.
    score = scores[i, own]
    along_signal[along + own] -= each * score
    shares[i, own] -= factor * each
    itself = total(sums) - each * score
    return (top + kind(math.log(below)) - score) * each, -itself * inverse * inverse


@kernel
def scratch(
    recordings: int, size: int, classes: int, like: Array
) -> tuple[Array, Array, Array, Array]:
    """Return room to compare some recordings in.

    Returns
    -------
    a : ndarray, shape (ROWS + 2, F)
        For centred rows; two are to spare.
    scores, shares : ndarray, shape (ROWS, classes and more)
        Of class vectors, in whole vectors. Nobody but :func:`judge` writes behind the last class.
    shut : ndarray, shape (classes and more,)
        Zero for a class, and ``SHUT`` behind the last.
    """
    rows, kind = max(1, min(ROWS, recordings)), like.dtype.type
    wide = padded(classes, like)
    table = aligned(2 * rows + 1, wide, like)
    table[:] = 0
    table[2 * rows, classes:] = kind(SHUT)
    return aligned(rows + 2, size, like), table[:rows], table[rows : 2 * rows], table[2 * rows]


@kernel
def project(a: Array, i: int, j: int, vectors: Array, at: int, classes: int, scores: Array) -> None:
    """``scores[k, c] = a[k] . vectors[c]`` for the rows ``i`` and ``j``, which may be the same.

    Two rows and five classes at a time: ten sums, none of which waits for its last addition, of
    seven numbers loaded. ``vectors`` are flat, from ``at`` on, and ``a`` and ``scores`` contiguous.
    """
    size, lane, kind = a.shape[1], lanes(a), a.dtype.type
    wide, zeros = size - size % lane, spread(kind(0))
    x, y, c = i * size, j * size, 0
    while c < classes:
        s0, t0, n, v = zeros, zeros, 0, at + c * size
        if c + 5 > classes:
            while n < wide:
                b = load(vectors, v + n)
                s0, t0 = s0 + load(a, x + n) * b, t0 + load(a, y + n) * b
                n += lane
            scores[i, c], scores[j, c] = total(s0), total(t0)
            c += 1
            continue
        s1, s2, s3, s4, t1, t2, t3, t4 = s0, s0, s0, s0, t0, t0, t0, t0
        while n < wide:
            p, q, b = load(a, x + n), load(a, y + n), load(vectors, v + n)
            s0, t0, b = s0 + p * b, t0 + q * b, load(vectors, v + size + n)
            s1, t1, b = s1 + p * b, t1 + q * b, load(vectors, v + 2 * size + n)
            s2, t2, b = s2 + p * b, t2 + q * b, load(vectors, v + 3 * size + n)
            s3, t3, b = s3 + p * b, t3 + q * b, load(vectors, v + 4 * size + n)
            s4, t4 = s4 + p * b, t4 + q * b
            n += lane
        scores[i, c], scores[i, c + 1], scores[i, c + 2] = total(s0), total(s1), total(s2)
        scores[i, c + 3], scores[i, c + 4] = total(s3), total(s4)
        scores[j, c], scores[j, c + 1], scores[j, c + 2] = total(t0), total(t1), total(t2)
        scores[j, c + 3], scores[j, c + 4] = total(t3), total(t4)
        c += 5
    for c in range(classes):
        p, q = kind(0), kind(0)
        for n in range(wide, size):
            p += a[i, n] * vectors[at + c * size + n]
            q += a[j, n] * vectors[at + c * size + n]
        scores[i, c] += p
        if i != j:
            scores[j, c] += q


@kernel
def mix(
    a: Array,
    i: int,
    j: int,
    vectors: Array,
    at: int,
    classes: int,
    d: Array,
    ki: Any,
    kj: Any,
    rectify: bool,
    z: Array,
    ri: int,
    rj: int,
) -> None:
    """``z[ri:] = ki a[i] + sum over classes of d[i, c] vectors[c]``, and of ``j`` into ``z[rj:]``.

    Where ``z`` was positive, if rectified. Two rows and five classes at a time; sums of more
    classes wait in the last two rows of ``a``. ``i`` and ``j`` may be the same; ``vectors``, from
    ``at`` on, and ``z`` are flat.
    """
    size, lane, kind = a.shape[1], lanes(a), a.dtype.type
    wide, spare, c = size - size % lane, (a.shape[0] - 2) * size, 0
    first, second, zeros = spread(kind(ki)), spread(kind(kj)), spread(kind(0))
    x, y = i * size, j * size
    while c < classes:
        more = 5 if c + 5 <= classes else 1
        final, n, v = c + more == classes, 0, at + c * size
        d0, e0 = spread(d[i, c]), spread(d[j, c])
        if more == 1:
            while n < wide:
                if c == 0:
                    p, q = first * load(a, x + n), second * load(a, y + n)
                else:
                    p, q = load(a, spare + n), load(a, spare + size + n)
                b = load(vectors, v + n)
                _put(p + d0 * b, q + e0 * b, final, rectify, zeros, a, spare, n, z, ri, rj)
                n += lane
            c += 1
            continue
        d1, d2, d3, d4 = (
            spread(d[i, c + 1]), spread(d[i, c + 2]), spread(d[i, c + 3]), spread(d[i, c + 4])
        )  # fmt: skip
        e1, e2, e3, e4 = (
            spread(d[j, c + 1]), spread(d[j, c + 2]), spread(d[j, c + 3]), spread(d[j, c + 4])
        )  # fmt: skip
        while n < wide:
            if c == 0:
                p, q = first * load(a, x + n), second * load(a, y + n)
            else:
                p, q = load(a, spare + n), load(a, spare + size + n)
            b = load(vectors, v + n)
            p, q, b = p + d0 * b, q + e0 * b, load(vectors, v + size + n)
            p, q, b = p + d1 * b, q + e1 * b, load(vectors, v + 2 * size + n)
            p, q, b = p + d2 * b, q + e2 * b, load(vectors, v + 3 * size + n)
            p, q, b = p + d3 * b, q + e3 * b, load(vectors, v + 4 * size + n)
            _put(p + d4 * b, q + e4 * b, final, rectify, zeros, a, spare, n, z, ri, rj)
            n += lane
        c += 5
    zero = kind(0)
    for n in range(wide, size):
        last, other = kind(ki) * a[i, n], kind(kj) * a[j, n]
        for c in range(classes):
            last += d[i, c] * vectors[at + c * size + n]
            other += d[j, c] * vectors[at + c * size + n]
        if rectify and not z[ri + n] > zero:
            last = zero
        if rectify and not z[rj + n] > zero:
            other = zero
        z[ri + n] = last
        z[rj + n] = other


@kernel
def _put(
    p: Any,
    q: Any,
    final: bool,
    rectify: bool,
    zeros: Any,
    a: Array,
    spare: int,
    n: int,
    z: Array,
    ri: int,
    rj: int,
) -> None:
    """Put two vectors into ``z``, or into the spare rows of ``a`` if more is to be added."""
    if not final:
        store(a, spare + n, p)
        store(a, spare + a.shape[1] + n, q)
        return
    if rectify:
        p = above(load(z, ri + n), zeros, p, zeros)
        q = above(load(z, rj + n), zeros, q, zeros)
    store(z, ri + n, p)
    store(z, rj + n, q)


@kernel
def gather_signals(said: Array, at: int, classes: int, a: Array, d: Array, block: int) -> None:
    """``said[c] += sum over k < block of d[k, c] a[k]``; ``said`` is flat, from ``at`` on.

    Two classes and four rows at a time.
    """
    size, lane = a.shape[1], lanes(a)
    wide = size - size % lane
    for c in range(0, classes, 2):
        o = min(c + 1, classes - 1)  # the last one of an odd number is its own partner
        x, y, k = at + c * size, at + o * size, 0
        while k + 4 <= block:
            d0, d1, d2, d3 = (
                spread(d[k, c]), spread(d[k + 1, c]), spread(d[k + 2, c]), spread(d[k + 3, c])
            )  # fmt: skip
            e0, e1, e2, e3 = (
                spread(d[k, o]), spread(d[k + 1, o]), spread(d[k + 2, o]), spread(d[k + 3, o])
            )  # fmt: skip
            n, v = 0, k * size
            while n < wide:
                p, q, b = load(said, x + n), load(said, y + n), load(a, v + n)
                p, q, b = p + d0 * b, q + e0 * b, load(a, v + size + n)
                p, q, b = p + d1 * b, q + e1 * b, load(a, v + 2 * size + n)
                p, q, b = p + d2 * b, q + e2 * b, load(a, v + 3 * size + n)
                p, q = p + d3 * b, q + e3 * b
                store(said, x + n, p)
                store(said, y + n, q)
                n += lane
            k += 4
        while k < block:
            d0, e0, n, v = spread(d[k, c]), spread(d[k, o]), 0, k * size
            while n < wide:
                p, q, b = load(said, x + n), load(said, y + n), load(a, v + n)
                store(said, x + n, p + d0 * b)
                store(said, y + n, q + e0 * b)
                n += lane
            k += 1
    for c in range(classes):
        for k in range(block):
            for n in range(wide, size):
                said[at + c * size + n] += d[k, c] * a[k, n]


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
    room = scratch(len(labels), size, classes, z)
    vectors = aligned(classes, size, z)
    lengths = np.empty(classes, z.dtype)
    along_signal = np.zeros(padded(classes, z), z.dtype)
    if not follows:
        directions(fixed, vectors, smallest)
    for step in range(first_step, last_step):
        value[step] = compare_step(
            z[step], labels, follows, True, tau, rectify, smallest, logits[step], room, vectors,
            lengths, along_signal,
        )  # fmt: skip
