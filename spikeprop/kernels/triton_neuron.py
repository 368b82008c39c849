"""The leaky neuron with its evidence filters, and those in reverse, in Triton.

The same equations as :mod:`spikeprop.kernels.neuron`, for CUDA devices. One program owns one row
and a block of neurons and walks along the window with their state in registers, so that a window of
L steps is one launch and memory is read and written once. With the environment variable
``TRITON_INTERPRET=1`` (set before this is imported) the same kernels run on the CPU, in Triton's
interpreter, for tests.

Import it only where :func:`spikeprop.kernels.triton_runs_on` says so.
"""

from __future__ import annotations

from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["RESETS", "as_scalar", "integrate", "reverse"]

RESETS = {"none": 0, "subtract": 1, "zero": 2}

#: Neurons that one program owns.
BLOCK = 256


def integrate(
    x: Tensor,
    mem: Tensor,
    free: Tensor,
    threshold: Tensor,
    beta: float,
    reset: str,
    weights: Tensor,
    evidence: Tensor,
    out: Tensor,
    spikes: Tensor,
    counts: Tensor,
    n_recordings: int,
    first: int,
    last: int,
) -> None:
    """Run currents through neuron and filters from step ``first`` to ``last`` (exclusive).

    Parameters
    ----------
    x : Tensor
        Currents ``(L, R, N)``.
    mem, free, evidence : Tensor
        ``(R, N)``, ``(R, N)`` and ``(filters, R, N)``; they go on from where they are. An empty
        ``free`` says that evidence is made of the voltage, and not of the free potential.
    threshold : Tensor
        ``(N,)``.
    beta : float
        Decay per step.
    reset : {"none", "subtract", "zero"}
        Reset mechanism.
    weights : Tensor
        Of the filters, ``(filters, L)``.
    out : Tensor
        Evidence of every step, ``(L, R, filters * N)``; with one filter it may be ``x`` itself.
    spikes : Tensor
        ``(L, R, N)``, 0 or 1; an empty one if nobody asks for them.
    counts : Tensor
        int32, ``(N,)``; spikes of the recordings are added.
    n_recordings : int
        Rows that are recordings.
    first, last : int
        Steps of the window.
    """
    _, n_rows, size = x.shape
    filters = len(evidence)
    block = min(BLOCK, triton.next_power_of_2(size))
    _integrate[(n_rows, triton.cdiv(size, block))](
        x, mem, free, threshold, as_scalar(beta, x), weights, evidence, out, spikes, counts,
        n_rows, size, weights.shape[1], first, last, n_recordings,
        FILTERS=filters, PADDED=triton.next_power_of_2(filters), RESET=RESETS[reset],
        FREE=free.numel() > 0, SPIKES=spikes.numel() > 0, BLOCK=block,
    )  # fmt: skip


def reverse(delta: Tensor, weights: Tensor, beta: float, q: Tensor, p: Tensor, g: Tensor) -> None:
    """Run modulators backwards through the filters and the neuron's decay within a window.

    Parameters
    ----------
    delta : Tensor
        ``(L, R, filters * N)``; rows behind those of ``p`` are left out.
    weights : Tensor
        Of the filters, ``(filters, L)``.
    beta : float
        Decay per step.
    q, p : Tensor
        ``(filters, rows, N)`` and ``(rows, N)``: become the cotangents of the filtered traces and
        of the trace from before the window.
    g : Tensor
        ``(L, rows, N)``: becomes the cotangent of each step's input.
    """
    steps, n_rows, _ = delta.shape
    rows, size = p.shape
    filters = len(q)
    block = min(BLOCK, triton.next_power_of_2(size))
    _reverse[(rows, triton.cdiv(size, block))](
        delta, weights, as_scalar(beta, delta), q, p, g, n_rows, rows, size, steps,
        FILTERS=filters, PADDED=triton.next_power_of_2(filters), BLOCK=block,
    )  # fmt: skip


def as_scalar(value: float, like: Tensor) -> Tensor:
    """Return a number in the type of ``like``: Triton takes Python floats as float32."""
    return _constant(value, like.dtype, like.device)


@cache  # for good: recorded launches go on reading them
def _constant(value: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.full((1,), value, dtype=dtype, device=device)


@triton.jit  # type: ignore[untyped-decorator]
def _integrate(  # type: ignore[no-untyped-def]
    x, mem, free, threshold, beta, weights, evidence, out,
    spikes, counts, n_rows, size, length, first, last,
    n_recordings, FILTERS: tl.constexpr, PADDED: tl.constexpr, RESET: tl.constexpr,
    FREE: tl.constexpr, SPIKES: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    r = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = n < size
    k = tl.arange(0, PADDED)
    each = (k < FILTERS)[:, None] & inside[None, :]
    state = k[:, None].to(tl.int64) * n_rows * size + r * size + n[None, :]
    place = k[:, None] * size + n[None, :]
    decay = tl.load(beta)
    limit = tl.load(threshold + n, mask=inside, other=0.0)
    m = tl.load(mem + r * size + n, mask=inside, other=0.0)
    e = tl.load(evidence + state, mask=each, other=0.0)
    u = m
    if FREE:
        u = tl.load(free + r * size + n, mask=inside, other=0.0)
    fired = tl.zeros((BLOCK,), dtype=tl.int32)
    for step in range(first, last):
        row = step * n_rows + r
        current = tl.load(x + row * size + n, mask=inside, other=0.0)
        over = m > limit
        if RESET == 1:
            m = decay * m + current - tl.where(over, limit, 0.0)
        elif RESET == 2:
            m = decay * tl.where(over, 0.0, m) + current
        else:
            m = decay * m + current
        w = tl.load(weights + k * length + step, mask=k < FILTERS, other=0.0)
        if FREE:  # noqa: SIM108 - decided when it is compiled
            u = decay * u + current
        else:
            u = m
        e = e + w[:, None] * (u[None, :] - e)
        tl.store(out + row * FILTERS * size + place, e, mask=each)
        spike = (m > limit) & inside
        fired += spike.to(tl.int32)
        if SPIKES:
            tl.store(spikes + row * size + n, spike.to(m.dtype), mask=inside)
    tl.store(mem + r * size + n, m, mask=inside)
    if FREE:
        tl.store(free + r * size + n, u, mask=inside)
    tl.store(evidence + state, e, mask=each)
    tl.atomic_add(counts + n, fired, mask=inside & (r < n_recordings))


@triton.jit  # type: ignore[untyped-decorator]
def _reverse(  # type: ignore[no-untyped-def]
    delta, weights, beta, q, p, g, n_rows, rows, size,
    steps, FILTERS: tl.constexpr, PADDED: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    r = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = n < size
    k = tl.arange(0, PADDED)
    each = (k < FILTERS)[:, None] & inside[None, :]
    place = k[:, None] * size + n[None, :]
    decay = tl.load(beta)
    back = tl.zeros((PADDED, BLOCK), dtype=decay.dtype)
    total = tl.zeros((BLOCK,), dtype=decay.dtype)
    for i in range(steps):
        step = steps - 1 - i
        row = step * n_rows + r
        d = tl.load(delta + row * FILTERS * size + place, mask=each, other=0.0)
        w = tl.load(weights + k * steps + step, mask=k < FILTERS, other=0.0)
        back += d
        total = decay * total + tl.sum(w[:, None] * back, axis=0)
        back = back - w[:, None] * back
        tl.store(g + (step * rows + r) * size + n, total, mask=inside)
    tl.store(p + r * size + n, decay * total, mask=inside)
    state = k[:, None].to(tl.int64) * rows * size + r * size + n[None, :]
    tl.store(q + state, back, mask=each)
