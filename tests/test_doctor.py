"""``spikeprop doctor``: what it finds, what it advises, and its exit code."""

from __future__ import annotations

import importlib.metadata
import json
import os
from pathlib import Path
from typing import Any

import pytest
from tiny_events import write_tiny_events

from spikeprop import cli, doctor, kernels
from spikeprop.doctor import DoctorConfig, examine


def named(config: DoctorConfig, name: str) -> doctor.Check:
    (check,) = [check for check in examine(config) if check.name == name]
    return check


def test_what_it_prints(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    write_tiny_events(tmp_path / "NMNIST", train=1, test=1)
    assert cli.main(["doctor", "--data-dir", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "nothing is broken" in text
    assert importlib.metadata.version("torch") in text
    assert f"{os.cpu_count()} cores" in text
    lines = text.splitlines()
    (nmnist,) = [line for line in lines if line.split()[:2] == ["ok", "nmnist"]]
    assert nmnist.endswith("here")
    (gesture,) = [i for i, line in enumerate(lines) if line.split()[1:2] == ["dvsgesture"]]
    assert "spikeprop data download dvsgesture (3.1 GB)" in lines[gesture + 1]


def test_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["doctor", "--json", "--data-dir", str(tmp_path / "later")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["broken"] == 0
    by_name = {check["name"]: check for check in found["checks"]}
    assert by_name["numpy"]["found"] == importlib.metadata.version("numpy")
    assert "made when it is needed" in by_name["folder"]["found"]
    assert not (tmp_path / "later").exists()  # looking makes nothing


@pytest.mark.parametrize(
    ("version", "said"), [(None, "not installed"), ("1.0", "1.0, and spikeprop needs >=13")]
)
def test_a_package_that_is_missing_or_old(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    version: str | None,
    said: str,
) -> None:
    real = doctor._version_of
    monkeypatch.setattr(doctor, "_version_of", lambda n: version if n == "rich" else real(n))
    assert cli.main(["doctor"]) == 1
    text = capsys.readouterr().out
    assert said in text
    assert "pip install 'rich>=13'" in text
    assert "1 broken" in text


def test_tonic_may_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor._version_of
    monkeypatch.setattr(doctor, "_version_of", lambda n: None if n == "tonic" else real(n))
    assert named(DoctorConfig(), "tonic").state == "note"


def test_optional_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor._version_of
    monkeypatch.setattr(doctor, "_version_of", lambda n: None if n == "optuna" else real(n))
    check = named(DoctorConfig(), "compare")
    assert (check.state, check.found) == ("note", "without optuna")
    assert check.advice == "pip install 'optuna>=4'"


def test_a_data_folder_that_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    check = named(DoctorConfig(data_dir=tmp_path), "folder")
    assert check.state == "broken"
    assert "SPIKEPROP_DATA" in check.advice
    assert named(DoctorConfig(data_dir=tmp_path), "cache").advice.endswith("NUMBA_CACHE_DIR")


def test_little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 2**20

    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: Usage)
    assert named(DoctorConfig(), "folder").state == "note"


def test_without_compiled_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "available", lambda: False)
    check = named(DoctorConfig(), "engine")
    assert (check.state, check.advice) == ("note", "pip install numba")
    monkeypatch.setenv("SPIKEPROP_NO_NUMBA", "1")
    assert "switched off" in named(DoctorConfig(), "engine").found


def test_without_a_cache_for_compiled_code(monkeypatch: pytest.MonkeyPatch) -> None:
    from spikeprop.kernels import sparse

    class Kernel:
        class stats:  # noqa: N801 - as numba calls it
            cache_path = None

    monkeypatch.setattr(sparse, "fit", Kernel)
    assert "in every process" in named(DoctorConfig(), "cache").found


def test_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda i: "Some GPU")
    check = named(DoctorConfig(), "GPU")
    assert check.state == "ok"
    assert check.found.startswith("Some GPU")


def test_what_cannot_be_looked_at_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        raise RuntimeError("no machine")

    monkeypatch.setattr(doctor, "_machine", fails)
    (check,) = [check for check in examine(DoctorConfig()) if check.state == "broken"]
    assert check.found == "RuntimeError: no machine"
