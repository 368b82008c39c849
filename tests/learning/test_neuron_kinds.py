"""Every neuron learns: by the exact gradient if its sub-threshold dynamics are linear, by the
truncated one of its local Jacobians else, in float64 to 1e-10 of reverse-mode autograd."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from families import FAMILIES
from local_autograd import (
    Reference,
    ReferenceFilter,
    ReferenceLayer,
    ReferenceLIF,
    ReferenceStep,
    local_gradients,
)
from test_exact_updates import Recorder
from torch import Tensor, nn

from spikeprop import ForwardLearner
from spikeprop.evidence import Leaky, RunningMean
from spikeprop.neurons import ALIF, LIF, PLIF, RSynaptic, SpikingNeuron, Synaptic
from spikeprop.rules import SigProp

C, B, T = 3, 4, 7
LABELS = torch.tensor([0, 1, 2, 1])


def events(*features: int) -> Tensor:
    return (torch.rand(T, B, *features) < 0.4).double()


def compare(
    net: nn.Module,
    x: Tensor,
    kind: type[Reference] = ReferenceStep,
    *,
    cut_every: int | None = None,
    parameters: type[Reference] | None = None,
    **options: Any,
) -> None:
    """Hold an update against ``kind``; the neurons' parameters against another, if it is given."""
    rule = SigProp(
        C, evidence=(RunningMean(), Leaky(0.4)), homeostasis=None, stream_homeostasis=None
    )
    before = copy.deepcopy(net)
    options = {"update_every": T, **options}
    learner = ForwardLearner(net, rule, optimizer=Recorder, seed=2, **options)
    learner.update(x, LABELS)
    wanted = local_gradients(learner, x, LABELS, before, kind, cut_every)
    if parameters is not None:
        others = local_gradients(learner, x, LABELS, before, parameters, cut_every)
        for block, own, other in zip(learner.blocks, wanted, others, strict=True):
            n = len(block.neuron_parameters)
            own[len(own) - n :] = other[len(other) - n :]
    for optimizer, gradients in zip(learner.optimizers, wanted, strict=True):
        seen = optimizer.seen  # type: ignore[union-attr]
        found = [sum(parts) for parts in zip(*seen, strict=True)]
        assert len(found) == len(gradients)
        for a, b in zip(found, gradients, strict=True):
            assert a.abs().max() > 0, "a gradient of zero proves nothing"
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def dense(first: SpikingNeuron, second: SpikingNeuron) -> nn.Module:
    return nn.Sequential(nn.Linear(12, 9), first, nn.Linear(9, 7), second).double()


#: Where weights of three times their usual size do not make the neurons of both layers fire.
LARGER = {"Izhikevich": 40.0}


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("traces", ["synapse", "chunk"])
def test_every_family_equals_autograd(name: str, traces: str) -> None:
    torch.manual_seed(1)
    build = FAMILIES[name]
    first, second = build(init_hidden=True), build(init_hidden=True)
    net = nn.Sequential(nn.Linear(12, 5), first, nn.Linear(5, 5), second).double()
    with torch.no_grad():
        for synapse in (net[0], net[2]):
            synapse.weight.mul_(LARGER.get(name, 3.0))
    scaled = first.exact and getattr(first, "reset_mechanism", "none") == "zero"
    if scaled:
        compare(net, events(12), ReferenceFilter, parameters=ReferenceStep, traces=traces)
    else:
        compare(net, events(12), traces=traces)


NONLINEAR = [name for name, build in FAMILIES.items() if not build(init_hidden=True).exact]


@pytest.mark.parametrize("name", NONLINEAR)
def test_the_filter_of_rest_gives_the_exact_gradient_of_its_own_potential(name: str) -> None:
    torch.manual_seed(1)
    build = FAMILIES[name]
    net = nn.Sequential(
        nn.Linear(12, 5), build(init_hidden=True), nn.Linear(5, 5), build(init_hidden=True)
    ).double()
    with torch.no_grad():
        for synapse in (net[0], net[2]):
            synapse.weight.mul_(LARGER.get(name, 3.0))
    compare(net, events(12), ReferenceLayer, traces="layer")


def spread(low: float, high: float, *shape: int) -> Tensor:
    return low + (high - low) * torch.rand(*shape, dtype=torch.float64)


HETEROGENEOUS: dict[str, Callable[[int], SpikingNeuron]] = {
    "LIF": lambda n: LIF(spread(0.3, 1.0, n), 0.3, init_hidden=True),
    "Synaptic": lambda n: Synaptic(spread(0.1, 0.8, n), spread(0.5, 1.0, n), 0.3, init_hidden=True),
    "ALIF": lambda n: ALIF(spread(0.5, 1.0, n), 0.9, 0.1, spread(0.0, 0.2, n), init_hidden=True),
}


@pytest.mark.parametrize("name", HETEROGENEOUS)
@pytest.mark.parametrize(
    ("traces", "every", "cut"), [("synapse", T, None), ("chunk", T, None), ("chunk", 3, 3)]
)
def test_a_filter_per_neuron_equals_autograd(
    name: str, traces: str, every: int, cut: int | None
) -> None:
    torch.manual_seed(2)
    net = dense(HETEROGENEOUS[name](9), HETEROGENEOUS[name](7))
    compare(net, events(12), traces=traces, update_every=every, cut_every=cut)


def test_a_decay_per_neuron_resetting_to_zero_equals_autograd() -> None:
    torch.manual_seed(3)
    lif = {"threshold": 0.3, "reset_mechanism": "zero", "init_hidden": True}
    net = dense(LIF(spread(0.3, 1.0, 9), **lif), LIF(spread(0.3, 1.0, 7), **lif))
    compare(net, events(12), ReferenceLIF)


@pytest.mark.parametrize(
    ("traces", "every", "cut"), [("synapse", T, None), ("synapse", 2, None), ("chunk", 2, 2)]
)
def test_convolutions_and_norms_with_a_decay_per_channel(
    traces: str, every: int, cut: int | None
) -> None:
    torch.manual_seed(4)
    norm = nn.BatchNorm2d(6, momentum=0.0)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.uniform_(norm.running_mean, -0.3, 0.3)
    net = nn.Sequential(
        nn.Conv2d(2, 6, (3, 2), stride=2, padding=1, groups=2),
        norm,
        LIF(spread(0.3, 1.0, 6, 1, 1), 0.3, init_hidden=True),
        nn.Flatten(2),
        nn.Conv1d(6, 4, 3, dilation=2, bias=False),
        nn.Flatten(),
        LIF(spread(0.3, 1.0, 32), 0.3, init_hidden=True),
        nn.Unflatten(1, (8, 4)),
        nn.Linear(4, 3),
        LIF(spread(0.3, 1.0, 8, 3), 0.3, init_hidden=True),
    ).double()
    compare(net, events(2, 5, 6), traces=traces, update_every=every, cut_every=cut)


def test_one_filter_for_the_layer_is_the_mean_and_no_more_than_an_approximation() -> None:
    torch.manual_seed(5)
    betas = spread(0.3, 1.0, 9)
    mean = float(betas.mean())
    last = LIF(0.9, 0.3, init_hidden=True)
    start = dense(LIF(betas, 1e9, init_hidden=True), last)
    x, seen = events(12), []
    for traces in ("layer", "synapse"):
        net = copy.deepcopy(start)
        rule = SigProp(C, signal="projection", rectify=False, homeostasis=None)
        learner = ForwardLearner(net, rule, optimizer=Recorder, update_every=T, traces=traces)
        learner.update(x, LABELS)
        seen.append(learner.optimizers[0].seen[0][0])  # type: ignore[union-attr]
        if traces == "layer":
            (site,) = (
                learner.bound()
                .begin(B, (RunningMean(),), LABELS, learner.optimizers)
                .blocks[0]
                .credit.sites
            )  # type: ignore[union-attr]
            assert site._A[0][0] == pytest.approx(mean)  # type: ignore[attr-defined]
    assert 0.5 < torch.nn.functional.cosine_similarity(*[s.flatten() for s in seen], dim=0) < 0.9999


LEARNED: dict[str, Callable[[int], SpikingNeuron]] = {
    "LIF": lambda n: LIF(0.8, 0.3, learn_beta=True, learn_threshold=True, init_hidden=True),
    "LIF-per-neuron": lambda n: LIF(
        spread(0.3, 0.9, n),
        spread(0.2, 0.4, n),
        learn_beta=True,
        learn_threshold=True,
        init_hidden=True,
    ),
    "Synaptic": lambda n: Synaptic(
        0.5, 0.8, 0.3, learn_alpha=True, learn_beta=True, init_hidden=True
    ),
    "ALIF": lambda n: ALIF(
        0.8, 0.9, 0.1, 0.2, 0.3, learn_rho=True, learn_gamma=True, init_hidden=True
    ),
    "PLIF": lambda n: PLIF(spread(2.0, 9.0, n), threshold=0.1, init_hidden=True),
    "RSynaptic": lambda n: RSynaptic(
        0.5,
        0.8,
        linear_features=n,
        threshold=0.3,
        learn_alpha=True,
        learn_beta=True,
        init_hidden=True,
    ),
}


@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("every", [T, 2])
def test_neuron_parameters_equal_autograd(name: str, every: int) -> None:
    torch.manual_seed(6)
    net = dense(LEARNED[name](9), LEARNED[name](7))
    compare(net, events(12), update_every=every)


class Loop(nn.Module):
    """Explicit state of several variables, in snnTorch's style."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(12, 9)
        self.lif = Synaptic(spread(0.1, 0.8, 9), 0.9, 0.3, learn_alpha=True)

    def forward(self, x: Tensor) -> None:
        syn = mem = None
        for x_t in x:
            _, syn, mem = self.lif(self.fc(x_t), syn, mem)


class Hidden(Loop):
    def forward(self, x: Tensor) -> None:
        for x_t in x:
            self.lif(self.fc(x_t))


def test_explicit_state_learns_as_hidden_state_does() -> None:
    x, seen = events(12), []
    for kind in (Loop, Hidden):
        torch.manual_seed(7)
        net = kind().double()
        net.lif.init_hidden = kind is Hidden
        learner = ForwardLearner(net, SigProp(C), optimizer=Recorder, update_every=T, time="inside")
        learner.update(x, LABELS)
        seen.append(learner.optimizers[0].seen[0])  # type: ignore[union-attr]
    assert len(seen[0]) == 3
    for a, b in zip(*seen, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_the_free_potential_follows_a_time_constant_that_learns() -> None:
    torch.manual_seed(8)
    net = nn.Sequential(nn.Linear(12, 9), PLIF(5.0, threshold=0.1, init_hidden=True))
    sgd = lambda p: torch.optim.SGD(p, lr=0.1)  # noqa: E731
    learner = ForwardLearner(net, SigProp(C, stream_homeostasis=None), optimizer=sgd)
    for x_t in events(12).float():
        learner.step(x_t, LABELS)
    free = learner._stream._passage.blocks[0]._free  # type: ignore[union-attr]
    assert net[1].decay().item() != pytest.approx(0.8)
    assert free.dynamics.A.item() == net[1].decay().item()


def test_decays_stay_where_they_have_a_gradient() -> None:
    torch.manual_seed(8)
    net = nn.Sequential(nn.Linear(12, 9), LIF(0.98, learn_beta=True, init_hidden=True))
    sgd = lambda p: torch.optim.SGD(p, lr=100.0)  # noqa: E731
    ForwardLearner(net, SigProp(C), optimizer=sgd).update(events(12).float(), LABELS)
    assert 0 <= net[1].beta.item() <= 1
    assert net[1].beta.item() != pytest.approx(0.98)


def test_parameters_that_act_on_spikes_alone_are_named_and_left() -> None:
    net = nn.Sequential(
        nn.Linear(12, 9),
        LIF(0.9, reset_mechanism="zero", learn_threshold=True, init_hidden=True),
        nn.Linear(9, 9),
        ALIF(0.9, 0.9, learn_kappa=True, init_hidden=True),
    )
    with pytest.warns(UserWarning, match=r"no influence on a voltage: 1\.threshold, 3\.kappa"):
        ForwardLearner(net, SigProp(C)).update(events(12).float(), LABELS)


def test_a_stream_with_a_chunk_keeps_a_chunk_alone() -> None:
    torch.manual_seed(9)
    net = nn.Sequential(nn.Linear(12, 9), LIF(spread(0.3, 1.0, 9).float(), init_hidden=True))
    learner = ForwardLearner(net, SigProp(C), update_every=3, traces="chunk")
    start = net[0].weight.detach().clone()
    for t in range(20):
        learner.step(events(12)[0].float(), LABELS if t > 9 else None)
        credit = learner._stream._passage.blocks[0].credit  # type: ignore[union-attr]
        assert len(credit._chunk) < 3  # type: ignore[union-attr, arg-type]
        assert torch.equal(net[0].weight, start) == (t < 11)


def test_a_pooled_synapse_of_neurons_with_filters_of_their_own_is_refused_with_advice() -> None:
    net = nn.Sequential(
        nn.Conv1d(2, 4, 3), nn.AvgPool1d(2), LIF(torch.rand(4, 1), init_hidden=True)
    )
    with pytest.raises(ValueError, match=r"AvgPool1d.*traces='chunk'"):
        ForwardLearner(net, SigProp(C)).update(torch.rand(T, B, 2, 8), LABELS)
    for traces in ("chunk", "layer"):
        ForwardLearner(net, SigProp(C), traces=traces).update(torch.rand(T, B, 2, 8), LABELS)
    with pytest.raises(ValueError, match="traces has to be one of"):
        ForwardLearner(net, SigProp(C), traces="none")
