"""The command line: help, one clear line for what is wrong, exit codes, and the four commands."""

import csv
import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_events import recording, tiny_arguments, write_tiny_events

from spikeprop import cli, runs
from spikeprop.cli import main
from spikeprop.config import TrainConfig
from spikeprop.datasets import write_events
from spikeprop.monitor import CsvLog

COMMANDS = ("train", "evaluate", "predict", "stream", "quantize", "dream", "data")
DATA_COMMANDS = ("list", "download", "check", "show", "convert")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_events(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, made by the command itself."""
    folder = tmp_path_factory.mktemp("runs")
    assert main([*tiny_arguments(data, folder), "--name", "done"]) == 0
    return folder / "done"


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The message of a command that must fail with exit code 2 and say why on standard error."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("spikeprop: error: ")
    assert "Traceback" not in captured.err
    return captured.err


def test_a_misspelt_choice_is_told_the_near_ones(capsys: pytest.CaptureFixture[str]) -> None:
    message = fails(capsys, "train", "--loss", "contrast-max")
    assert "did you mean 'contrast-maximum'" in message
    assert "did you mean 'sp-voltage'" in fails(capsys, "train", "--rule", "sp-voltge")
    assert "did you mean" not in fails(capsys, "train", "--rule", "xyz")


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], []):
        assert main(arguments) == 0
        shown = capsys.readouterr().out
        assert all(command in shown for command in COMMANDS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from spikeprop import __version__

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"spikeprop {__version__}\n"


@pytest.mark.parametrize(
    "command", [*COMMANDS[:-1], *(f"data {command}" for command in DATA_COMMANDS)]
)
def test_help_documents_every_option(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = command.split()
    kind = (cli.GROUPS[words[0]] if len(words) > 1 else cli.COMMANDS)[words[-1]]
    assert main([*words, "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    positional = ("run", "files", "what", "source", "target")
    for field in dataclasses.fields(kind):
        if field.name in positional or (len(words) > 1 and field.name == "dataset"):
            continue
        assert f"--{field.name.replace('_', '-')}" in shown
    assert shown.count("(default:") + shown.count("(required)") >= len(dataclasses.fields(kind))


def test_help_of_data_lists_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["data", "--help"], ["data"]):
        assert main(arguments) == 0
        shown = capsys.readouterr().out
        assert all(command in shown for command in DATA_COMMANDS)


def test_help_shows_defaults_and_units(capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", "--help"])
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert f"[µs]. (default: {TrainConfig().time_window})" in shown
    assert "(default: 256 256)" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["tran"],
            "there is no command 'tran': choose one of demo, train, evaluate, predict, report, "
            "stream, quantize, neurons, rules, compare, dream, doctor, completion, data",
        ),
        (["train", "--bogus", "3"], "--bogus"),
        (["train", "--epochs", "many"], "--epochs"),
        (["train", "--epochs", "0"], "epochs must be at least 1, got 0"),
        (["train", "--epochs"], "--epochs"),
        (["train", "--dataset", "imagenet"], "'imagenet'"),
        (["data", "shwo"], "there is neither a data set nor a file 'shwo'"),
        (["data", "download"], "see spikeprop data download --help"),
        (["data", "show", "nowhere.raw"], "neither a data set nor a file 'nowhere.raw'"),
        (["data", "show", "--output", "o.jpg"], "must end in .png"),
        (["data", "convert", "a.raw", "b.mp4"], "the name must end in .npy"),
        (["data", "convert", "a", "b", "--suffix", ".x"], "suffix must be one of .npy"),
        (["train", "--rule", "sp-voltage", "--tau", "1"], "has no tau"),
        (["train", "--hidden", "5", "0"], "hidden must be one or more sizes"),
        (["train", "--resume", "nowhere"], "nowhere is no run folder"),
        (["evaluate"], "PATH"),
        (["evaluate", "nowhere"], "nowhere is no run folder"),
        (["predict", "nowhere", "a.bin"], "nowhere is no run folder"),
        (["predict", "nowhere"], "give event files or --split"),
        (["predict", "nowhere", "a.bin", "--split", "test"], "give event files or --split"),
        (["predict", "nowhere", "a.bin", "--data-dir", "d"], "--data-dir belongs to --split"),
        (["predict", "nowhere", "a.bin", "--output", "o.txt"], "must end in .csv or .json"),
        (["predict", "r", "a.bin", "--output", "none/o.csv"], "there is no folder"),
        (["evaluate", "nowhere", "--output", "o.csv"], "must end in .json"),
    ],
)
def test_bad_arguments(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = fails(capsys, *arguments)
    assert message in error
    assert error.count("\n") == 1


def test_missing_data_say_which_files_to_put_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from spikeprop.datasets import fetching, obtaining

    def refuse(file: object, folder: object, **_: object) -> None:
        raise fetching.DownloadError("no network")

    monkeypatch.setattr(obtaining, "download", refuse)
    where = tmp_path / "nothing here"
    for command in (["train", "--runs-dir", tmp_path / "runs"], ["data"]):
        error = fails(capsys, *command, "--dataset", "nmnist", "--data-dir", where)
        assert str(where) in error
        assert "train.zip" in error
    assert not (tmp_path / "runs").exists()


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKEPROP_DEBUG", "1")
    with pytest.raises(FileNotFoundError):
        main(["evaluate", "nowhere"])


def test_interrupt(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(CsvLog, "on_batch_end", interrupt)
        assert main(tiny_arguments(data, tmp_path)) == 130
    assert "--resume" in capsys.readouterr().err
    assert main(["train", "--resume", "--runs-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "nmnist-001")


def test_train_prints_what_it_does(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [a for a in tiny_arguments(data, tmp_path) if a != "--quiet"]
    assert main([*arguments, "--epochs", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "data nmnist: 24 train, 6 validation, 12 test"
    assert lines[1].startswith("note: part of N-MNIST")
    assert lines[2] == "network 2312-24-16, rule sigprop, update every time step"
    assert [line.split("  ")[0] for line in lines[3:5]] == ["epoch 1/2", "epoch 2/2"]
    assert "0 backward passes" in lines[5]
    folder = tmp_path / "nmnist-001"
    accuracy = json.loads((folder / runs.METRICS).read_text())["test_accuracy"]
    assert lines[6] == f"test accuracy {100 * accuracy:.2f} % (12 samples)"
    assert lines[7:] == [str(folder)]


def test_quiet_training_prints_the_result_alone(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main([*tiny_arguments(data, tmp_path), "--epochs", "1"]) == 0
    captured = capsys.readouterr()
    first, second = captured.out.splitlines()
    assert first.startswith("test accuracy")
    assert second == str(tmp_path / "nmnist-001")


def test_an_existing_run_is_refused(
    data: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in run.iterdir()}
    error = fails(capsys, *tiny_arguments(data, run.parent), "--name", "done")
    assert "already a run" in error
    error = fails(capsys, *tiny_arguments(data, run.parent), "--name", "done", "--resume")
    assert "has finished" in error
    assert {path.name: path.stat().st_mtime_ns for path in run.iterdir()} == before


@pytest.mark.parametrize("rule", [["--rule", "sp-voltage"], ["--signal", "projection"]])
def test_other_rules_train(
    data: Path, tmp_path: Path, rule: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*tiny_arguments(data, tmp_path), *rule, "--epochs", "1", "--name", "r"]
    assert main(arguments) == 0
    assert runs.RunFolder(tmp_path / "r").metrics()["backward_passes"] == 0


def test_evaluate(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    output = tmp_path / "result.json"
    assert main(["evaluate", str(run), "--output", str(output)]) == 0
    shown = capsys.readouterr().out
    metrics = runs.RunFolder(run).metrics()
    assert f"test accuracy {100 * metrics['test_accuracy']:.2f} %" in shown
    assert "note: part of N-MNIST" in shown
    written = json.loads(output.read_text())
    assert written["confusion_matrix"] == metrics["confusion_matrix"]
    assert written["test_accuracy"] == metrics["test_accuracy"]


@pytest.mark.parametrize(
    "choices",
    [
        "--signal learned --coding pattern",
        "--signal concatenated --loss contrast-top-k --readout trained",
        "--placement trailing --loss contrast-soft",
        "--rule hebbian",
    ],
)
def test_choices_of_signal_propagation_train_and_evaluate_alike(
    choices: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*tiny_arguments(data, tmp_path), "--name", "run", *choices.split()]) == 0
    trained = re.search(r"test accuracy [0-9.]+ %", capsys.readouterr().out)
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    evaluated = re.search(r"test accuracy [0-9.]+ %", capsys.readouterr().out)
    assert trained is not None
    assert evaluated is not None
    assert trained[0] == evaluated[0]


def test_evaluate_with_data_elsewhere(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_tiny_events(tmp_path, train=1, test=2)
    capsys.readouterr()
    assert main(["evaluate", str(run), "--data-dir", str(other)]) == 0
    assert "6 test samples" in capsys.readouterr().out


def test_predict_files(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = [recording(digit, 5000) for digit in (0, 1, 2)]
    write_events(tmp_path / "a.bin", events[0])
    np.save(tmp_path / "b.npy", events[1])
    small = np.empty(len(events[2]), [("t", "u4"), ("x", "i2"), ("y", "i2"), ("p", "?")])
    for name in "xytp":
        small[name] = events[2][name]
    np.save(tmp_path / "c.npy", small[::-1])  # other types, order of fields and of events
    np.save(tmp_path / "d.npy", events[2])
    files = [str(tmp_path / name) for name in ("a.bin", "b.npy", "c.npy", "d.npy")]
    capsys.readouterr()
    assert main(["predict", str(run), *files]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == files
    classes = [line.split("  ")[1] for line in lines]
    assert set(classes) <= set("0123456789")
    table = tmp_path / "out.csv"
    assert main(["predict", str(run), *files, "--output", str(table)]) == 0
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["prediction"] for row in rows] == classes
    scores = [[float(row[f"score_{name}"]) for name in range(10)] for row in rows]
    assert [str(int(np.argmax(line))) for line in scores] == classes
    assert scores[2] == pytest.approx(scores[3], rel=1e-5)  # rows of one batch, summed alike or not


def test_predict_a_split(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out.json"
    capsys.readouterr()
    assert main(["predict", str(run), "--split", "test", "--output", str(output)]) == 0
    shown = capsys.readouterr().out.splitlines()
    items = json.loads(output.read_text())
    metrics = runs.RunFolder(run).metrics()
    right = sum(item["prediction"] == item["label"] for item in items)
    assert right / len(items) == metrics["test_accuracy"]
    assert shown[0] == f"accuracy {100 * metrics['test_accuracy']:.2f} % of 12"
    assert shown[-1] == str(output)
    assert main(["predict", str(run), "--split", "train"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 31
    assert "(is 0)" in shown[0]


def wrong_files(folder: Path) -> dict[str, str]:
    """Event files that cannot be right, with what their message must say."""
    good = recording(0, 0)
    outside = good.copy()
    outside["x"][3] = 34
    early = good.copy()
    early["t"][0] = -1
    write_events(folder / "good.bin", good)
    (folder / "short.bin").write_bytes((folder / "good.bin").read_bytes()[:-2])
    (folder / "empty.bin").write_bytes(b"")
    write_events(folder / "outside.bin", outside)
    (folder / "good.txt").write_text("0 0 0 0")
    (folder / "text.npy").write_text("0 0 0 0")
    np.save(folder / "plain.npy", np.zeros((5, 4), dtype=np.int64))
    np.save(folder / "empty.npy", good[:0])
    np.save(folder / "outside.npy", outside)
    np.save(folder / "early.npy", early)
    np.save(folder / "floats.npy", good.astype([(name, "f4") for name in "xytp"]))
    np.save(folder / "pickle.npy", np.array([{"x": 0}], dtype=object), allow_pickle=True)
    return {
        "missing.bin": "no such file",
        "short.bin": "truncated",
        "empty.bin": "empty recording",
        "outside.bin": "outside the sensor",
        "good.txt": "which column is what is not clear",
        "text.npy": "not a readable .npy file",
        "plain.npy": "structured array with the fields x, y, t, p",
        "empty.npy": "empty recording",
        "outside.npy": "x reaches from",
        "early.npy": "t begins at -1",
        "floats.npy": "must be integers, got float32",
        "pickle.npy": "not a readable .npy file",
    }


def test_predict_refuses_wrong_files(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, message in wrong_files(tmp_path).items():
        output = tmp_path / "out.csv"
        error = fails(capsys, "predict", run, tmp_path / name, "--output", output)
        assert message in error
        assert str(tmp_path / name) in error
        assert not output.exists()


def test_a_run_of_another_version_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for path in run.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    text = (other / "config.json").read_text()
    (other / "config.json").write_text(text.replace('"version": 1', '"version": 7'))
    assert "version 7" in fails(capsys, "evaluate", other)
    (other / "config.json").write_text(text.replace('"beta"', '"gamma"'))
    assert "unknown option gamma" in fails(capsys, "predict", other, "--split", "test")


def test_weights_that_are_not_numbers_are_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from spikeprop.checkpoint import load_state, save_state

    other = tmp_path / "other"
    other.mkdir()
    for path in run.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    state = load_state(run / runs.LEARNER)
    state["network"]["1.weight"][0, 0] = float("nan")
    save_state(other / runs.LEARNER, state)
    assert "NaN" in fails(capsys, "evaluate", other)


def test_data(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["data", "nmnist", "--data-dir", str(data)]) == 0
    shown = capsys.readouterr().out
    assert main(["data", "--dataset", "nmnist", "--data-dir", str(data)]) == 0
    assert capsys.readouterr().out == shown
    for expected in (
        "nmnist",
        str(data),
        "10: 0, 1, 2",
        "34 x 34 pixels, 2 polarities",
        "315 ms",
        "30 recordings; per class 10 10 10 0",
        "150 events each",
        "note: part of N-MNIST: 12 of 10,000 test recordings",
    ):
        assert expected in shown


def test_warnings_are_one_line(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import warnings

    def warn(config: object) -> None:
        warnings.warn("the cache\nis read-only", stacklevel=1)

    monkeypatch.setattr(cli.data_cli, "run", warn)
    assert main(["data", "list"]) == 0
    assert capsys.readouterr().err == "spikeprop: warning: the cache is read-only\n"


def test_a_closed_pipe_is_no_error(data: Path) -> None:
    command = f"{sys.executable} -m spikeprop data --dataset nmnist --data-dir {data}"
    result = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} | head -n 1"], capture_output=True, text=True
    )
    assert result.stderr == ""
    assert result.stdout.startswith("name")


def test_quantize_writes_accuracy_against_bits(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["quantize", str(run), "--bits", "8", "3", "--epochs", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["bits", "float", "8", "3"]
    written = json.loads((run / "quantized.json").read_text())
    assert [item["bits"] for item in written["results"]] == [None, 8, 3]
    assert all(0 <= item["rounded"] <= 1 for item in written["results"])
    assert written["results"][0]["tuned"] is None
    assert lines[-1] == str(run / "quantized.json")


def test_quantize_refuses(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "bits has to lie in 2 .. 8" in fails(capsys, "quantize", run, "--bits", "9")
    assert "epochs has to be at least 0" in fails(capsys, "quantize", run, "--epochs", "-1")
    assert "lr has to be above 0" in fails(capsys, "quantize", run, "--lr", "0")
