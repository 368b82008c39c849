"""The benchmarks do their work, on the same weights and the same events for every side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from spikeprop.experiments.benchmarks import __main__ as command
from spikeprop.experiments.benchmarks import (
    cases,
    convolutions,
    epochs,
    every_step,
    memory,
    open_neuromorphic,
    report,
    steps,
    timing,
)
from spikeprop.experiments.benchmarks.__main__ import BenchConfig
from spikeprop.experiments.benchmarks.bptt_peers import PEERS, Backpropagation
from spikeprop.experiments.benchmarks.race import Run, seconds_to
from spikeprop.experiments.benchmarks.sparse_layer import EventLinear
from spikeprop.experiments.benchmarks.streams import DenseStream
from spikeprop.experiments.benchmarks.timing import Samples, interleave
from spikeprop.experiments.benchmarks.work import Task, measure
from spikeprop.experiments.benchmarks.workload import (
    BETA,
    RATE,
    Batch,
    firing_rates,
    recorded,
    synthetic,
    weights,
)
from spikeprop.experiments.peak import measure_in_child
from spikeprop.memory import peak_mib, rss_mib
from tests.tiny_events import write_tiny_events


@pytest.fixture(scope="module")
def batch() -> Batch:
    return synthetic(steps=12, batch=6, inputs=40, density=0.15, classes=3)


@pytest.fixture(scope="module")
def matrices(batch: Batch) -> list[torch.Tensor]:
    return weights((40, 24, 20), batch)


def test_synthetic_input_has_the_stated_density() -> None:
    made = synthetic(steps=100, batch=20, inputs=500, density=0.05, classes=4)
    assert made.events.density == pytest.approx(0.05, rel=0.15)
    assert made.dense.shape == (100, 20, 500)
    by_line = made.dense.mean(dim=(0, 1))
    assert by_line.std() > 0.03  # the lines differ: their rates are log-normal
    with pytest.raises(ValueError, match="density"):
        synthetic(2, 2, 4, 1.5, 2)


def test_weights_make_every_layer_fire_at_the_rate() -> None:
    made = synthetic(steps=60, batch=16, inputs=300, density=0.03, classes=3)
    found = firing_rates(made, weights((300, 64, 64), made))
    assert found == pytest.approx([RATE, RATE], rel=0.05)


def test_recordings_are_drawn_from_files(tmp_path: Path) -> None:
    write_tiny_events(tmp_path)
    made = recorded(tmp_path, steps=7, batch=3)
    assert made.dense.shape == (7, 3, 2312)
    assert made.source.startswith("N-MNIST")
    with pytest.raises(ValueError, match="asked for"):
        recorded(tmp_path, steps=7, batch=1000)


@pytest.mark.parametrize("updates", ["batch", "5", "step"])
def test_the_naive_rule_is_the_reference(
    updates: str, batch: Batch, matrices: list[torch.Tensor]
) -> None:
    naive = cases.Naive(matrices, 3, cases.Spec("naive", "plain", updates).every(12))
    spec = cases.Spec("reference", "plain", updates)
    ours = cases.Ours(spec, matrices, 3, 12)
    for learner in (naive.optimizer, *ours.learner.optimizers):
        assert learner is not None
        learner.param_groups[0]["lr"] = 1e-2
    for _ in range(2):
        naive.update(batch)
        ours.update(batch)
    linears = [layer for layer in ours.learner.net.modules() if isinstance(layer, nn.Linear)]
    for linear, weight, bias, start in zip(
        linears, naive.weights, naive.biases, matrices, strict=True
    ):
        assert not torch.allclose(weight, start, atol=1e-3)
        torch.testing.assert_close(linear.weight, weight, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(linear.bias, bias, rtol=1e-4, atol=1e-5)


def test_the_dense_stream_is_the_reference(batch: Batch, matrices: list[torch.Tensor]) -> None:
    ours = cases.Ours(
        cases.Spec("reference", "plain", "step"), matrices, 3, 1,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
    ).learner  # fmt: skip
    dense = DenseStream(matrices, 3, lr=0.1)
    for x_t in batch.dense[:, :1]:
        ours.step(x_t, batch.label[:1])
        dense.step(x_t, batch.label[:1])
    linears = [layer for layer in ours.net.modules() if isinstance(layer, nn.Linear)]
    for linear, weight, bias, start in zip(
        linears, dense.weights, dense.biases, matrices, strict=True
    ):
        assert not torch.allclose(weight, start, atol=1e-3)
        torch.testing.assert_close(linear.weight, weight)
        torch.testing.assert_close(linear.bias, bias)


def test_event_linear_is_linear(batch: Batch) -> None:
    linear = nn.Linear(40, 24)
    upstream = torch.randn(12, 6, 24)
    linear(batch.dense).backward(upstream)
    expected = [linear.weight.grad, linear.bias.grad]
    linear.zero_grad()
    currents = EventLinear(linear)(batch.events)
    currents.backward(upstream)
    torch.testing.assert_close(currents, linear(batch.dense))
    torch.testing.assert_close([linear.weight.grad, linear.bias.grad], expected)


@pytest.mark.parametrize("name", PEERS)
def test_peers_learn_from_the_same_spikes(
    name: str, batch: Batch, matrices: list[torch.Tensor]
) -> None:
    if not cases.available(name):
        pytest.skip(f"{name} is not installed")
    learner = cases.make(name, matrices, 3, 12)
    assert isinstance(learner, Backpropagation)
    learner.optimizer.param_groups[0]["lr"] = 5e-3
    losses = []
    for _ in range(8):
        learner.before(learner.net)
        scores = learner.net(batch.events if learner.takes_events else batch.dense)
        losses.append(nn.functional.cross_entropy(scores, batch.label).item())
        learner.update(batch)
    assert losses[-1] < losses[0]


def test_snntorch_layer_by_layer_is_snntorch_step_by_step(
    batch: Batch, matrices: list[torch.Tensor]
) -> None:
    gradients = []
    for name in ("snntorch", "snntorch_stepwise", "sceptic"):
        torch.manual_seed(0)  # the readout's weights
        learner: Any = cases.make(name, matrices, 3, 12)
        learner.update(batch)
        gradients.append([p.grad for p in learner.net.parameters()])
    # The event-driven layer registers its weight twice, first and last; shapes tell them apart.
    first = {tuple(g.shape): g for g in gradients[0]}
    for others in gradients[1:]:
        for other in others:
            torch.testing.assert_close(other, first[tuple(other.shape)])


def test_hidden_layers_of_the_peers_fire_alike(matrices: list[torch.Tensor]) -> None:
    made = synthetic(steps=60, batch=16, inputs=300, density=0.03, classes=3)
    scaled = weights((300, 64, 64), made)
    for name in ("spikingjelly", "norse"):
        if not cases.available(name):
            pytest.skip(f"{name} is not installed")
        learner: Any = cases.make(name, scaled, 3, 60)
        with torch.no_grad():
            spikes = learner.net[:2](made.dense)
        assert float(spikes.mean()) == pytest.approx(RATE, rel=0.25)


def test_interleaving_times_every_method_once_a_round() -> None:
    calls: list[str] = []
    samples = interleave(
        {name: lambda name=name: calls.append(name) for name in "ab"}, rounds=3, warm_up=1
    )
    assert calls == ["a", "b"] * 4
    assert [len(item.wall) for item in samples.values()] == [3, 3]


def test_a_turn_is_several_calls_and_a_sample_their_mean() -> None:
    calls: list[str] = []
    samples = interleave(
        {name: lambda name=name: calls.append(name) for name in "ab"}, 1, warm_up=0, repeats=3
    )
    assert calls == [*"aaabbb"]
    assert [len(item.cpu) for item in samples.values()] == [1, 1]


def test_a_turn_lasts_as_long_as_it_is_to(monkeypatch: pytest.MonkeyPatch) -> None:
    now, calls = [0.0], list[str]()

    def work(name: str, seconds: float) -> None:
        calls.append(name)
        now[0] += seconds

    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    works = {"short": lambda: work("short", 0.25), "long": lambda: work("long", 2.0)}
    samples = interleave(works, 1, warm_up=0, least=1.0)
    assert calls == [*["short"] * 4, "long"]
    assert [item.wall for item in samples.values()] == [[0.25], [2.0]]


def test_ratios_are_taken_within_rounds() -> None:
    ours, other = Samples(wall=[1.0, 10.0, 1.0]), Samples(wall=[3.0, 40.0, 5.0])
    assert ours.faster_than(other, "wall") == 4.0
    assert ours.seconds("wall") == 1.0
    with pytest.raises(ValueError, match="clock"):
        ours.seconds("sun")


def test_time_to_a_target_is_the_earliest_of_all_runs() -> None:
    runs = [Run(None, None, None) for _ in range(2)]  # type: ignore[arg-type]
    runs[0].seconds, runs[0].accuracies = [1.0, 2.0, 3.0], [0.5, 0.7, 0.9]
    runs[1].seconds, runs[1].accuracies = [1.5, 2.5], [0.6, 0.9]
    assert seconds_to(0.85, runs) == 2.5
    assert seconds_to(0.95, runs) is None


def test_the_command_goes_through_every_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_events(tmp_path / "data")
    parts = ["steps", "streams", "scaling", "epoch", "race"]
    options = [
        "--quick", "--out", str(tmp_path / "out"), "--recordings", str(tmp_path / "data"),
        "--parts", *parts, "--methods", "auto/plain/batch", "naive/plain/batch", "snntorch",
    ]  # fmt: skip
    monkeypatch.setattr("sys.argv", ["benchmarks", *options])
    monkeypatch.setattr(steps, "TURN", 6)
    assert command.main() == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    assert printed.strip() == (tmp_path / "out/results.md").read_text().strip()
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert set(results["parts"]) == set(parts)
    rows = results["parts"]["steps"]
    assert {row["method"] for row in rows} == {
        "auto/plain/batch", "naive/plain/batch", "snntorch",
    }  # fmt: skip
    assert {row["source"] for row in rows} == {"synthetic", "N-MNIST"}
    assert all(row["against"]["snntorch"] == 1.0 for row in rows if row["method"] == "snntorch")
    varied = {row["varied"] for row in results["parts"]["scaling"]}
    assert varied == {"cores", "width", "depth", "T", "density"}
    for name in ("steps", "scaling", "race"):
        assert (tmp_path / f"out/{name}.png").stat().st_size > 1000
    # Another part is added to what is there.
    command.run(BenchConfig(out=tmp_path / "out", parts=("streams",), quick=True))
    again = json.loads((tmp_path / "out/results.json").read_text())
    assert again["parts"]["steps"] == rows


def test_the_open_neuromorphic_workload_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = [
        "--device", "cpu", "--widths", "8", "--steps", "3", "--lengths", "4", "--batch", "2",
        "--rounds", "1", "--methods", "spikeprop", "spikeprop_step", "snntorch",
        "--out", str(tmp_path),
    ]  # fmt: skip
    monkeypatch.setattr("sys.argv", ["open_neuromorphic", *options])
    assert open_neuromorphic.main() == 0, capsys.readouterr().err
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert [(row["method"], row["T"]) for row in rows] == [
        (name, T) for T in (3, 4) for name in ("spikeprop", "spikeprop_step", "snntorch")
    ]
    assert all(row["seconds"] > 0 for row in rows)
    with pytest.raises(ValueError, match="methods"):
        open_neuromorphic.OpenConfig(methods=("magic",))
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="no CUDA device"):
            open_neuromorphic.measure_all(open_neuromorphic.OpenConfig())


def test_updates_at_every_step_are_timed_beside_each_other(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = [
        "--device", "cpu", "--lengths", "3", "--batch", "2", "--inputs", "9", "--hidden", "6", "5",
        "--warm-up", "1", "--rounds", "1",
    ]  # fmt: skip
    monkeypatch.setattr("sys.argv", ["every_step", *options])
    assert every_step.main() == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    for case in ("every step, fixed vectors", "reference engine", "one update a batch", "BPTT"):
        assert case in printed
    with pytest.raises(ValueError, match="density has to lie"):
        every_step.EveryStepConfig(density=2.0)
    if not torch.cuda.is_available():
        monkeypatch.setattr("sys.argv", ["every_step"])
        assert every_step.main() == 2
        assert "no CUDA device" in capsys.readouterr().err


def test_convolutions_of_events_are_timed_beside_dense_ones(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = [
        "--pixels", "9", "--outputs", "3", "--kernel", "3", "--steps", "4", "--batch", "2",
        "--densities", "0.05", "--hidden", "5", "--rounds", "1",
    ]  # fmt: skip
    monkeypatch.setattr("sys.argv", ["convolutions", *options])
    assert convolutions.main() == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    for words in ("dense / events", "chunked engine / event engine", "every step", "5 %"):
        assert words in printed
    with pytest.raises(ValueError, match="kernel has to be at most 34"):
        convolutions.ConvolutionConfig(kernel=35)
    monkeypatch.setattr("sys.argv", ["convolutions", "--batch", "0"])
    with pytest.raises(SystemExit):
        convolutions.main()
    assert "batch has to be at least 1, got 0" in capsys.readouterr().err


def test_the_report_names_what_was_not_reached() -> None:
    text = report.markdown(
        {
            "machine": {"cores": 2},
            "parts": {
                "race": [
                    {"method": "a", "seed": 0, "target": 0.96, "seconds": None, "epoch_seconds": 1},
                ],
                "memory": [
                    {"work": "update", "method": "a", "T": T, "B": 2, "mib": 1.0 * T,
                     "input_mib": 0.5}
                    for T in (10, 20)
                ],
            },
        }
    )  # fmt: skip
    assert "not reached" in text
    assert "| a | 10.0 (0.5) | 20.0 (0.5) |" in text


@pytest.mark.parametrize("method", ["spikeprop", "bptt"])
@pytest.mark.parametrize("work", ["stream", "update"])
def test_every_kind_of_work_runs(method: str, work: str) -> None:
    found = measure(Task(method=method, work=work, steps=3, batch=2, sizes=(20, 8, 3), repeats=2))
    assert found["peak_mib"] >= found["before_mib"] > 0
    assert found["increment_mib"] == found["peak_mib"] - found["before_mib"]


def test_memory_of_a_case_leaves_its_input_out() -> None:
    sizes = (20, 8, 8, 3)
    found = measure(Task(method="snntorch", work="update", steps=3, batch=2, sizes=sizes))
    assert found["input_mib"] == pytest.approx(3 * 2 * 20 * 4 / 2**20)


def test_peak_is_at_least_the_present_size() -> None:
    assert peak_mib() >= 0.99 * rss_mib()


def test_spread() -> None:
    rows = [{"method": "spikeprop", "mib": 10.0}, {"method": "spikeprop", "mib": 11.0}]
    assert memory.spread(rows, "spikeprop") == pytest.approx(0.1)
    with pytest.raises(ValueError, match="no row"):
        memory.spread(rows, "bptt")


@pytest.mark.slow
def test_a_child_that_fails_is_reported() -> None:
    with pytest.raises(RuntimeError, match="method"):
        measure_in_child({"method": "magic"})


def test_wrong_options_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="work"):
        Task(work="play")
    with pytest.raises(ValueError, match="update"):
        Task(method="snntorch", work="stream")
    with pytest.raises(ValueError, match="parts"):
        BenchConfig(parts=("everything",))
    with pytest.raises(ValueError, match="clock"):
        BenchConfig(clock="sun")
    with pytest.raises(ValueError, match="at least 1"):
        BenchConfig(rounds=0)
    with pytest.raises(ValueError, match="engine"):
        cases.parse("magic/plain/batch")
    with pytest.raises(ValueError, match="recipe"):
        cases.parse("auto/magic/batch")
    with pytest.raises(ValueError, match="updates"):
        cases.parse("auto/plain/0")
    with pytest.raises(ValueError, match="method"):
        cases.make("magic", [torch.zeros(2, 2)], 2, 2)
    (tmp_path / "results.json").write_text("[]")
    with pytest.raises(ValueError, match="not a results file"):
        command.read(tmp_path / "results.json")


def test_a_tonic_cache_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cache"):
        epochs.tonic_frames(tmp_path, 3, 2, "attic", tmp_path)


def test_beta_is_the_same_on_both_sides(matrices: list[torch.Tensor]) -> None:
    ours = cases.Ours(cases.Spec("reference", "default", "batch"), matrices, 3, 12)
    neuron: Any = ours.learner.blocks[0].neuron
    peer: Any = cases.make("snntorch", matrices, 3, 12)
    assert float(neuron.beta) == float(peer.net.neurons[0].beta) == pytest.approx(BETA)


@pytest.mark.slow
def test_memory_does_not_depend_on_the_number_of_steps() -> None:
    rows = list(memory.stream((50, 500), (), 64, (2312, 256, 256, 10)))
    assert memory.spread(rows, "spikeprop") < 0.05
