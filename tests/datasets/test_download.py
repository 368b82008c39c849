"""Fetching N-MNIST without a network: archives that lie there, downloads that fail."""

import hashlib
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from spikeprop.datasets import NMNIST, download, nmnist


def make_archive(path, split="Test"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        for digit in range(3):
            file.writestr(f"{split}/{digit}/00001.bin", bytes([1, 2, 0, 0, 9]))
    return path


def publish(monkeypatch, path):
    """Make the archive at ``path`` the published one."""
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    changed = {**download.ARCHIVES, "test": replace(download.ARCHIVES["test"], md5=md5)}
    monkeypatch.setattr(nmnist, "ARCHIVES", changed)


def fake_tonic(monkeypatch, function):
    import tonic.download_utils

    monkeypatch.setattr(tonic.download_utils, "download_url", function)


@pytest.fixture
def no_network(monkeypatch):
    def refuse(url, root, filename, md5):
        Path(root, filename).write_bytes(b"half a file")
        raise OSError("Name or service not known")

    fake_tonic(monkeypatch, refuse)


def test_a_failed_download_says_what_to_put_where(tmp_path, no_network):
    root = tmp_path / "new" / "folder"
    with pytest.raises(FileNotFoundError) as caught:
        NMNIST(root)
    message = str(caught.value)
    assert str(root) in message
    assert "Name or service not known" in message
    for part in ("train.zip", "20959b8e626244a1b502305a9e6e2031", "39c25547-014b-4137", "Train"):
        assert part in message
    for part in ("test.zip", "69ca8762b2fe404d9b9bad1103e97832", "05a4d654-7e03-4c15"):
        assert part in message
    assert list(tmp_path.iterdir()) == []


def test_a_failed_download_leaves_other_files_alone(tmp_path, no_network):
    (tmp_path / "NMNIST").mkdir()
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(FileNotFoundError):
        NMNIST(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["NMNIST", "mine.txt"]
    assert list((tmp_path / "NMNIST").iterdir()) == []


def test_without_tonic(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tonic.download_utils", None)
    with pytest.raises(FileNotFoundError, match=r"(?s)tonic.*train\.zip"):
        NMNIST(tmp_path)


def test_without_download(tmp_path, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("downloads although told not to")

    fake_tonic(monkeypatch, never)
    with pytest.raises(FileNotFoundError, match=r"test\.zip"):
        NMNIST(tmp_path, train=False, download=False)


def test_download(tmp_path, monkeypatch, capsys):
    source = make_archive(tmp_path / "far" / "test.zip")
    publish(monkeypatch, source)
    calls = []

    def deliver(url, root, filename, md5):
        calls.append((url, filename, md5))
        print("Downloading")
        Path(root, filename).write_bytes(source.read_bytes())

    fake_tonic(monkeypatch, deliver)
    root = tmp_path / "data"
    dataset = NMNIST(root, train=False)
    assert dataset.targets.tolist() == [0, 1, 2]
    assert dataset[0][0].tolist() == [(1, 2, 9, 0)]
    archive = nmnist.ARCHIVES["test"]
    assert calls == [(archive.url, "test.zip", archive.md5)]
    assert [path.name for path in (root / "NMNIST").iterdir()] == ["Test"]
    assert capsys.readouterr().out == ""
    NMNIST(root, train=False)
    assert len(calls) == 1


@pytest.mark.parametrize("place", ["test.zip", "NMNIST/test.zip"])
def test_an_archive_that_lies_there_is_unpacked(place, tmp_path, monkeypatch):
    file = make_archive(tmp_path / place)
    publish(monkeypatch, file)
    assert len(NMNIST(tmp_path, train=False)) == 3
    assert file.is_file()
    assert (tmp_path / "NMNIST" / "Test" / "0" / "00001.bin").is_file()


def test_a_damaged_archive_is_refused(tmp_path):
    make_archive(tmp_path / "test.zip")
    with pytest.raises(ValueError, match="not the published archive: its md5 is"):
        NMNIST(tmp_path, train=False)
    assert [path.name for path in tmp_path.iterdir()] == ["test.zip"]


def test_an_archive_without_the_split(tmp_path, monkeypatch):
    publish(monkeypatch, make_archive(tmp_path / "test.zip", split="Elsewhere"))
    with pytest.raises(ValueError, match="holds no folder Test"):
        NMNIST(tmp_path, train=False)
    assert list((tmp_path / "NMNIST").iterdir()) == []
