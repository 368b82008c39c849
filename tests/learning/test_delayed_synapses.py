"""Forward learning through delays: exactly the update of the delayed recording."""

from __future__ import annotations

import pytest
import torch
from local_autograd import ReferenceLIF, ReferenceStep
from test_neuron_kinds import compare
from torch import Tensor, nn

from spikeprop import ForwardLearner, reset
from spikeprop.evidence import Leaky
from spikeprop.neurons import LIF, Delay, DelayedLinear, DelayTaps
from spikeprop.rules import SigProp, SPVoltage

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


def delayed(inputs: int, outputs: int, bias: bool = True) -> DelayedLinear:
    """Delays of 0 to 4 steps, 3 missing."""
    delays = torch.tensor([0, 1, 2, 4])[torch.randint(4, (outputs, inputs))]
    return DelayedLinear(inputs, outputs, delays, bias, init_hidden=True)


@pytest.mark.parametrize("every", [1, 3, T])
def test_delays_of_each_connection_equal_autograd(every: int) -> None:
    torch.manual_seed(3)
    net = nn.Sequential(
        delayed(12, 9), LIF(0.9, 0.3, init_hidden=True),
        delayed(9, 7, bias=False), LIF(0.8, 0.3, init_hidden=True),
    )  # fmt: skip
    x = (torch.rand(T, B, 12) < 0.4).double()
    compare(net.double(), x, ReferenceLIF, update_every=every)


@pytest.mark.parametrize(("traces", "every", "cut"), [("synapse", 2, None), ("chunk", 3, 3)])
def test_delays_before_a_filter_per_neuron_equal_autograd(
    traces: str, every: int, cut: int | None
) -> None:
    torch.manual_seed(4)
    betas = [0.3 + 0.6 * torch.rand(n) for n in (9, 7)]
    net = nn.Sequential(
        delayed(12, 9), LIF(betas[0], 0.3, init_hidden=True),
        delayed(9, 7), LIF(betas[1], 0.3, init_hidden=True),
    )  # fmt: skip
    x = (torch.rand(T, B, 12) < 0.4).double()
    compare(net.double(), x, ReferenceStep, traces=traces, update_every=every, cut_every=cut)


def test_shared_delays_on_further_dimensions_equal_autograd() -> None:
    torch.manual_seed(5)
    for beta in (torch.tensor(0.9), torch.rand(4, 5)):
        net = nn.Sequential(delayed(6, 5), LIF(beta, 0.3, init_hidden=True)).double()
        compare(net, (torch.rand(T, B, 4, 6) < 0.4).double(), ReferenceStep)


def test_a_stream_through_delays_equals_an_update() -> None:
    x, label = (torch.rand(T, B, 6) < 0.4).float(), torch.tensor([0, 1, 2, 0])
    nets = []
    for stream in (False, True):
        torch.manual_seed(6)
        net = nn.Sequential(delayed(6, 8), LIF(0.9, 0.3, init_hidden=True))
        rule = SigProp(C, evidence=Leaky(0.1), homeostasis=None, stream_homeostasis=None)
        learner = ForwardLearner(net, rule, seed=1)
        if stream:
            for x_t in x:
                learner.step(x_t, label)
        else:
            learner.update(x, label)
            assert str(learner.engine_choice).startswith("reference engine: synapse '0' is a Delay")
        reset(net)
        nets.append(net)
    torch.testing.assert_close(nets[0][0].weight, nets[1][0].weight)


def test_a_line_outside_is_refused_with_advice() -> None:
    class Outside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.synapse = DelayedLinear(6, 8, 2)
            self.lif = LIF(0.9, init_hidden=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.lif(self.synapse(x)[0])

    with pytest.raises(ValueError, match=r"'synapse': a DelayedLinear .*init_hidden=True"):
        ForwardLearner(Outside(), SPVoltage(C)).update(
            torch.rand(T, B, 6), torch.tensor([0, 1, 2, 0])
        )
