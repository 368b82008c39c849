"""Files are written whole or not at all, flushed, with the user's own permissions."""

import os
from pathlib import Path

import pytest

from spikeprop.datasets.files import data_root, write_atomically, write_bytes, write_text


def test_writes_and_replaces(tmp_path):
    path = tmp_path / "a.json"
    write_text(path, "old")
    write_bytes(path, "näher".encode())
    assert path.read_text(encoding="utf-8") == "näher"
    assert list(tmp_path.iterdir()) == [path]


def test_the_temporary_file_lies_beside_and_ends_alike(tmp_path):
    seen = []
    write_atomically(tmp_path / "a.png", lambda path: (seen.append(path), path.write_bytes(b"x")))
    assert seen[0].parent == tmp_path
    assert seen[0].suffix == ".png"
    assert seen[0].name.startswith(".a.png.")


def test_a_failed_write_leaves_nothing(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fail(temporary: Path) -> None:
        temporary.write_bytes(b"half")
        raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError, match="disk on fire"):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder(tmp_path):
    path = tmp_path / "new" / "deep" / "a.txt"
    with pytest.raises(FileNotFoundError, match=r"a\.txt: there is no folder .*deep"):
        write_text(path, "x")
    assert list(tmp_path.iterdir()) == []
    write_text(path, "x", parents=True)
    assert path.read_text() == "x"


def test_file_and_folder_are_flushed_before_and_after_the_rename(tmp_path, monkeypatch):
    order = []
    flush, rename = os.fsync, Path.replace

    def note_flush(handle):
        order.append("folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "file")  # noqa: PTH112
        flush(handle)

    def note_rename(self, target):
        order.append("rename")
        return rename(self, target)

    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc")
    monkeypatch.setattr(os, "fsync", note_flush)
    monkeypatch.setattr(Path, "replace", note_rename)
    write_text(tmp_path / "a.txt", "x")
    assert order == ["file", "rename", "folder"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_permissions_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


def test_data_root(monkeypatch, tmp_path):
    monkeypatch.setenv("SPIKEPROP_DATA", str(tmp_path))
    assert data_root(None) == tmp_path
    assert data_root("there") == Path("there")
    monkeypatch.delenv("SPIKEPROP_DATA")
    assert data_root(None) == Path("~/.cache/spikeprop").expanduser()
    with pytest.raises(ValueError, match="root is empty"):
        data_root("")
