"""Rules train the networks that ``ForwardLearner`` accepts, refuse what they cannot, and resume."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import snntorch as snn
import torch
from torch import Tensor, nn
from toy import CLASSES, network, recordings

from spikeprop import ForwardLearner
from spikeprop.datasets import EventBatch
from spikeprop.neurons import ALIF, EIF, LI, LIF, PLIF, RLIF, AdLIF, DelayTaps, StochasticLIF
from spikeprop.neurons import Synaptic as Syn
from spikeprop.rules import (
    BPTT,
    OTTT,
    RULES,
    TBPTT,
    EProp,
    FeedbackAlignment,
    Rule,
    ThreeFactorRule,
)

RIVALS = sorted(n for n, r in RULES.items() if issubclass(r, (ThreeFactorRule, BPTT)))
C, B, T = 3, 4, 8


def lif(beta: float | Tensor = 0.8) -> LIF:
    return LIF(beta, init_hidden=True)


class Loop(nn.Module):
    """A user's own network in snnTorch's style, looping over time itself."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(6, 5), snn.Leaky(beta=0.8)
        self.fc2, self.lif2 = nn.Linear(5, 4), snn.Leaky(beta=0.8)

    def forward(self, x: Tensor) -> Tensor:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        found = []
        for x_t in x:
            spk1, mem1 = self.lif1(self.fc1(x_t), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            found.append(spk2)
        return torch.stack(found)


class Skip(nn.Module):
    """A sum of two synapses from different depths."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(6, 5)
        self.b, self.c, self.d = nn.Linear(5, 5), nn.Linear(5, 4), nn.Linear(5, 4)
        self.one, self.two, self.three = lif(), lif(), lif()

    def forward(self, x: Tensor) -> Tensor:
        first = self.one(self.a(x))
        second = self.two(self.b(first))
        out: Tensor = self.three(self.c(second) + self.d(first))
        return out


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "conv": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 3, 3, padding=1),
            nn.BatchNorm2d(3),
            lif(),
            nn.MaxPool2d(2),
            nn.Dropout(0.2),
            nn.Flatten(),
            nn.Linear(27, 5),
            lif(),
        ),
        (1, 6, 6),
    ),
    "adaptive": (
        lambda: nn.Sequential(
            nn.Linear(6, 5),
            ALIF(0.8, 0.9, init_hidden=True),
            nn.Linear(5, 5),
            AdLIF(0.8, 0.9, init_hidden=True),
            nn.Linear(5, 4),
            lif(),
        ),
        (6,),
    ),
    "recurrent": (
        lambda: nn.Sequential(
            nn.Linear(6, 5), RLIF(0.8, linear_features=5, init_hidden=True), nn.Linear(5, 4), lif()
        ),
        (6,),
    ),
    "other neurons": (
        lambda: nn.Sequential(
            nn.Linear(6, 5),
            lif(torch.linspace(0.3, 0.9, 5)),
            nn.Linear(5, 5),
            Syn(0.7, 0.8, init_hidden=True),
            nn.Linear(5, 5),
            StochasticLIF(0.8, init_hidden=True),
            nn.Linear(5, 5),
            snn.Leaky(beta=0.8, init_hidden=True),
            nn.Linear(5, 4),
            LI(0.9, init_hidden=True),
        ),
        (6,),
    ),
    "skip": (Skip, (6,)),
    "no spikes": (
        lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU()),
        (6,),
    ),
}


def data(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(T, B, *shape, generator=generator) < 0.5).float(), torch.arange(B) % C


def excite(net: nn.Module) -> nn.Module:
    for module in net.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            module.weight.data.mul_(3)
            if module.bias is not None:
                module.bias.data.abs_()
    return net


@pytest.mark.parametrize("network_name", NETWORKS)
@pytest.mark.parametrize("name", RIVALS)
def test_every_rule_trains_every_layer(name: str, network_name: str) -> None:
    build, shape = NETWORKS[network_name]
    torch.manual_seed(1)
    net = excite(build())
    x, labels = data(shape)
    learner = ForwardLearner(net, RULES[name](C), optimizer=partial(torch.optim.SGD, lr=0.1))
    learner.bind(shape)
    before = copy.deepcopy(dict(net.named_parameters()))
    for _ in range(3):
        metrics = learner.update(x, labels)
    assert torch.isfinite(metrics.loss).all()
    assert metrics.logits.shape == (len(learner.blocks), B, C)
    moved = {n for n, p in net.named_parameters() if not torch.equal(p, before[n])}
    weights = {n for n in before if n.endswith("weight")}
    if name == "readout-only":
        assert not moved
    else:
        assert weights <= moved
    assert set(net.state_dict()) == set(build().state_dict())  # nothing was added to the network


@pytest.mark.parametrize("name", sorted(set(RIVALS) - {"tbptt"}))
def test_network_that_loops_over_time_itself_learns_the_same(name: str) -> None:
    torch.manual_seed(1)
    inside = excite(Loop())
    step = nn.Sequential(nn.Linear(6, 5), lif(), nn.Linear(5, 4), lif())
    step[0].load_state_dict(inside.fc1.state_dict())
    step[2].load_state_dict(inside.fc2.state_dict())
    x, labels = data((6,))
    for net, time in ((inside, "inside"), (step, "step")):
        learner = ForwardLearner(
            net, RULES[name](C), optimizer=partial(torch.optim.SGD, lr=0.1), time=time
        )
        learner.bind((6,), time_steps=T)
        if name == "feedback-alignment":  # its draws go by the synapses' names
            own = learner.bound().tensors
            other = "feedback.fc2" if time == "inside" else "feedback.2"
            own[other] = torch.linspace(-1, 1, 20).reshape(4, 5)
        learner.update(x, labels)
    torch.testing.assert_close(inside.fc1.weight, step[0].weight)
    torch.testing.assert_close(inside.fc2.weight, step[2].weight)


@pytest.mark.parametrize("name", RIVALS)
def test_saved_learner_goes_on_to_the_same_bits(name: str, tmp_path: Path) -> None:
    x, labels = recordings(12, 5)

    def fresh() -> ForwardLearner:
        return ForwardLearner(network(), RULES[name](CLASSES), seed=3)

    one = fresh()
    for _ in range(2):
        one.update(x, labels)
    one.save(tmp_path / "state.safetensors")
    other = fresh().load(tmp_path / "state.safetensors")
    for learner in (one, other):
        learner.update(x, labels)
    assert torch.equal(one.logits(x), other.logits(x))
    for a, b in zip(one.net.parameters(), other.net.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", RIVALS)
def test_rules_learn_a_toy_problem(name: str) -> None:
    x, labels = recordings(60, 8)
    # Nothing holds these rules' hidden layers back but a small step, and their readout's is large.
    small = {"stdp": 2e-5, "r-stdp": 1e-5, "stsf": 2e-4}
    adam = partial(torch.optim.Adam, lr=small.get(name, 5e-3))
    learner = ForwardLearner(network(), RULES[name](CLASSES), optimizer=adam, update_every=1)
    first = learner.update(x, labels).loss[-1]
    for _ in range(25):
        last = learner.update(x, labels).loss[-1]
    assert last < first
    accuracy = (learner.predict(x) == labels).float().mean()
    assert accuracy > 0.75


def test_stream_learns_by_steps_and_needs_no_end() -> None:
    x, labels = recordings(12, 8)
    for name in ("ottt", "e-prop", "traces-propagation", "tbptt", "stdp"):
        learner = ForwardLearner(network(), RULES[name](CLASSES), update_every=2)
        before = network()[0].weight
        for t, x_t in enumerate(x):
            metrics = learner.step(x_t, labels if t % 3 else None)
        assert torch.isfinite(metrics.logits).all()
        assert not torch.equal(learner.net[0].weight, before)
    with pytest.raises(ValueError, match="use TBPTT"):
        ForwardLearner(network(), BPTT(CLASSES)).step(x[0], labels)


def test_sparse_events_give_the_same() -> None:
    x, labels = recordings(12, 5)
    found = []
    for given in (x, EventBatch.from_dense(x)):
        for name in ("ottt", "bptt"):
            learner = ForwardLearner(network(), RULES[name](CLASSES))
            learner.update(given, labels)
            found.append(learner.net[0].weight)
    assert torch.equal(found[0], found[2])
    assert torch.equal(found[1], found[3])


def test_delays_keep_no_graph_from_step_to_step() -> None:
    x, labels = data((6,))
    delay = DelayTaps(2, init_hidden=True)
    net = excite(nn.Sequential(nn.Linear(6, 5), lif(), delay, nn.Linear(15, 4), lif()))
    before = net[0].weight.detach().clone()
    learner = ForwardLearner(net, OTTT(C), optimizer=partial(torch.optim.SGD, lr=0.1))
    for x_t in x:
        learner.step(x_t, labels)
        assert delay.__dict__["line"].grad_fn is None
    assert not torch.equal(net[0].weight, before)


def test_layers_that_a_rule_cannot_train_are_named() -> None:
    x, labels = data((6,))
    plif = nn.Sequential(nn.Linear(6, 5), PLIF(init_hidden=True))
    with pytest.raises(ValueError, match=r"OTTT cannot train .*of neuron '1'"):
        ForwardLearner(plif, OTTT(C)).update(x, labels)
    normed = nn.Sequential(
        nn.Linear(6, 5), lif(), nn.utils.parametrizations.weight_norm(nn.Linear(5, 4)), lif()
    )
    with pytest.raises(ValueError, match=r"FeedbackAlignment cannot train below synapse '2'"):
        ForwardLearner(normed, FeedbackAlignment(C)).update(x, labels)
    ForwardLearner(normed, OTTT(C)).update(x, labels)  # others do
    with pytest.raises(ValueError, match="cannot be cut into windows"):
        ForwardLearner(Loop(), TBPTT(C), time="inside").update(x, labels)


def test_nonlinear_neurons_have_their_own_jacobian() -> None:
    x, labels = data((6,))
    net = excite(nn.Sequential(nn.Linear(6, 5), EIF(init_hidden=True), nn.Linear(5, 4), lif()))
    for rule in (EProp(C), OTTT(C)):
        before = net[0].weight.detach().clone()
        ForwardLearner(net, rule, update_every=2).update(x, labels)
        assert torch.isfinite(net[0].weight).all()
        assert not torch.equal(net[0].weight, before)


@pytest.mark.parametrize("name", ["s-tllr", "e-prop", "stdp", "traces-propagation"])
def test_steps_before_the_first_one_count_for_eligibilities_alone(name: str) -> None:
    """As a stream whose first steps have no label."""
    x, labels = recordings(12, 6)
    found = []
    for first in (4, 1):
        rule = RULES[name](CLASSES, first_step=first, homeostasis=None)
        learner = ForwardLearner(network(), rule, update_every=1)
        if first == 4:
            learner.update(x, labels)
        else:
            for t, x_t in enumerate(x, start=1):
                learner.step(x_t, labels if t >= 4 else None)
        found.append(learner.net[0].weight.detach().clone())
    assert not torch.equal(found[0], network()[0].weight)
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ottt", {"kappa": 1.0}, "kappa has to be"),
        ("ottt", {"num_classes": 1}, "num_classes has to be"),
        ("etlp", {"trigger": 0.0}, "trigger has to be"),
        ("s-tllr", {"lambda_pre": 1.0}, "lambda_pre has to be"),
        ("s-tllr", {"feedback": "none"}, "feedback has to be"),
        ("decolle", {"loss": "l1"}, "loss has to be"),
        ("traces-propagation", {"trace_decay": 1.0}, "trace_decay has to be"),
        ("traces-propagation", {"similarity_scale": 0.0}, "similarity_scale has to be"),
        ("bptt", {"window": 0}, "window has to be"),
        ("bptt", {"kappa": -1.0}, "kappa has to be"),
        ("bptt", {"first_step": 0}, "first_step has to be"),
        ("ottt", {"readout_gain": 0.0}, "readout_gain has to be"),
        ("ottt", {"first_step": 0}, "first_step has to be"),
        ("bptt", {"num_classes": 1}, "num_classes has to be"),
    ],
)
def test_bad_hyper_parameters_are_named(
    name: str, options: dict[str, object], message: str
) -> None:
    given: dict[str, object] = {"num_classes": 3, **options}
    with pytest.raises(ValueError, match=message):
        RULES[name](**given)


def test_random_feedback_of_stllr_is_direct() -> None:
    x, labels = data((6,))
    rule: Rule = RULES["s-tllr"](C, feedback="random")
    net = excite(nn.Sequential(nn.Linear(6, 5), lif(), nn.Linear(5, 4), lif()))
    before = net[0].weight.detach().clone()
    ForwardLearner(net, rule).update(x, labels)
    assert not torch.equal(net[0].weight, before)
