"""A thousand damaged files: each is refused with the reason, or repaired from the one before."""

from __future__ import annotations

import copy
import json
import os
import pickle
import random
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_events import tiny_options, write_tiny_events
from toy import CLASSES, network, recordings

from spikeprop import ForwardLearner, inference, runs
from spikeprop.checkpoint import load_state, save_state
from spikeprop.checkpoints import Checkpoints
from spikeprop.config import TrainConfig
from spikeprop.counting import BackwardPasses
from spikeprop.fit import Part
from spikeprop.resuming import Keeper, Progress, go_on
from spikeprop.rules import SigProp
from spikeprop.stopping import Stopping
from spikeprop.train import train

Damage = Callable[[random.Random, Path], None]

_RUNNING = ("pickle.find_class", "os.system", "subprocess.Popen", "os.exec", "os.posix_spawn")
_watching: list[str] | None = None


def _audit(event: str, arguments: Any) -> None:
    if _watching is not None and event in _RUNNING:
        _watching.append(event)


sys.addaudithook(_audit)


@contextmanager
def nothing_runs(seconds: int = 60) -> Iterator[None]:
    """Fail where code of a file runs, or it hangs."""
    global _watching

    def late(*_: object) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, late) if hasattr(signal, "SIGALRM") else None
    if before is not None:
        signal.alarm(seconds)
    _watching = []
    try:
        yield
        assert _watching == []
    finally:
        _watching = None
        if before is not None:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)


# ---------------------------------------------------------------------- kinds of damage


def flip_bits(chance: random.Random, path: Path) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(chance.choice((1, 1, 1, 2, 8))):
        # Half of them in the head, where structure is; a whole file is mostly numbers.
        end = len(data) if chance.random() < 0.5 else min(len(data), 4000)
        data[chance.randrange(end)] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def cut_off(chance: random.Random, path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: chance.choice((0, 4, 8, chance.randrange(len(data))))])


def put_zeros(chance: random.Random, path: Path) -> None:
    data = bytearray(path.read_bytes())
    start = chance.randrange(len(data))
    length = min(chance.choice((1, 64, 4096)), len(data) - start)
    data[start : start + length] = bytes(length)
    path.write_bytes(data)


def put_noise_behind(chance: random.Random, path: Path) -> None:
    path.write_bytes(path.read_bytes() + chance.randbytes(chance.randrange(1, 100)))


def put_another(chance: random.Random, path: Path) -> None:
    """A pickle that would run a program, something else, or a folder."""

    class Bomb:
        def __reduce__(self) -> Any:
            return os.system, ("true",)

    path.unlink()
    if chance.random() < 0.2:
        path.mkdir()
    elif chance.random() < 0.5:
        path.write_bytes(pickle.dumps(Bomb()))
    else:
        path.write_bytes(chance.randbytes(3000))


def places(tree: Any) -> list[tuple[Any, Any]]:
    """All (container, key) of nested state."""
    if isinstance(tree, dict):
        pairs = [(tree, key) for key in tree]
    elif isinstance(tree, list):
        pairs = [(tree, index) for index in range(len(tree))]
    else:
        return []
    return pairs + [pair for container, key in pairs for pair in places(container[key])]


def lose_a_key(chance: random.Random, path: Path) -> None:
    change_state(path, lambda container, key: container.pop(key), chance)


def change_a_shape(chance: random.Random, path: Path) -> None:
    def change(container: Any, key: Any) -> None:
        value = container[key]
        shapes = [(3,), (), (*value.shape, 2), (0,), (1, *value.shape[1:], 1)]
        container[key] = torch.ones([s for s in shapes if s != value.shape][chance.randrange(4)])

    change_state(path, change, chance, lambda value: isinstance(value, torch.Tensor))


def change_a_value(chance: random.Random, path: Path) -> None:
    def change(container: Any, key: Any) -> None:
        others = (None, "?", [], {}, float("nan"), True, torch.full((2,), float("nan")))
        container[key] = chance.choice(others)

    change_state(path, change, chance)


def change_state(
    path: Path,
    change: Callable[[Any, Any], object],
    chance: random.Random,
    wanted: Callable[[Any], bool] = lambda value: True,
) -> None:
    """Damage the content, and write it as a whole file with a right checksum."""
    state = load_state(path)
    found = [(c, k) for c, k in places(state) if wanted(c[k])]
    change(*chance.choice(found))
    save_state(path, state)


FILE: tuple[Damage, ...] = (flip_bits, cut_off, put_zeros, put_noise_behind, put_another)
STATE: tuple[Damage, ...] = (lose_a_key, change_a_shape, change_a_value)


# ---------------------------------------------------------------------- checkpoints


def make() -> ForwardLearner:
    learner = ForwardLearner(
        network(hidden=8), SigProp(CLASSES), optimizer=lambda p: torch.optim.Adam(p, lr=1e-3)
    )
    learner.bind((24,))
    return learner


def same(a: Any, b: Any) -> bool:
    """Whether two nested states are equal, bit for bit."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return bool(a.dtype == b.dtype and torch.equal(a, b))
    if isinstance(a, dict):
        return bool(a.keys() == b.keys()) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


@pytest.fixture(scope="module")
def two_checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of two updates, written as a run does."""
    folder, learner = tmp_path_factory.mktemp("two"), make()
    checkpoints, progress = Checkpoints(folder, keep=2), Progress(rows=[{"epoch": 1}])
    keeper = Keeper(
        checkpoints, progress, "the data", BackwardPasses(), Stopping(), minutes=9.0, updates=1
    )
    x, label = recordings(30)
    part = Part.empty(2)

    learner.set_scheduler(lambda o: torch.optim.lr_scheduler.StepLR(o, 5))
    for _ in range(2):
        part = part.add(learner.update(x, label), 30, 7, 0.5)
        keeper.on_part(learner, part)
    assert len(checkpoints.paths()) == 2
    return folder


def test_a_damaged_checkpoint_is_refused_or_the_one_before_is_taken(
    two_checkpoints: Path, tmp_path: Path
) -> None:
    chance = random.Random(0)
    newest, before = Checkpoints(two_checkpoints).paths()
    whole = {path.name: path.read_bytes() for path in (newest, before)}
    states = {path: load_state(path)["learner"] for path in (newest, before)}
    untouched, outcomes = make().state_dict(), Counter[str]()
    for trial in range(600):
        folder = tmp_path / str(trial)
        folder.mkdir()
        alone = chance.random() < 0.3
        for name, data in whole.items():
            if not alone or name == newest.name:
                (folder / name).write_bytes(data)
        damage = chance.choice(FILE + STATE)
        damage(chance, folder / newest.name)
        learner = make()
        with nothing_runs(), warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                progress = go_on(Checkpoints(folder), learner, "the data")
            except ValueError as error:
                message, outcome = str(error), "refused"
            else:
                if progress.epochs == 0:  # a folder or nothing is in its place
                    assert damage is put_another
                    assert alone
                    outcome = "none"
                else:
                    outcome = check_taken(learner, progress, damage, states, newest, before)
        if outcome == "refused":
            assert message
            assert same(learner.state_dict(), untouched), "nothing was changed"
            assert alone, f"{damage.__name__}: the one before is whole: {message}"
        if outcome == "repaired":
            assert [str(w.message) for w in warned] or damage is put_another
            assert (folder / before.name).read_bytes() == whole[before.name]
        outcomes[outcome] += 1
        learner.update(*recordings(6))  # whatever was taken can be gone on with
    assert outcomes["repaired"] > 200, outcomes
    assert outcomes["refused"] > 100, outcomes
    # What is not covered by a checksum: padding, or a value that says the same.
    assert outcomes["as it was"] < 30, outcomes


def check_taken(
    learner: ForwardLearner,
    progress: Progress,
    damage: Damage,
    states: dict[Path, Any],
    newest: Path,
    before: Path,
) -> str:
    """Say which state was taken; it has to be one of the two, to the last bit."""
    assert progress.part is not None or damage in STATE
    found = copy.deepcopy(learner.state_dict())
    found["schedulers"] = learner._waiting_schedules
    if same(found, states[before]):
        return "repaired"
    if damage in STATE and not same(found, states[newest]):
        differing = [key for key in found if not same(found[key], states[newest][key])]
        harmless = damage is lose_a_key and differing == ["optimizers"]
        # (a scheduler's initial_lr, or the moments of a parameter that had none yet)
        assert damage is change_a_value or harmless, f"{damage.__name__} not noted: {differing}"
        return "another value"
    assert same(found, states[newest])
    return "as it was"


def test_a_pickle_runs_nothing(two_checkpoints: Path, tmp_path: Path) -> None:
    for trial in range(40):
        path = tmp_path / f"checkpoint-{trial:09d}.safetensors"
        path.write_bytes(b"")
        put_another(random.Random(trial), path)
        with nothing_runs(), pytest.raises((ValueError, FileNotFoundError)):
            load_state(path)


# ---------------------------------------------------------------------- run folders


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> runs.RunFolder:
    data = write_tiny_events(tmp_path_factory.mktemp("data"))
    options = tiny_options(data, tmp_path_factory.mktemp("runs"))
    return train(TrainConfig(**{**options, "epochs": 1, "hidden": (8,)}))  # type: ignore[arg-type]


def lose_a_json_key(chance: random.Random, path: Path) -> None:
    content = json.loads(path.read_text())
    container, key = chance.choice([(c, k) for c, k in places(content) if isinstance(c, dict)])
    container.pop(key)
    path.write_text(json.dumps(content))


def change_a_json_value(chance: random.Random, path: Path) -> None:
    content = json.loads(path.read_text())
    container, key = chance.choice(places(content))
    container[key] = chance.choice((None, "?", [], {}, -1, 1e9))
    path.write_text(json.dumps(content))


JSON = (flip_bits, cut_off, put_zeros, put_noise_behind, lose_a_json_key, change_a_json_value)


@pytest.mark.parametrize("name", [runs.CONFIG, runs.METRICS])
def test_damaged_json_is_refused(finished: runs.RunFolder, tmp_path: Path, name: str) -> None:
    chance = random.Random(1)
    folder = runs.RunFolder(tmp_path)
    whole = {n: (finished / n).read_bytes() for n in (runs.CONFIG, runs.METRICS)}
    expected = {runs.CONFIG: finished.config(), runs.METRICS: finished.metrics()}[name]
    refused = 0
    for _ in range(150):
        for n, data in whole.items():
            (folder / n).write_bytes(data)
        damage = chance.choice(JSON)
        damage(chance, folder / name)
        with nothing_runs():
            try:
                found = folder.config() if name == runs.CONFIG else folder.metrics()
            except ValueError as error:
                refused += name in str(error)
            else:
                assert found == expected, damage.__name__
    assert refused > 120


@pytest.mark.parametrize("name", [runs.CONFIG, runs.METRICS])
def test_a_digest_by_a_damaged_name_is_one(
    finished: runs.RunFolder, tmp_path: Path, name: str
) -> None:
    folder = runs.RunFolder(tmp_path)
    for n in (runs.CONFIG, runs.METRICS):
        (folder / n).write_bytes((finished / n).read_bytes())
    before, _, digest = (folder / name).read_text().rpartition("sha256")
    (folder / name).write_text(f"{before}sxa256{digest}")
    with pytest.raises(ValueError, match=f"{name} is damaged, or was edited"):
        folder.config() if name == runs.CONFIG else folder.metrics()


def test_an_optimiser_of_another_kind_is_refused() -> None:
    learner = make()
    learner.update(*recordings(6))
    state = learner.state_dict()
    state["optimizers"][1] = torch.tensor([1.0, 2.0])
    with pytest.raises(ValueError, match="the saved optimiser 1 is a Tensor"):
        make().load_state_dict(state)


def test_a_damaged_learner_is_refused(finished: runs.RunFolder, tmp_path: Path) -> None:
    chance = random.Random(2)
    for name in (runs.CONFIG, runs.METRICS):
        (tmp_path / name).write_bytes((finished / name).read_bytes())
    path, whole = tmp_path / runs.LEARNER, (finished / runs.LEARNER).read_bytes()
    expected = load_state(finished / runs.LEARNER)
    refused = 0
    for _ in range(100):
        if path.is_dir():
            path.rmdir()
        path.write_bytes(whole)
        damage = chance.choice(FILE + STATE)
        damage(chance, path)
        with nothing_runs():
            try:
                learner, _, _ = inference.load(tmp_path)
            except (ValueError, FileNotFoundError) as error:
                refused += bool(str(error))
            else:
                network_ = learner.state_dict()["network"]
                assert damage in STATE or same(network_, expected["network"])
    assert refused > 80
