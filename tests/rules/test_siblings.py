"""What the rules that contrast rows promise: they learn, resume, stream, and stay local."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikeprop import ForwardLearner
from spikeprop.evidence import RunningMean
from spikeprop.neurons import LIF
from spikeprop.rules import (
    CSDP,
    ContrastRule,
    ErrorForwardPropagation,
    ForwardForward,
    ForwardForwardRate,
    ForwardForwardTrace,
    PredictiveForwardForward,
    Rows,
)
from spikeprop.train import count_backward_passes

CLASSES, INPUTS = 3, 24

RULES: dict[str, ContrastRule] = {
    "efp-1": ErrorForwardPropagation(CLASSES, passes=1),
    "efp-2": ErrorForwardPropagation(CLASSES),
    "efp-one-sided": ErrorForwardPropagation(CLASSES, sides=1, scale=0.05),
    "ff": ForwardForward(CLASSES, prediction="goodness"),
    "ff-hard": ForwardForward(CLASSES, negatives="hard", prediction="goodness"),
    "ff-shuffled": ForwardForward(CLASSES, negatives="shuffled", n_negatives=2),
    "ff-appended": ForwardForward(CLASSES, label="appended", cells=4),
    "ff-readout": ForwardForward(CLASSES, predict_from="last"),
    "ff-trace": ForwardForwardTrace(CLASSES),
    "ff-rate": ForwardForwardRate(CLASSES),
    "csdp": CSDP(CLASSES),
    "pff": PredictiveForwardForward(CLASSES, strength=1.0),
}


def recordings(n: int = 60, steps: int = 8, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Each class fires its own inputs more often; the first cells leave room for an overlay."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % CLASSES
    rates = torch.full((CLASSES, INPUTS), 0.15)
    for c in range(CLASSES):
        rates[c, 3 + 7 * c : 10 + 7 * c] = 0.5
    return (torch.rand(steps, n, INPUTS, generator=generator) < rates[labels]).float(), labels


def network(seed: int = 0, beta: Any = 0.9, features: int = INPUTS) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(features, 32),
        LIF(beta=beta, init_hidden=True),
        nn.Linear(32, 32),
        LIF(beta=beta, init_hidden=True),
    )


def learner_of(rule: ContrastRule, lr: float = 2e-3, **options: Any) -> ForwardLearner:
    options = {"optimizer": lambda p: torch.optim.Adam(p, lr=lr), **options}
    return ForwardLearner(options.pop("net", None) or network(), rule, **options)


def weights(learner: ForwardLearner) -> dict[str, Tensor]:
    own = {f"own {k}": v.detach() for k, v in learner.bound().tensors.items()}
    return {**learner.net.state_dict(), **own}


def same(a: ForwardLearner, b: ForwardLearner) -> None:
    for name, value in weights(a).items():
        assert torch.equal(value, weights(b)[name]), name


@pytest.mark.parametrize("name", RULES)
def test_it_learns_without_a_backward_pass(name: str) -> None:
    x, labels = recordings()
    learner = learner_of(RULES[name])
    learner.bind((INPUTS,))
    before = {k: v.clone() for k, v in weights(learner).items()}
    with count_backward_passes() as counted:
        for _ in range(25):
            metrics = learner.update(x, labels)
    assert counted.calls == 0
    assert metrics.logits.shape == (2, 60, CLASSES)
    learned = {f"own {k}" for k in learner.rule.learned(learner.bound().tensors)}
    for key in [*learned, "0.weight", "0.bias", "2.weight", "2.bias"]:
        assert not torch.equal(weights(learner)[key], before[key]), key
    fresh, truth = recordings(seed=1)
    assert (learner.predict(fresh) == truth).float().mean() > 0.7
    assert learner.logits(fresh).isfinite().all()


@pytest.mark.parametrize("name", RULES)
def test_a_resumed_learner_goes_on_to_the_same_bits(name: str, tmp_path: Path) -> None:
    x, labels = recordings(20)
    learner = learner_of(RULES[name], update_every=3)
    for _ in range(2):
        learner.update(x, labels)
    learner.save(tmp_path / "state")
    again = learner_of(RULES[name], update_every=3, net=network(seed=1), seed=5)
    again.load(tmp_path / "state")
    for item in (learner, again):
        item.update(x, labels)
    same(learner, again)
    with pytest.raises(ValueError, match="the saved learner has"):
        learner_of(RULES["csdp" if name != "csdp" else "ff"]).load(tmp_path / "state")


@pytest.mark.parametrize("name", RULES)
def test_a_stream_learns_while_it_predicts(name: str) -> None:
    x, labels = recordings(12, steps=60)
    learner = learner_of(RULES[name], lr=2e-3)
    for x_t in x[:50]:
        metrics = learner.step(x_t, labels)
    assert metrics.prediction.shape == (12,)
    right = torch.zeros(12)
    before = {k: v.clone() for k, v in learner.net.state_dict().items() if "threshold" not in k}
    for x_t in x[50:]:
        right += learner.step(x_t).prediction == labels
    assert right.mean() / 10 > 0.6
    after = learner.net.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items()), "without labels it learned"


@pytest.mark.parametrize("name", ["efp-1", "csdp", "ff-readout"])
def test_steps_of_a_stream_are_those_of_a_sequence(name: str) -> None:
    """Where nothing is drawn (two classes) and no pass goes first."""
    x, labels = recordings(10)
    rule: Any = replace(
        RULES[name],
        num_classes=2,
        evidence=RunningMean(),
        stream_evidence=RunningMean(),
        homeostasis=None,
        stream_homeostasis=None,
    )
    whole, stream = learner_of(rule, update_every=2), learner_of(rule, update_every=2)
    whole.update(x, labels % 2)
    for x_t in x:
        stream.step(x_t, labels % 2)
    same(whole, stream)


class Inside(nn.Module):
    """The same network, looping over time itself."""

    def __init__(self) -> None:
        super().__init__()
        self.net = network()

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.net(x_t) for x_t in x])


@pytest.mark.parametrize("name", ["ff-hard", "efp-1", "pff"])
def test_a_network_that_loops_over_time_learns_the_same(name: str) -> None:
    x, labels = recordings(10)
    a, inside = learner_of(RULES[name]), Inside()
    b = learner_of(RULES[name], net=inside, time="inside")
    for item in (a, b):
        item.update(x, labels)
    for name_, value in a.net.state_dict().items():
        assert torch.equal(value, inside.net.state_dict()[name_]), name_


@pytest.mark.parametrize("name", ["csdp", "pff", "ff-appended"])
def test_wires_learn_the_same_by_every_kind_of_trace(name: str) -> None:
    """A decay a neuron, all of them the same: traces a synapse give what shared ones do."""
    x, labels = recordings(10)
    rule = replace(RULES[name], homeostasis=None)  # type: ignore[type-var]
    steps = len(x)
    found = []
    for beta, traces in ((0.9, "synapse"), (torch.full((32,), 0.9), "synapse"), (0.9, "chunk")):
        learner = learner_of(
            rule,
            net=network(beta=beta).double(),
            traces=traces,
            update_every=steps,
            optimizer=lambda p: torch.optim.SGD(p, lr=0.1),
        )
        learner.update(x.double(), labels)
        found.append({k: v for k, v in weights(learner).items() if "beta" not in k})
    for other in found[1:]:
        for key, value in found[0].items():
            torch.testing.assert_close(other[key], value, rtol=0, atol=1e-12, msg=key)


@pytest.mark.parametrize("name", ["csdp", "pff", "ff-hard", "efp-1"])
def test_convolutions_learn_too(name: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        LIF(beta=0.9, init_hidden=True),
        nn.Flatten(),
        nn.Linear(4 * 4 * 2, 16),
        LIF(beta=0.9, init_hidden=True),
    )
    x, labels = recordings(30)
    x = x.reshape(8, 30, 1, 6, 4)
    learner = learner_of(RULES[name], net=net)
    for _ in range(40):
        learner.update(x, labels)
    assert (learner.predict(x) == labels).float().mean() > 0.6


class Recorded(nn.Module):
    """Notes all that passes through."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.clone())
        return x


@pytest.mark.parametrize("name", ["csdp", "ff", "ff-readout", "efp-1"])
def test_a_block_alone_on_recorded_inputs_learns_the_same(name: str) -> None:
    rule: Any = replace(RULES[name], homeostasis=None)
    x, labels = recordings(10)
    net = network()
    recorder = Recorded()
    whole = learner_of(rule, net=nn.Sequential(*net[:2], recorder, *net[2:]))
    whole.bind((INPUTS,))
    recorder.seen.clear()

    class Alone(type(rule)):  # type: ignore[misc]
        """The rule of the second block, which is given what it saw within the network."""

        def imprint(self, x: Tensor, rows: Rows, tensors: dict[str, Tensor]) -> Tensor:
            return recorder.seen.pop(0)

        def wires(self, n_blocks: int) -> list[Any]:
            return super().wires(1) if isinstance(rule, CSDP) else []

    twin = network()[2:]
    alone = learner_of(Alone(**vars(rule)), net=twin)
    alone.bind((32,))
    if "context.1" in whole.bound().tensors:
        alone.bound().tensors["context.0"].data.copy_(whole.bound().tensors["context.1"])
    whole.update(x, labels)
    alone.update(x.new_zeros(len(x), 10, 32), labels)
    assert not recorder.seen
    assert torch.equal(twin[0].weight, net[2].weight)
    assert torch.equal(twin[0].bias, net[2].bias)


@pytest.mark.parametrize("name", ["efp-2", "ff", "csdp", "pff"])
def test_memory_does_not_grow_with_time(name: str) -> None:
    def held(steps: int) -> int:
        """Bytes of all tensors alive at the last time step, without the recordings."""
        x, labels = recordings(4, steps)
        learner = learner_of(RULES[name])
        learner.update(x, labels)
        seen: list[int] = []

        def note(module: nn.Module, inputs: Any, output: Any) -> None:
            seen.append(0)
            if len(seen) % steps == 0:
                alive = [o.untyped_storage() for o in gc.get_objects() if type(o) is Tensor]
                sizes = {storage.data_ptr(): storage.nbytes() for storage in alive}
                seen[-1] = sum(sizes.values()) - x.nbytes

        with learner.net[3].register_forward_hook(note):
            learner.update(x, labels)
        return seen[-1]

    assert held(4) == held(12)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (CSDP, {"num_classes": 1}, "num_classes has to be at least 2, got 1"),
        (CSDP, {"objective": "sum"}, r"objective has to be one of \('threshold', 'pair'\), got"),
        (CSDP, {"alpha": 0.0}, "alpha has to be above 0, got 0.0"),
        (CSDP, {"strength": -1.0}, "strength has to be above 0, got -1.0"),
        (CSDP, {"predict_from": "first"}, "predict_from has to be one of"),
        (CSDP, {"potential": "current"}, "potential has to be one of"),
        (CSDP, {"evidence": ()}, "evidence is an empty tuple"),
        (ErrorForwardPropagation, {"passes": 3}, "passes has to be 1 or 2, got 3"),
        (ErrorForwardPropagation, {"sides": 0}, "sides has to be 1 or 2, got 0"),
        (ErrorForwardPropagation, {"scale": 0.0}, "scale has to be above 0, got 0.0"),
        (ForwardForward, {"label": "tag"}, r"label has to be one of \('overlay', 'appended'\)"),
        (ForwardForward, {"negatives": "none"}, "negatives has to be one of"),
        (ForwardForward, {"prediction": "none"}, "prediction has to be one of"),
        (ForwardForward, {"cells": 0}, "cells has to be at least 1, got 0"),
        (ForwardForward, {"n_negatives": 0}, "n_negatives has to be at least 1, got 0"),
        (ForwardForward, {"density": 1.0}, "density has to be above 0 and below 1, got 1.0"),
        (PredictiveForwardForward, {"competition": -0.1}, "competition has to be at least 0"),
        (PredictiveForwardForward, {"group": 1}, "group has to be at least 2, got 1"),
        (PredictiveForwardForward, {"clock_steps": 0}, "clock_steps has to be at least 1, got 0"),
    ],
)
def test_bad_parameters_are_named(kind: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**{"num_classes": 3, **options})


def test_an_overlay_needs_room() -> None:
    learner = learner_of(ForwardForward(3, cells=8))
    with pytest.raises(ValueError, match=r"takes 24 cells of the input .* which has 24"):
        learner.bind((INPUTS,))


def test_hard_negatives_are_the_networks_own_mistakes() -> None:
    rule = ForwardForward(3, negatives="hard", prediction="goodness")
    labels = torch.tensor([0, 1, 2, 0])
    sure = torch.full((4, 3), -50.0)
    sure[torch.arange(4), torch.tensor([2, 0, 1, 1])] = 0.0
    assert rule.rows(labels, 4, sure).classes.tolist() == [[0, 1, 2, 0], [2, 0, 1, 1]]
    right = torch.full((4, 3), -1e4).scatter(1, labels[:, None], 1e4)
    assert (rule.rows(labels, 4, right).classes[1] != labels).all()


def test_shuffled_negatives_leave_out_those_that_are_right() -> None:
    labels = torch.tensor([0, 0, 0, 1])
    rows = ForwardForward(3, negatives="shuffled").rows(labels, 4, None)
    assert sorted(rows.classes[1].tolist()) == [0, 0, 0, 1]
    assert rows.signs[1].tolist() == (-(rows.classes[1] != labels).float()).tolist()


def test_dreams_are_of_their_class() -> None:
    x, labels = recordings(60)
    learner = learner_of(PredictiveForwardForward(CLASSES, clock=2, clock_steps=4), lr=1e-2)
    for _ in range(40):
        learner.update(x, labels)
    rule: Any = learner.rule
    dreams = rule.dream(learner.bound().tensors, torch.arange(CLASSES), 8)
    assert dreams.shape == (8, CLASSES, INPUTS)
    rates = torch.stack([x[:, labels == c].mean(dim=(0, 1)) for c in range(CLASSES)])
    distance = torch.cdist(dreams.mean(dim=0), rates)
    assert distance.argmin(dim=1).tolist() == list(range(CLASSES))
