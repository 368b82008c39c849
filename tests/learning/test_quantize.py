"""Few bits: grids, learning on them, and integers that fire as their simulation does."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from toy import CLASSES, INPUTS, network, recordings

from spikeprop import ForwardLearner
from spikeprop.fixed_point import FixedPointLIF, IntegerNetwork
from spikeprop.neurons import LIF, Delay, reset
from spikeprop.quantize import FRACTION_BITS, OnGrid, fixed_point, quantization_scale, quantized
from spikeprop.rules import SigProp

adam = partial(torch.optim.Adam, lr=1e-3)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_scale_has_the_least_error_of_all_clipped_ranges(bits: int) -> None:
    weight = torch.randn(50, 40, generator=torch.Generator().manual_seed(0))
    weight[0, 0] = 12.0  # an outlier, for which nobody should pay
    top = 2 ** (bits - 1) - 1

    def error(scale: float) -> float:
        rounded = torch.round(weight / scale).clamp(-top, top) * scale
        return float((weight - rounded).square().sum())

    chosen = quantization_scale(weight, bits)
    assert error(chosen) <= min(error(12.0 / top), error(6.0 / top), error(3.0 / top)) * 1.02
    assert chosen < 12.0 / top or bits == 8


def trained(seed: int = 0) -> tuple[ForwardLearner, Tensor, Tensor]:
    x, labels = recordings()
    learner = ForwardLearner(network(seed), SigProp(CLASSES), optimizer=adam)
    for _ in range(5):
        learner.update(x, labels)
    return learner, x, labels


def levels(weight: Tensor, scale: float) -> Tensor:
    return weight.detach().double() / scale


@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
@pytest.mark.parametrize("bits", [8, 4])
def test_learning_stays_on_the_grid(bits: int, rounding: str) -> None:
    learner, x, labels = trained()
    before = {name: value.clone() for name, value in learner.net.state_dict().items()}
    small = quantized(learner, bits, optimizer=adam, rounding=rounding)
    start = [small.net[place].weight.clone() for place in (0, 2)]
    for _ in range(3):
        small.update(x, labels)
    for place, old, optimizer in zip((0, 2), start, small.optimizers, strict=True):
        assert isinstance(optimizer, OnGrid)
        q = levels(small.net[place].weight, optimizer.scale)
        assert (q - q.round()).abs().max() < 1e-4
        assert q.abs().max() <= 2 ** (bits - 1) - 1 + 1e-4
        fine = levels(small.net[place].bias, optimizer.scale / 2**FRACTION_BITS)
        assert (fine - fine.round()).abs().max() < 1e-3
        assert not torch.equal(small.net[place].weight, old), "it has learned"
    assert all(torch.equal(v, before[n]) for n, v in learner.net.state_dict().items())


def test_few_bits_keep_what_was_learned() -> None:
    learner, x, labels = trained()
    exact = (learner.predict(x) == labels).float().mean()
    for bits in (8, 4):
        small = quantized(learner, bits, optimizer=adam)
        assert (small.predict(x) == labels).float().mean() >= exact - 0.1
        for _ in range(5):
            small.update(x, labels)
        assert (small.predict(x) == labels).float().mean() >= exact - 0.05


def test_stochastic_rounding_keeps_the_mean_and_is_reproducible() -> None:
    def run() -> Tensor:
        weight = nn.Parameter(torch.full((100, 100), 0.5))
        weight.data[0] = 7.0  # sets the scale of about 1
        optimizer = OnGrid(
            [weight], partial(torch.optim.SGD, lr=0.3), 4, rounding="stochastic", seed=3
        )
        weight.data.zero_()
        weight.grad = -torch.ones_like(weight)
        optimizer.step()
        return weight.detach() / optimizer.scale * optimizer.scale

    once = run()
    assert once.unique().numel() == 2
    torch.testing.assert_close(once.mean(), torch.tensor(0.3), atol=0.02, rtol=0)
    assert torch.equal(once, run())


def test_a_scheduler_moves_the_inner_rate_and_state_goes_round() -> None:
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(6, 5))
    optimizer = OnGrid([weight], adam, 6)
    torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    optimizer.param_groups[0]["lr"] = 0.1
    assert optimizer.inner.param_groups[0]["lr"] == 0.1
    weight.grad = torch.randn(6, 5)
    optimizer.step()
    state = optimizer.state_dict()
    kept = weight.detach().clone()
    other = nn.Parameter(kept.clone())
    twin = OnGrid([other], adam, 6)
    twin.load_state_dict(state)
    gradient = torch.randn(6, 5)
    for parameter, item in ((weight, optimizer), (other, twin)):
        parameter.grad = gradient.clone()
        item.step()
    assert torch.equal(weight, other)
    assert not torch.equal(weight, kept)


def test_a_quantised_learner_is_saved_and_loaded(tmp_path: object) -> None:
    learner, x, labels = trained()
    small = quantized(learner, 4, optimizer=adam)
    small.update(x, labels)
    small.save(f"{tmp_path}/small.safetensors")
    again = quantized(learner, 4, optimizer=adam).load(f"{tmp_path}/small.safetensors")
    assert torch.equal(again.predict(x), small.predict(x))
    for item in (small, again):
        item.update(x, labels)
    assert torch.equal(again.net[0].weight, small.net[0].weight)


def dense(mechanism: str) -> nn.Sequential:
    lif = {"reset_mechanism": mechanism, "init_hidden": True}
    return nn.Sequential(
        nn.Flatten(),
        Delay(2 * torch.randint(2, (INPUTS,)), init_hidden=True),
        nn.Linear(INPUTS, 20),
        LIF(0.9, **lif),
        nn.Dropout(0.2),
        nn.Linear(20, 16, bias=False),
        LIF(0.8, 0.5, **lif),
    )


def convolutional(mechanism: str) -> nn.Sequential:
    lif = {"reset_mechanism": mechanism, "init_hidden": True}
    return nn.Sequential(
        nn.Unflatten(1, (2, 12)),
        nn.Unflatten(2, (3, 4)),
        nn.Conv2d(2, 5, (2, 3), padding=(1, 1), dilation=(1, 1), stride=(1, 2)),
        LIF(0.9, 0.4, **lif),
        nn.MaxPool2d(2),
        nn.Conv2d(5, 4, 2, padding=1, bias=False),
        LIF(0.85, 0.4, **lif),
        nn.Flatten(),
        nn.Linear(24, 6),
        LIF(0.9, 0.4, **lif),
    )


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("mechanism", ["subtract", "zero"])
@pytest.mark.parametrize("make", [dense, convolutional])
def test_integers_fire_as_their_simulation(
    make: Callable[[str], nn.Sequential], mechanism: str, bits: int
) -> None:
    torch.manual_seed(1)
    net = make(mechanism)
    x, labels = recordings(12, 30)
    learner = ForwardLearner(net, SigProp(CLASSES), optimizer=adam)
    learner.update(x, labels)
    small = quantized(learner, bits, optimizer=adam)
    small.update(x, labels)
    simulation = fixed_point(small)
    skip = 2 if make is convolutional else 0  # reshaping the input is no part of a chip
    shaped = x.reshape(30, 12, 2, 3, 4) if skip else x
    events = torch.poisson(shaped * 1.5 + 0.1, generator=torch.Generator().manual_seed(2)).int()
    found = IntegerNetwork(nn.Sequential(*list(simulation)[skip:])).run(events)
    seen: list[list[Tensor]] = []
    for module in simulation:
        if isinstance(module, FixedPointLIF):
            seen.append([])
            module.register_forward_hook(lambda m, i, o, into=seen[-1]: into.append(o.clone()))
    reset(simulation)
    with torch.no_grad():
        for x_t in events.float():
            simulation(x_t.flatten(1) if skip else x_t)
    assert len(found) == len(seen) == (3 if skip else 2)
    for a, b in zip(found, seen, strict=True):
        assert a.dtype == torch.int32
        assert 0.005 < a.float().mean() < 0.9
        assert torch.equal(a, torch.stack(b).int())


def test_what_has_no_integer_form_is_refused_by_name() -> None:
    lif = LIF(0.9, init_hidden=True)
    fixed = FixedPointLIF(lif, 0.01)
    linear = nn.Linear(4, 4)
    for net, words in (
        (nn.Sequential(linear, lif), "does not stand before a fixed-point neuron"),
        (nn.Sequential(nn.AvgPool2d(2)), "AvgPool2d"),
        (nn.Sequential(linear, fixed), "is not on the grid"),
    ):
        with pytest.raises(ValueError, match=words):
            IntegerNetwork(net)
    with pytest.raises(TypeError, match="integer counts"):
        IntegerNetwork(nn.Sequential(nn.Flatten())).run(torch.rand(2, 3, 4))
    for bad in (
        LIF(torch.rand(4)),
        LIF(0.9, inhibition=True),
        LIF(0.9, reset_mechanism="none"),
        LIF(0.9, graded_spikes_factor=2.0),
    ):
        with pytest.raises(ValueError, match="one beta a layer"):
            FixedPointLIF(bad, 0.01)
    with pytest.raises(ValueError, match="unit has to be above 0"):
        FixedPointLIF(lif, 0.0)
    for bits in (1, 9):
        with pytest.raises(ValueError, match=r"2 \.\. 8"):
            quantization_scale(torch.ones(3), bits)
    with pytest.raises(ValueError, match="all zero"):
        quantization_scale(torch.zeros(3), 4)
    with pytest.raises(ValueError, match="rounding has to be one of"):
        OnGrid([nn.Parameter(torch.randn(2, 2))], adam, 4, rounding="up")


def test_blocks_of_another_form_are_not_quantised() -> None:
    net = nn.Sequential(nn.Linear(INPUTS, 8), nn.BatchNorm1d(8), LIF(0.9, init_hidden=True))
    learner = ForwardLearner(net, SigProp(CLASSES))
    learner.update(*recordings(6))
    with pytest.raises(ValueError, match="block '0' cannot be quantised"):
        quantized(learner, 8)


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.lif = nn.Linear(INPUTS, 8), LIF(0.9, init_hidden=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.lif(self.fc(x))


def test_integer_inference_wants_a_chain() -> None:
    learner = ForwardLearner(Own(), SigProp(CLASSES))
    learner.update(*recordings(6))
    small = quantized(learner, 8)
    assert isinstance(small.net.lif, FixedPointLIF)
    with pytest.raises(TypeError, match=r"nn\.Sequential, got Own"):
        fixed_point(small)
