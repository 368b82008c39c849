"""The windowed engine with its scan in Triton gives the reference's numbers.

Without a CUDA device the kernels run in Triton's interpreter, on the CPU.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikeprop import ForwardLearner, kernels
from spikeprop.engines import deferred_steps, device_steps, every_step, halves, windows
from spikeprop.engines.adam_steps import AdamBlock
from spikeprop.engines.chain import chain_of
from spikeprop.engines.deferred_steps import PlainBlock
from spikeprop.engines.every_step import can_run_every_step
from spikeprop.evidence import Instantaneous, Leaky, RunningMean
from spikeprop.losses import Cosine, Dot
from spikeprop.neurons import LIF, Delay
from spikeprop.rules import SigProp, SPVoltage

pytest.importorskip("triton")

C = 3
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
RULES: dict[str, SigProp] = {
    "default": SigProp(C),
    "plain": SPVoltage(C, signal="projection"),
    "cosine, fixed vectors": SigProp(C, signal="projection"),
    "dot": SigProp(C, loss=Dot(), evidence=Leaky(0.3)),
    "two filters, fixed vectors": SigProp(
        C, evidence=(RunningMean(), Instantaneous()), signal="projection"
    ),
}

pytestmark = pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")


@pytest.fixture(autouse=True)
def triton_everywhere(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Say that Triton runs on the CPU, where numba is not asked then; count what is made."""
    made: list[str] = []

    class Counted(windows.TritonScan):
        def __init__(self, *arguments: Any) -> None:
            made.append("scan")
            super().__init__(*arguments)

    monkeypatch.setattr(kernels, "triton_runs_on", lambda device: True)
    monkeypatch.setattr("spikeprop.losses.triton_runs_on", lambda device: True)
    monkeypatch.setattr(kernels, "can_run_on", lambda tensor: False)
    monkeypatch.setattr(windows, "TritonScan", Counted)
    return made


def counting(block: Any, made: list[str]) -> Any:
    """Return a block's end of a window, counted."""
    inner = block.end

    def end(self: Any, deltas: Tensor) -> None:
        made.append("window")
        inner(self, deltas)

    return end


def network(reset: str) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Linear(12, 9), LIF(beta=0.9, threshold=0.4, reset_mechanism=reset, init_hidden=True),
        nn.Linear(9, 7, bias=False), LIF(beta=0.8, threshold=0.4, init_hidden=True),
    ).double()  # fmt: skip


def data(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = (torch.rand(5, 3, 12, generator=generator) < 0.3).double()
    return x.to(DEVICE), torch.randint(C, (3,), generator=generator).to(DEVICE)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize(("reset", "every"), [("subtract", 5), ("zero", 3)])
def test_updates_end_at_the_references_weights(
    name: str, reset: str, every: int, triton_everywhere: list[str]
) -> None:
    net, learners = network(reset), {}
    for engine in ("reference", "chunked"):
        learners[engine] = ForwardLearner(
            copy.deepcopy(net).to(DEVICE), RULES[name], engine=engine, update_every=every,
            optimizer=partial(torch.optim.Adam, lr=1e-2),
        )  # fmt: skip
    for seed in range(2):
        results = [learner.update(*data(seed)) for learner in learners.values()]
        torch.testing.assert_close(results[1].loss, results[0].loss)
        torch.testing.assert_close(results[1].logits, results[0].logits)
        assert torch.equal(results[1].rate, results[0].rate)
    assert len(triton_everywhere) == 2 * 2  # blocks times batches
    wanted, found = (learner.net.state_dict() for learner in learners.values())
    for key, value in wanted.items():
        torch.testing.assert_close(found[key], value, rtol=0, atol=1e-10)
    start = net.state_dict()
    assert not torch.allclose(wanted["0.weight"].cpu(), start["0.weight"], atol=1e-3)


def remembering(played: list[Any]) -> Any:
    """Play what was run for the first time, with the tensors that it had then, as a graph does."""

    def play(self: Any, key: Any, work: Any) -> None:
        if key in self._graphs:
            played.append(key)
        self._graphs.setdefault(key, work)()

    return play


@pytest.fixture
def windows_of_four(monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], list[Any]]:
    """Cut batches into windows; count those, and what would be played on a device."""
    made, played = [], []
    monkeypatch.setattr(every_step, "ROWS", 12)
    if DEVICE.type == "cpu":
        monkeypatch.setattr(device_steps, "RECORDED_ON", ("cpu",))
        monkeypatch.setattr(windows.Replays, "play", remembering(played))
    for block in (PlainBlock, AdamBlock):
        monkeypatch.setattr(block, "end", counting(block, made))
    return made, played


@pytest.mark.parametrize("name", ["default", "plain", "cosine, fixed vectors", "dot"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_updates_at_every_step_end_at_the_references_weights(
    name: str, bias: bool, kind: str, windows_of_four: tuple[list[str], list[Any]]
) -> None:
    made, played = windows_of_four
    torch.manual_seed(1)
    net = nn.Sequential(
        Delay(torch.arange(12) % 3, init_hidden=True), nn.Linear(12, 9, bias=bias),
        LIF(beta=0.9, threshold=0.4, init_hidden=True),
        nn.Linear(9, 7), LIF(beta=0.8, threshold=0.4, reset_mechanism="zero", init_hidden=True),
    ).double()  # fmt: skip
    optimizer: Any = partial(torch.optim.SGD, lr=0.1)
    if kind == "Adam":
        optimizer = partial(torch.optim.Adam, lr=1e-2, betas=(0.8, 0.95), eps=1e-6)
    learners = [
        ForwardLearner(
            copy.deepcopy(net).to(DEVICE), RULES[name], engine=engine, optimizer=optimizer
        )
        for engine in ("reference", "chunked")
    ]
    schedules = [
        torch.optim.lr_scheduler.ExponentialLR(item, 0.8)
        for learner in learners
        for item in learner.optimizers
        if item is not None
    ]
    for seed in range(5):  # recorded in the third batch at the latest, played again in the fourth
        wanted, found = (learner.update(*data(seed)) for learner in learners)
        for schedule in schedules if kind == "Adam" else []:
            schedule.step()
        torch.testing.assert_close(found.loss, wanted.loss)
        torch.testing.assert_close(found.logits, wanted.logits)
        assert torch.equal(found.rate, wanted.rate)
    assert len(made) >= 2 * 2 * (5 if kind == "SGD" else 4), "blocks, windows and batches"
    if DEVICE.type == "cpu" and isinstance(RULES[name].loss, Cosine):  # it has a form in numbers
        assert len(played) >= 3 * 2
    states = [learner.net.state_dict() for learner in learners]
    for key, value in states[0].items():
        torch.testing.assert_close(states[1][key], value, rtol=0, atol=1e-10)
    assert not torch.allclose(states[0]["1.weight"].cpu(), net[1].weight, atol=1e-3)
    for wanted, found in zip(*(learner.optimizers for learner in learners), strict=True):
        assert wanted is not None
        assert found is not None
        for one, other in zip(wanted.state.values(), found.state.values(), strict=True):
            torch.testing.assert_close(dict(other), dict(one), rtol=1e-8, atol=1e-12)


def test_what_goes_step_by_step() -> None:
    learner = ForwardLearner(network("subtract"), RULES["default"])
    learner.bind((12,))
    links = chain_of(learner.net, learner.blocks)
    weights = [link.block.parameters for link in links]

    def fast(make: Any, filters: int = 1) -> bool:
        return can_run_every_step(links, [make(own) for own in weights], filters)

    assert fast(torch.optim.Adam)
    assert fast(partial(torch.optim.SGD, lr=0.1))
    assert fast(lambda own: None), "frozen blocks"
    assert not fast(torch.optim.Adam, filters=2)
    assert not fast(partial(torch.optim.Adam, weight_decay=0.1))
    assert not fast(partial(torch.optim.SGD, lr=0.1, momentum=0.9))
    assert not fast(torch.optim.AdamW)


@pytest.mark.parametrize("every", [1, 5])
@pytest.mark.parametrize("name", ["default", "plain"])
def test_products_of_halves_are_those_of_float32(
    name: str, every: int, triton_everywhere: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[int] = []
    add = halves.add_product
    monkeypatch.setattr(halves, "FEWEST", 1)
    for module in (halves, deferred_steps):
        monkeypatch.setattr(module, "add_product", lambda *args: used.append(1) or add(*args))
    net = network("subtract").float().to(DEVICE)
    states = []
    for engine in ("reference", "chunked"):
        learner = ForwardLearner(
            copy.deepcopy(net), RULES[name], engine=engine, update_every=every,
            optimizer=partial(torch.optim.SGD, lr=0.1),
        )  # fmt: skip
        x, labels = data(0)
        learner.update(x.float(), labels)
        states.append(learner.net.state_dict())
    assert used
    start = net.state_dict()
    for key, value in states[0].items():
        if key.endswith(("weight", "bias")):
            wanted, found = value - start[key], states[1][key] - start[key]
            assert float((found - wanted).norm() / wanted.norm()) < 1e-5, key


@pytest.mark.cuda
@pytest.mark.parametrize("engine", ["reference", "chunked", "auto"])
@pytest.mark.parametrize("name", ["default", "plain"])
def test_every_engine_runs_on_a_cuda_device(name: str, engine: str) -> None:
    net = network("subtract")
    results = []
    for device in ("cpu", "cuda"):
        learner = ForwardLearner(
            copy.deepcopy(net).to(device), RULES[name],
            engine=engine if device == "cuda" else "reference", update_every=6,
        )  # fmt: skip
        for seed in range(3):
            x, labels = data(seed)
            learner.update(x.to(device), labels.to(device))
        results.append({k: v.cpu() for k, v in learner.net.state_dict().items()})
    for key, value in results[0].items():
        torch.testing.assert_close(results[1][key], value, rtol=0, atol=1e-8)
