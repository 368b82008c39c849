"""The cosine loss in Triton is that of torch; on a CPU in Triton's interpreter."""

from __future__ import annotations

import pytest
import torch

from spikeprop.losses import SMALLEST_NORM, Cosine

pytest.importorskip("triton")
from spikeprop.kernels.triton_cosine import compare

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

pytestmark = pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")


@pytest.mark.parametrize("rectify", [False, True])
@pytest.mark.parametrize("size", [37, 1500])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("travelling", [False, True])
def test_modulators_are_those_of_the_loss(
    dtype: torch.dtype, size: int, rectify: bool, travelling: bool
) -> None:
    torch.manual_seed(0)
    steps, rows, classes = 3, 5, 6
    z = torch.randn(steps, rows, size, dtype=torch.float64).to(DEVICE, dtype)
    z[0, 0] = 0.0  # no direction
    signals = torch.randn(steps, classes, size, dtype=torch.float64).to(DEVICE, dtype)
    signals[2, 4] = 0.0  # none either: a silent one
    if not travelling:
        signals = signals[:1].expand(steps, -1, -1)
    labels = torch.tensor([0, 5, 2, 3, 1], device=DEVICE)
    vectors = None
    if not travelling:
        vectors = signals[0] - signals[0].mean(dim=1, keepdim=True)
        vectors /= vectors.norm(dim=1, keepdim=True)
    value, logits = z.new_empty(steps, rows), z.new_empty(steps, rows, classes)
    delta = torch.cat([z, signals], dim=1) if travelling else z.clone()
    compare(delta, vectors, labels, 0.07, rectify, SMALLEST_NORM, value, logits)
    for t in range(steps):
        h = z[t].clamp_min(0) if rectify else z[t]
        expected = Cosine(0.07)(h, signals[t], labels)
        gate = (h > 0).to(dtype) if rectify else 1.0
        torch.testing.assert_close(delta[t, :rows], expected.delta_h * gate)
        torch.testing.assert_close(logits[t], expected.logits)
        torch.testing.assert_close(value[t].mean(), expected.value)
        if travelling:
            torch.testing.assert_close(delta[t, rows:], expected.delta_s)


@pytest.mark.parametrize(("rows", "classes"), [(1, 1), (3, 40), (70, 2)])
def test_any_numbers_of_recordings_and_classes(rows: int, classes: int) -> None:
    torch.manual_seed(1)
    z = torch.randn(1, rows + classes, 19, dtype=torch.float64).to(DEVICE)
    labels = torch.randint(classes, (rows,), device=DEVICE)
    value, logits = z.new_empty(1, rows), z.new_empty(1, rows, classes)
    delta = z.clone()
    compare(delta, None, labels, 0.2, False, SMALLEST_NORM, value, logits)
    expected = Cosine(0.2)(z[0, :rows], z[0, rows:], labels)
    torch.testing.assert_close(delta[0], torch.cat([expected.delta_h, expected.delta_s]))
    torch.testing.assert_close(value.mean(), expected.value)
