"""The compiled cosine loss is the loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spikeprop import kernels
from spikeprop.kernels import cosine
from spikeprop.losses import SMALLEST_NORM, Cosine

pytestmark = pytest.mark.skipif(not kernels.available(), reason="needs numba")


@pytest.mark.parametrize("classes", [2, 3, 5, 10, 11])
@pytest.mark.parametrize("batch", [1, 4, 11])
@pytest.mark.parametrize("rectify", [False, True])
@pytest.mark.parametrize("follows", [False, True])
def test_compare_is_the_cosine_loss(classes: int, batch: int, rectify: bool, follows: bool) -> None:
    torch.manual_seed(0)
    steps, size = 3, 33
    z = torch.randn(steps, batch + (classes if follows else 0), size, dtype=torch.float64)
    z[0, 0] = 0.0  # no direction
    if follows:
        z[1, batch] = 2.0  # a signal without one
    vectors = torch.randn(classes, size, dtype=torch.float64)
    labels = torch.randint(classes, (batch,))
    fixed = np.empty((0, 0)) if follows else vectors.numpy()
    value, logits = torch.empty(steps, dtype=z.dtype), torch.empty(steps, batch, classes).double()
    delta = z.clone()
    arrays = (delta.numpy(), fixed, labels.numpy(), 0.07, rectify, SMALLEST_NORM)
    for first, last in ((0, 1), (1, steps)):
        cosine.compare(*arrays, value.numpy(), logits.numpy(), first, last)
    for t in range(steps):
        h = z[t, :batch].clamp_min(0) if rectify else z[t, :batch]
        expected = Cosine(0.07)(h, z[t, batch:] if follows else vectors, labels)
        gate = (h > 0).double() if rectify else 1.0
        close = {"rtol": 1e-11, "atol": 1e-12}
        torch.testing.assert_close(delta[t, :batch], expected.delta_h * gate, **close)
        torch.testing.assert_close(logits[t], expected.logits, **close)
        torch.testing.assert_close(value[t], expected.value, **close)
        if follows:
            torch.testing.assert_close(delta[t, batch:], expected.delta_s, **close)


@pytest.mark.parametrize("classes", [7, 8, 16])  # vectors of classes with and without room to spare
def test_scores_far_below_zero(classes: int) -> None:
    torch.manual_seed(0)
    batch, size, tau = 3, 33, 0.0005
    way = torch.randn(size, dtype=torch.float64)
    vectors = way + 0.3 * torch.randn(classes, size, dtype=torch.float64)
    z = -way + 0.3 * torch.randn(1, batch, size, dtype=torch.float64)
    labels = torch.randint(classes, (batch,))
    expected = Cosine(tau)(z[0], vectors, labels)
    assert (expected.logits < -1000).all()
    value, logits = torch.empty(1, dtype=z.dtype), torch.empty(1, batch, classes).double()
    arrays = (z.numpy(), vectors.numpy(), labels.numpy(), tau, False, SMALLEST_NORM)
    cosine.compare(*arrays, value.numpy(), logits.numpy(), 0, 1)
    torch.testing.assert_close(z[0], expected.delta_h, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(logits[0], expected.logits, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(value[0], expected.value, rtol=1e-11, atol=1e-12)
