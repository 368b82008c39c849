"""Forward learning through delays: exactly the update of the delayed recording."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spikeprop import ForwardLearner
from spikeprop.neurons import LIF, Delay, DelayTaps
from spikeprop.rules import SPVoltage

T, B, C = 12, 4, 3


def network(*front: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    synapse = nn.Linear(6, 8)
    return nn.Sequential(*front, synapse, LIF(0.9, 0.3, init_hidden=True)).double()


def weights_after(net: nn.Sequential, x: Tensor) -> Tensor:
    learner = ForwardLearner(net, SPVoltage(C), seed=1, update_every=T)
    learner.update(x, torch.tensor([0, 1, 2, 0]))
    synapse = net[-2]
    assert isinstance(synapse, nn.Linear)
    return synapse.weight.detach().clone()


def test_a_delay_in_front_is_a_delayed_recording() -> None:
    x = (torch.rand(T, B, 6, generator=torch.Generator().manual_seed(0)) < 0.4).double()
    delays = torch.tensor([0, 1, 2, 3, 0, 5])
    delayed, _ = Delay(delays).unroll(x)
    start = network()[0].weight.detach().clone()
    found = weights_after(network(Delay(delays, init_hidden=True)), x)
    assert torch.equal(found, weights_after(network(), delayed))
    assert not torch.equal(found, start)


def test_taps_are_a_wider_recording() -> None:
    x = (torch.rand(T, B, 2, generator=torch.Generator().manual_seed(0)) < 0.4).double()
    wide, _ = DelayTaps(2).unroll(x)
    found = weights_after(network(DelayTaps(2, init_hidden=True)), x)
    assert torch.equal(found, weights_after(network(), wide))
