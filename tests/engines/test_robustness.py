"""Compiled kernels on machines that are not like ours, and the choice of an engine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import spikeprop.kernels
from spikeprop import ForwardLearner, kernels
from spikeprop.datasets import EventBatch
from spikeprop.neurons import LIF
from spikeprop.rules import SigProp

SCRIPT = """
import os, sys, torch
from torch import nn
from spikeprop import ForwardLearner
from spikeprop.neurons import LIF
from spikeprop.rules import SigProp
torch.set_num_threads(int(sys.argv[1]))
def train():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(30, 150), LIF(beta=0.9, threshold=0.3, init_hidden=True))
    learner = ForwardLearner(net, SigProp(4), engine=sys.argv[2], update_every=4)
    x = (torch.rand(8, 12, 30) < 0.1).float()
    for _ in range(2):
        learner.update(x, torch.arange(12) % 4)
    return f"{float(net[0].weight.detach().double().sum()):.6f} {learner.engine_choice}"
if sys.argv[3] == "fork":  # after the import, as a worker of a DataLoader is
    pid = os.fork()
    if pid == 0:
        print(train())
        sys.stdout.flush()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
print(train())
"""


def run(
    threads: int = 1, engine: str = "event", mode: str = "", then: str = "", **environment: str
) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT + then, str(threads), engine, mode],
        env={**os.environ, "OMP_NUM_THREADS": "2", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_the_same_numbers_without_numba_on_two_threads_and_in_a_forked_child() -> None:
    (alone,) = run(engine="reference")
    wanted = alone.split()[0]
    child, parent = run(threads=2, mode="fork")
    (without,) = run(engine="event", SPIKEPROP_NO_NUMBA="1")
    for line in (parent, child, without):
        assert float(line.split()[0]) == pytest.approx(float(wanted), abs=1e-4)
    assert "numba is absent" in without
    assert "event engine" in parent


def test_the_first_update_does_not_import_torchs_compiler() -> None:
    """Which takes longer than everything else that is done before it."""
    *_, found = run(then="print('torch._dynamo' in sys.modules)")
    assert found == "False"


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_costs_time_alone(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text(
        ""
    )  # a file where a folder should be: nobody can write into it, root neither
    (line,) = run(NUMBA_CACHE_DIR=str(blocked / "cache"))
    assert "event engine" in line


def small(**options: object) -> ForwardLearner:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(30, 20), LIF(beta=0.9, init_hidden=True))
    return ForwardLearner(net, SigProp(4), **options)  # type: ignore[arg-type]


def batch(density: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(8, 12, 30, generator=generator) < density).float(), torch.arange(12) % 4


def test_auto_says_what_it_took_and_why(caplog: pytest.LogCaptureFixture) -> None:
    learner = small()
    assert learner.engine_choice is None
    with caplog.at_level("INFO", logger="spikeprop"):
        learner.update(*batch())
    assert learner.engine_choice is not None
    assert str(learner.engine_choice).startswith("event engine: ")
    assert "% of the inputs are active" in caplog.text

    for update_every in (1, 4):
        dense = small(update_every=update_every)
        dense.update(*batch(0.9))
        assert str(dense.engine_choice) == "chunked engine: 90 % of the inputs are active"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda net: net.insert(2, nn.Dropout(0.5)), "dropout"),
        (lambda net: net[0].register_forward_hook(lambda *_: None), "hooks"),
    ],
)
def test_what_only_the_reference_can_run_goes_there(change: object, reason: str) -> None:
    learner = small()
    change(learner.net)  # type: ignore[operator]
    learner.update(*batch())
    assert learner.engine_choice is not None
    assert learner.engine_choice.name == "reference"
    assert reason in learner.engine_choice.reason
    named = small(engine="event")
    change(named.net)  # type: ignore[operator]
    with pytest.raises(ValueError, match=reason):
        named.update(*batch())


def test_a_network_that_is_no_chain_is_refused_by_name() -> None:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.lif = nn.Linear(30, 20), LIF(beta=0.9, init_hidden=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.lif(self.fc(x))  # type: ignore[no-any-return]

    with pytest.raises(ValueError, match="forward"):
        ForwardLearner(Loop(), SigProp(4), engine="event").update(*batch())
    learner = ForwardLearner(Loop(), SigProp(4))
    learner.update(*batch())
    assert "forward() of its own" in str(learner.engine_choice)


def test_a_learner_goes_on_after_a_change_of_engines(tmp_path: Path) -> None:
    x, labels = batch()
    first, whole = small(engine="event"), small(engine="event")
    for learner in (first, whole):
        learner.update(x, labels)
    first.save(tmp_path / "learner")
    second = small(engine="reference").load(tmp_path / "learner")
    third = small(engine="event").load(tmp_path / "learner")
    for learner in (whole, second, third):
        learner.update(x, labels)
    for other in (second, third):
        for a, b in zip(whole.net.parameters(), other.net.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": torch.tensor([0, 30], dtype=torch.int32)}, "0 .. 29"),
        ({"channels": torch.tensor([0, -1], dtype=torch.int32)}, "0 .. 29"),
        ({"offsets": torch.tensor([0, 2, 1, 2])}, "grow"),
        ({"offsets": torch.tensor([0, 1, 1, 1])}, "grow"),
        ({"offsets": torch.tensor([0, 2])}, r"B \* T"),
        ({"values": torch.ones(3)}, "as many"),
        ({"values": torch.tensor([1.0, float("nan")])}, "finite"),
    ],
)
def test_damaged_events_never_reach_compiled_code(
    change: dict[str, torch.Tensor], message: str
) -> None:
    good = EventBatch(
        torch.tensor([0, 1, 1, 2]),
        torch.tensor([0, 29], dtype=torch.int32),
        None,
        3,
        torch.Size([30]),
    )
    learner = small(engine="event")
    learner.update(good, torch.tensor([1]))
    with pytest.raises(ValueError, match=message):
        learner.update(good._replace(**change), torch.tensor([1]))  # type: ignore[arg-type]


def test_work_is_cut_into_spans_and_shared() -> None:
    assert kernels.spans(10, 3) == [(0, 3), (3, 6), (6, 10)]
    assert kernels.spans(2, 8) == [(0, 1), (1, 2)]
    assert kernels.spans(10, 4, least=6) == [(0, 10)]
    calls = [(a,) for a in range(5)]
    assert spikeprop.kernels.share(lambda a: a * a, calls, 3) == [0, 1, 4, 9, 16]
    with pytest.raises(ZeroDivisionError):
        spikeprop.kernels.share(lambda a: 1 / a, [(1,), (0,)], 2)


def test_events_in_a_stream_and_in_a_prediction() -> None:
    x, labels = batch()
    learner, other = small(), small()
    for x_t in x:
        a = learner.step(x_t, labels)
        b = other.step(EventBatch.from_dense(x_t[None]), labels)
    torch.testing.assert_close(a.logits, b.logits)
    learner.reset()
    assert torch.equal(learner.predict(x), learner.predict(EventBatch.from_dense(x)))


@pytest.mark.skipif(not kernels.available(), reason="needs numba")
def test_cached_machine_code_is_old_when_any_kernel_has_changed(tmp_path: Path) -> None:
    """numba itself looks at the file of the function alone, not at what is built in."""
    from spikeprop.kernels import live

    used: Any = live.advance._cache._cache_file  # type: ignore[attr-defined]
    assert used._source_stamp[1] == kernels._fingerprint()
    key, stamp = ("float32",), used._source_stamp
    type(used)(str(tmp_path), "advance", stamp).save(key, "machine code")
    assert type(used)(str(tmp_path), "advance", stamp).load(key) == "machine code"
    changed = (stamp[0], "another fingerprint")
    assert type(used)(str(tmp_path), "advance", changed).load(key) is None
