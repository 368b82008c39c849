"""``spikeprop data``: list, download, check, show and convert; and DVS Gesture from end to end."""

import hashlib
import json
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent / "datasets"))
import layouts
from http_server import Server
from real_data import REAL_DATA, needs_real_data

from spikeprop.cli import main
from spikeprop.config import DatasetName
from spikeprop.datasets import nmnist, read_recording
from spikeprop.datasets.catalogue import CATALOGUE


def run(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


def test_the_names_of_the_configuration_are_those_of_the_catalogue() -> None:
    assert set(get_args(DatasetName)) == set(CATALOGUE)


def test_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layouts.pokerdvs(tmp_path)
    shown = run(capsys, "data", "list", "--data-dir", tmp_path)
    for entry in CATALOGUE.values():
        assert entry.about in shown
        assert entry.licence in shown
    here = [line.split()[0] for line in shown.splitlines() if " here " in line]
    assert here == ["pokerdvs"]


def test_download_from_a_server_and_from_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = {}
    with Server() as server:
        for split in ("train", "test"):
            path = tmp_path / f"{split}.zip"
            with zipfile.ZipFile(path, "w") as file:
                file.writestr(f"{split.capitalize()}/3/00001.bin", bytes([1, 2, 0, 0, 9]))
            server.files[f"/{split}.zip"] = path.read_bytes()
            known = nmnist.PARTS[split]
            remote = replace(
                known.files[0],
                md5=hashlib.md5(path.read_bytes()).hexdigest(),
                urls=(f"{server.url}/{split}.zip",),
            )
            parts[split] = replace(known, files=(remote,))
        monkeypatch.setattr(nmnist, "PARTS", parts)
        monkeypatch.setitem(CATALOGUE, "nmnist", replace(CATALOGUE["nmnist"], parts=parts))
        shown = run(capsys, "data", "download", "nmnist", "--data-dir", tmp_path / "a")
        assert shown == "train  1 recordings\ntest   1 recordings\n"
        assert len(server.requests) == 2
    for files in (["test.zip"], ["train.zip", "test.zip"]):
        where = tmp_path / f"from-{len(files)}"
        given = [tmp_path / name for name in files]
        shown = run(
            capsys, "data", "download", "nmnist", "--data-dir", where, "--from-file", *given
        )
        assert "test   1 recordings" in shown
        assert ("train  1 recordings" in shown) == (len(files) == 2)
    (tmp_path / "x.zip").write_bytes(b"x")
    error = run(capsys, "data", "download", "nmnist", "--from-file", tmp_path / "x.zip", code=2)
    assert "is not the published file" in error
    error = run(
        capsys, "data", "download", "saccade-digits", "--from-file", tmp_path / "x.zip", code=2
    )
    assert "needs no files" in error


def test_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layouts.pokerdvs(tmp_path)
    shown = run(capsys, "data", "check", "pokerdvs", "--data-dir", tmp_path)
    assert "train  12 of 12 recordings read, 36 events; 0 damaged, 0 empty" in shown
    assert "note: part of POKER-DVS: 4 of 20 test recordings" in shown
    shown = run(capsys, "data", "check", "pokerdvs", "--data-dir", tmp_path, "--limit", 5)
    assert "train  5 of 12 recordings read" in shown
    path = tmp_path / "pips_test" / "he" / "0.npy"
    path.write_bytes(path.read_bytes()[:-10])
    error = run(capsys, "data", "check", "pokerdvs", "--data-dir", tmp_path, code=2)
    assert "1 damaged recordings" in error
    assert "0.npy: at byte" in error


def test_show_a_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layouts.heidelberg(tmp_path)
    picture = tmp_path / "a.png"
    shown = run(
        capsys, "data", "show", "shd", "--data-dir", tmp_path, "--output", picture, "--index", 2
    )
    assert "sensor     700 x 1 pixels, 1 polarities" in shown
    assert "classes    3: zero, one, two" in shown
    assert "train      6 recordings; per class 2 2 2" in shown
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert shown == run(
        capsys, "data", "shd", "--data-dir", tmp_path, "--output", picture, "--index", 2
    )


def test_show_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import golden

    path, picture = tmp_path / "a.raw", tmp_path / "a.png"
    golden.evt2(path, golden.make("evt2"), 640, 480)
    shown = run(capsys, "data", "show", path, "--output", picture)
    assert "format     raw" in shown
    assert "sensor     640 x 480 pixels" in shown
    assert "events     40" in shown
    assert picture.read_bytes().startswith(b"\x89PNG")
    path = tmp_path / "a.npy"
    np.save(path, np.array([(5, 1, 2, 1)]))
    assert "one moment" in run(capsys, "data", "show", path, "--order", "txyp")
    error = run(capsys, "data", "show", "--output", tmp_path / "none" / "a.png", code=2)
    assert "there is no folder" in error


def test_convert_a_file_and_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import golden

    source = tmp_path / "in"
    layouts.class_folder(source)
    path = source / "train" / "circle" / "000.csv"
    shown = run(capsys, "data", "convert", path, tmp_path / "one.h5")
    assert shown == f"1 files, 8 events: {tmp_path / 'one.h5'}\n"
    expected = read_recording(path)
    found = read_recording(tmp_path / "one.h5")
    np.testing.assert_array_equal(found.events, expected.events)
    assert found.sensor_size == (12, 10, 2)
    target = tmp_path / "out"
    shown = run(capsys, "data", "convert", source, target, "--suffix", ".npy", "--from-zero")
    assert shown.startswith("32 files, 256 events")
    events = read_recording(target / "test" / "square" / "007.npy").events
    assert events["t"][0] == 0
    assert events["x"].tolist() == [1] * 8
    golden.dat(tmp_path / "cut.dat", golden.make("dat"), 304, 240)
    whole = (tmp_path / "cut.dat").read_bytes()
    (tmp_path / "cut.dat").write_bytes(whole[:-3])
    assert "39 events" in run(capsys, "data", "convert", tmp_path / "cut.dat", tmp_path / "c.npz")
    error = run(
        capsys, "data", "convert", tmp_path / "cut.dat", tmp_path / "d.npz", "--strict", code=2
    )
    assert "cut.dat: at byte" in error
    (tmp_path / "empty").mkdir()
    error = run(capsys, "data", "convert", tmp_path / "empty", target, code=2)
    assert "holds no event files" in error
    (source / "train" / "circle" / "000.npy").write_bytes(b"x")
    error = run(capsys, "data", "convert", source, target, code=2)
    assert "differ in their endings alone" in error


def test_dvs_gesture_from_its_original_files_to_a_trained_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One command: converts, splits by user, trains, validates on other people, evaluates."""
    layouts.dvs_gesture_original(tmp_path / "data", users=(1, 2, 3, 4, 5, 6, 24, 25))
    shown = run(
        capsys,
        *("train", "--dataset", "dvsgesture", "--data-dir", tmp_path / "data"),
        *("--runs-dir", tmp_path / "runs", "--name", "gestures", "--quiet", "--seed", 1),
        *("--n-time-bins", 8, "--hidden", 48, "--epochs", 5, "--batch-size", 11),
        *("--lr", "2e-3", "--shift", 0, "--validation", 0.2, "--threads", 1),
    )
    folder = tmp_path / "runs" / "gestures"
    assert shown.splitlines()[-1] == str(folder)
    metrics = json.loads((folder / "metrics.json").read_text())
    data = metrics["data"]
    # 6 people train, one of them held out; 2 lights, 11 gestures.
    assert (data["train"], data["validation"], data["test"]) == (110, 22, 44)
    assert "44 test samples, of 288" in data["note"]
    assert data["sensor_size"] == [128, 128, 2]
    assert len(data["classes"]) == 11
    assert metrics["test_accuracy"] > 0.6  # chance is 0.09
    assert list((tmp_path / "data" / "stores").glob("dvsgesture-*"))
    shown = run(capsys, "evaluate", folder)
    assert f"test accuracy {100 * metrics['test_accuracy']:.2f} %" in shown
    shown = run(capsys, "predict", folder, tmp_path / "data" / "DvsGesture" / "user24_led.aedat")
    assert len(shown.splitlines()) == 1


def test_a_folder_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layouts.class_folder(tmp_path / "mine", split=False, count=10)
    run(
        capsys,
        *("train", "--dataset", "folder", "--data-dir", tmp_path / "mine", "--quiet"),
        *("--runs-dir", tmp_path / "runs", "--n-time-bins", 4, "--hidden", 16, "--epochs", 2),
        *("--batch-size", 4, "--threads", 1),
    )
    (metrics,) = (tmp_path / "runs").glob("*/metrics.json")
    assert json.loads(metrics.read_text())["data"]["test"] == 4


@needs_real_data("formats")
@pytest.mark.parametrize("name", ["davis346.aedat4", "sample_evt3.raw", "atis_td.mat"])
def test_real_files_show_and_convert(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = REAL_DATA / "formats" / name
    run(capsys, "data", "show", path, "--output", tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 10_000
    run(capsys, "data", "convert", path, tmp_path / "a.npz")
    np.testing.assert_array_equal(
        read_recording(tmp_path / "a.npz").events, read_recording(path).events
    )
