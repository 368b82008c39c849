"""What traces teach, and how they go on, is the product and the filter that they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeprop import kernels
from spikeprop.engines.filters import advance_over
from spikeprop.kernels.carried import INPUTS, go_on, sum_with_traces
from spikeprop.kernels.sparse import TILE, sort_events

pytestmark = pytest.mark.skipif(not kernels.available(), reason="needs numba")


@settings(deadline=None, max_examples=60)  # the first call compiles
@given(
    inputs=st.integers(1, 2 * INPUTS + 1),
    rows=st.integers(1, 5),
    steps=st.integers(1, 6),
    size=st.sampled_from([1, 63, 64, 128, 150, 256]),
    beside=st.integers(0, 3),
    density=st.sampled_from([0.0, 0.2, 1.0]),
    valued=st.booleans(),
    tiled=st.booleans(),
    fresh=st.booleans(),
    started=st.booleans(),
    kept=st.sampled_from([1, 2]),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 99),
)
def test_traces_teach_and_go_on_as_dense_ones_would(
    inputs: int,
    rows: int,
    steps: int,
    size: int,
    beside: int,
    density: float,
    valued: bool,
    tiled: bool,
    fresh: bool,
    started: bool,
    kept: int,
    dtype: type,
    seed: int,
) -> None:
    random = np.random.default_rng(seed)
    x = (random.random((rows * steps, inputs)) < density).astype(dtype)
    if valued:
        x *= random.standard_normal(x.shape).astype(dtype)
    at, channels = np.nonzero(x)
    ends = np.cumsum(np.bincount(at, minlength=rows * steps))
    starts = np.concatenate([[0], ends[:-1]])
    held = x[at, channels] if valued else np.empty(0, dtype)
    lists = np.empty(inputs + 1, np.int64), np.empty(len(at), np.int32), np.empty_like(held)
    sort_events(
        starts[None], ends[None], channels.astype(np.int32), held, rows * steps, *lists
    )  # fmt: skip

    traces = random.standard_normal((inputs, kept * rows)).astype(dtype)
    cotangents = random.standard_normal((kept * rows, size + beside)).astype(dtype)
    table = random.standard_normal((rows * steps, size + beside)).astype(dtype)
    shape = (-(-size // TILE), inputs, TILE) if tiled else (1, inputs, size)
    outs = random.standard_normal(shape).astype(dtype)
    before = np.concatenate(outs, axis=1)[:, :size] * (not fresh)
    sum_with_traces(*lists, table, traces, cotangents, outs, size, fresh)
    out = np.concatenate(outs, axis=1)[:, :size]
    wanted = before + x.T @ table[:, :size] + traces @ cotangents[:, :size]
    close = {"rtol": 1e-4, "atol": 1e-4} if dtype is np.float32 else {"rtol": 1e-10, "atol": 1e-12}
    np.testing.assert_allclose(out, wanted, **close)

    beta, weights = 0.8, random.random((1, steps))
    trace, e = traces.T[0::kept].copy(), traces.T[kept - 1 :: kept].copy()
    if not started:
        trace[:], e[:] = 0, 0
    for step in range(steps):
        trace = beta * trace + x.reshape(rows, steps, inputs)[:, step]
        e += weights[0, step] * (trace - e)
    go_on(*lists, steps, traces, kept, started, *advance_over(beta, weights))
    np.testing.assert_allclose(traces.T[0::kept], trace, **close)
    if kept == 2:
        np.testing.assert_allclose(traces.T[1::2], e, **close)
