"""The three-factor update is the exact gradient of the local loss, in float64, to 1e-10.

The reference here is written from the equations alone: each block runs in autograd with its input
and the whole reset term treated as constants, and the local losses of all steps are summed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from spikeprop import ForwardLearner
from spikeprop.evidence import Instantaneous, Leaky, RunningMean, as_filters
from spikeprop.homeostasis import Homeostasis
from spikeprop.losses import Cosine, Dot, SquaredDistance
from spikeprop.neurons import IF, LI, LIF
from spikeprop.rules import SigProp, SPVoltage

C, B = 3, 5
LOSSES = {"cosine": Cosine(0.2), "dot": Dot(), "squared": SquaredDistance()}
EVIDENCE = {
    "instantaneous": Instantaneous(),
    "mean": RunningMean(),
    "leaky": Leaky(0.3),
    "mean+leaky": (RunningMean(), Leaky(0.5)),
}


def by_autograd(loss: object, h: Tensor, s: Tensor, labels: Tensor) -> Tensor:
    """The local losses as their definitions say, differentiable."""
    if isinstance(loss, SquaredDistance):
        return ((h - s[labels]) ** 2).sum(dim=1).mean()
    assert isinstance(loss, (Cosine, Dot))
    if isinstance(loss, Cosine):
        h = nn.functional.normalize(h - h.mean(dim=1, keepdim=True), dim=1, eps=1e-300)
        s = nn.functional.normalize(s - s.mean(dim=1, keepdim=True), dim=1, eps=1e-300)
    return nn.functional.cross_entropy(h @ s.T / loss.tau, labels)


def reset_term(mechanism: str, beta: float, mem: Tensor, threshold: Tensor) -> Tensor:
    fired = (mem > threshold).to(mem)
    terms = {"subtract": fired * threshold, "zero": beta * mem * fired, "none": 0 * mem}
    return terms[mechanism].detach()


def block_gradients(
    rule: SigProp,
    synapse: nn.Module,
    chain: nn.Module,
    neuron: LIF,
    inputs: Tensor,
    labels: Tensor,
    signal: Tensor | None,
    vectors: Tensor | None,
) -> tuple[list[Tensor], Tensor]:
    """Gradients of the summed local losses, and the block's spikes ``(T, R, *features)``."""
    beta, threshold = float(neuron.beta.clamp(0, 1)), neuron.threshold.detach()
    parameters = [*synapse.parameters(), *chain.parameters()]
    filters = as_filters(rule.evidence)
    mem: Tensor | None = None
    free = torch.zeros(())
    evidence: list[Tensor] = []
    total = torch.zeros((), dtype=torch.float64)
    spk = []
    for t, x in enumerate(inputs, start=1):
        current = chain(synapse(x))
        if signal is not None:
            current = torch.cat([current[:B], signal])
        if mem is None:
            mem = torch.zeros_like(current)
            evidence = [torch.zeros_like(current) for _ in filters]
        # In this order "zero" leaves an exact zero, and the gate at zero is no matter of rounding.
        mem = (beta * mem - reset_term(neuron.reset_mechanism, beta, mem, threshold)) + current
        spk.append((mem > threshold).to(mem).detach())
        free = beta * free + current
        u = free if rule.potential == "free" else mem
        evidence = [v + f.weight(t) * (u - v) for v, f in zip(evidence, filters, strict=True)]
        v = torch.cat([e.flatten(1) for e in evidence], dim=1)
        h = torch.relu(v[:B]) if rule.rectify else v[:B]  # its derivative at 0 is 0
        s = v[B:] if vectors is None else vectors.flatten(1).repeat(1, len(filters))
        total = total + by_autograd(rule.loss, h, s, labels)
    return list(torch.autograd.grad(total, parameters)), torch.stack(spk)


class Recorder(torch.optim.Optimizer):
    """Keeps the gradients it is given, and steps nowhere."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        super().__init__(parameters, {})
        self.seen: list[list[Tensor]] = []

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        grads = [p.grad for p in self.param_groups[0]["params"]]
        self.seen.append([g.clone() for g in grads if g is not None])


def dense(reset: str, bias: bool = True) -> nn.Sequential:
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(12, 9, bias=bias),
        LIF(beta=0.9, threshold=0.4, reset_mechanism=reset, init_hidden=True),
        nn.Linear(9, 7, bias=bias),
        LIF(beta=0.8, threshold=0.3, reset_mechanism=reset, init_hidden=True),
    ).double()


def convolutional(reset: str) -> nn.Sequential:
    norm = nn.BatchNorm2d(4, momentum=0.0)  # the statistics stand still while we compare
    nn.init.uniform_(norm.running_mean, -0.3, 0.3)
    nn.init.uniform_(norm.running_var, 0.5, 2.0)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        norm,
        nn.AvgPool2d(2),
        LIF(beta=0.9, threshold=0.2, reset_mechanism=reset, init_hidden=True),
        nn.Conv2d(4, 6, 3, stride=2, dilation=1, groups=2, padding=1, bias=False),
        LIF(beta=0.7, threshold=0.2, reset_mechanism=reset, init_hidden=True),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(6, 5),
        LIF(beta=0.7, threshold=0.2, reset_mechanism=reset, init_hidden=True),
    ).double()


def compare(net: nn.Sequential, rule: SigProp, x: Tensor, labels: Tensor) -> None:
    """Run the learner with an optimiser that only looks, and hold it against autograd."""
    learner = ForwardLearner(net, rule, optimizer=Recorder, update_every=len(x), seed=3)
    learner.update(x, labels)
    engine = learner.bound()
    rows = C if rule.signal == "propagated" else 0
    inputs = torch.cat([x, x.new_zeros(len(x), rows, *x.shape[2:])], dim=1)
    net.eval()
    modules = list(net)
    places = [modules.index(b.synapse) for b in learner.blocks]
    ends = [modules.index(b.neuron) for b in learner.blocks]
    start = 0
    for k, (place, end) in enumerate(zip(places, ends, strict=True)):
        before, behind = (
            nn.Sequential(*modules[start:place]),
            nn.Sequential(*modules[place + 1 : end]),
        )
        inputs = torch.stack([before(x_t) for x_t in inputs])
        signal = engine.tensors["signal.0"] if rows and k == 0 else None
        vectors = None if rows else engine.tensors[f"signal.{k}"]
        wanted, inputs = block_gradients(
            rule, modules[place], behind, modules[end], inputs, labels, signal, vectors
        )
        (found,) = learner.optimizers[k].seen  # type: ignore[union-attr]
        assert len(found) == len(wanted)
        for a, b in zip(found, wanted, strict=True):
            assert a.abs().max() > 0, "a gradient of zero proves nothing"
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
        start = end + 1


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize("evidence", list(EVIDENCE))
@pytest.mark.parametrize("loss", list(LOSSES))
@pytest.mark.parametrize(
    ("rectify", "signal", "potential"),
    [
        (True, "propagated", "free"),
        (True, "propagated", "membrane"),
        (False, "projection", "membrane"),
    ],
)
def test_dense_update_equals_autograd(
    loss: str, evidence: str, reset: str, rectify: bool, signal: str, potential: str
) -> None:
    torch.manual_seed(1)
    rule = SigProp(
        C,
        loss=LOSSES[loss],
        evidence=EVIDENCE[evidence],
        rectify=rectify,
        signal=signal,
        potential=potential,
        homeostasis=None,
    )
    for steps in (1, 2, 11):
        x = (torch.rand(steps, B, 3, 4) < 0.4).double()
        compare(dense(reset), rule, x, torch.tensor([0, 1, 2, 1, 0]))


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize("evidence", list(EVIDENCE))
@pytest.mark.parametrize("loss", list(LOSSES))
@pytest.mark.parametrize("potential", ["free", "membrane"])
def test_convolutional_update_equals_autograd(
    potential: str, loss: str, evidence: str, reset: str
) -> None:
    torch.manual_seed(2)
    rule = SigProp(
        C,
        loss=LOSSES[loss],
        evidence=EVIDENCE[evidence],
        potential=potential,
        homeostasis=None,
    )
    for steps in (1, 6):
        x = (torch.rand(steps, B, 2, 8, 8) < 0.4).double()
        compare(convolutional(reset), rule, x, torch.tensor([0, 1, 2, 1, 0]))


@pytest.mark.parametrize("signal", ["propagated", "projection"])
def test_plain_rule_of_the_paper_equals_autograd(signal: str) -> None:
    torch.manual_seed(3)
    x = (torch.rand(8, B, 3, 4) < 0.4).double()
    compare(dense("subtract"), SPVoltage(C, signal=signal), x, torch.tensor([0, 1, 2, 1, 0]))


def test_integrate_and_fire_and_leaky_readout_equal_autograd() -> None:
    torch.manual_seed(4)
    net = nn.Sequential(
        nn.Linear(12, 9),
        IF(threshold=0.5, init_hidden=True),
        nn.Linear(9, 7),
        LI(beta=0.8, init_hidden=True),
    ).double()
    x = (torch.rand(9, B, 12) < 0.4).double()
    learner = ForwardLearner(net, SigProp(C), optimizer=Recorder, update_every=9, seed=0)
    learner.update(x, torch.tensor([0, 1, 2, 1, 0]))
    engine = learner.bound()
    inputs = torch.cat([x, x.new_zeros(9, C, 12)], dim=1)
    # A fresh threshold: homeostasis has moved the first neuron's since.
    spiking = IF(threshold=0.5).double()
    silent = LIF(beta=0.8, threshold=1e9, reset_mechanism="none").double()
    labels = torch.tensor([0, 1, 2, 1, 0])
    first, inputs = block_gradients(
        learner.rule,
        net[0],
        nn.Identity(),
        spiking,
        inputs,
        labels,
        engine.tensors["signal.0"],
        None,
    )
    second, _ = block_gradients(
        learner.rule, net[2], nn.Identity(), silent, inputs, labels, None, None
    )
    for k, wanted in enumerate([first, second]):
        for a, b in zip(learner.optimizers[k].seen[0], wanted, strict=True):  # type: ignore[union-attr]
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("loss", list(LOSSES))
def test_modulators_equal_autograd(loss: str) -> None:
    torch.manual_seed(5)
    h = torch.randn(B, 8, dtype=torch.float64, requires_grad=True)
    s = torch.randn(C, 8, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, 2, 1, 0])
    wanted = by_autograd(LOSSES[loss], h, s, labels)
    delta_h, delta_s = torch.autograd.grad(wanted, [h, s])
    found = LOSSES[loss](h.detach(), s.detach(), labels)
    torch.testing.assert_close(found.value, wanted.detach(), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(found.delta_h, delta_h, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(found.delta_s, delta_s, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(
        found.logits, LOSSES[loss].logits(h.detach(), s.detach()), rtol=1e-10, atol=1e-10
    )


def test_features_without_a_direction_give_no_modulator() -> None:
    h, s = torch.zeros(2, 4), torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0]])
    found = Cosine()(h, s, torch.tensor([0, 1]))
    assert torch.isfinite(found.delta_s).all()
    assert (found.delta_h == 0).all()
    assert (found.logits == 0).all()


@pytest.mark.parametrize("make", [dense, convolutional])
def test_learning_rate_zero_leaves_weights_bit_identical(make: Callable[[str], nn.Module]) -> None:
    torch.manual_seed(6)
    net = make("subtract")
    before = [p.detach().clone() for p in net.parameters()]
    x = (torch.rand(7, B, *((3, 4) if make is dense else (2, 8, 8))) < 0.4).double()
    learner = ForwardLearner(
        net, SigProp(C), optimizer=lambda p: torch.optim.Adam(p, lr=0.0), update_every=1
    )
    learner.update(x, torch.tensor([0, 1, 2, 1, 0]))
    for old, new in zip(before, net.parameters(), strict=True):
        assert torch.equal(old, new)


@pytest.mark.parametrize("every", [1, 2, 3, 4])
def test_gradients_of_all_steps_sum_to_that_of_the_sequence(every: int) -> None:
    torch.manual_seed(7)
    x, labels = (torch.rand(7, B, 12) < 0.4).double(), torch.tensor([0, 1, 2, 1, 0])
    start = dense("subtract")
    sums = []
    for k in (every, 7):
        net = dense("subtract")
        net.load_state_dict(start.state_dict())
        learner = ForwardLearner(net, SigProp(C), optimizer=Recorder, update_every=k)
        learner.update(x, labels)
        seen = [o.seen for o in learner.optimizers]  # type: ignore[union-attr]
        assert all(len(s) == -(-7 // k) for s in seen)
        sums.append([[sum(parts) for parts in zip(*s, strict=True)] for s in seen])
    for a, b in itertools.chain(*[zip(p, q, strict=True) for p, q in zip(*sums, strict=True)]):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_homeostasis_follows_its_equation() -> None:
    threshold = torch.tensor([1.0, 1.0, 1.0, 4.9, 0.051])
    rate = torch.tensor([0.1, 0.15, 0.9, 1.0, 0.0])
    Homeostasis().adjust_(threshold, rate)
    wanted = torch.tensor([1.0, torch.e**0.05, torch.e**0.1, 5.0, 0.05])
    torch.testing.assert_close(threshold, wanted)
