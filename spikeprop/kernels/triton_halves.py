r"""Numbers in float32 as two in float16, for tensor cores; in Triton.

With ``u = 2^shift x`` of at most 2^14 in size,

    high = half(u),    low = half(2^11 (u - high)),    u = high + 2^-11 low + e,  |e| <= 2^-22 |u|

(below 2^-14 in ``u``, where halves become denormal, ``|e| <= 2^-36``). Spikes and small numbers of
events are halves already: ``shift`` is 0 then and ``low`` nothing.

Source: Ootomo and Yokota, "Recovering single precision accuracy from Tensor Cores while surpassing
the FP32 theoretical peak performance", arXiv 2203.03341, section on scaling of the residual.

Import it only where :func:`spikeprop.kernels.triton_runs_on` says so.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["LOW_SHIFT", "halve", "survey"]

#: The power of two by which ``low`` is larger than what it stands for.
LOW_SHIFT = 11

#: Numbers that a program takes at a time.
BLOCK = 4096
#: Programs of a survey.
PROGRAMS = 1024


def survey(x: Tensor) -> tuple[float, bool]:
    """Return the largest size among numbers, and whether all of them are halves already.

    Waits for the device.
    """
    programs = min(PROGRAMS, triton.cdiv(x.numel(), BLOCK))
    found = torch.empty(2, programs, dtype=torch.float32, device=x.device)
    _survey[(programs,)](x, found, x.numel(), programs, BLOCK=BLOCK)
    largest, rest = found.amax(dim=1).tolist()
    return largest, rest == 0.0


def halve(x: Tensor, scale: float, high: Tensor, low: Tensor | None) -> None:
    """Fill ``high``, and ``low`` if there is one, with the halves of ``scale * x``."""
    _halve[(triton.cdiv(x.numel(), BLOCK),)](
        x, high, high if low is None else low, scale, x.numel(), LOW=low is not None, BLOCK=BLOCK
    )


@triton.jit  # type: ignore[untyped-decorator]
def _survey(x, found, count, programs, BLOCK: tl.constexpr) -> None:  # type: ignore[no-untyped-def]
    program = tl.program_id(0)
    largest = tl.zeros((BLOCK,), dtype=tl.float32)
    rest = tl.zeros((BLOCK,), dtype=tl.float32)
    for start in range(program.to(tl.int64) * BLOCK, count, programs * BLOCK):
        at = start + tl.arange(0, BLOCK)
        value = tl.load(x + at, mask=at < count, other=0.0)
        largest = tl.maximum(largest, tl.abs(value))
        # Too large a number has an infinite half, and a rest that is infinite too.
        rest = tl.maximum(rest, tl.abs(value - value.to(tl.float16).to(tl.float32)))
    tl.store(found + program, tl.max(largest, axis=0))
    tl.store(found + programs + program, tl.max(rest, axis=0))


@triton.jit  # type: ignore[untyped-decorator]
def _halve(  # type: ignore[no-untyped-def]
    x, high, low, scale, count, LOW: tl.constexpr, BLOCK: tl.constexpr
) -> None:
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + at, mask=at < count, other=0.0) * scale
    half = value.to(tl.float16)
    tl.store(high + at, half, mask=at < count)
    if LOW:
        rest = (value - half.to(tl.float32)) * 2048.0
        tl.store(low + at, rest.to(tl.float16), mask=at < count)
