"""Spikes come out of a message as they went in, and take few bytes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeprop.engines.rows import Rows, as_events
from spikeprop.parallel import wire


def window(steps: int, rows: int, width: int, density: float, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(steps, rows, width, generator=generator) < density).double()


def listed(x: torch.Tensor) -> Rows:
    return Rows.of_window(as_events(x), 0, len(x), x.dtype)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 4), st.integers(1, 5), st.integers(1, 300),
    st.sampled_from([0.0, 0.001, 0.02, 0.1, 0.3, 1.0]), st.integers(0, 9), st.booleans(),
)  # fmt: skip
def test_what_goes_in_comes_out(
    steps: int, rows: int, width: int, density: float, seed: int, graded: bool
) -> None:
    x = window(steps, rows, width, density, seed)
    if graded:
        x = x * 2.5
    for given_ in (x, listed(x)):
        kind, content = wire.encode(given_, rows, width)
        shape = (steps, rows, width, torch.float64)
        assert torch.equal(wire.decode(kind, content, *shape), x)
        found = wire.decode_rows(kind, content, *shape)
        assert torch.equal(found.dense(width, rows, torch.float64), x)
        if not graded:
            assert len(content) <= -(-x.numel() // 8)


@pytest.mark.parametrize(("density", "share"), [(0.02, 1 / 150), (0.1, 1 / 33), (0.5, 1 / 32)])
def test_bytes_beside_dense_float32(density: float, share: float) -> None:
    """At 2 % density the bar is 1/20."""
    x = window(10, 74, 512, density, 0).float()
    kind, content = wire.encode(x, 74, 512)
    assert kind == (wire.BITS if density > 0.12 else wire.EVENTS)
    assert content.nbytes <= share * x.numel() * 4


def test_rows_that_are_not_listed_are_silent() -> None:
    x = window(3, 4, 20, 0.2, 1)
    wider = torch.cat([x, torch.zeros(3, 2, 20, dtype=x.dtype)], dim=1)
    kind, content = wire.encode(listed(x), 6, 20)
    assert torch.equal(wire.decode(kind, content, 3, 6, 20, x.dtype), wider)


def test_a_damaged_message_is_refused() -> None:
    some = np.full(3, 7, dtype=np.uint8)
    for kind, words in ((wire.BITS, "bits"), (wire.NUMBERS, "numbers"), (9, "unknown kind 9")):
        with pytest.raises(ValueError, match=words):
            wire.decode(kind, some, 1, 2, 5, torch.float32)
    with pytest.raises(ValueError, match="3 bytes is no window of 10 bits"):
        wire.decode_rows(wire.BITS, some, 1, 2, 5, torch.float32)
    for read in (wire.decode, wire.decode_rows):
        with pytest.raises(ValueError, match="lists cell 15 of a window of 10"):
            read(wire.EVENTS, some, 1, 2, 5, torch.float32)


@pytest.mark.parametrize("density", [0.02, 0.3])
def test_without_compiled_code_the_bytes_are_the_same(
    density: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = window(5, 7, 93, density, 3)
    kind, content = wire.encode(listed(x), 7, 93)
    found = wire.decode_rows(kind, content, 5, 7, 93, x.dtype)
    monkeypatch.setattr(wire.kernels, "available", lambda: False)
    plain_kind, plain = wire.encode(listed(x), 7, 93)
    assert (plain_kind, plain.tolist()) == (kind, content.tolist())
    slow = wire.decode_rows(kind, content, 5, 7, 93, x.dtype)
    for one, other in zip(found, slow, strict=True):
        assert np.array_equal(one, other)
