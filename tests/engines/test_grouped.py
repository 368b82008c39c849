"""Recordings in groups give the reference's numbers, however a batch is cut into them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spikeprop import ForwardLearner, kernels
from spikeprop.datasets import EventBatch
from spikeprop.engines import (
    grouped,
    grouped_block,
    live,
    plain_steps,
    products,
    scans,
    tiles,
    windows,
)
from spikeprop.engines.buffers import Buffers
from spikeprop.engines.plain_steps import run_plain_steps
from spikeprop.engines.shared import SharedOptimizer
from spikeprop.evidence import Instantaneous, Leaky, RunningMean
from spikeprop.kernels import meeting
from spikeprop.kernels.sparse import TILE
from spikeprop.neurons import LIF, Delay
from spikeprop.rules import SigProp

pytestmark = pytest.mark.skipif(not kernels.available(), reason="needs numba")

C = 3


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    with on_threads(request.param):
        yield request.param


def net(reset: str = "subtract") -> nn.Sequential:
    torch.manual_seed(0)
    sizes, layers = (30, 140, 17), list[nn.Module]()
    for inputs, outputs in pairwise(sizes):
        layers += [
            nn.Linear(inputs, outputs),
            LIF(beta=0.9, threshold=0.4, reset_mechanism=reset, init_hidden=True),
        ]
    return nn.Sequential(*layers).double()


def batch(turn: int, values: bool = False, n: int = 7) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(turn)
    x = (torch.rand(9, n, 30, generator=generator) < 0.15).double()
    if values:
        x *= torch.randint(1, 4, x.shape, generator=generator)
    return x, torch.randint(C, (n,), generator=generator)


def both(
    rule: SigProp, start: nn.Sequential, values: bool = False, n: int = 7, **options: Any
) -> None:
    found = []
    for engine in ("reference", "event"):
        learner = ForwardLearner(copy.deepcopy(start), rule, engine=engine, **options)
        for turn in range(4):
            x, labels = batch(turn, values, n)
            given = EventBatch.from_dense(x) if engine == "event" else x
            metrics = learner.update(given, labels)
        found.append([*learner.net.state_dict().values(), *metrics])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("rows", [1, 8, 20, 2048])
@pytest.mark.parametrize("update_every", [2, 9])
@pytest.mark.parametrize("signal", ["propagated", "projection"])
def test_groups_of_any_size(
    monkeypatch: pytest.MonkeyPatch, threads: int, rows: int, update_every: int, signal: str
) -> None:
    monkeypatch.setattr(grouped, "GROUP_ROWS", rows)
    monkeypatch.setattr(grouped, "SIGNAL_ROWS", rows)
    rule = SigProp(C, signal=signal, evidence=RunningMean() if rows > 8 else Leaky(0.4))
    adam = partial(torch.optim.Adam, lr=1e-2)
    both(rule, net(), update_every=update_every, optimizer=adam)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("update_every", [2, 9])
@pytest.mark.parametrize("signal", ["propagated", "projection"])
@pytest.mark.parametrize("values", [True, False])
def test_weights_and_gradients_in_tiles(
    monkeypatch: pytest.MonkeyPatch,
    threads: int,
    optimizer: str,
    update_every: int,
    signal: str,
    values: bool,
) -> None:
    monkeypatch.setattr(grouped, "GROUP_ROWS", 20)
    monkeypatch.setattr(grouped, "SIGNAL_ROWS", 20)
    monkeypatch.setattr(products, "PACKED_FROM", 0)
    monkeypatch.setattr(products, "PACKED_AFTER", 0)
    packed = []
    pack = tiles.sparse.pack_all
    monkeypatch.setattr(
        tiles.sparse, "pack_all", lambda *given: packed.append(given[1].shape) or pack(*given)
    )
    kinds = {
        "adam": partial(torch.optim.Adam, lr=1e-2),
        "sgd": partial(torch.optim.SGD, lr=0.1, momentum=0.9),
    }
    rule = SigProp(C, signal=signal)
    both(rule, net(), values, update_every=update_every, optimizer=kinds[optimizer])
    assert (2, 30, TILE) in packed  # a tile that is full, and one that is not


@pytest.mark.parametrize("reset", ["zero", "none"])
@pytest.mark.parametrize("signal", ["propagated", "projection"])
def test_counts_resets_and_plain_steps(
    monkeypatch: pytest.MonkeyPatch, reset: str, signal: str
) -> None:
    monkeypatch.setattr(grouped, "GROUP_ROWS", 20)
    rule = SigProp(C, signal=signal)
    sgd = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
    both(rule, net(reset), values=True, update_every=4, optimizer=sgd)


@pytest.mark.parametrize("rate", [0.05, 0.3])
@pytest.mark.parametrize("signal", ["propagated", "projection"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("values", [True, False])
def test_plain_steps_at_every_step(
    monkeypatch: pytest.MonkeyPatch, rate: float, signal: str, bias: bool, values: bool
) -> None:
    monkeypatch.setattr(live, "SHORTEST", 3)
    start = net()
    if not bias:
        start[0].bias = None
    ran = []
    monkeypatch.setattr(
        windows, "run_plain_steps", lambda *given: ran.append(run_plain_steps(*given)) or ran[-1]
    )
    sgd = partial(torch.optim.SGD, lr=rate)
    both(SigProp(C, signal=signal), start, values, 20, update_every=1, optimizer=sgd)
    assert ran == [True] * 4


@pytest.mark.parametrize("helpers", [0, 1, 2, 4])
@pytest.mark.parametrize("signal", ["propagated", "projection"])
@pytest.mark.parametrize("values", [True, False])
def test_adam_at_every_step_on_threads_that_take_inputs_of_their_own(
    monkeypatch: pytest.MonkeyPatch, helpers: int, signal: str, values: bool
) -> None:
    monkeypatch.setattr(plain_steps, "PARTED", 1)
    met = []
    board = meeting.board
    monkeypatch.setattr(meeting, "board", lambda count: met.append(count) or board(count))
    start = nn.Sequential(
        nn.Linear(30, 300), LIF(0.9, threshold=0.4, init_hidden=True),
        nn.Linear(300, 17), LIF(0.9, threshold=0.4, init_hidden=True),
    ).double()  # fmt: skip
    adam = partial(torch.optim.Adam, lr=1e-2)
    with on_threads(1 + helpers):
        both(SigProp(C, signal=signal), start, values, update_every=1, optimizer=adam)
    assert set(met) == {1 + helpers}


def test_threads_have_as_many_awake_inputs_each() -> None:
    awake = np.zeros(12, dtype=bool)
    awake[[1, 2, 9, 10]] = True
    parts = plain_steps._divide(awake, 2)
    assert [awake[a:b].sum() for a, b in parts] == [2, 2]
    for threads in (1, 3, 7):  # of which some have none
        parts = plain_steps._divide(awake, threads)
        assert parts[0, 0] == 0
        assert parts[-1, 1] == 12
        assert (parts[1:, 0] == parts[:-1, 1]).all()
    assert plain_steps._divide(~awake & awake, 2).shape == (2, 2)  # no input is


@pytest.mark.parametrize("who", [0, 1])
def test_nobody_waits_for_a_thread_that_failed(monkeypatch: pytest.MonkeyPatch, who: int) -> None:
    learn = plain_steps.every_step.learn

    def fail(*given: Any) -> float:
        if given[-1] == who:
            raise MemoryError("no room")
        return learn(*given)

    monkeypatch.setattr(plain_steps, "PARTED", 1)
    learner = ForwardLearner(net(), SigProp(C), engine="event", update_every=1)
    x, labels = batch(0)
    learner.update(EventBatch.from_dense(x), labels)
    with on_threads(2):
        with monkeypatch.context() as patch:
            patch.setattr(plain_steps.every_step, "learn", fail)
            with pytest.raises(MemoryError, match="no room"):
                learner.update(EventBatch.from_dense(x), labels)
        learner.update(EventBatch.from_dense(x), labels)  # its threads are free


@pytest.mark.parametrize("n", [2, 7])
@pytest.mark.parametrize("count", [3, 5])
def test_more_threads_than_recordings_signals_or_cores_and_delays(
    monkeypatch: pytest.MonkeyPatch, n: int, count: int
) -> None:
    monkeypatch.setattr(grouped, "GROUP_ROWS", 1)
    start = net()
    start.insert(2, Delay(torch.arange(140) % 3, init_hidden=True))
    with on_threads(count):
        both(SigProp(C), start, n=n, update_every=4)


class Alone:
    """What processes that divide signals do for each other, where there is one."""

    near = True

    def __init__(self) -> None:
        self.messages: list[tuple[str, int]] = []

    def reduce(self, gradients: Sequence[Tensor]) -> Callable[[], None]:
        return lambda: None

    def own(self, count: int) -> tuple[int, int]:
        return 0, count

    def spread(self, rows: Tensor) -> None:
        self.messages.append(("spread", len(rows)))

    def collect(self, rows: Tensor) -> None:
        self.messages.append(("collect", len(rows)))


def test_processes_with_several_threads_divide_signals(threads: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grouped_block, "DIVIDED_NUMBERS", 1)
        patch.setattr(grouped_block, "DIVIDED_EVENTS", 0)
        learner = ForwardLearner(net(), SigProp(C), engine="event", update_every=9)
        x, labels = batch(0)
        events = EventBatch.from_dense(x)
        learner.update(events, labels)
        engine = learner._chosen.engine
        for _ in range(20):  # threads come in any order
            sharing = Alone()
            shared = [SharedOptimizer(item, sharing) for item in learner.optimizers]
            passage = engine.begin(7, learner.rule.filters(9), labels, shared, 9)
            engine.run(events, passage)
            passage.settle()
            assert sharing.messages == [("spread", C), ("collect", C)]


def test_a_schedule_sees_the_steps(recwarn: pytest.WarningsRecorder) -> None:
    schedule = partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.5)
    both(SigProp(C), net(), update_every=9, scheduler=schedule)
    assert not [item for item in recwarn if "lr_scheduler" in str(item.message)]


def test_what_was_never_active_stays() -> None:
    learner = ForwardLearner(net(), SigProp(C), engine="event", update_every=9)
    silent = slice(10, 20)
    before = learner.net[0].weight.detach()[:, silent].clone()
    for turn in range(4):
        x, labels = batch(turn)
        x[:, :, silent] = 0
        learner.update(EventBatch.from_dense(x), labels)
    assert torch.equal(learner.net[0].weight.detach()[:, silent], before)


def test_the_way_taken_is_the_grouped_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("window by window")

    monkeypatch.setattr(scans.CompiledScan, "begin", refuse)
    x, labels = batch(0)
    ForwardLearner(net(), SigProp(C), engine="event", update_every=9).update(
        EventBatch.from_dense(x), labels
    )


@dataclass(frozen=True, kw_only=True)
class Altered(SigProp):
    """Class signals that somebody alters on their way in."""

    alter: Callable[[Tensor, int], Tensor]

    def current(self, tensors: dict[str, Tensor], t: int) -> Tensor | None:
        signal = super().current(tensors, t)
        assert signal is not None
        return self.alter(signal, t)


def flip(signal: Tensor, t: int) -> Tensor:
    return signal.flip(0) if t in (5, 6) else signal


def silence(signal: Tensor, t: int) -> Tensor:
    signal[0] = 0
    return signal


def weaken(signal: Tensor, t: int) -> Tensor:
    """Make it so weak that it has a direction from the second step on."""
    centred = signal[1] - signal[1].mean()
    return signal.mul_(1.5e-8 / float(centred.norm()))


@pytest.mark.parametrize(
    ("alter", "options", "fixed"),
    [
        (lambda signal, t: signal, {}, [140] * 5),
        (lambda signal, t: signal, {"evidence": RunningMean()}, [140] * 5),
        (lambda signal, t: signal, {"potential": "membrane"}, []),
        (flip, {}, [140] * 2),
        (silence, {}, []),
        (weaken, {}, []),
        (lambda signal, t: signal.clone(), {}, []),
    ],
    ids=["still", "mean", "reset", "flip", "silence", "weaken", "clone"],
)
def test_signals_that_stand_still_have_one_direction_in_the_first_block(
    monkeypatch: pytest.MonkeyPatch,
    alter: Callable[[Tensor, int], Tensor],
    options: dict[str, Any],
    fixed: list[int],
) -> None:
    monkeypatch.setattr(grouped, "SIGNAL_ROWS", 8)  # windows of two steps
    seen, work = list[int](), grouped_block.recordings.learn_with_vectors

    def watch(*given: Any) -> float:
        seen.append(given[1].shape[1])
        return float(work(*given))

    monkeypatch.setattr(grouped_block.recordings, "learn_with_vectors", watch)
    rule = Altered(C, alter=alter, **{"evidence": Leaky(0.5), **options})
    # Adam would make differences of a rounding in weights that hardly move as large as a step.
    both(rule, net(), update_every=9, optimizer=partial(torch.optim.SGD, lr=0.1))
    assert seen == fixed * 4


@pytest.mark.parametrize("signal", ["propagated", "projection"])
def test_prepared_calls_hold_no_memory_that_was_too_small(
    monkeypatch: pytest.MonkeyPatch, threads: int, signal: str
) -> None:
    monkeypatch.setattr(grouped, "GROUP_ROWS", 18)  # seven recordings make unequal groups
    taken, room = list[str](), Buffers._room

    def watch(self: Buffers, key: Any, size: int) -> Tensor:
        before, found = self._flat.get(key), room(self, key, size)
        if found is not before:
            taken.append(key[0])
        return found

    monkeypatch.setattr(Buffers, "_room", watch)
    learner = ForwardLearner(net(), SigProp(C, signal=signal), engine="event", update_every=9)
    x, labels = batch(0)
    learner.update(EventBatch.from_dense(x), labels)
    twice = {name for name in taken if taken.count(name) > 1}
    assert not {name for name in twice if name.startswith(("currents", "spikes"))}


@pytest.mark.parametrize("frozen", [0, 2])
@pytest.mark.parametrize("signal", ["propagated", "projection"])
def test_a_block_that_does_not_learn(
    monkeypatch: pytest.MonkeyPatch, threads: int, frozen: int, signal: str
) -> None:
    monkeypatch.setattr(grouped, "GROUP_ROWS", 8)
    monkeypatch.setattr(grouped, "SIGNAL_ROWS", 8)
    start = net()
    start[frozen].requires_grad_(False)
    both(SigProp(C, signal=signal), start, update_every=9)


@pytest.mark.parametrize("signal", ["propagated", "projection"])
@pytest.mark.parametrize("update_every", [2, 4, 9])
def test_a_filter_that_keeps_nothing_carries_traces_alone(
    monkeypatch: pytest.MonkeyPatch, threads: int, update_every: int, signal: str
) -> None:
    monkeypatch.setattr(grouped, "GROUP_ROWS", 8)
    monkeypatch.setattr(grouped, "SIGNAL_ROWS", 8)
    rule = SigProp(C, signal=signal, evidence=Instantaneous(), potential="membrane")
    both(rule, net(), update_every=update_every)
