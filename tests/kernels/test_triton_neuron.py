"""The Triton kernels give the numbers of plain loops; on a CPU in Triton's interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import product

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")
from spikeprop.kernels import triton_neuron as kernels

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BETA = 0.9

pytestmark = pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")


def _randn(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64).to(DEVICE, dtype)


@pytest.mark.parametrize(
    ("dtype", "reset", "filters", "free"),
    [
        *product([torch.float64], ["none", "subtract", "zero"], [1, 2], [False]),
        (torch.float32, "subtract", 3, False),
        (torch.float64, "subtract", 2, True),
    ],
)
@pytest.mark.parametrize(("steps", "rows", "size"), [(7, 5, 37), (1, 1, 1), (3, 2, 300)])
def test_integrate_is_the_neuron_and_its_filters(
    dtype: torch.dtype, reset: str, filters: int, free: bool, steps: int, rows: int, size: int
) -> None:
    torch.manual_seed(0)
    x = _randn(steps, rows, size, dtype=dtype)
    threshold = _randn(size, dtype=dtype).abs() * 0.5 + 0.2
    weights = torch.rand(filters, steps).to(DEVICE, dtype)
    mem, evidence = x.new_zeros(rows, size), x.new_zeros(filters, rows, size)
    potential = x.new_zeros(rows if free else 0, size)
    out, spikes = x.new_empty(steps, rows, filters * size), torch.empty_like(x)
    counts = torch.zeros(size, dtype=torch.int32, device=DEVICE)
    recordings = max(1, rows - 2)
    half = steps // 2
    for first, last in ((0, half), (half, steps)):  # state goes on from call to call
        kernels.integrate(
            x, mem, potential, threshold, BETA, reset, weights, evidence, out, spikes, counts,
            recordings, first, last,
        )  # fmt: skip
    m, u, v = torch.zeros_like(mem), torch.zeros_like(mem), torch.zeros_like(evidence)
    for t in range(steps):
        over = (m > threshold).to(dtype)
        if reset == "zero":
            m = BETA * m * (1 - over) + x[t]
        else:
            m = BETA * m + x[t] - (over * threshold if reset == "subtract" else 0.0)
        u = BETA * u + x[t] if free else m
        v = v + weights[:, t, None, None] * (u - v)
        torch.testing.assert_close(out[t].view(rows, filters, size).transpose(0, 1), v)
        assert torch.equal(spikes[t], (m > threshold).to(dtype))
    torch.testing.assert_close((mem, evidence), (m, v))
    assert torch.equal(counts, spikes[:, :recordings].sum(dim=(0, 1)).int())
    assert counts.sum() > 0 or size == 1


def test_evidence_may_take_the_currents_place() -> None:
    torch.manual_seed(0)
    x = _randn(4, 2, 9, dtype=torch.float64)
    weights = torch.rand(1, 4).to(x)
    state = [x.new_zeros(2, 9), x.new_zeros(1, 2, 9)]
    threshold, counts = x.new_ones(9), torch.zeros(9, dtype=torch.int32, device=DEVICE)
    results = []
    for place in (torch.empty_like(x), x.clone()):
        source = place if len(results) else x
        mem, evidence = (value.clone() for value in state)
        kernels.integrate(
            source, mem, x.new_zeros(0, 9), threshold, BETA, "subtract", weights, evidence, place,
            torch.empty_like(x), counts, 2, 0, 4,
        )  # fmt: skip
        results.append(place)
    assert torch.equal(results[0], results[1])


@pytest.mark.parametrize("filters", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_reverse_is_the_transpose_of_the_filters(dtype: torch.dtype, filters: int) -> None:
    """``<delta, e(x)> = <g, x>`` for traces that begin at zero, and with q and p for those not."""
    torch.manual_seed(0)
    steps, rows, size, behind = 6, 3, 11, 2
    delta = _randn(steps, rows + behind, filters * size, dtype=dtype)
    weights = torch.rand(filters, steps).to(DEVICE, dtype)
    q, p = delta.new_empty(filters, rows, size), delta.new_empty(rows, size)
    g = delta.new_empty(steps, rows, size)
    kernels.reverse(delta, weights, BETA, q, p, g)
    x = _randn(steps, rows, size, dtype=dtype)
    trace = _randn(rows, size, dtype=dtype)
    before = trace.clone()
    e = [_randn(rows, size, dtype=dtype) for _ in range(filters)]
    e_before = [value.clone() for value in e]
    forward = x.new_zeros(())
    for t in range(steps):
        trace = BETA * trace + x[t]
        for k in range(filters):
            e[k] = e[k] + weights[k, t] * (trace - e[k])
            part = delta[t, :rows, k * size : (k + 1) * size]
            forward += (part * e[k]).sum()
    backward = (g * x).sum() + (p * before).sum()
    backward += sum((q[k] * e_before[k]).sum() for k in range(filters))
    torch.testing.assert_close(backward, forward, rtol=1e-4 if dtype == torch.float32 else 1e-11,
                               atol=1e-5)  # fmt: skip


@pytest.mark.slow
def test_the_kernels_compile_for_real_devices() -> None:
    """What the interpreter lets pass, the compiler may not; it needs no device."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == [
        "_integrate", "_reverse", "_compare", "_score", "_pull", "_step", "_survey", "_halve",
    ]  # fmt: skip


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from spikeprop.kernels import triton_adam, triton_cosine as cosine, triton_halves as halves
from spikeprop.kernels import triton_neuron as kernels

numbers = "n_rows rows size length steps first last n_recordings classes count programs".split()
kinds = {"counts": "*i32", "labels": "*i64", "high": "*fp16", "low": "*fp16", "scale": "fp32"}
for kernel, constants in (
    (kernels._integrate, dict(FILTERS=2, PADDED=2, RESET=1, FREE=True, SPIKES=True, BLOCK=256)),
    (kernels._reverse, dict(FILTERS=1, PADDED=1, BLOCK=256)),
    (cosine._compare, dict(RECTIFY=True, CLASSES=16, BLOCK=256)),
    (cosine._score, dict(RECTIFY=True, CLASSES=16, BLOCK=256)),
    (cosine._pull, dict(RECTIFY=True, CLASSES=16, ROWS=64, BLOCK=16)),
    (triton_adam._step, dict(BLOCK=1024)),
    (halves._survey, dict(BLOCK=4096)),
    (halves._halve, dict(LOW=True, BLOCK=4096)),
):
    signature = {}
    for name in kernel.arg_names:
        kind = "i32" if name in numbers else kinds.get(name, "*fp32")
        signature[name] = "constexpr" if name in constants else kind
    places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    source = ASTSource(kernel, signature=signature, constexprs=places)
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32))
    assert len(made.asm["cubin"]) > 1000
    print(kernel.__name__)
"""
