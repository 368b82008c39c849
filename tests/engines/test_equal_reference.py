"""Every engine gives the reference's numbers, whatever the shapes, densities and schedules."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from spikeprop import ForwardLearner
from spikeprop.datasets import EventBatch
from spikeprop.engines import choice, event_convolution
from spikeprop.evidence import Instantaneous, Leaky, RunningMean
from spikeprop.losses import Cosine, Dot, LossValue, SquaredDistance
from spikeprop.neurons import IF, LI, LIF, Delay
from spikeprop.rules import SigProp, SPVoltage
from spikeprop.time_codes import Phases

C = 4
RULES: dict[str, partial[SigProp]] = {
    "default": partial(SigProp, C),
    "voltage": partial(SigProp, C, potential="membrane"),
    "plain": partial(SPVoltage, C, signal="projection"),
    "dot": partial(SigProp, C, loss=Dot(), evidence=Leaky(0.3)),
    "squared": partial(SigProp, C, loss=SquaredDistance(), signal="projection"),
    "cosine, fixed vectors": partial(SigProp, C, loss=Cosine(0.2), signal="projection"),
    "learned signal": partial(SigProp, C, signal="learned"),
    "learned signal along time, two filters": partial(
        SigProp, C, signal="learned", coding=Phases(7, 2), evidence=(RunningMean(), Leaky(0.5))
    ),
    "two filters": partial(SigProp, C, evidence=(RunningMean(), Leaky(0.5))),
    "three filters, fixed vectors": partial(
        SigProp, C, evidence=(RunningMean(), Leaky(0.5), Instantaneous()), signal="projection"
    ),
}


class SlowCosine:
    """A loss of a user's own: no batched form, nothing compiled."""

    def __call__(self, h: Tensor, s: Tensor, labels: Tensor) -> LossValue:
        assert h.dim() == 2
        return Cosine(0.2)(h, s, labels)

    def logits(self, h: Tensor, s: Tensor) -> Tensor:
        assert h.dim() == 2
        return Cosine(0.2).logits(h, s)

    def linear_readout(self, s: Tensor) -> tuple[Tensor, Tensor]:
        return Cosine(0.2).linear_readout(s)


def dense_net(
    inputs: int, sizes: tuple[int, ...], reset: str = "subtract", bias: bool = True
) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten()]
    for k, size in enumerate(sizes):
        layers += [
            nn.Linear(inputs, size, bias=bias),
            LIF(beta=0.9 - 0.1 * k, threshold=0.4, reset_mechanism=reset, init_hidden=True),
        ]
        inputs = size
    return nn.Sequential(*layers).double()


def convolutional_net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.AvgPool2d(2),
        LIF(beta=0.9, threshold=0.2, init_hidden=True),
        nn.Conv2d(4, 6, 3, stride=2, groups=2, padding=1, bias=False),
        LIF(beta=0.7, threshold=0.2, init_hidden=True),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(6, 5),
        LIF(beta=0.7, threshold=0.2, init_hidden=True),
    ).double()


def compare(
    net: nn.Sequential,
    rule: SigProp,
    batches: list[tuple[Any, Tensor]],
    engine: str,
    update_every: int,
    optimizer: Any = None,
) -> ForwardLearner:
    """Run both engines on the same batches; everything they say and leave behind is equal."""
    learners = {}
    for name in ("reference", engine):
        learners[name] = ForwardLearner(
            copy.deepcopy(net),
            rule,
            engine=name,
            update_every=update_every,
            optimizer=optimizer or partial(torch.optim.Adam, lr=1e-3),
        )
    reference, fast = learners["reference"], learners[engine]
    for x, labels in batches:
        wanted, found = reference.update(x, labels), fast.update(x, labels)
        # Accuracy and prediction follow from the logits, but for ties.
        for a, b in ((wanted.loss, found.loss), (wanted.logits, found.logits)):
            torch.testing.assert_close(b, a, rtol=1e-9, atol=1e-9)
        assert torch.equal(found.rate, wanted.rate), "the spikes differ"
    for (name, a), b in zip(
        reference.net.state_dict().items(), fast.net.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(b, a, rtol=0, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")
    for name, a in reference.bound().tensors.items():
        torch.testing.assert_close(fast.bound().tensors[name], a, rtol=0, atol=1e-10)
    torch.testing.assert_close(fast.logits(x), reference.logits(x), rtol=1e-8, atol=1e-9)
    assert fast.engine_choice is not None
    assert fast.engine_choice.name == engine
    return fast


def events(steps: int, batch: int, inputs: int, density: float, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(steps, batch, inputs, generator=generator) < density).double()


def labels_of(batch: int, seed: int) -> Tensor:
    return torch.randint(C, (batch,), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("engine", ["event", "chunked"])
@pytest.mark.parametrize("rule", list(RULES))
@pytest.mark.parametrize("update_every", [1, 4, 11])
def test_twenty_updates_end_at_the_same_weights(engine: str, rule: str, update_every: int) -> None:
    torch.manual_seed(0)
    batches: list[tuple[Any, Tensor]] = []
    for turn in range(20):
        x = events(11, 6, 40, 0.15, turn)
        batches.append((EventBatch.from_dense(x) if turn % 2 else x, labels_of(6, turn)))
    compare(dense_net(40, (21, 17)), RULES[rule](), batches, engine, update_every)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps=st.integers(1, 9),
    batch=st.integers(1, 5),
    inputs=st.integers(1, 20),
    sizes=st.lists(st.integers(5, 150), min_size=1, max_size=3),
    density=st.sampled_from([0.0, 0.02, 0.2, 0.6, 1.0]),
    update_every=st.integers(1, 10),
    reset=st.sampled_from(["subtract", "zero", "none"]),
    rule=st.sampled_from(["default", "plain", "two filters", "cosine, fixed vectors"]),
    engine=st.sampled_from(["event", "chunked"]),
    bias=st.booleans(),
    valued=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_any_shape_and_schedule(
    steps: int,
    batch: int,
    inputs: int,
    sizes: list[int],
    density: float,
    update_every: int,
    reset: str,
    rule: str,
    engine: str,
    bias: bool,
    valued: bool,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    x = events(steps, batch, inputs, density, seed)
    if valued:
        x *= 0.5 + torch.rand(x.shape, dtype=x.dtype)
    net = dense_net(inputs, tuple(sizes), reset, bias)
    batches = [(x, labels_of(batch, seed)), (EventBatch.from_dense(x), labels_of(batch, seed + 1))]
    # Plain gradient steps: Adam would blow rounding up wherever a gradient is zero by symmetry.
    compare(net, RULES[rule](), batches, engine, update_every, partial(torch.optim.SGD, lr=0.05))


@pytest.mark.parametrize("rule", ["default", "learned signal"])
@pytest.mark.parametrize("update_every", [1, 3, 100])
def test_convolutions_in_chunks(update_every: int, rule: str) -> None:
    torch.manual_seed(1)
    x = events(7, 5, 128, 0.3, 0).view(7, 5, 2, 8, 8)
    batches: list[tuple[Any, Tensor]] = [(x, labels_of(5, turn)) for turn in range(5)]
    compare(convolutional_net(), RULES[rule](), batches, "chunked", update_every)


@pytest.mark.parametrize("rule", ["default", "learned signal"])
@pytest.mark.parametrize(("density", "by_events"), [(0.3, False), (0.1, True)])
def test_convolution_and_events_in_one_network(rule: str, density: float, by_events: bool) -> None:
    torch.manual_seed(8)
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2),
        LIF(beta=0.9, threshold=0.2, init_hidden=True),
        nn.Flatten(),
        nn.Linear(36, 15),
        LIF(beta=0.7, threshold=0.2, init_hidden=True),
        nn.Linear(15, 9),
        LIF(beta=0.7, threshold=0.2, init_hidden=True),
    ).double()
    x = events(7, 5, 128, density, 0).view(7, 5, 2, 8, 8)
    batches: list[tuple[Any, Tensor]] = [(x, labels_of(5, turn)) for turn in range(3)]
    learner = compare(net, RULES[rule](), batches, "event", 4)
    assert learner.engine_choice is not None
    assert learner.engine_choice.engine.sparse == [by_events, True, True]  # type: ignore[union-attr]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps=st.integers(1, 7),
    batch=st.integers(1, 4),
    channels=st.integers(1, 3),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    outputs=st.integers(1, 19),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    padding=st.tuples(st.integers(0, 5), st.integers(0, 5)),
    density=st.sampled_from([0.0, 0.02, 0.2, 0.6, 1.0]),
    update_every=st.integers(1, 8),
    rule=st.sampled_from(["default", "plain", "two filters", "learned signal"]),
    bias=st.booleans(),
    valued=st.booleans(),
    delayed=st.booleans(),
    threads=st.integers(1, 3),
    seed=st.integers(0, 2**16),
)
def test_events_through_any_convolution(
    steps: int,
    batch: int,
    channels: int,
    size: tuple[int, int],
    outputs: int,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    density: float,
    update_every: int,
    rule: str,
    bias: bool,
    valued: bool,
    delayed: bool,
    threads: int,
    seed: int,
) -> None:
    assume(all(n + 2 * p >= k for n, p, k in zip(size, padding, kernel, strict=True)))
    torch.manual_seed(seed)
    features = (channels, *size)
    x = events(steps, batch, channels * size[0] * size[1], density, seed)
    x = x.view(steps, batch, *features)
    if valued:
        x *= 0.5 + torch.rand(x.shape, dtype=x.dtype)
    net = nn.Sequential(
        nn.Conv2d(channels, outputs, kernel, stride, padding, bias=bias),
        LIF(beta=0.8, threshold=0.2, init_hidden=True),
    ).double()
    if delayed:
        net.insert(0, Delay(torch.randint(3, features), init_hidden=True))
    batches = [(x, labels_of(batch, seed)), (EventBatch.from_dense(x), labels_of(batch, seed + 1))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choice, "CROSSOVER", 1.0)
        patch.setattr(event_convolution, "kernel_threads", lambda: threads)
        patch.setattr(event_convolution, "worth", lambda _: 1)
        learner = compare(
            net, RULES[rule](), batches, "event", update_every, partial(torch.optim.SGD, lr=0.05)
        )
    assert learner.engine_choice is not None
    assert learner.engine_choice.engine.sparse == [True]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "synapse",
    [
        nn.Conv2d(2, 4, 3, groups=2),
        nn.Conv2d(2, 4, 3, dilation=2),
        nn.Sequential(nn.Conv2d(2, 4, 3), nn.AvgPool2d(2)),
        nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(2, 4, 3)),
    ],
)
def test_events_do_not_run_through_other_convolutions(synapse: nn.Module) -> None:
    net = nn.Sequential(synapse, LIF(beta=0.8, init_hidden=True)).double()
    x = events(3, 2, 128, 0.1, 0).view(3, 2, 2, 8, 8)
    learner = ForwardLearner(net, RULES["default"](), engine="event")
    with pytest.raises(ValueError, match="nor begins with a Conv2d"):
        learner.update(x, labels_of(2, 0))
    learner = ForwardLearner(net, RULES["default"]())
    learner.update(x, labels_of(2, 0))
    assert str(learner.engine_choice).startswith("chunked engine")


@pytest.mark.parametrize("engine", ["event", "chunked"])
@pytest.mark.parametrize("update_every", [1, 5])
def test_integrate_and_fire_and_leaky_readout(engine: str, update_every: int) -> None:
    torch.manual_seed(2)
    net = nn.Sequential(
        nn.Linear(12, 9),
        IF(threshold=0.5, init_hidden=True),
        nn.Linear(9, 8, bias=False),
        LIF(beta=0.7, threshold=0.3, reset_delay=False, init_hidden=True),
        nn.Linear(8, 7),
        LI(beta=0.8, init_hidden=True),
    ).double()
    batches: list[tuple[Any, Tensor]] = [
        (events(9, 5, 12, 0.15, turn), labels_of(5, turn)) for turn in range(5)
    ]
    plain = partial(torch.optim.SGD, lr=0.05)
    compare(net, RULES["default"](), batches, engine, update_every, plain)


@pytest.mark.parametrize("engine", ["event", "chunked"])
def test_a_loss_without_batched_form(engine: str) -> None:
    torch.manual_seed(3)
    batches: list[tuple[Any, Tensor]] = [
        (events(9, 5, 12, 0.2, t), labels_of(5, t)) for t in (0, 1)
    ]
    for signal in ("propagated", "projection"):
        rule = SigProp(C, loss=SlowCosine(), signal=signal)
        compare(dense_net(12, (9, 7)), rule, batches, engine, 4)


@pytest.mark.parametrize("optimizer", ["SGD", "RMSprop", "AdamW", "Adam"])
@pytest.mark.parametrize("update_every", [1, 30])
def test_any_optimizer(optimizer: str, update_every: int) -> None:
    torch.manual_seed(4)
    batches: list[tuple[Any, Tensor]] = [
        (events(30, 8, 30, 0.1, t), labels_of(8, t)) for t in range(4)
    ]
    make = partial(getattr(torch.optim, optimizer), lr=1e-3)
    compare(dense_net(30, (20, 10)), RULES["default"](), batches, "event", update_every, make)


def test_long_sequences_are_cut_into_windows() -> None:
    torch.manual_seed(5)
    batches: list[tuple[Any, Tensor]] = [(events(70, 90, 20, 0.1, 0), labels_of(90, 0))]
    for rule in ("default", "plain", "two filters"):
        # 70 x 90 rows are more than one window holds.
        compare(dense_net(20, (12, 9)), RULES[rule](), batches, "event", 70)
        compare(dense_net(20, (12, 9)), RULES[rule](), batches, "chunked", 33)


def test_a_frozen_block_passes_its_spikes_on() -> None:
    torch.manual_seed(6)
    net = dense_net(20, (12, 9))
    net[1].weight.requires_grad_(False)
    net[1].bias.requires_grad_(False)
    before = net[1].weight.clone()
    batches: list[tuple[Any, Tensor]] = [(events(9, 6, 20, 0.2, 0), labels_of(6, 0))]
    learner = compare(net, RULES["default"](), batches, "event", 3)
    assert torch.equal(learner.net[1].weight, before)  # type: ignore[index]


@pytest.mark.parametrize("rule", ["default", "plain"])
@pytest.mark.parametrize("engine", ["event", "chunked"])
def test_single_precision_stays_close(engine: str, rule: str) -> None:
    torch.manual_seed(7)
    net = dense_net(60, (40, 30)).float()
    x, labels = events(20, 16, 60, 0.1, 0).float(), labels_of(16, 0)
    gradients = []
    for name in ("reference", engine):
        copied = copy.deepcopy(net)
        learner = ForwardLearner(
            copied,
            RULES[rule](),
            engine=name,
            update_every=20,
            optimizer=partial(torch.optim.SGD, lr=1.0),
        )
        learner.update(x, labels)
        gradients.append(
            [a - b for a, b in zip(net.parameters(), copied.parameters(), strict=True)]
        )
    for a, b in zip(*gradients, strict=True):
        assert (a - b).norm() <= 1e-5 * a.norm()
