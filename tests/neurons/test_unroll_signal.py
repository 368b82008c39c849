"""Whole sequences, and signal rows behind the batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spikeprop.neurons import IF, LI, LIF, SpikingNeuron


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 1.5 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def families(**options: Any) -> list[SpikingNeuron]:
    return [
        LIF(0.9, **options),
        LIF(torch.linspace(0, 1, 5), torch.linspace(0.3, 2, 5), **options),
        LIF(0.9, reset_mechanism="zero", **options),
        LIF(0.9, reset_delay=False, **options),
        LIF(0.9, inhibition=True, **options),
        IF(**options),
        LI(0.9, **options),
    ]


def steps(neuron: SpikingNeuron, current: Tensor, mem: Tensor | None = None) -> tuple[Tensor, ...]:
    spks, mems = [], []
    for row in current:
        spk, mem = neuron(row, mem)
        spks.append(spk)
        mems.append(mem)
    return torch.stack(spks), torch.stack(mems)


def assert_equal(a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> None:
    for x, y in zip(a, b, strict=True):
        assert torch.equal(x, y)


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("start", [None, noise(3, 5, seed=7)])
def test_unroll_is_stepping(grad: bool, start: Tensor | None) -> None:
    current = noise(10, 3, 5).requires_grad_(grad)
    for neuron in families():
        stepped = steps(neuron, current, start)
        assert_equal(neuron.unroll(current, start), stepped)
        with torch.no_grad():
            assert_equal(neuron.unroll(current, start), stepped)


def test_unroll_has_the_gradients_of_stepping() -> None:
    current = noise(10, 3, 5).requires_grad_()
    weight = noise(10, 3, 5, seed=3)
    for neuron in families():
        grads = []
        for spk, mem in (neuron.unroll(current), steps(neuron, current)):
            grads.append(torch.autograd.grad(((spk + 0.5 * mem) * weight).sum(), current)[0])
        assert torch.equal(*grads)


def test_unroll_continues_from_its_last_voltage() -> None:
    current = noise(10, 3, 5)
    for neuron in families():
        spk, mem = neuron.unroll(current)
        first, half = neuron.unroll(current[:4])
        second, rest = neuron.unroll(current[4:], half[-1])
        assert_equal((torch.cat((first, second)), torch.cat((half, rest))), (spk, mem))


def test_unroll_leaves_hidden_state_alone() -> None:
    lif = LIF(0.9, init_hidden=True)
    lif(noise(3, 5))
    held = lif.mem.clone()
    explicit = LIF(0.9).unroll(noise(10, 4, 5))
    assert_equal(lif.unroll(noise(10, 4, 5)), explicit)
    assert torch.equal(lif.mem, held)


def test_unroll_promotes_like_a_step() -> None:
    start = noise(3, 5, seed=7).double()
    spk, mem = LIF(0.9).unroll(noise(4, 3, 5), start)
    assert spk.dtype == mem.dtype == torch.float64
    assert_equal((spk, mem), steps(LIF(0.9), noise(4, 3, 5), start))


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 9),
    signals=st.integers(1, 5),
    features=st.integers(1, 40),
    held=st.booleans(),
)
def test_rows_do_not_depend_on_the_rows_beside_them(
    batch: int, signals: int, features: int, held: bool
) -> None:
    current = noise(6, batch, features)
    signal = noise(signals, features, seed=1) if held else noise(6, signals, features, seed=1)
    alone = signal.expand(6, signals, features)
    with torch.no_grad():
        for mechanism in ("subtract", "zero", "none"):
            lif = LIF(0.9, reset_mechanism=mechanism)
            spk, mem = lif.unroll(current, signal=signal)
            assert spk.shape == mem.shape == (6, batch + signals, features)
            assert_equal((spk[:, batch:], mem[:, batch:]), lif.unroll(alone))
            assert_equal((spk[:, :batch], mem[:, :batch]), lif.unroll(current))


@pytest.mark.parametrize("hidden", [False, True])
def test_signal_in_steps_is_signal_in_unroll(hidden: bool) -> None:
    current, signal = noise(6, 3, 5), noise(6, 2, 5, seed=1)
    for neuron in families(init_hidden=hidden, output=True):
        spks, mem, mems = [], None, []
        for x, s in zip(current, signal, strict=True):
            spk, mem = neuron(x, None if hidden else mem, signal=s)
            spks.append(spk)
            mems.append(mem)
        assert mem.shape == (5, 5)
        assert_equal((torch.stack(spks), torch.stack(mems)), neuron.unroll(current, signal=signal))


def test_signal_rows_keep_convolutional_features() -> None:
    spk, _ = LIF(0.9)(noise(3, 2, 4, 4), signal=noise(2, 2, 4, 4))
    assert spk.shape == (5, 2, 4, 4)


def test_signal_goes_on_from_explicit_state() -> None:
    current, signal = noise(6, 3, 5), noise(2, 5, seed=1)
    lif = LIF(0.9)
    whole = lif.unroll(current, signal=signal)
    _, head = lif.unroll(current[:2], signal=signal)
    spk, mem = lif.unroll(current[2:], head[-1], signal)
    assert_equal((spk, mem), (whole[0][2:], whole[1][2:]))
    with pytest.raises(ValueError, match=r"mem has shape \(3, 5\).*\(5, 5\) \(signal rows incl"):
        lif(current[0], torch.zeros(3, 5), signal)


@pytest.mark.parametrize("shape", [(5,), (2, 4), (2, 1, 5), (2, 5, 1)])
def test_a_step_refuses_signals_that_do_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"signal must have rows like the current's") as error:
        LIF(0.9)(noise(3, 5), signal=torch.zeros(shape))
    assert str(shape) in str(error.value)
    assert "(3, 5)" in str(error.value)


@pytest.mark.parametrize("shape", [(5,), (2, 4), (5, 2, 5), (6, 2, 4), (6, 2, 5, 1), (0, 2, 5)])
def test_unroll_refuses_signals_that_do_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="signal must") as error:
        LIF(0.9).unroll(noise(6, 3, 5), signal=torch.zeros(shape))
    assert str(shape) in str(error.value)


def test_signals_have_to_be_floating() -> None:
    for call in (LIF(0.9), LIF(0.9).unroll):
        with pytest.raises(TypeError, match="signal must be of a floating-point dtype"):
            call(noise(3, 5), signal=torch.ones(2, 5, dtype=torch.int64))


def test_a_current_without_rows_takes_no_signal() -> None:
    with pytest.raises(ValueError, match="signal must have rows"):
        LIF(0.9)(torch.tensor(1.0), signal=torch.tensor(1.0))


@pytest.mark.parametrize("shape", [(), (0, 3, 5)])
def test_unroll_needs_a_time_step(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least one time step"):
        LIF(0.9).unroll(torch.zeros(shape))
