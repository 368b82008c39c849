"""The cosine loss in compiled loops: a row's whole work while it lies in the first-level cache."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeprop.kernels import kernel

Array = NDArray[Any]

__all__ = ["compare", "compare_step", "directions"]


@kernel
def _direct(row: Array, centred: Array, rectify: bool, smallest: float) -> float:
    """Fill ``centred`` with ``row`` (or ``max(row, 0)``) less its mean; return 1 / norm, or 0."""
    size = row.size
    kind = row.dtype.type
    zero = kind(0)
    total = zero
    if rectify:
        for i in range(size):
            v = zero if row[i] < zero else row[i]  # NaN stays NaN
            centred[i] = v
            total += v
    else:
        for i in range(size):
            v = row[i]
            centred[i] = v
            total += v
    mean = total / kind(size)
    square = zero
    for i in range(size):
        v = centred[i] - mean
        centred[i] = v
        square += v * v
    norm = kind(math.sqrt(square))
    inverse: float = kind(1) / norm if norm > kind(smallest) else zero
    return inverse


@kernel
def directions(z: Array, vectors: Array, smallest: float) -> None:
    """Fill ``vectors`` ``(C, F)`` with the directions of ``z``'s rows; 0 below a smallest norm."""
    for c in range(vectors.shape[0]):
        inverse = _direct(z[c], vectors[c], False, smallest)
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

    ``a`` ``(F,)``, ``d``, ``lengths`` and ``along_signal`` ``(C,)`` are scratch; so is ``vectors``
    ``(C, F)`` where the class vectors follow the recordings, and has their directions where not.
    Without ``learns`` there are scores alone, ``z`` keeps its recordings, and ``labels`` count.
    """
    n_recordings, size = len(labels), z.shape[1]
    classes = logits.shape[1]
    kind = z.dtype.type
    zero, one = kind(0), kind(1)
    heat = one / kind(tau)
    each = one / kind(n_recordings)
    if follows:
        for c in range(classes):
            lengths[c] = _direct(z[n_recordings + c], vectors[c], False, smallest)
            z[n_recordings + c] = 0
            along_signal[c] = zero
            for i in range(size):
                vectors[c, i] *= lengths[c]
    mean_loss = zero
    for r in range(n_recordings):
        row, score = z[r], logits[r]
        inverse = _direct(row, a, rectify, smallest)
        c = 0
        while c + 2 <= classes:
            v0, v1 = vectors[c], vectors[c + 1]
            s0, s1 = zero, zero
            for i in range(size):
                s0 += a[i] * v0[i]
                s1 += a[i] * v1[i]
            score[c], score[c + 1] = s0 * inverse * heat, s1 * inverse * heat
            c += 2
        if c < classes:
            v0, s0 = vectors[c], zero
            for i in range(size):
                s0 += a[i] * v0[i]
            score[c] = s0 * inverse * heat
        if not learns:
            continue
        top = score[0]
        for c in range(1, classes):
            top = max(top, score[c])
        below = zero
        for c in range(classes):
            d[c] = kind(math.exp(score[c] - top))
            below += d[c]
        own = labels[r]
        mean_loss += (top + kind(math.log(below)) - score[own]) * each
        along = zero
        for c in range(classes):
            p = (d[c] / below - (one if c == own else zero)) * each
            along += p * score[c]
            along_signal[c] += p * score[c]
            d[c] = p * heat * inverse
        if follows:  # dLoss/dz of a signal: the same with the roles changed
            for c in range(classes):
                o, dc = z[n_recordings + c], d[c]
                for i in range(size):
                    o[i] += dc * a[i]
        k = along * inverse * inverse
        for i in range(size):
            a[i] *= -k
        c = 0
        while c + 4 <= classes:
            d0, d1, d2, d3 = d[c], d[c + 1], d[c + 2], d[c + 3]
            v0, v1, v2, v3 = vectors[c], vectors[c + 1], vectors[c + 2], vectors[c + 3]
            for i in range(size):
                a[i] += (d0 * v0[i] + d1 * v1[i]) + (d2 * v2[i] + d3 * v3[i])
            c += 4
        while c < classes:
            d0, v0 = d[c], vectors[c]
            for i in range(size):
                a[i] += d0 * v0[i]
            c += 1
        if rectify:
            for i in range(size):
                row[i] = a[i] if row[i] > zero else zero
        else:
            for i in range(size):
                row[i] = a[i]
    if follows and learns:
        for c in range(classes):
            o, v = z[n_recordings + c], vectors[c]
            k, scale = along_signal[c], lengths[c]
            for i in range(size):
                o[i] = (o[i] - k * v[i]) * scale
    loss: float = mean_loss
    return loss


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
    a = np.empty(size, z.dtype)
    d = np.empty(classes, z.dtype)
    vectors = np.empty((classes, size), z.dtype)
    lengths = np.empty(classes, z.dtype)
    along_signal = np.zeros(classes, z.dtype)
    if not follows:
        directions(fixed, vectors, smallest)
    for step in range(first_step, last_step):
        value[step] = compare_step(
            z[step], labels, follows, True, tau, rectify, smallest, logits[step], a, d, vectors,
            lengths, along_signal,
        )  # fmt: skip
