"""Delays in front of synapses give the reference's numbers on every engine and in every window."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from spikeprop import ForwardLearner, kernels
from spikeprop.datasets import EventBatch
from spikeprop.engines import grouped
from spikeprop.evidence import Leaky, RunningMean
from spikeprop.kernels import delays
from spikeprop.losses import Dot
from spikeprop.neurons import LIF, Delay
from spikeprop.rules import SigProp

C, STEPS = 3, 13
ADAM = partial(torch.optim.Adam, lr=1e-2, eps=1e-4)


def flat_net(first: Tensor | float, second: Tensor | float) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(),
        Delay(first, init_hidden=True),
        nn.Linear(20, 18),
        LIF(beta=0.9, threshold=0.3, init_hidden=True),
        Delay(second, init_hidden=True),
        nn.Linear(18, 7),
        LIF(beta=0.8, threshold=0.3, init_hidden=True),
    ).double()


def picture_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        Delay(torch.randint(5, (2, 1, 5)), init_hidden=True),
        nn.Conv2d(2, 4, 1),
        LIF(beta=0.9, threshold=0.2, init_hidden=True),
        Delay(torch.randint(4, (4, 2, 5)), init_hidden=True),
        nn.Flatten(),
        Delay(2, init_hidden=True),
        nn.Linear(40, 6),
        LIF(beta=0.8, threshold=0.3, init_hidden=True),
    ).double()


def batch(turn: int, values: bool) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(turn)
    x = (torch.rand(STEPS, 5, 2, 2, 5, generator=generator) < 0.15).double()
    if values:
        x *= torch.randint(1, 4, x.shape, generator=generator)
    return x, torch.randint(C, (5,), generator=generator)


def both(
    start: nn.Sequential,
    engine: str,
    update_every: int,
    rule: SigProp,
    values: bool = False,
    optimizer: Callable[..., torch.optim.Optimizer] = ADAM,
) -> None:
    found = []
    for name in ("reference", engine):
        learner = ForwardLearner(
            copy.deepcopy(start),
            rule,
            engine=name,
            update_every=update_every,
            optimizer=optimizer,
        )
        for turn in range(3):
            x, labels = batch(turn, values)
            given = EventBatch.from_dense(x) if name == "event" else x
            metrics = learner.update(given, labels)
        assert learner.engine_choice is not None
        assert learner.engine_choice.name == name
        found.append([*learner.net.state_dict().values(), *metrics, learner.logits(given)])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("engine", ["event", "chunked"])
@pytest.mark.parametrize("update_every", [1, 4, STEPS])
@pytest.mark.parametrize("signal", ["propagated", "projection"])
@pytest.mark.parametrize("values", [False, True])
def test_delays_of_each_input(engine: str, update_every: int, signal: str, values: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    first = torch.randint(0, 2 * STEPS, (20,), generator=generator)  # some never arrive
    second = torch.randint(0, 6, (18,), generator=generator)
    both(flat_net(first, second), engine, update_every, SigProp(C, signal=signal), values)


@pytest.mark.parametrize("rows", [1, 7, 20])
@pytest.mark.parametrize("signal", ["propagated", "projection"])
def test_groups_and_windows(monkeypatch: pytest.MonkeyPatch, rows: int, signal: str) -> None:
    monkeypatch.setattr(grouped, "GROUP_ROWS", rows)
    monkeypatch.setattr(grouped, "SIGNAL_ROWS", rows)
    net = flat_net(torch.arange(20) % 7, torch.arange(18) % 5)
    both(net, "event", STEPS, SigProp(C, signal=signal, evidence=Leaky(0.4)))


@pytest.mark.parametrize("engine", ["event", "chunked"])
@pytest.mark.parametrize("update_every", [1, 5])
def test_one_delay_and_several_filters(engine: str, update_every: int) -> None:
    rule = SigProp(C, evidence=(RunningMean(), Leaky(0.5)))
    both(flat_net(3, 0), engine, update_every, rule)


@pytest.mark.parametrize("engine", ["event", "chunked"])
@pytest.mark.parametrize("update_every", [1, 5])
def test_delays_of_pictures(engine: str, update_every: int) -> None:
    both(picture_net(), engine, update_every, SigProp(C))


@pytest.mark.parametrize("values", [False, True])
def test_plain_steps(values: bool) -> None:
    net = flat_net(torch.arange(20) % 7, torch.arange(18) % 5)
    both(net, "event", 1, SigProp(C), values, partial(torch.optim.SGD, lr=0.1))


def test_a_delay_with_a_line_outside_is_refused() -> None:
    net = nn.Sequential(Delay(2), nn.Linear(6, 5), LIF(beta=0.9, init_hidden=True))
    learner = ForwardLearner(net, SigProp(C), engine="event")
    with pytest.raises((ValueError, TypeError)):
        learner.update(torch.zeros(4, 2, 6), torch.tensor([0, 1]))


@pytest.mark.skipif(not kernels.available(), reason="needs numba")
def test_plain_python_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delays, "delay", delays.delay.py_func)
    both(flat_net(torch.arange(20) % 7, torch.arange(18) % 5), "event", 4, SigProp(C), True)


@pytest.mark.skipif(not kernels.available(), reason="needs numba")
def test_a_stream_in_plain_python_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delays, "arrive", delays.arrive.py_func)
    monkeypatch.setattr(delays, "pass_on", delays.pass_on.py_func)
    net, rule = flat_net(torch.arange(20) % 7, torch.arange(18) % 5), SigProp(C, loss=Dot())
    both(net, "event", 1, rule, True, partial(torch.optim.SGD, lr=0.1))
