"""Spikes in lists are pooled as the module pools dense ones; still images are computed once."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from spikeprop import ForwardLearner
from spikeprop.engines import products
from spikeprop.engines.pools import pool_of
from spikeprop.engines.rows import Rows, as_events
from spikeprop.fit import TensorBatches
from spikeprop.neurons import LIF
from spikeprop.rules import SigProp


@settings(max_examples=60, deadline=None)
@given(
    features=st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9)),
    kernel=st.one_of(st.integers(1, 4), st.tuples(st.integers(1, 4), st.integers(1, 4))),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    seed=st.integers(0, 2**16),
)
def test_lists_are_pooled_as_the_module_pools(
    features: tuple[int, int, int], kernel: Any, density: float, seed: int
) -> None:
    module, generator = nn.MaxPool2d(kernel), torch.Generator().manual_seed(seed)
    x = (torch.rand(3, 2, *features, generator=generator) < density).float()
    found = pool_of(module, torch.Size(features))
    pair = (kernel, kernel) if isinstance(kernel, int) else kernel
    if features[1] < pair[0] or features[2] < pair[1]:
        assert found is None
        return
    assert found is not None
    wanted = module(x.flatten(0, 1)).unflatten(0, (3, 2))
    rows = Rows.of_window(as_events(x), 0, 3, torch.float32)
    made = rows.dense(found.features.numel(), 4, torch.float32, found.places)
    assert torch.equal(made[:, :2].view(3, 2, *found.features), wanted)
    assert not made[:, 2:].any(), "rows that are not listed are silent"


@pytest.mark.parametrize(
    "module",
    [
        nn.AvgPool2d(2),
        nn.MaxPool2d(2, stride=1),
        nn.MaxPool2d(2, padding=1),
        nn.MaxPool2d(2, dilation=2),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.MaxPool2d(2, return_indices=True),
        nn.MaxPool1d(2),
    ],
)
def test_other_poolings_are_left_to_their_modules(module: nn.Module) -> None:
    assert pool_of(module, torch.Size((2, 4, 4))) is None
    assert pool_of(nn.MaxPool2d(2), torch.Size((8,))) is None


def test_values_are_kept() -> None:
    x = torch.tensor([[[0.0, 2.5, 0.0, -1.0]]], dtype=torch.float64)
    rows = Rows.of_window(as_events(x), 0, 1, torch.float64)
    assert torch.equal(rows.dense(4, 1, torch.float64), x)
    assert rows.dense(4, 1, torch.float32).dtype == torch.float32


def still_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.AvgPool2d(2),
        nn.Conv2d(1, 4, 3, padding=1),
        LIF(beta=0.9, threshold=0.2, init_hidden=True),
        nn.MaxPool2d((2, 3)),
        nn.Conv2d(4, 3, 2),
        LIF(beta=0.7, threshold=0.2, init_hidden=True),
    ).double()


@pytest.mark.parametrize("update_every", [1, 2, 3, 5])
def test_still_images_are_computed_once_and_give_the_same(
    update_every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = torch.rand(4, 1, 10, 14, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 0])
    x = images.expand(5, *images.shape)
    seen: list[int] = []
    original = products.flatten_rows

    def noted(given: Tensor, modules: tuple[nn.Module, ...]) -> Tensor:
        if any(isinstance(module, nn.AvgPool2d) for module in modules):
            seen.append(len(given))
        return original(given, modules)

    monkeypatch.setattr(products, "flatten_rows", noted)
    states = []
    for given_x, engine in ((x, "chunked"), (x.contiguous(), "chunked"), (x, "reference")):
        learner = ForwardLearner(
            still_net(),
            SigProp(3),
            engine=engine,
            optimizer=partial(torch.optim.SGD, lr=0.1),
            update_every=update_every,
        )
        for _ in range(3):
            learner.update(given_x, labels)
        states.append(learner.net.state_dict())
        if len(states) == 1:
            assert set(seen) == {1}
    for name, wanted in states[-1].items():
        for state in states[:-1]:
            torch.testing.assert_close(state[name], wanted, rtol=0, atol=1e-11)


def test_batches_of_still_images_stay_still() -> None:
    images = torch.arange(6.0).view(6, 1)
    x = images.expand(3, 6, 1)
    loader = TensorBatches(x, torch.arange(6), batch_size=4, shuffle=True, seed=1)
    for (still, labels), (moving, same) in zip(
        loader,
        TensorBatches(x.contiguous(), torch.arange(6), batch_size=4, shuffle=True, seed=1),
        strict=True,
    ):
        assert still.stride(0) == 0
        assert torch.equal(still, moving)
        assert torch.equal(labels, same)
        assert np.array_equal(still[0, :, 0].long(), labels)
