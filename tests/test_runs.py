"""Run folders: what a training leaves behind, and that a killed one goes on to the same bits."""

import csv
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from math import exp
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from tiny_events import tiny_arguments, tiny_options, write_tiny_events

from spikeprop import inference, runs
from spikeprop.checkpoint import load_state
from spikeprop.checkpoints import Checkpoints
from spikeprop.config import TrainConfig
from spikeprop.evidence import Leaky
from spikeprop.monitor import CsvLog
from spikeprop.neurons import LIF, Delay
from spikeprop.train import count_backward_passes, peak_memory_mib, train

TIMES = {"seconds", "samples_per_second"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_events(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> runs.RunFolder:
    """A whole, uninterrupted run."""
    return train(config(data, tmp_path_factory.mktemp("runs")), quiet_console())


def config(data: Path, folder: Path, **changes: Any) -> TrainConfig:
    return TrainConfig(**(tiny_options(data, folder) | changes))


def quiet_console() -> Console:
    return Console(file=open(os.devnull, "w"))  # noqa: PTH123


def table(folder: runs.RunFolder) -> list[dict[str, str]]:
    with (folder / runs.CSV).open(newline="") as file:
        return list(csv.DictReader(file))


def same_tensors(a: Any, b: Any) -> bool:
    """Whether two nested states are equal, bit for bit."""
    if isinstance(a, torch.Tensor):
        return bool(a.dtype == b.dtype and torch.equal(a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same_tensors(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same_tensors(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def assert_same_run(a: runs.RunFolder, b: runs.RunFolder) -> None:
    assert (a / runs.WEIGHTS).read_bytes() == (b / runs.WEIGHTS).read_bytes()
    assert same_tensors(load_state(a / runs.LEARNER), load_state(b / runs.LEARNER))
    for row, other in zip(table(a), table(b), strict=True):
        assert {k: v for k, v in row.items() if k not in TIMES} == {
            k: v for k, v in other.items() if k not in TIMES
        }
    metrics, others = a.metrics(), b.metrics()
    changing = {"seconds", "peak_memory_mib"}
    assert metrics.keys() == others.keys()
    for key in metrics.keys() - changing:
        assert metrics[key] == others[key], key


def test_a_run_leaves_everything_behind(finished: runs.RunFolder) -> None:
    names = {path.name for path in finished.path.iterdir()}
    events = {name for name in names if name.startswith("events.out.tfevents")}
    assert len(events) == 1
    assert names - events == {
        "config.json",
        "metrics.csv",
        "metrics.json",
        "weights.safetensors",
        "learner.safetensors",
        "curves.png",
    }
    assert finished.path.name == "nmnist-001"


def test_metrics(finished: runs.RunFolder) -> None:
    metrics = finished.metrics()
    confusion = metrics["confusion_matrix"]
    right = sum(confusion[i][i] for i in range(10))
    assert metrics["samples"] == sum(map(sum, confusion)) == 12
    assert metrics["test_accuracy"] == pytest.approx(right / 12)
    assert metrics["test_accuracy"] > 0.5  # chance is a third
    assert metrics["per_class_accuracy"]["0"] == confusion[0][0] / 4
    assert metrics["per_class_accuracy"]["9"] is None
    assert metrics["backward_passes"] == 0
    assert metrics["seconds"] > 0
    assert metrics["peak_memory_mib"] > 10
    assert metrics["seeds"] == dict.fromkeys(("weights", "signals", "batches", "validation"), 0)
    assert metrics["versions"]["torch"] == torch.__version__
    assert metrics["data"]["name"] == "nmnist"
    assert "part of N-MNIST: 30 of 60,000" in metrics["data"]["note"]
    assert (metrics["data"]["train"], metrics["data"]["validation"]) == (24, 6)
    assert len(metrics["data"]["train_sha256"]) == 64


def test_table_has_a_line_an_epoch(finished: runs.RunFolder) -> None:
    rows = table(finished)
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    for name in ("train_accuracy_layer_2", "rate_layer_1", "validation_accuracy"):
        assert all(0 <= float(row[name]) <= 1 for row in rows)
    assert float(rows[-1]["learning_rate"]) == pytest.approx(0.0, abs=1e-9)


def test_weights_have_the_keys_of_the_plain_network(finished: runs.RunFolder) -> None:
    from spikeprop.assemble import build_network

    plain = build_network(finished.config(), (2, 34, 34)).state_dict()
    trained = load_file(finished / runs.WEIGHTS)
    assert trained.keys() == plain.keys()
    weights = [name for name in plain if name.endswith("weight")]
    assert len(weights) == 2
    assert all(not torch.equal(trained[name], plain[name]) for name in weights)


def test_the_same_seed_gives_the_same_bits(
    data: Path, finished: runs.RunFolder, tmp_path: Path
) -> None:
    assert_same_run(train(config(data, tmp_path), quiet_console()), finished)


def test_another_seed_gives_other_weights(
    data: Path, finished: runs.RunFolder, tmp_path: Path
) -> None:
    other = train(config(data, tmp_path, seed=1, epochs=1), quiet_console())
    a, b = load_file(other / runs.WEIGHTS), load_file(finished / runs.WEIGHTS)
    assert not torch.equal(a["1.weight"], b["1.weight"])


def test_evaluation_from_the_folder_alone(finished: runs.RunFolder) -> None:
    evaluation, dataset = inference.evaluate(finished.path)
    assert evaluation.accuracy == finished.metrics()["test_accuracy"]
    assert evaluation.confusion.tolist() == finished.metrics()["confusion_matrix"]
    assert len(dataset) == 12


class Stop(Exception):  # noqa: N818
    pass


class Interrupting:
    """Raises in place of ``CsvLog.on_batch_end``, at one batch of one epoch."""

    def __init__(self, epoch: int, batch: int) -> None:
        self.at = (epoch, batch)

    def __call__(self, learner: Any, epoch: int, batch: int, metrics: Any) -> None:
        if (epoch, batch) == self.at:
            raise Stop


@pytest.mark.parametrize(("epoch", "batch"), [(1, 2), (2, 1), (3, 4)])
def test_resume_gives_the_same_bits(
    data: Path,
    finished: runs.RunFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    epoch: int,
    batch: int,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(CsvLog, "on_batch_end", Interrupting(epoch, batch))
        with pytest.raises(Stop):
            train(config(data, tmp_path), quiet_console())
    (path,) = tmp_path.iterdir()
    assert not (path / runs.METRICS).exists()
    assert len(Checkpoints(path).paths()) == min(epoch - 1, TrainConfig.keep)
    torch.rand(7)  # a resumed process has another global random state
    resumed = train(TrainConfig(resume="latest", runs_dir=tmp_path, quiet=True), quiet_console())
    assert resumed.path == path
    assert_same_run(resumed, finished)


def test_a_network_with_delays_goes_on_and_is_built_again(data: Path, tmp_path: Path) -> None:
    options = {"lags": (0, 120_000), "tau_mem": 90, "evidence": "leaky", "evidence_tau": 50}
    whole = train(config(data, tmp_path / "whole", **options), quiet_console())
    cut = tmp_path / "cut"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CsvLog, "on_batch_end", Interrupting(2, 1))
        with pytest.raises(Stop):
            train(config(data, cut, **options), quiet_console())
    resumed = train(TrainConfig(resume="latest", runs_dir=cut, quiet=True), quiet_console())
    assert_same_run(resumed, whole)
    learner = inference.load(whole.path)[0]
    delays = [module.delay for module in learner.net if isinstance(module, Delay)]
    assert [set(delay.tolist()) for delay in delays] == [{0, 2}, {0, 2}]
    neurons = [module for module in learner.net if isinstance(module, LIF)]
    assert [float(neuron.beta) for neuron in neurons] == pytest.approx(2 * [exp(-60 / 90)])
    assert learner.rule.evidence == Leaky(1 - exp(-60 / 50))
    assert inference.evaluate(whole.path)[0].accuracy == whole.metrics()["test_accuracy"]


KILLED = """
import os, signal, sys
from spikeprop import cli, monitor, runs
where = sys.argv.pop(1)
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
if where == "within an epoch":
    monitor.CsvLog.on_batch_end = lambda s, learner, e, b, m: die() if (e, b) == (3, 2) else None
elif where == "before a checkpoint is in place":
    import spikeprop.checkpoint as checkpoint
    real = checkpoint.write_atomically
    def write(path, fill):
        def filled(temporary):
            fill(temporary)
            if list(runs_dir.rglob("checkpoint-*.safetensors")):
                die()
        real(path, filled)
    from pathlib import Path
    runs_dir = Path(sys.argv[sys.argv.index("--runs-dir") + 1])
    checkpoint.write_atomically = write
elif where == "after the last epoch":
    runs.RunFolder.write_metrics = die
cli.main()
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
@pytest.mark.parametrize(
    "where", ["within an epoch", "before a checkpoint is in place", "after the last epoch"]
)
def test_resume_after_a_kill(
    data: Path, finished: runs.RunFolder, tmp_path: Path, where: str
) -> None:
    arguments = tiny_arguments(data, tmp_path)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, where, *arguments], capture_output=True, text=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed = subprocess.run(
        [sys.executable, "-m", "spikeprop", *arguments, "--resume"], capture_output=True, text=True
    )
    assert resumed.returncode == 0, resumed.stderr
    path = Path(resumed.stdout.splitlines()[-1])
    assert path == tmp_path / "nmnist-001"
    assert_same_run(runs.RunFolder(path), finished)


def test_resume_takes_data_that_moved(
    data: Path, finished: runs.RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = write_tiny_events(tmp_path / "moved")
    with monkeypatch.context() as patch:
        patch.setattr(CsvLog, "on_batch_end", Interrupting(2, 1))
        with pytest.raises(Stop):
            train(config(data, tmp_path, name="a"), quiet_console())
    options = TrainConfig(resume=str(tmp_path / "a"), data_dir=moved, quiet=True)
    assert_same_run(train(options, quiet_console()), finished)


def test_resume_refuses_other_data(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_tiny_events(tmp_path / "other", train=11)
    with monkeypatch.context() as patch:
        patch.setattr(CsvLog, "on_batch_end", Interrupting(2, 1))
        with pytest.raises(Stop):
            train(config(data, tmp_path, name="a"), quiet_console())
    options = TrainConfig(resume=str(tmp_path / "a"), data_dir=other, quiet=True)
    with pytest.raises(ValueError, match="training data are not those"):
        train(options, quiet_console())


def test_resume_refuses(data: Path, finished: runs.RunFolder, tmp_path: Path) -> None:
    def find(**options: Any) -> runs.RunFolder:
        return runs.find_unfinished(TrainConfig(runs_dir=tmp_path, **options))

    with pytest.raises(ValueError, match="has finished: there is nothing to resume"):
        find(resume=str(finished.path))
    with pytest.raises(FileNotFoundError, match="no unfinished run in"):
        find(resume="latest")
    with pytest.raises(FileNotFoundError, match="no run folder"):
        find(resume="latest", name="nobody")
    begun = runs.create(config(data, tmp_path, name="begun"))
    assert find(resume="latest").path == begun.path
    assert find(resume="latest", name="begun", epochs=4).path == begun.path
    with pytest.raises(ValueError, match=r"other options: --epochs 5 \(run: 4\)"):
        find(resume="latest", epochs=5)
    (begun / runs.CONFIG).write_text(
        (begun / runs.CONFIG).read_text().replace('"version": 1', '"version": 2')
    )
    with pytest.raises(ValueError, match="version 2"):
        find(resume=str(begun.path))


def test_a_damaged_checkpoint_is_an_error(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(CsvLog, "on_batch_end", Interrupting(2, 1))
        with pytest.raises(Stop):
            train(config(data, tmp_path, name="a"), quiet_console())
    (checkpoint,) = Checkpoints(tmp_path / "a").paths()
    checkpoint.write_bytes(checkpoint.read_bytes()[:500])
    with pytest.raises(ValueError, match="damaged"):
        train(TrainConfig(resume=str(tmp_path / "a"), quiet=True), quiet_console())


def test_an_existing_run_is_not_overwritten(data: Path, tmp_path: Path) -> None:
    first = runs.create(config(data, tmp_path, name="a"))
    before = (first / runs.CONFIG).read_bytes()
    with pytest.raises(FileExistsError, match=r"already a run in .*choose another --name"):
        runs.create(config(data, tmp_path, name="a", epochs=99))
    assert (first / runs.CONFIG).read_bytes() == before
    numbered = [runs.create(config(data, tmp_path)).path.name for _ in range(3)]
    assert numbered == ["nmnist-001", "nmnist-002", "nmnist-003"]


def test_bad_input_leaves_no_folder(data: Path, tmp_path: Path) -> None:
    wrong = config(data, tmp_path / "runs")
    for changes in ({"device": "cuda:99"}, {"device": "abacus"}, {"shift": 34}):
        with pytest.raises(ValueError, match=r"device|shift"):
            train(replace(wrong, **changes), quiet_console())  # type: ignore[arg-type]
    assert not (tmp_path / "runs").exists()


def test_damaged_run_folders(data: Path, finished: runs.RunFolder, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no run folder"):
        inference.load(tmp_path)
    begun = runs.create(config(data, tmp_path, name="begun"))
    with pytest.raises(FileNotFoundError, match=r"has not finished.*--resume"):
        inference.load(begun.path)
    for text, message in (("{", "not valid JSON"), ("[1]", "does not hold metrics")):
        (begun / runs.METRICS).write_text(text)
        with pytest.raises(ValueError, match=message):
            inference.load(begun.path)
    (begun / runs.METRICS).write_text(json.dumps({"data": {}}))
    with pytest.raises(ValueError, match="damaged"):
        inference.load(begun.path)
    (begun / runs.METRICS).write_text((finished / runs.METRICS).read_text())
    (begun / runs.LEARNER).write_bytes(b"\x80\x04not safetensors")
    with pytest.raises(ValueError, match="damaged"):
        inference.load(begun.path)
    (begun / runs.CONFIG).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not a text file"):
        begun.config()


def test_backward_passes_are_counted() -> None:
    x = torch.ones(2, requires_grad=True)
    originals = (torch.Tensor.backward, torch.autograd.backward, torch.autograd.grad)
    with count_backward_passes() as counter:
        x.sum().backward()
        torch.autograd.backward(x.sum())
        torch.autograd.grad(x.sum(), x)
        with pytest.raises(RuntimeError):
            torch.ones(1).backward()
    assert counter.calls == 4
    assert (torch.Tensor.backward, torch.autograd.backward, torch.autograd.grad) == originals
    x.sum().backward()
    assert counter.calls == 4


def test_peak_memory_is_in_mib() -> None:
    peak = peak_memory_mib()
    if peak is None:
        pytest.skip("this system does not tell")
    assert 20 < peak < 1_000_000


@pytest.mark.parametrize(("window", "warned"), [(100_000, True), (60_000, False)])
def test_recordings_of_few_time_steps_are_warned_of(
    tmp_path: Path, window: int, warned: bool
) -> None:
    import warnings

    from spikeprop.assemble import open_data

    data = write_tiny_events(tmp_path, train=2, test=1)
    config = TrainConfig(dataset="nmnist", data_dir=data, time_window=window, validation=0.0)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        open_data(config)
    said = [str(item.message) for item in seen if "time steps" in str(item.message)]
    expected = "recordings of 315 ms are 4 time steps of 100000 µs; --time-window 15750 would give"
    assert bool(said) == warned
    assert all(text.startswith(expected) for text in said)
