"""The rule that stands in for another over frozen layers trains its readout to the same numbers."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from spikeprop import ForwardLearner
from spikeprop.neurons import LIF
from spikeprop.rules import RULES, Rule
from spikeprop.rules.names import make_rule
from spikeprop.rules.readout_only import ReadoutOnly, frozen_twin

TWINS = ["ottt", "e-prop", "dfa", "decolle", "drtp", "osttp", "s-tllr", "stdp", "stsf"]


def _learn(rule: Rule, update_every: int) -> dict[str, Tensor]:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(6, 5), LIF(0.9, threshold=0.3, init_hidden=True),
        nn.Linear(5, 4), LIF(0.9, threshold=0.3, init_hidden=True),
    ).double()  # fmt: skip
    learner = ForwardLearner(
        net, rule, optimizer=partial(torch.optim.Adam, lr=1e-2), update_every=update_every, seed=1
    )
    learner.bind((6,))
    for block in learner.blocks:
        learner.optimizers[block.index] = torch.optim.SGD(block.parameters, lr=0.0)
    generator = torch.Generator().manual_seed(2)
    for _ in range(5):
        x = (torch.rand(7, 8, 6, generator=generator, dtype=torch.float64) < 0.4).double()
        learner.update(x, torch.arange(8) % 3)
    return {k: v.detach().clone() for k, v in learner.bound().tensors.items() if "readout" in k}


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_trains_the_same_readout(name: str) -> None:
    rule = make_rule(name, 3)
    twin = frozen_twin(rule)
    assert isinstance(twin, ReadoutOnly)
    found, wanted = _learn(twin, rule.update_every), _learn(rule, rule.update_every)
    assert found.keys() == wanted.keys() == {"readout.weight", "readout.bias"}
    for key, value in wanted.items():
        torch.testing.assert_close(found[key], value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["sigprop", "traces-propagation", "bptt", "forward-forward"])
def test_rules_that_read_in_their_own_way_stay(name: str) -> None:
    assert name in RULES
    rule = make_rule(name, 3)
    assert frozen_twin(rule) is rule


def test_layers_that_stay_have_no_schedule_to_be_warned_of(
    recwarn: pytest.WarningsRecorder,
) -> None:
    net = nn.Sequential(nn.Linear(6, 5), LIF(0.9, threshold=0.3, init_hidden=True))
    learner = ForwardLearner(net, ReadoutOnly(3), seed=0)
    learner.bind((6,))
    learner.set_scheduler(partial(torch.optim.lr_scheduler.StepLR, step_size=5, gamma=0.5))
    before = net[0].weight.detach().clone()
    learner.update(torch.ones(7, 8, 6), torch.arange(8) % 3)
    assert learner.optimizers == [None]
    assert torch.equal(net[0].weight, before)
    assert not [str(w.message) for w in recwarn if "lr_scheduler" in str(w.message)]
