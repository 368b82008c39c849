"""A stream of plain gradient steps by the event engine: the reference's numbers, written later."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from spikeprop import ForwardLearner, kernels
from spikeprop.datasets import EventBatch
from spikeprop.evidence import Instantaneous, Leaky, RunningMean
from spikeprop.homeostasis import Homeostasis
from spikeprop.losses import Dot
from spikeprop.neurons import LI, LIF, Delay
from spikeprop.rules import SigProp

pytestmark = pytest.mark.skipif(not kernels.available(), reason="needs numba")

C = 3
RULES: dict[str, partial[SigProp]] = {
    "default": partial(SigProp, C),
    "voltage": partial(SigProp, C, potential="membrane", stream_homeostasis=None),
    "strong control": partial(SigProp, C, stream_homeostasis=Homeostasis(gain=0.2)),
    "plain": partial(
        SigProp,
        C,
        rectify=False,
        potential="membrane",
        signal="projection",
        homeostasis=None,
        stream_evidence=Instantaneous(),
        stream_homeostasis=None,
    ),
    "running mean, fixed vectors": partial(
        SigProp, C, signal="projection", stream_evidence=RunningMean()
    ),
    "slow": partial(SigProp, C, stream_evidence=Leaky(0.01)),
    "dot": partial(SigProp, C, loss=Dot()),
}


def make_net(
    inputs: int,
    sizes: tuple[int, ...],
    reset: str = "subtract",
    bias: bool = True,
    beta: float = 0.9,
    latest: int = 0,
) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten()]
    for k, size in enumerate(sizes):
        if latest:
            layers.append(Delay(torch.randint(latest + 1, (inputs,)), init_hidden=True))
        layers += [
            nn.Linear(inputs, size, bias=bias),
            LIF(beta=beta ** (k + 1), threshold=0.4, reset_mechanism=reset, init_hidden=True),
        ]
        inputs = size
    return nn.Sequential(*layers).double()


def pair(net: nn.Module, rule: SigProp, lr: float = 0.02) -> dict[str, ForwardLearner]:
    return {
        engine: ForwardLearner(
            copy.deepcopy(net), rule, optimizer=partial(torch.optim.SGD, lr=lr), engine=engine
        )
        for engine in ("reference", "event")
    }


def events(steps: int, batch: int, inputs: int, density: float, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(steps, batch, inputs, generator=generator) < density).double()


def assert_same_weights(learners: dict[str, ForwardLearner], tolerance: float) -> None:
    reference, fast = (learners[name].net.state_dict() for name in ("reference", "event"))
    for name, a in reference.items():
        scale = max(1.0, float(a.abs().max()))
        torch.testing.assert_close(
            fast[name], a, rtol=0, atol=tolerance * scale, msg=lambda m, n=name: f"{n}: {m}"
        )


def follow(learners: dict[str, ForwardLearner], x: Tensor, labels: list[Tensor | None]) -> None:
    """Take all steps by both engines; everything they say of each step is equal."""
    for t, label in enumerate(labels):
        wanted = learners["reference"].step(x[t], label)
        given = EventBatch.from_dense(x[t : t + 1]) if t % 2 else x[t]
        found = learners["event"].step(given, label)
        torch.testing.assert_close(found.loss, wanted.loss, rtol=1e-8, atol=1e-9)
        torch.testing.assert_close(found.logits, wanted.logits, rtol=1e-8, atol=1e-9)
        torch.testing.assert_close(found.rate, wanted.rate, rtol=1e-12, atol=0)
        torch.testing.assert_close(found.accuracy, wanted.accuracy, equal_nan=True)
        assert torch.equal(found.prediction, wanted.prediction)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps=st.integers(1, 40),
    batch=st.integers(1, 4),
    inputs=st.integers(1, 20),
    sizes=st.sampled_from([(7,), (130, 6), (5, 128, 4)]),
    density=st.sampled_from([0.0, 0.05, 0.3, 1.0]),
    reset=st.sampled_from(["subtract", "zero", "none"]),
    beta=st.sampled_from([0.0, 0.3, 0.9, 1.0]),
    rule=st.sampled_from(list(RULES)),
    bias=st.booleans(),
    valued=st.booleans(),
    window=st.sampled_from([1, 3, 128]),
    latest=st.sampled_from([0, 1, 5, 50]),
    seed=st.integers(0, 2**16),
)
# A third of three recordings is no number of float32: rates went through it once.
@example(3, 3, 1, (130, 6), 0.3, "subtract", 0.3, "strong control", True, False, 1, 0, 0)
def test_any_stream(
    steps: int,
    batch: int,
    inputs: int,
    sizes: tuple[int, ...],
    density: float,
    reset: str,
    beta: float,
    rule: str,
    bias: bool,
    valued: bool,
    window: int,
    latest: int,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    x = events(steps, batch, inputs, density, seed)
    if valued:  # from some step on
        x[seed % steps :] *= 0.5 + torch.rand(x[seed % steps :].shape, dtype=x.dtype)
    generator = torch.Generator().manual_seed(seed)
    labels: list[Tensor | None] = [
        None if seed % 3 == t % 4 else torch.randint(C, (batch,), generator=generator)
        for t in range(steps)
    ]
    learners = pair(make_net(inputs, sizes, reset, bias, beta, latest), RULES[rule](), 0.01)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spikeprop.engines.live.SHORTEST", min(8, window))
        patch.setattr("spikeprop.engines.live.LONGEST", window)
        follow(learners, x, labels)
    assert learners["event"].engine_choice is not None
    assert learners["event"].engine_choice.name == "event"
    assert_same_weights(learners, 1e-9)


@pytest.mark.slow
def test_ten_thousand_steps() -> None:
    torch.manual_seed(1)
    net = make_net(12, (9, 8))
    before = net.state_dict()["1.weight"].clone()
    learners = pair(net, RULES["default"](), 0.01)
    x = events(10_000, 1, 12, 0.15, 1)
    labels = torch.randint(C, (100,), generator=torch.Generator().manual_seed(2))
    for t in range(10_000):
        label = labels[t // 100 : t // 100 + 1]
        wanted = learners["reference"].step(x[t], label)
        found = learners["event"].step(x[t], label)
        assert torch.equal(found.rate, wanted.rate)
    assert_same_weights(learners, 1e-9)
    assert (learners["event"].net.state_dict()["1.weight"] - before).norm() > 0.1 * before.norm()


@pytest.mark.parametrize("rule", ["default", "plain", "dot"])
@pytest.mark.parametrize("engine", ["event", "reference"])
@pytest.mark.parametrize("latest", [0, 4, 90])
def test_many_steps_at_once_are_the_steps_one_by_one(rule: str, engine: str, latest: int) -> None:
    torch.manual_seed(2)
    net = make_net(15, (12, 9), latest=latest)
    one, other = (pair(net, RULES[rule]())[engine] for _ in range(2))
    x, label = events(150, 1, 15, 0.2, 3), torch.tensor([1])
    found = [one.step(x_t, label) for x_t in x]
    if engine == "event":
        whole = other.steps(EventBatch.from_dense(x), label)
    else:
        whole = other.steps(x, label)
    for name in ("loss", "accuracy", "rate"):
        mean = torch.stack([getattr(item, name) for item in found]).mean(dim=0)
        torch.testing.assert_close(getattr(whole, name), mean, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(whole.logits, found[-1].logits)
    assert torch.equal(whole.prediction, found[-1].prediction)
    assert one.updates == other.updates == 150
    x = events(70, 1, 15, 0.2, 4)
    found = [one.step(x_t, label) for x_t in x]
    given = EventBatch.from_dense(x) if engine == "event" else x
    whole = other.steps(given, label, every_step=True)
    torch.testing.assert_close(whole.logits, torch.stack([item.logits for item in found], dim=1))
    assert torch.equal(whole.prediction, torch.stack([item.prediction for item in found]))
    for a, b in zip(one.net.state_dict().values(), other.net.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_a_rate_that_changes_and_a_bias_with_its_own() -> None:
    torch.manual_seed(3)
    net = make_net(10, (8, 7))
    learners = pair(net, RULES["default"]())
    for learner in learners.values():
        learner.bind((10,))
        for block, k in zip(learner.blocks, range(2), strict=True):
            module: Any = block.synapse
            learner.optimizers[k] = torch.optim.SGD(
                [{"params": [module.bias], "lr": 0.3}, {"params": [module.weight], "lr": 0.01}]
            )
    x, label = events(60, 1, 10, 0.3, 0), torch.tensor([2])
    for t in range(60):
        for learner in learners.values():
            learner.step(x[t], label)
            for optimizer in learner.optimizers:
                assert optimizer is not None
                optimizer.param_groups[1]["lr"] = 0.01 * (1 + t % 5)
    assert_same_weights(learners, 1e-10)


def test_frozen_parts_stay() -> None:
    torch.manual_seed(4)
    net = make_net(10, (8, 7))
    net[1].weight.requires_grad_(False)
    net[1].bias.requires_grad_(False)
    net[3].bias.requires_grad_(False)
    learners = pair(net, RULES["default"]())
    x, label = events(60, 1, 10, 0.3, 0), torch.tensor([2])
    follow(learners, x, [label] * 60)
    after = learners["event"].net.state_dict()
    assert torch.equal(after["1.weight"], net[1].weight)
    assert torch.equal(after["3.bias"], net[3].bias)
    assert not torch.equal(after["3.weight"], net[3].weight)
    assert_same_weights(learners, 1e-10)


# ------------------------------------------------------------------ who looks at the weights

LOOKS = {
    "flush": lambda learner, path: learner.flush(),
    "the learner's state": lambda learner, path: learner.state_dict(),
    "the network's state": lambda learner, path: learner.net.state_dict(),
    "a module's state": lambda learner, path: learner.net[1].state_dict(),
    "calling the network": lambda learner, path: learner.net(torch.zeros(1, 10).double()),
    "save": lambda learner, path: learner.save(path / "a.safetensors"),
    "predict": lambda learner, path: learner.predict(torch.zeros(2, 1, 10).double()),
    "reset": lambda learner, path: learner.reset(),
    "to": lambda learner, path: learner.to("cpu"),
    "export": lambda learner, path: learner.export(time_steps=5),
    "another engine": lambda learner, path: learner.update(
        torch.zeros(1, 1, 10).double(), torch.tensor([0])
    ),
    "another optimiser": lambda learner, path: learner.set_optimizer(torch.optim.Adam),
}


@pytest.mark.parametrize("look", list(LOOKS))
def test_weights_are_up_to_date_when_somebody_looks(look: str, tmp_path: Any) -> None:
    torch.manual_seed(5)
    net = make_net(10, (8, 7))
    learners = pair(net, RULES["plain"]())
    x, label = events(20, 1, 10, 0.3, 0), torch.tensor([2])
    for x_t in x:
        for learner in learners.values():
            learner.step(x_t, label)
    reference, fast = (learners[name].net[1].weight for name in ("reference", "event"))  # type: ignore[index]
    assert not torch.allclose(fast, reference, rtol=0, atol=1e-9), "nothing waits"
    wanted = reference.detach().clone()
    LOOKS[look](learners["event"], tmp_path)
    torch.testing.assert_close(fast.detach(), wanted, rtol=1e-9, atol=1e-12)


def test_a_stream_goes_on_after_a_look() -> None:
    torch.manual_seed(6)
    learners = pair(make_net(10, (8, 7)), RULES["default"]())
    x, label = events(40, 1, 10, 0.3, 0), torch.tensor([2])
    for t in range(40):
        learners["event"].step(x[t], label)
        learners["reference"].step(x[t], label)
        if t % 7 == 3:
            assert_same_weights(learners, 1e-10)
    state = learners["event"].state_dict()
    other = pair(make_net(10, (8, 7)), RULES["default"]())["event"]
    other.load_state_dict(copy.deepcopy(state))
    learners["event"].reset()
    for learner in (learners["event"], other):
        for x_t in x:
            learner.step(x_t, label)
    for a, b in zip(
        learners["event"].net.state_dict().values(), other.net.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(a, b)


def test_loading_weights_during_a_stream() -> None:
    torch.manual_seed(7)
    learner = pair(make_net(10, (8, 7)), RULES["plain"]())["event"]
    start = copy.deepcopy(learner.net.state_dict())
    x, label = events(20, 1, 10, 0.3, 0), torch.tensor([2])
    for x_t in x:
        learner.step(x_t, label)
    learner.net.load_state_dict(start)
    learner.reset()
    assert torch.equal(learner.net.state_dict()["1.weight"], start["1.weight"])


def test_weights_that_are_replaced_during_a_stream_are_noticed() -> None:
    torch.manual_seed(8)
    learner = pair(make_net(10, (8, 7)), RULES["plain"]())["event"]
    x, label = events(2, 1, 10, 0.3, 0), torch.tensor([2])
    learner.step(x[0], label)
    module: Any = learner.net[1]  # type: ignore[index]
    module.weight.data = module.weight.data.clone()
    with pytest.raises(RuntimeError, match="moved or replaced during a stream"):
        learner.step(x[1], label)


@pytest.mark.parametrize("latest", [0, 70])
def test_the_state_does_not_grow(latest: int) -> None:
    torch.manual_seed(9)
    learner = pair(make_net(10, (8, 7), latest=latest), RULES["default"]())["event"]
    learner.steps(events(200, 1, 10, 0.3, 0), torch.tensor([1]))
    stream: Any = learner._stream
    sizes = [stage.entries.tolist() for stage in stream._passage.stages]
    learner.steps(events(500, 1, 10, 0.3, 0), torch.tensor([1]))
    assert [stage.entries.tolist() for stage in stream._passage.stages] == sizes


def test_events_under_way_stay_when_room_is_made_and_values_come() -> None:
    torch.manual_seed(12)
    learners = pair(make_net(10, (8, 7), latest=9), RULES["default"]())
    label = torch.tensor([1])
    for turn, steps in enumerate((1, 3, 20, 64, 5, 100)):
        x = events(steps, 1, 10, 0.3, turn)
        x = x * 1.5 if turn % 3 == 2 else x
        for learner in learners.values():
            metrics = learner.steps(x, label)
            assert torch.isfinite(metrics.loss).all()
    assert_same_weights(learners, 1e-10)


def test_an_input_that_is_there_twice_is_refused_before_it_takes_anothers_place() -> None:
    learner = pair(make_net(4, (8, 7), latest=1), RULES["plain"]())["event"]
    twice = EventBatch(
        torch.tensor([0, 12]), torch.zeros(12, dtype=torch.int32), None, 1, torch.Size([4])
    )
    with pytest.raises(ValueError, match="active twice in a time step"):
        learner.step(twice, torch.tensor([1]))


def test_silent_inputs_have_no_trace_left() -> None:
    torch.manual_seed(10)
    learner = pair(make_net(10, (8, 7)), RULES["plain"]())["event"]
    learner.steps(events(50, 1, 10, 0.5, 0), torch.tensor([1]))
    learner.steps(torch.zeros(2000, 1, 10).double(), torch.tensor([1]))
    learner.flush()
    stream: Any = learner._stream
    assert not stream._passage.stages[0]._ledger[0].any()


# ------------------------------------------------------------------ the choice


def adam(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters)


def hooked(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    optimizer.register_step_post_hook(lambda *_: None)
    return optimizer


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"optimizer": adam}, "Adam moves weights whose input is silent"),
        ({"optimizer": partial(torch.optim.SGD, lr=0.1, momentum=0.9)}, "SGD with momentum=0.9"),
        ({"optimizer": partial(torch.optim.SGD, lr=0.1, weight_decay=0.1)}, "weight_decay=0.1"),
        ({"optimizer": partial(torch.optim.SGD, lr=0.1, maximize=True)}, "SGD maximizes"),
        ({"optimizer": hooked}, "hooks"),
        ({"update_every": 2}, "every 2 steps only"),
        ({"engine": "chunked"}, "no chunk"),
        ({"engine": "reference"}, "as asked for"),
        ({"rule": SigProp(C, signal="learned")}, "SigProp learns its signal"),
        ({"rule": SigProp(C, readout="trained")}, "learns an output layer of its own"),
    ],
)
def test_what_else_is_left_to_the_reference(options: dict[str, Any], reason: str) -> None:
    given = {"rule": SigProp(C), "optimizer": partial(torch.optim.SGD, lr=0.1), **options}
    learner = ForwardLearner(make_net(10, (8, 7)), **given)
    learner.step(torch.ones(1, 10).double(), torch.tensor([0]))
    assert learner.engine_choice is not None
    assert learner.engine_choice.name == "reference"
    assert reason in learner.engine_choice.reason


def test_networks_that_are_left_to_the_reference() -> None:
    torch.manual_seed(11)
    sgd = partial(torch.optim.SGD, lr=0.1)
    conv = nn.Sequential(
        nn.Conv2d(1, 3, 3),
        LIF(beta=0.9, init_hidden=True),
        nn.Flatten(),
        nn.Linear(12, 5),
        LIF(beta=0.9, init_hidden=True),
    )
    readout = nn.Sequential(
        nn.Flatten(),
        nn.Linear(16, 6),
        LIF(beta=0.9, init_hidden=True),
        nn.Linear(6, 5),
        LI(beta=0.9, init_hidden=True),
    )
    dropout = nn.Sequential(
        nn.Flatten(), nn.Linear(16, 6), LIF(beta=0.9, init_hidden=True), nn.Dropout(0.5),
        nn.Linear(6, 5), LIF(beta=0.9, init_hidden=True),
    )  # fmt: skip
    wanted = {"no Linear synapse": conv, "is not compiled": readout, "dropout draws": dropout}
    for reason, net in wanted.items():
        learner = ForwardLearner(net, SigProp(C), optimizer=sgd)
        learner.step(torch.ones(1, 1, 4, 4), torch.tensor([0]))
        assert learner.engine_choice is not None
        assert reason in learner.engine_choice.reason
    two = SigProp(C, stream_evidence=(Leaky(0.1), Leaky(0.5)))
    learner = ForwardLearner(make_net(10, (8, 7)), two, optimizer=sgd)
    learner.step(torch.ones(1, 10).double(), torch.tensor([0]))
    assert "several filters" in str(learner.engine_choice)


def test_a_loss_that_breaks_is_named() -> None:
    learner = pair(make_net(10, (8, 7)), SigProp(C))["event"]
    x, label = torch.ones(1, 10).double(), torch.tensor([1])
    learner.step(x, label)
    module: Any = learner.net[1]  # type: ignore[index]
    module.weight.data[0, 0] = torch.nan
    with pytest.raises(FloatingPointError, match="the local loss of block '1' became nan"):
        learner.step(x, label)


def test_bad_steps() -> None:
    learner = pair(make_net(10, (8, 7)), SigProp(C))["event"]
    with pytest.raises(ValueError, match="label has to have shape"):
        learner.steps(torch.zeros(3, 1, 10).double(), torch.zeros(2, dtype=torch.int64))
    learner.steps(torch.zeros(3, 1, 10).double())
    with pytest.raises(ValueError, match="stream began with 1"):
        learner.steps(torch.zeros(3, 2, 10).double())
    bad = EventBatch(torch.tensor([0, 1]), torch.tensor([10], dtype=torch.int32), None, 1,
                     torch.Size([10]))  # fmt: skip
    with pytest.raises(ValueError, match="channels have to lie in"):
        learner.step(bad)
    with pytest.raises(ValueError, match="offsets have to grow"):
        learner.step(bad._replace(offsets=torch.tensor([0, 2])))
