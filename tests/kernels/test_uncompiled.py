"""The kernels as plain Python say what their machine code says: the reference's numbers."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import nn

from spikeprop import ForwardLearner
from spikeprop.datasets import EventBatch
from spikeprop.evidence import Leaky, RunningMean
from spikeprop.homeostasis import Homeostasis
from spikeprop.kernels import (
    adam,
    blocks,
    carried,
    convolution,
    cosine,
    deferred,
    every_step,
    lanes,
    live,
    meeting,
    neuron,
    recordings,
    sparse,
    table,
    teaching,
    vector,
)
from spikeprop.neurons import LIF
from spikeprop.rules import SigProp


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    modules = (
        adam, blocks, carried, convolution, cosine, deferred, every_step, lanes, live,
        meeting, neuron, recordings, sparse, table, teaching,
    )  # fmt: skip
    for module in modules:
        for name, value in list(vars(module).items()):
            if hasattr(value, "py_func"):
                monkeypatch.setattr(module, name, value.py_func)
    monkeypatch.setattr(table, "array_at", table.plain_array_at)
    for written in (blocks, lanes, meeting, vector):
        for name, plainly in written.PLAIN.items():
            for module in modules:
                if name in vars(module):
                    monkeypatch.setattr(module, name, plainly)


def net(reset: str) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(6, 5),
        LIF(beta=0.9, threshold=0.4, reset_mechanism=reset, init_hidden=True),
        nn.Linear(5, 4),
        LIF(beta=0.8, threshold=0.3, reset_mechanism=reset, init_hidden=True),
    ).double()


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize("signal", ["propagated", "projection"])
@pytest.mark.parametrize("density", [0.1, 0.4])  # sparse all the way, and dense at first
@pytest.mark.parametrize("sparse_input", [True, False])
def test_plain_python_equals_the_reference(
    every: int, reset: str, signal: str, density: float, sparse_input: bool
) -> None:
    x = (torch.rand(5, 3, 2, 3, generator=torch.Generator().manual_seed(1)) < density).double()
    if not sparse_input:
        x[0, 0] *= 2.0  # counts have values of their own
    labels = torch.tensor([0, 1, 2])
    evidence = (RunningMean(), Leaky(0.5)) if reset == "subtract" else RunningMean()
    rule = SigProp(3, evidence=evidence, signal=signal)
    start = net(reset)
    found = []
    for engine in ("reference", "event"):
        learner = ForwardLearner(
            copy.deepcopy(start),
            rule,
            optimizer=lambda p: torch.optim.Adam(p, lr=1e-2, eps=1e-2),  # no 0 / 0
            update_every=every,
            engine=engine,
            seed=2,
        )
        given = EventBatch.from_dense(x) if sparse_input and engine == "event" else x
        for _ in range(3):
            learner.update(given, labels)
        found.append([p.detach().clone() for p in learner.net.parameters()])
        found[-1].append(learner.logits(given))
    for a, b, before in zip(*found, [*start.parameters(), None], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
        assert before is None or not torch.equal(a, before)


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize("signal", ["propagated", "projection"])
@pytest.mark.parametrize("gain", [0.01, 0.3])
def test_a_stream_in_plain_python(reset: str, signal: str, gain: float) -> None:
    x = (torch.rand(25, 1, 2, 3, generator=torch.Generator().manual_seed(1)) < 0.4).double()
    x[::3] *= 2.0
    label = torch.tensor([1])
    rule = SigProp(3, signal=signal, stream_homeostasis=Homeostasis(gain=gain))
    start = net(reset)
    found = []
    for engine in ("reference", "event"):
        learner = ForwardLearner(
            copy.deepcopy(start), rule, optimizer=partial(torch.optim.SGD, lr=0.05), engine=engine
        )
        for t, x_t in enumerate(x):
            metrics = learner.step(x_t, None if t % 5 == 2 else label)
        assert learner.engine_choice is not None
        assert learner.engine_choice.name == engine
        learner.flush()
        found.append([*learner.net.state_dict().values(), metrics.logits, metrics.loss])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("density", [0.02, 0.15])  # rows with hardly an event, and others
def test_a_convolution_in_plain_python(every: int, density: float) -> None:
    x = (torch.rand(5, 3, 2, 6, 7, generator=torch.Generator().manual_seed(1)) < density).double()
    labels = torch.tensor([0, 1, 2])
    torch.manual_seed(0)
    start = nn.Sequential(
        nn.Conv2d(2, 5, 3, stride=2, padding=1), LIF(beta=0.8, threshold=0.2, init_hidden=True)
    ).double()
    found = []
    for engine in ("reference", "event"):
        learner = ForwardLearner(
            copy.deepcopy(start),
            SigProp(3),
            optimizer=partial(torch.optim.SGD, lr=0.05),
            update_every=every,
            engine=engine,
        )
        for _ in range(3):
            learner.update(x, labels)
        found.append([*learner.net.state_dict().values(), learner.logits(x)])
    assert learner.engine_choice is not None
    assert learner.engine_choice.engine.sparse == [True]  # type: ignore[union-attr]
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
