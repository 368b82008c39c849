"""The guard: NaN is taken back and named, dead layers are named, files never hold NaN."""

from __future__ import annotations

import copy
import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from toy import CLASSES, network, recordings

from spikeprop import ForwardLearner
from spikeprop.fit import Callback, Part, fit
from spikeprop.guard import PATIENCE, Guard
from spikeprop.rules import SigProp


def make(lr: float = 1e-3, optimizer: Any = torch.optim.Adam, **options: Any) -> ForwardLearner:
    return ForwardLearner(
        network(), SigProp(CLASSES, **options), optimizer=lambda p: optimizer(p, lr=lr)
    )


def flat(state: Any) -> list[Any]:
    if isinstance(state, dict):
        return [item for key in state for item in flat(state[key])]
    if isinstance(state, list | tuple):
        return [item for value in state for item in flat(value)]
    return [state.tolist() if isinstance(state, torch.Tensor) else state]


# With a copy of each update's state, and with batches to come back by: 2 of them, and 7.
@pytest.mark.parametrize(
    ("engine", "samples", "updates"),
    [("auto", 90, 2), ("auto", 20, 2), ("auto", 20, 15), ("reference", 20, 2)],
)
def test_a_recording_that_overflows_is_named_and_the_update_taken_back(
    engine: str, samples: int, updates: int
) -> None:
    x, label = recordings(samples)
    learner, twin = make(), make()
    learner.engine = engine
    guard = Guard(learner)
    for _ in range(updates):
        for one in (guard, twin):
            one.update(x, label)
    before = copy.deepcopy(learner.state_dict())
    bad = x.clone()
    bad[3, 17] = 3e38
    with pytest.raises(
        FloatingPointError, match=r"block '0' .*time step 4, .*sample 17.*taken back"
    ):
        guard.update(bad, label)
    assert flat(learner.state_dict()) == flat(before)
    if engine == "auto":
        for one in (guard, twin):
            one.update(x, label)
        assert flat(learner.state_dict()) == flat(twin.state_dict()), "as if it had not been"


def test_a_rate_that_is_too_large_is_named_by_block_and_step() -> None:
    x, label = recordings(30)
    guard = Guard(make(1e38, torch.optim.SGD))
    with pytest.raises(FloatingPointError, match=r"in update 1: .*block '\d'.* time step \d"):
        guard.update(x, label)
    assert all(torch.isfinite(v).all() for v in guard.learner.net.state_dict().values())


def test_weights_that_overflow_are_named_where_they_do() -> None:
    """The last of the time steps: nothing after it could show in a loss."""
    x, label = recordings(12)
    learner = make(1.0, torch.optim.SGD)
    learner.update(x, label)
    rate = learner.optimizers[1].param_groups[0]  # type: ignore[union-attr]
    rate["lr"] = math.inf
    learner.update_every = 8
    with pytest.raises(FloatingPointError, match=r"block '2' stop.* in time step 8, .* sample \d"):
        Guard(learner).update(x, label)


@pytest.mark.parametrize(("threshold", "kind"), [(1e3, "silent"), (-1e3, "saturated")])
def test_layers_that_are_dead_are_named_once(threshold: float, kind: str) -> None:
    learner = make(0.0, torch.optim.SGD, homeostasis=None)
    learner.net[3].threshold.fill_(threshold)  # type: ignore[index, union-attr, operator]
    guard = Guard(learner)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        for _ in range(PATIENCE + 3):
            guard.update(*recordings(9))
    (message,) = [str(item.message) for item in found]
    assert f"block '2' is {kind} since update 1" in message
    assert "sample" in message
    assert "time step" in message


def test_fit_keeps_what_was_whole_before_the_error(tmp_path: Path) -> None:
    x, label = recordings(40)
    x[2, 33] = 3e38
    path = tmp_path / "a.safetensors"

    class Save(Callback):
        def on_failure(self, learner: ForwardLearner, part: Part) -> None:
            assert learner.updates == part.batches
            learner.save(path)

    learner = make()
    with pytest.raises(FloatingPointError, match="sample"):
        fit(learner, (x, label), epochs=1, batch_size=10, guard=True, callbacks=[Save()])
    again = make().load(path)
    assert all(torch.isfinite(v).all() for v in again.net.state_dict().values())


@pytest.mark.parametrize("where", ["weight", "moment", "signal"])
def test_no_file_holds_a_nan(tmp_path: Path, where: str) -> None:
    learner = make()
    learner.update(*recordings(9))
    optimizer: Any = learner.optimizers[0]
    target = {
        "weight": learner.net[0].weight.data,  # type: ignore[index, union-attr]
        "moment": next(iter(optimizer.state.values()))["exp_avg"],
        "signal": next(iter(learner.bound().tensors.values())),
    }[where]
    target.view(-1)[3] = float("nan")  # type: ignore[union-attr, operator]
    with pytest.raises(ValueError, match="NaN or infinite"):
        learner.save(tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []
