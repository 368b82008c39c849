"""Products of float32 matrices in two halves; on a CPU in Triton's interpreter."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spikeprop.engines import halves
from spikeprop.engines.buffers import Buffers

pytest.importorskip("triton")
from spikeprop.kernels import triton_halves

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def split(x: Tensor, name: str) -> halves.Halves:
    return halves.halves_of(x, Buffers(), name)


@settings(deadline=None, max_examples=20)
@given(st.integers(-30, 30), st.integers(1, 70), st.integers(1, 50), st.integers(0, 9))
def test_halves_hold_22_bits_of_numbers_of_any_size(
    power: int, rows: int, columns: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = (torch.randn(rows, columns, generator=generator) * 2.0**power).to(DEVICE)
    high, low, shift = split(x, "x")
    assert low is not None
    assert high.isfinite().all()
    found = (high.double() + low.double() * 2.0**-triton_halves.LOW_SHIFT) * 2.0**-shift
    tolerance = x.double().abs() * 2.0**-22 + float(x.abs().max()) * 2.0**-48
    assert ((found - x.double()).abs() <= tolerance).all()


@pytest.mark.parametrize("values", [[0.0, 1.0], [0.0, 3.0, -7.0, 2048.0], [0.0]])
def test_spikes_and_counts_are_halves_already(values: list[float]) -> None:
    x = torch.tensor(values).repeat(5, 3).to(DEVICE)
    high, low, shift = split(x, "x")
    assert low is None
    assert shift == 0
    assert torch.equal(high.float(), x)


def test_a_number_too_large_for_a_half_is_scaled() -> None:
    high, low, shift = split(torch.tensor([[1e30, 1.0]]).to(DEVICE), "x")
    assert shift < 0
    assert low is not None
    assert high.isfinite().all()
    assert low.isfinite().all()


@pytest.mark.parametrize("spikes", [True, False])
@pytest.mark.parametrize("shape", [(3, 5, 4), (33, 70, 20), (1, 1, 1)])
def test_a_product_is_that_of_float32(
    spikes: bool, shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(halves, "TERMS", 32)
    rows, terms, columns = shape
    torch.manual_seed(0)
    a = torch.rand(rows, terms).lt(0.2).float() if spikes else torch.randn(rows, terms)
    b, start = torch.randn(columns, terms) * 1e-3, torch.randn(rows, columns) * 1e-3
    a, b, out = a.to(DEVICE), b.to(DEVICE), start.to(DEVICE)
    wanted = out.double() + a.double() @ b.double().t()
    halves.add_product(out, split(a, "a"), split(b, "b").t)
    size = wanted.norm() + 1e-30
    assert float((out.double() - wanted).norm() / size) < 2e-6
    turned = torch.zeros(columns, rows, device=DEVICE)
    halves.add_product(turned, split(b, "b"), split(a, "a").t)
    torch.testing.assert_close(turned, (b.double() @ a.double().t()).float(), rtol=1e-5, atol=1e-8)


@pytest.mark.cuda
@pytest.mark.parametrize("terms", [4096, 16384])
def test_sums_of_many_terms_stay_precise(terms: int) -> None:
    torch.manual_seed(0)
    a, b = torch.randn(256, terms, device="cuda"), torch.randn(128, terms, device="cuda")
    wanted, out = a.double() @ b.double().t(), torch.zeros(256, 128, device="cuda")
    halves.add_product(out, split(a, "a"), split(b, "b").t)
    assert float((out.double() - wanted).norm() / wanted.norm()) < 5e-6
