"""What a rule says of itself in ``Constraints`` is so."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikeprop import ForwardLearner
from spikeprop.neurons import LIF
from spikeprop.rules import RULES, Constraints, Rule, ThreeFactorRule
from spikeprop.train import count_backward_passes

THREE_FACTOR = sorted(n for n, r in RULES.items() if issubclass(r, ThreeFactorRule))
C, B, T = 3, 6, 8


def claims(name: str) -> Constraints:
    found = RULES[name].constraints
    assert found is not None, f"{name} says nothing of what it demands"
    return found


def made(name: str) -> Rule:
    rule: Rule = RULES[name](C)
    if name == "etlp":  # its events are drawn at random
        rule = replace(rule, trigger=1.0)  # type: ignore[type-var]
    if getattr(rule, "homeostasis", None) is not None:
        rule = replace(rule, homeostasis=None)  # type: ignore[type-var]
    return rule


def net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    made = nn.Sequential(
        nn.Linear(10, 8),
        LIF(0.8, init_hidden=True),
        nn.Linear(8, 7),
        LIF(0.8, init_hidden=True),
    )
    for place in (0, 2):
        made[place].weight.data.mul_(4)
    return made


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(T, B, 10, generator=generator) < 0.4).float()
    return x, torch.arange(B) % C


def learner_of(network: nn.Module, rule: Rule, **options: Any) -> ForwardLearner:
    return ForwardLearner(
        network, rule, optimizer=partial(torch.optim.SGD, lr=0.5), update_every=1, **options
    )


def test_every_rule_says_what_it_demands() -> None:
    for name in RULES:
        for text in claims(name):
            assert text is True or text is False or (isinstance(text, str) and text)


@pytest.mark.parametrize("name", THREE_FACTOR)
def test_autograd_is_called_by_those_that_send_signals_through_the_network(name: str) -> None:
    x, labels = data()
    learner = learner_of(net(), made(name))
    with count_backward_passes() as counter:
        learner.update(x, labels)
    layered = learner.rule.path != "none"  # type: ignore[attr-defined]
    assert counter.calls == (T if layered else 0)
    assert claims(name).local_in_space <= (counter.calls == 0)
    if layered:
        assert "symmetric" in claims(name).feedback or "layer by layer" in claims(name).feedback


@pytest.mark.parametrize("name", THREE_FACTOR)
def test_surrogate_is_used_by_those_that_say_so(name: str) -> None:
    class Broken:
        def __call__(self, x: Tensor) -> Tensor:
            raise AssertionError("a surrogate was asked for")

    x, labels = data()
    rule = replace(made(name), surrogate=Broken())  # type: ignore[type-var]
    try:
        learner_of(net(), rule).update(x, labels)
        used = False
    except AssertionError:
        used = True
    assert used == claims(name).surrogate


@pytest.mark.parametrize("name", [n for n in THREE_FACTOR if claims(n).local_in_space])
def test_first_block_alone_learns_the_same(name: str) -> None:
    """What stands above a block has no say in what it learns."""
    x, labels = data()
    whole = net()
    alone = copy.deepcopy(whole[:2])
    learner = learner_of(whole, made(name))
    learner.bind((10,))
    single = learner_of(alone, made(name))
    single.bind((10,))
    share(learner, single, {0: 0})
    if name == "r-stdp":  # the reward is broadcast: it is the network's, not the block's
        lend_reward(learner, single)
    before = whole[0].weight.detach().clone()
    learner.update(x, labels)
    single.update(x, labels)
    if name != "readout-only":
        assert not torch.equal(whole[0].weight, before)
    torch.testing.assert_close(whole[0].weight, alone[0].weight, rtol=0, atol=0)
    torch.testing.assert_close(whole[0].bias, alone[0].bias, rtol=0, atol=0)


LAST = [n for n in THREE_FACTOR if claims(n).local_in_space and n != "traces-propagation"]


@pytest.mark.parametrize("name", LAST)
def test_last_block_learns_the_same_from_recorded_inputs(name: str) -> None:
    """What stands below a block has no say beyond the spikes that it sends.

    (Traces Propagation's second block takes the targets' spikes, too, which enter at the first.)
    """
    x, labels = data()
    whole = net()
    alone = copy.deepcopy(whole[2:])
    learner = learner_of(whole, made(name))
    learner.bind((10,))
    recorded: list[Tensor] = []
    handle = whole[2].register_forward_pre_hook(lambda m, inputs: recorded.append(inputs[0]))
    single = learner_of(alone, made(name))
    single.bind((8,))
    share(learner, single, {1: 0})
    learner.update(x, labels)
    handle.remove()
    single.update(torch.stack(recorded), labels)
    torch.testing.assert_close(whole[2].weight, alone[0].weight, rtol=0, atol=0)
    torch.testing.assert_close(whole[2].bias, alone[0].bias, rtol=0, atol=0)


def share(source: ForwardLearner, target: ForwardLearner, blocks: dict[int, int]) -> None:
    """Give the one's draws to the other."""
    theirs, ours = source.bound().tensors, target.bound().tensors
    for name, value in theirs.items():
        if name.startswith("feedback."):
            continue
        if name in ours and ours[name].shape == value.shape:
            ours[name].data.copy_(value)
    for old, new in blocks.items():
        if f"feedback.{old}" in theirs:
            ours[f"feedback.{new}"] = theirs[f"feedback.{old}"].clone()


def lend_reward(source: ForwardLearner, target: ForwardLearner) -> None:
    rewards: list[Tensor] = []
    given, taken = source.rule, target.rule
    kind = type(given)

    def noting(step: Any, error: Tensor) -> list[Tensor]:
        signals = kind.signals(given, step, error)
        rewards.append(signals[0][:, :1])
        return signals

    def lent(step: Any, error: Tensor) -> list[Tensor]:
        reward = rewards[step.t - 1]
        return [reward.expand_as(view.spk) for view in step.views]

    object.__setattr__(given, "signals", noting)
    object.__setattr__(taken, "signals", lent)


@pytest.mark.parametrize("name", [n for n in THREE_FACTOR if claims(n).local_in_time])
def test_memory_is_flat_in_time(name: str) -> None:
    network = net()
    learner = learner_of(network, made(name))
    x, labels = data()
    held = []
    for t in range(24):
        learner.step(x[t % T], labels)
        if t in (5, 23):
            held.append(numbers_held([learner._stream, network], set()))
    assert held[0] == held[1] > 0


def numbers_held(thing: Any, seen: set[int]) -> int:
    """How many numbers can be reached from a thing; no tensor may hold a graph over time."""
    if id(thing) in seen:
        return 0
    seen.add(id(thing))
    if isinstance(thing, Tensor):
        steps = 0
        node = thing.grad_fn
        while node is not None:
            steps += 1
            node = node.next_functions[0][0] if node.next_functions else None
        assert steps < 10, "a graph longer than that of a time step"
        return thing.numel()
    if isinstance(thing, dict):
        return sum(numbers_held(value, seen) for value in thing.values())
    if isinstance(thing, (list, tuple)):
        return sum(numbers_held(value, seen) for value in thing)
    return numbers_held(thing.__dict__, seen) if hasattr(thing, "__dict__") else 0
