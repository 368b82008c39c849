"""The BPTT baseline: the same network as stepping through time, and it learns."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from spikeprop.experiments.bptt import BPTT, BPTTConfig, SpikingMLP
from spikeprop.experiments.forward import Forward, ForwardConfig
from spikeprop.neurons import Delay


def toy(n: int = 40, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two classes, of which each drives its own half of the inputs."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(n) % 2
    rate = torch.full((n, 20), 0.05)
    rate[label == 0, :10] = 0.5
    rate[label == 1, 10:] = 0.5
    return torch.bernoulli(rate.expand(8, n, 20), generator=generator), label


@pytest.mark.parametrize("readout", ["membrane", "count"])
@pytest.mark.parametrize("lags", [(0,), (0, 3), (1, 2, 20)])
def test_layer_by_layer_equals_step_by_step(readout: str, lags: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    net = SpikingMLP((20, 12, 8, 2), BPTTConfig(readout=readout, lags=lags)).eval()
    delays = [nn.Sequential(*delays) for delays in net.delays]
    assert [[type(delay) for delay in row] for row in delays] == 3 * [[Delay] * any(lags)]
    x, _ = toy()
    mems = [neuron.reset_mem() for neuron in net.neurons]
    volts, counts = [], []
    for x_t in x:
        signal = x_t
        for i, (synapse, neuron) in enumerate(zip(net.synapses, net.neurons, strict=True)):
            signal, mems[i] = neuron(synapse(delays[i](signal)), mems[i])
        volts.append(mems[-1])
        counts.append(signal)
    expected = torch.stack(volts).mean(0) if readout == "membrane" else torch.stack(counts).sum(0)
    torch.testing.assert_close(net(x), expected)


def test_a_batch_leaves_nothing_behind_in_the_neurons() -> None:
    torch.manual_seed(0)
    net = SpikingMLP((20, 12, 2), BPTTConfig()).eval()
    x, _ = toy()
    first = net(x)
    torch.testing.assert_close(net(x), first, rtol=0, atol=0)


@pytest.mark.parametrize(
    "config", [BPTTConfig(lr=1e-2, lags=()), BPTTConfig(lr=1e-2, dropout=0.2, lags=())]
)
def test_bptt_learns(config: BPTTConfig) -> None:
    x, label = toy()
    model = BPTT((20, 16, 16, 2), config, steps=30)
    for _ in range(30):
        model.update(x, label)
    assert model.accuracy([toy(seed=1)]) >= 0.95


def test_any_network_is_trained_from_a_draw_of_its_own() -> None:
    x, label = toy()
    config = BPTTConfig(lr=1e-2)
    models = [BPTT((20, 16, 2), config, steps=3, seed=1)]
    models.append(BPTT.of(lambda: SpikingMLP((20, 16, 2), config), 1e-2, steps=3, seed=1))
    losses = [[model.update(x, label) for _ in range(3)] for model in models]
    assert losses[0] == losses[1]


def test_rate_falls_to_zero_and_random_state_is_not_touched() -> None:
    before = torch.get_rng_state()
    model = BPTT((20, 8, 2), BPTTConfig(dropout=0.5), steps=3)
    for _ in range(3):
        model.update(*toy())
    assert model.optimizer.param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-9)
    assert torch.equal(torch.get_rng_state(), before)


def test_same_seed_same_weights() -> None:
    def trained() -> Tensor:
        model = BPTT((20, 8, 2), BPTTConfig(dropout=0.5), steps=3, seed=5)
        for _ in range(3):
            model.update(*toy())
        return model.net.synapses[0].weight.detach()

    assert torch.equal(trained(), trained())


def test_forward_learns_and_frozen_blocks_stay() -> None:
    x, label = toy()
    model = Forward((20, 16, 16, 2), ForwardConfig(lr=1e-3, lags=()), steps=20)
    held = Forward((20, 16, 16, 2), ForwardConfig(lr=1e-3, lags=(), freeze="hidden"), steps=20)
    still = Forward((20, 16, 16, 2), ForwardConfig(lr=1e-3, lags=(), freeze="all"), steps=20)
    start = [p.clone() for p in held.learner.net.parameters()]
    for _ in range(20):
        for learner in (model, held, still):
            learner.update(x, label)
    assert model.accuracy([toy(seed=1)]) >= 0.95
    changed = [
        not torch.equal(a, b) for a, b in zip(start, held.learner.net.parameters(), strict=True)
    ]
    assert changed == [False, False, True, True]
    for a, b in zip(start, still.learner.net.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    "wrong", [{"lr": 0.0}, {"slope": -1.0}, {"dropout": 1.0}, {"readout": "last"}]
)
def test_wrong_options_are_named(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        BPTTConfig(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="freeze"):
        ForwardConfig(freeze="some")
    with pytest.raises(ValueError, match="sizes"):
        SpikingMLP((3,), BPTTConfig())
