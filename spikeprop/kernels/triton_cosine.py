"""The cosine loss in Triton: evidence becomes its gradient, in place.

The equations of :class:`spikeprop.losses.Cosine`, for CUDA devices. Import it only where
:func:`spikeprop.kernels.triton_runs_on` says so.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from spikeprop.kernels.triton_neuron import as_scalar

__all__ = ["compare"]

#: Rows that are no more than some for each of a device's processors.
FEW = 512
#: Columns that one program makes the gradients of, and numbers of its largest tile.
COLUMNS, TILE = 16, 16384


def compare(
    z: Tensor,
    vectors: Tensor | None,
    labels: Tensor,
    tau: float,
    rectify: bool,
    smallest: float,
    value: Tensor,
    logits: Tensor,
) -> None:
    """Put modulators in the place of the evidence.

    Parameters
    ----------
    z : Tensor
        Evidence ``(L, R, F)``, contiguous: B recordings, then C class signals where there are no
        fixed vectors; becomes dLoss/dz, with the loss averaged over ``B``.
    vectors : Tensor or None
        Fixed class vectors, centred and of length 1, ``(C, F)``.
    labels : Tensor
        int64 ``(B,)``.
    tau : float
        Temperature.
    rectify : bool
        Whether recordings are compared by ``max(z, 0)``.
    smallest : float
        Norm below which a row has no direction.
    value, logits : Tensor
        Loss of each recording ``(L, B)``, not averaged, and scores ``(L, B, C)``.
    """
    steps, rows, classes = logits.shape
    size, padded = z.shape[2], triton.next_power_of_2(classes)
    # A tile of classes x features has to fit the registers of a program; few programs have the
    # device to themselves.
    tile, warps = (4096, 4) if steps * rows > FEW else (16384, 16)
    block = min(max(16, tile // padded), triton.next_power_of_2(size))
    numbers = (as_scalar(tau, z), as_scalar(smallest, z))
    if vectors is not None:
        _compare[(steps * rows,)](
            z, vectors, labels, *numbers, value, logits, rows, size, classes,
            RECTIFY=rectify, CLASSES=padded, BLOCK=block, num_warps=warps,
        )  # fmt: skip
        return
    delta = torch.empty_like(logits)
    seen, signs = z.new_empty(2, steps, rows), z.new_empty(2, steps, classes)
    _score[(steps * rows,)](
        z, labels, *numbers, value, logits, delta, seen, signs, steps, rows, size, classes,
        RECTIFY=rectify, CLASSES=padded, BLOCK=block, num_warps=warps,
    )  # fmt: skip
    columns = min(COLUMNS, triton.next_power_of_2(size))
    together = min(max(1, TILE // (padded * columns)), triton.next_power_of_2(rows))
    _pull[(triton.cdiv(size, columns), steps)](
        z, numbers[0], logits, delta, seen, signs, steps, rows, size, classes,
        RECTIFY=rectify, CLASSES=padded, ROWS=together, BLOCK=columns,
    )  # fmt: skip


@triton.jit  # type: ignore[untyped-decorator]
def _judge(  # type: ignore[no-untyped-def]
    cosine, heat, labels, value, logits, row, rows, classes, CLASSES: tl.constexpr
):  # fmt: skip
    """Store a recording's loss and scores; return the gradient of the loss at the cosines."""
    c = tl.arange(0, CLASSES)
    real = c < classes
    score = tl.where(real, cosine / heat, float("-inf"))
    top = tl.max(score, axis=0)
    exponent = tl.where(real, tl.exp(score - top), 0.0)
    below = tl.sum(exponent, axis=0)
    own = c == tl.load(labels + row % rows)
    tl.store(value + row, top + tl.log(below) - tl.sum(tl.where(own, score, 0.0), axis=0))
    tl.store(logits + row * classes + c, score, mask=real)
    return tl.where(real, exponent / below - tl.where(own, 1.0, 0.0), 0.0) / (rows * heat)


@triton.jit  # type: ignore[untyped-decorator]
def _compare(  # type: ignore[no-untyped-def]
    z, vectors, labels, tau, smallest, value, logits,
    rows, size, classes, RECTIFY: tl.constexpr, CLASSES: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    start = z + row * size
    c = tl.arange(0, CLASSES)
    real = c < classes
    heat = tl.load(tau)
    # Sums over the features of a, a^2 and a times each vector; the vectors are centred, so that
    # the mean of a need not be known for the last.
    total = tl.zeros((BLOCK,), dtype=heat.dtype)
    dots = tl.zeros((CLASSES,), dtype=heat.dtype)
    for at in range(0, size, BLOCK):
        n = at + tl.arange(0, BLOCK)
        a = tl.load(start + n, mask=n < size, other=0.0)
        if RECTIFY:
            a = tl.maximum(a, 0.0)
        total += a
        s = tl.load(
            vectors + c[:, None] * size + n[None, :],
            mask=real[:, None] & (n < size)[None, :], other=0.0,
        )  # fmt: skip
        dots += tl.sum(s * a[None, :], axis=1)
    mean = tl.sum(total, axis=0) / size
    squares = tl.zeros((BLOCK,), dtype=heat.dtype)
    for at in range(0, size, BLOCK):
        n = at + tl.arange(0, BLOCK)
        a = tl.load(start + n, mask=n < size, other=0.0)
        if RECTIFY:
            a = tl.maximum(a, 0.0)
        centred = tl.where(n < size, a - mean, 0.0)
        squares += centred * centred
    norm = tl.sqrt(tl.sum(squares, axis=0))
    inverse = tl.where(norm > tl.load(smallest), 1.0 / norm, 0.0)
    cosine = dots * inverse
    d = _judge(cosine, heat, labels, value, logits, row, rows, classes, CLASSES)
    along = tl.sum(d * cosine, axis=0)
    for at in range(0, size, BLOCK):
        n = at + tl.arange(0, BLOCK)
        here = tl.load(start + n, mask=n < size, other=0.0)
        a = here
        if RECTIFY:
            a = tl.maximum(here, 0.0)
        s = tl.load(
            vectors + c[:, None] * size + n[None, :],
            mask=real[:, None] & (n < size)[None, :], other=0.0,
        )  # fmt: skip
        result = (tl.sum(d[:, None] * s, axis=0) - along * (a - mean) * inverse) * inverse
        if RECTIFY:
            result = tl.where(here > 0, result, 0.0)
        tl.store(start + n, result, mask=n < size)


@triton.jit  # type: ignore[untyped-decorator]
def _score(  # type: ignore[no-untyped-def]
    z, labels, tau, smallest, value, logits, delta, seen, signs,
    steps, rows, size, classes, RECTIFY: tl.constexpr, CLASSES: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """Compare one recording with the signals: loss, scores, ``delta / tau``, means and norms."""
    row = tl.program_id(0).to(tl.int64)
    step = row // rows
    first = z + step * (rows + classes) * size
    start = first + (row % rows) * size
    signal = first + rows * size
    c = tl.arange(0, CLASSES)
    real = c < classes
    heat = tl.load(tau)
    least = tl.load(smallest)
    total = tl.zeros((BLOCK,), dtype=heat.dtype)
    totals = tl.zeros((CLASSES,), dtype=heat.dtype)
    for at in range(0, size, BLOCK):
        n = at + tl.arange(0, BLOCK)
        a = tl.load(start + n, mask=n < size, other=0.0)
        if RECTIFY:
            a = tl.maximum(a, 0.0)
        total += a
        there = real[:, None] & (n < size)[None, :]
        s = tl.load(signal + c[:, None] * size + n[None, :], mask=there, other=0.0)
        totals += tl.sum(s, axis=1)
    mean = tl.sum(total, axis=0) / size
    means = totals / size
    squares = tl.zeros((BLOCK,), dtype=heat.dtype)
    powers = tl.zeros((CLASSES,), dtype=heat.dtype)
    dots = tl.zeros((CLASSES,), dtype=heat.dtype)
    for at in range(0, size, BLOCK):
        n = at + tl.arange(0, BLOCK)
        a = tl.load(start + n, mask=n < size, other=0.0)
        if RECTIFY:
            a = tl.maximum(a, 0.0)
        a = tl.where(n < size, a - mean, 0.0)
        there = real[:, None] & (n < size)[None, :]
        s = tl.load(signal + c[:, None] * size + n[None, :], mask=there, other=0.0)
        s = tl.where(there, s - means[:, None], 0.0)
        squares += a * a
        powers += tl.sum(s * s, axis=1)
        dots += tl.sum(s * a[None, :], axis=1)
    norm = tl.sqrt(tl.sum(squares, axis=0))
    inverse = tl.where(norm > least, 1.0 / norm, 0.0)
    norms = tl.sqrt(powers)
    inverses = tl.where(norms > least, 1.0 / norms, 0.0)
    cosine = dots * inverse * inverses
    d = _judge(cosine, heat, labels, value, logits, row, rows, classes, CLASSES)
    tl.store(delta + row * classes + c, d, mask=real)
    tl.store(seen + row, mean)
    tl.store(seen + steps * rows + row, inverse)
    if row % rows == 0:
        tl.store(signs + step * classes + c, means, mask=real)
        tl.store(signs + (steps + step) * classes + c, inverses, mask=real)


@triton.jit  # type: ignore[untyped-decorator]
def _pull(  # type: ignore[no-untyped-def]
    z, tau, logits, delta, seen, signs, steps, rows, size, classes,
    RECTIFY: tl.constexpr, CLASSES: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """Carry ``delta`` back to some features of all recordings and signals of a step."""
    step = tl.program_id(1).to(tl.int64)
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    c = tl.arange(0, CLASSES)
    real = c < classes
    there = real[:, None] & (n < size)[None, :]
    heat = tl.load(tau)
    first = z + step * (rows + classes) * size
    signal = first + rows * size + c[:, None] * size + n[None, :]
    means = tl.load(signs + step * classes + c, mask=real, other=0.0)
    inverses = tl.load(signs + (steps + step) * classes + c, mask=real, other=0.0)
    s = (tl.load(signal, mask=there, other=0.0) - means[:, None]) * inverses[:, None]
    pulls = tl.zeros((CLASSES, BLOCK), dtype=heat.dtype)
    alongs = tl.zeros((CLASSES,), dtype=heat.dtype)
    for at in range(0, rows, ROWS):
        r = at + tl.arange(0, ROWS)
        inside = r < rows
        each = inside[:, None] & (n < size)[None, :]
        row = step * rows + r
        place = first + r[:, None] * size + n[None, :]
        here = tl.load(place, mask=each, other=0.0)
        a = here
        if RECTIFY:
            a = tl.maximum(here, 0.0)
        inverse = tl.load(seen + steps * rows + row, mask=inside, other=0.0)
        mean = tl.load(seen + row, mask=inside, other=0.0)
        h = (a - mean[:, None]) * inverse[:, None]
        known = inside[:, None] & real[None, :]
        at_scores = row[:, None] * classes + c[None, :]
        d = tl.load(delta + at_scores, mask=known, other=0.0)
        # A vector's part along its own direction: delta times the cosines.
        agreed = d * tl.load(logits + at_scores, mask=known, other=0.0) * heat
        pull = tl.sum(d[:, :, None] * s[None, :, :], axis=1)
        result = (pull - tl.sum(agreed, axis=1)[:, None] * h) * inverse[:, None]
        if RECTIFY:
            result = tl.where(here > 0, result, 0.0)
        tl.store(place, result, mask=each)
        pulls += tl.sum(d[:, :, None] * h[:, None, :], axis=0)
        alongs += tl.sum(agreed, axis=0)
    tl.store(signal, (pulls - alongs[:, None] * s) * inverses[:, None], mask=there)
