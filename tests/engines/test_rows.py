"""Dense batches are listed as events without losing or adding one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeprop.engines.rows import as_events

DTYPES = [torch.float32, torch.float64, torch.bool, torch.uint8, torch.int32, torch.int64]


@settings(deadline=None)  # the first one of a type is compiled
@given(
    dtype=st.sampled_from(DTYPES),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 2), st.integers(1, 19)),
    density=st.sampled_from([0.0, 0.1, 0.6, 1.0]),
    largest=st.sampled_from([1, 3]),
    seed=st.integers(0, 2**16),
)
def test_events_are_the_batch(
    dtype: torch.dtype, shape: tuple[int, ...], density: float, largest: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    amounts = torch.randint(1, largest + 1, shape, generator=generator)
    x = (amounts * (torch.rand(shape, generator=generator) < density)).to(dtype)
    events = as_events(x)
    assert torch.equal(events.to_dense(torch.float64), x.double())
    assert len(events.channels) == int((x != 0).sum())
    assert (events.values is None) == bool(((x == 0) | (x == 1)).all())
    assert events.channels.is_contiguous()
    assert events.offsets.is_contiguous()


def test_a_still_image_is_listed_at_every_step() -> None:
    image = (torch.arange(24.0) % 5 == 0).view(1, 2, 12)
    events = as_events(image.expand(7, 2, 12))
    assert torch.equal(events.to_dense(torch.float32), image.expand(7, 2, 12).float())


@pytest.mark.parametrize("others", [0.0, 1.0, 2.0])
def test_a_negative_zero_is_no_event(others: float) -> None:
    x = torch.full((2, 1, 17), -0.0)
    x[1, 0, 16] = others
    assert as_events(x).channels.tolist() == ([16] if others else [])
