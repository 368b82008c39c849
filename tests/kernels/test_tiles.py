"""Weights and gradients in tiles of columns are the same numbers in another order of memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spikeprop import kernels
from spikeprop.kernels import adam, sparse
from spikeprop.kernels.sparse import TILE

pytestmark = pytest.mark.skipif(not kernels.available(), reason="needs numba")


def as_tiles(matrix: np.ndarray, width: int) -> np.ndarray:
    """Cut a matrix into tiles of columns; the last one's rest is NaN."""
    inputs, outputs = matrix.shape
    tiles = np.full((-(-outputs // width), inputs, width), np.nan, matrix.dtype)
    for k, tile in enumerate(tiles):
        part = matrix[:, k * width : (k + 1) * width]
        tile[:, : part.shape[1]] = part
    return tiles


@pytest.mark.parametrize("outputs", [5, TILE, 2 * TILE, 2 * TILE + 17])
@pytest.mark.parametrize("packed", [False, True])
def test_packed_in_parts_and_gathered_from(outputs: int, packed: bool) -> None:
    random = np.random.default_rng(0)
    steps, rows, inputs = 3, 4, 50
    x = (random.random((steps, rows, inputs)) < 0.2).astype(float)
    ends = np.cumsum(x.sum(axis=2).astype(int)).reshape(steps, rows)
    starts = ends - x.sum(axis=2).astype(int)
    channels = np.nonzero(x)[2].astype(np.int32)
    weights, bias = random.standard_normal((inputs, outputs)), random.standard_normal(outputs)
    tiles = weights[None]
    if packed:
        tiles = np.full((-(-outputs // TILE), inputs, TILE), np.nan)
        for first, last in ((0, 20), (20, 20), (20, inputs)):
            sparse.pack_all(weights, tiles, first, last)
        np.testing.assert_array_equal(tiles, as_tiles(weights, TILE))
    out = np.full((steps, rows, outputs + 3), np.nan)
    sparse.gather_from_tiles(starts, ends, channels, np.empty(0), tiles, bias, out, outputs)
    np.testing.assert_allclose(out[:, :, :outputs], x @ weights + bias, rtol=1e-12, atol=1e-12)
    assert np.isnan(out[:, :, outputs:]).all()


@pytest.mark.parametrize("width", [150, TILE, 64])
@pytest.mark.parametrize("held", [[], [0], [0, 2]])
def test_adam_steps_on_the_sum_of_tiles(width: int, held: list[int]) -> None:
    random = np.random.default_rng(0)
    inputs, outputs, betas, eps = 7, 150, (0.8, 0.95), 1e-3
    sums = random.standard_normal((3, inputs, outputs))
    weight = torch.nn.Parameter(torch.from_numpy(random.standard_normal((inputs, outputs))))
    theirs = torch.optim.Adam([weight], lr=0.1, betas=betas, eps=eps)
    ours, first, second = (
        weight.detach().numpy().copy(),
        np.zeros_like(sums[0]),
        np.zeros_like(sums[0]),
    )
    for t in (1, 2):
        weight.grad = torch.from_numpy(sums[held].sum(axis=0))
        theirs.step()
        tiles = np.stack([as_tiles(one, width) for one in sums])
        for a, b in ((0, 3), (3, 3), (3, inputs)):
            adam.step_on_tiles(
                tiles,
                np.array(held, np.int64),
                ours,
                first,
                second,
                0.1,
                *betas,
                eps,
                float(t),
                a,
                b,
            )
        np.testing.assert_allclose(ours, weight.detach().numpy(), rtol=1e-12, atol=1e-12)
        sums *= -0.7
