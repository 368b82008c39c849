"""One file of nested state: round trips, damage, and nothing half-written."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from spikeprop.checkpoint import load_state, save_state

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
trees = st.recursive(
    scalars,
    lambda kids: (
        st.lists(kids, max_size=3)
        | st.lists(kids, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=4) | st.integers(), kids, max_size=3)
    ),
    max_leaves=12,
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(state=st.dictionaries(st.text(max_size=5), trees, max_size=4))
def test_whatever_goes_in_comes_out(tmp_path: Path, state: dict[str, Any]) -> None:
    save_state(tmp_path / "a.safetensors", state)
    found = load_state(tmp_path / "a.safetensors")
    assert found == state
    assert repr(found) == repr(state), "types are kept: 1 is not 1.0, a tuple no list"


def test_tensors_keep_type_shape_and_bits(tmp_path: Path) -> None:
    shared = torch.randn(4, 4)
    state = {
        "a": shared,
        "b": {"view": shared.T, 0: [shared[:2], torch.tensor(3)]},
        "bytes": torch.arange(5, dtype=torch.uint8),
        "inf": math.inf,
        "half": torch.randn(2, dtype=torch.float16),
    }
    save_state(tmp_path / "a.safetensors", state)
    found = load_state(tmp_path / "a.safetensors")
    assert torch.equal(found["a"], shared)
    assert torch.equal(found["b"]["view"], shared.T)
    assert torch.equal(found["b"][0][0], shared[:2])
    assert found["b"][0][1].shape == ()
    assert found["bytes"].dtype == torch.uint8
    assert found["half"].dtype == torch.float16
    assert found["inf"] == math.inf


def test_what_needs_code_to_load_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"'a\.1' is a function"):
        save_state(tmp_path / "a.safetensors", {"a": [1, math.sin.__class__ and (lambda: 0)]})
    with pytest.raises(TypeError, match="keys are strings or integers"):
        save_state(tmp_path / "a.safetensors", {"a": {1.5: 2}})
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_leaves_the_old_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.safetensors"
    save_state(path, {"a": 1})

    def fail(self: Path, data: bytes) -> None:
        self.write_text("half")
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", fail)
        with pytest.raises(OSError, match="disk full"):
            save_state(path, {"a": 2})
    assert load_state(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_file_is_for_all_whom_the_umask_lets_read_and_no_other_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[str]] = []
    real = os.fsync

    def look(handle: int) -> None:
        seen.append({entry.name for entry in tmp_path.iterdir()})
        real(handle)

    monkeypatch.setattr(os, "fsync", look)
    before = os.umask(0o022)
    try:
        save_state(tmp_path / "a.safetensors", {"a": torch.zeros(3)})
    finally:
        os.umask(before)
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == 0o644
    assert all(len(names) == 1 for names in seen)


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(FileNotFoundError, match=r"a\.safetensors"):
        load_state(path)
    save_state(path, {"a": torch.randn(100)})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="damaged"):
        load_state(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="damaged"):
        load_state(path)
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="no spikeprop state"):
        load_state(path)
    for text, words in [
        ("{", "damaged"),
        ("{}", "damaged"),
        ('{"version": 7, "tree": {}}', "version 7"),
        ('{"version": 1, "tree": {"tensor": "b"}}', "damaged"),
        ('{"version": 1, "tree": 3}', "no dictionary"),
    ]:
        save_file({"a": torch.zeros(2)}, path, metadata={"spikeprop_state": text})
        with pytest.raises(ValueError, match=words):
            load_state(path)
