"""Delays: the inputs of some steps ago, and state that is kept as neurons keep theirs."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from families import noise
from snntorch import utils
from torch import Tensor, nn

from spikeprop.neurons import LIF, Delay, DelayedLinear, DelayTaps, reset


def shifted(x: Tensor, d: int) -> Tensor:
    return torch.cat((torch.zeros_like(x[:d]), x))[: len(x)]


@pytest.mark.parametrize("d", [0, 1, 3, 20])
def test_one_delay(d: int) -> None:
    x = noise(12, 3, 5)
    y, line = Delay(d).unroll(x)
    assert torch.equal(y, shifted(x, d))
    assert line.shape == (d, 3, 5)


def test_a_delay_an_input() -> None:
    x = noise(12, 3, 5)
    y, _ = Delay([0, 1, 2, 0, 4]).unroll(x)
    for j, d in enumerate([0, 1, 2, 0, 4]):
        assert torch.equal(y[..., j], shifted(x, d)[..., j])
    channels = torch.tensor([1, 3]).reshape(2, 1, 1)
    images = noise(6, 3, 2, 4, 4)
    y, _ = Delay(channels).unroll(images)
    assert torch.equal(y[:, :, 1], shifted(images, 3)[:, :, 1])


def test_taps_are_all_delays() -> None:
    x = noise(12, 3, 5)
    y, _ = DelayTaps(2).unroll(x)
    assert torch.equal(y, torch.cat([shifted(x, d) for d in range(3)], dim=2))


def test_a_delay_a_synapse() -> None:
    delay = np.array([[0, 2, 1], [3, 0, 0]])
    synapse = DelayedLinear(3, 2, delay).double()
    x = noise(10, 4, 3, dtype=torch.float64)
    y, _ = synapse.unroll(x)
    expected = synapse.bias + sum(
        synapse.weight[i, j] * shifted(x, int(delay[i, j]))[..., j : j + 1] * torch.eye(2)[i]
        for i in range(2)
        for j in range(3)
    )
    torch.testing.assert_close(y, expected)
    y.sum().backward()
    assert synapse.weight.grad is not None
    late = shifted(x, 3)[..., 0].sum()
    torch.testing.assert_close(synapse.weight.grad[1, 0], late)
    assert set(synapse.state_dict()) == {"weight", "bias", "delay"}
    assert DelayedLinear(3, 2, 1, bias=False).unroll(noise(4, 2, 3))[0][0].abs().sum() == 0


def test_milliseconds() -> None:
    assert Delay([0.0, 1.5], dt=0.5).delay.tolist() == [0, 3]
    with pytest.raises(ValueError, match=r"whole number of time steps of 0\.5 ms.*0\.7"):
        Delay(0.7, dt=0.5)


BUILDS: list[Callable[..., Any]] = [
    lambda **options: Delay([0, 1, 2, 0, 4], **options),
    lambda **options: DelayTaps(3, **options),
    lambda **options: DelayedLinear(5, 4, 2, **options),
]


@pytest.mark.parametrize("build", BUILDS)
def test_hidden_lines_are_explicit_lines(build: Callable[..., Any]) -> None:
    inside, x = build(init_hidden=True), noise(12, 3, 5)
    explicit = copy.deepcopy(inside)
    explicit.init_hidden = False
    expected, last = explicit.unroll(x)
    line = None
    for t, row in enumerate(x):
        y, line = explicit(row, line)
        assert torch.equal(y, expected[t])
        assert torch.equal(inside(row), expected[t])
    assert torch.equal(line, last)
    assert torch.equal(inside.line, last)
    net = nn.Sequential(inside, LIF(0.9, init_hidden=True))
    for clear in (reset, utils.reset):
        clear(net)
        assert inside.line.shape == (0,)
        assert torch.equal(inside(x[0]), expected[0])
    for twin in (copy.deepcopy(inside), pickle.loads(pickle.dumps(inside))):
        assert torch.equal(twin(x[0]), expected[0])
    with pytest.raises(ValueError, match=r"delay line has shape .* call spikeprop\.neurons\.reset"):
        inside(noise(2, 5))
    assert "line" not in inside.state_dict()
    assert inside.double().line.dtype == torch.float64
    with pytest.raises(TypeError, match="init_hidden=True"):
        inside(x[0], last)


def test_a_compiled_step() -> None:
    delay, x = Delay([0, 1, 2, 0, 4]), noise(8, 3, 5)
    step: Any = torch.compile(delay.step, backend="eager", fullgraph=True)
    line = torch.zeros(4, 3, 5)
    for t, expected in enumerate(delay.unroll(x)[0]):
        y, line = step(x[t], line)
        assert torch.equal(y, expected)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Delay(-1), "delay must be a whole number of time steps, 0 or more, but is -1"),
        (lambda: Delay(1.5), r"delay must be a whole number .* but is 1\.5"),
        (lambda: Delay(float("nan")), "delay must be finite"),
        (lambda: Delay(1, dt=0.0), "dt must be positive"),
        (lambda: DelayTaps(-2), "length must be a whole number"),
        (lambda: DelayedLinear(3, 2, torch.ones(4)), r"delay has shape \(4,\).*\(2, 3\)"),
        (lambda: Delay(1).unroll(torch.zeros(0, 2, 3)), "at least one time step"),
    ],
)
def test_refuses_bad_values(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
    with pytest.raises(TypeError, match="x must be of a floating-point dtype"):
        Delay(1)(torch.ones(2, 3, dtype=torch.int64))


def test_shows_itself() -> None:
    assert "up to 4 steps" in repr(Delay([1, 4]))
    assert "DelayTaps(3" in repr(DelayTaps(3))
    assert "5, 4, delays of up to 2 steps" in repr(DelayedLinear(5, 4, 2))
