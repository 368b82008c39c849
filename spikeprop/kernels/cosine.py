"""The cosine loss of one or a few time steps in one go: see ``spikeprop.losses.Cosine``.

With many steps at once matrix products of a library are faster; with one, calling them takes longer
than they do.
"""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray

from spikeprop.kernels import kernel

Array = NDArray[Any]

__all__ = ["modulate"]


@kernel
def modulate(
    z: Array,
    labels: Array,
    tau: float,
    smallest: float,
    rectify: bool,
    follows: bool,
    h: Array,
    s: Array,
    scores: Array,
    logits: Array,
    values: Array,
) -> None:
    """Put modulators in place of evidence ``z`` ``(L, R, F)``: recordings first, then signals.

    ``s`` ``(C, F)`` holds the directions of fixed class vectors, or is scratch where the classes
    follow the recordings in ``z`` (``follows``). ``h`` ``(F,)`` and ``scores`` ``(2, C)`` are
    scratch. ``logits`` ``(L, B, C)`` and ``values`` ``(L,)`` are filled.
    """
    n_classes, size = s.shape
    n = labels.size
    kind = z.dtype.type
    zero = kind(0)
    one = kind(1)
    temperature = kind(tau)
    count = kind(n)
    cosines, delta = scores[0], scores[1]
    for step in range(z.shape[0]):
        inverse = scores[2]
        if follows:
            for c in range(n_classes):
                row, o = z[step, n + c], s[c]
                total = zero
                for i in range(size):
                    total += row[i]
                mean = total / kind(size)
                square = zero
                for i in range(size):
                    a = row[i] - mean
                    o[i] = a
                    square += a * a
                norm = kind(math.sqrt(square))
                inverse[c] = one / norm if norm > kind(smallest) else zero
                for i in range(size):
                    o[i] *= inverse[c]
                    row[i] = zero
            scores[3, :] = zero
        value = zero
        for r in range(n):
            row = z[step, r]
            total = zero
            if rectify:
                for i in range(size):
                    a = row[i] if row[i] > zero else zero
                    h[i] = a
                    total += a
            else:
                for i in range(size):
                    a = row[i]
                    h[i] = a
                    total += a
            mean = total / kind(size)
            square = zero
            for i in range(size):
                a = h[i] - mean
                h[i] = a
                square += a * a
            norm = kind(math.sqrt(square))
            scale = one / norm if norm > kind(smallest) else zero
            for i in range(size):
                h[i] *= scale
            largest = kind(-math.inf)
            for c in range(n_classes):
                o = s[c]
                dot = zero
                for i in range(size):
                    dot += h[i] * o[i]
                dot /= temperature
                cosines[c] = dot
                logits[step, r, c] = dot
                if dot > largest:
                    largest = dot
            total = zero
            for c in range(n_classes):
                a = kind(math.exp(cosines[c] - largest))
                delta[c] = a
                total += a
            own = labels[r]
            value += kind(math.log(total)) + largest - cosines[own]
            along = zero
            for c in range(n_classes):
                a = delta[c] / total
                if c == own:
                    a -= one
                a /= count
                along += a * cosines[c]
                if follows:
                    scores[3, c] += a * cosines[c]
                delta[c] = a / temperature
            if follows:
                for c in range(n_classes):
                    o = z[step, n + c]
                    a = delta[c]
                    for i in range(size):
                        o[i] += a * h[i]
            for i in range(size):
                h[i] *= -along
            for c in range(n_classes):
                o = s[c]
                a = delta[c]
                for i in range(size):
                    h[i] += a * o[i]
            if rectify:
                for i in range(size):
                    a = h[i] * scale
                    row[i] = a if row[i] > zero else zero
            else:
                for i in range(size):
                    row[i] = h[i] * scale
        values[step] = value / count
        if follows:
            for c in range(n_classes):
                row, o = z[step, n + c], s[c]
                along = scores[3, c]
                for i in range(size):
                    row[i] = (row[i] - along * o[i]) * inverse[c]
