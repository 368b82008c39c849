"""Adam's step in Triton is that of torch; on a CPU in Triton's interpreter."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton")
from spikeprop.kernels import triton_adam

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1,), (7, 31), (3, 700)])
def test_steps_are_torchs(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    ours = torch.randn(shape).to(DEVICE, dtype)
    theirs = ours.clone().requires_grad_()
    lr, beta1, beta2, eps = 1e-2, 0.8, 0.99, 1e-6
    optimizer = torch.optim.Adam([theirs], lr=lr, betas=(beta1, beta2), eps=eps)
    first, second = torch.zeros_like(ours), torch.zeros_like(ours)
    for t in range(1, 6):
        gradient = torch.randn(shape).to(DEVICE, dtype)
        theirs.grad = gradient.clone()
        optimizer.step()
        sizes = torch.tensor(
            [lr / (1 - beta1**t), (1 - beta2**t) ** -0.5], dtype=dtype, device=DEVICE
        )
        triton_adam.step(ours, gradient, sizes, first, second, beta1, beta2, eps)
    precision = 1e-6 if dtype == torch.float32 else 1e-14
    torch.testing.assert_close(ours, theirs.detach(), rtol=0, atol=precision)
