from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeprop.datasets import EventBatch


@settings(max_examples=50, deadline=None)
@given(
    steps=st.integers(1, 5),
    batch=st.integers(1, 4),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    counts=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_dense_and_back(steps: int, batch: int, density: float, counts: bool, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = (torch.rand(steps, batch, 2, 3, 3, generator=generator) < density).float()
    if counts:
        x *= torch.randint(1, 4, x.shape, generator=generator)
    events = EventBatch.from_dense(x)
    assert events.shape == x.shape
    assert torch.equal(events.to_dense(), x)
    assert events.density == pytest.approx(x.count_nonzero().item() / x.numel())


def test_rows_are_sample_major_with_ascending_channels() -> None:
    x = torch.zeros(2, 2, 4)
    x[1, 0, [3, 1]] = 1.0
    x[0, 1, 2] = 1.0
    events = EventBatch.from_dense(x)
    assert events.offsets.tolist() == [0, 0, 2, 3, 3]  # rows (b, t) = 00, 01, 10, 11
    assert events.channels.tolist() == [1, 3, 2]
    assert events.values is None
    assert torch.equal(events.to("cpu").to_dense(torch.float64), x.double())


def test_values_are_kept_where_they_are_not_one() -> None:
    x = torch.tensor([[[0, 2, 1]]])
    events = EventBatch.from_dense(x)
    assert events.values is not None
    assert events.values.tolist() == [2.0, 1.0]


@pytest.mark.parametrize("shape", [(3, 4), (0, 2, 3), (2, 0, 3)])
def test_a_shape_without_time_or_samples_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="time-first"):
        EventBatch.from_dense(torch.zeros(shape))
