"""Downloads from a server on the loopback that misbehaves, and archives that lie there."""

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import time
import zipfile
from dataclasses import replace

import pytest

from spikeprop.datasets import NMNIST, fetching, nmnist, obtaining
from spikeprop.datasets.fetching import DownloadError, ProgressLine, RemoteFile, download

CONTENT = bytes(range(256)) * 4000


def remote(server, *paths, content=CONTENT, name="a.bin"):
    urls = tuple(server.url + path for path in paths)
    return RemoteFile(name, urls, hashlib.md5(content).hexdigest())


def get(file, folder, **options):
    return download(file, folder, wait_s=0.0, **options)


def test_a_plain_download(server, tmp_path):
    server.files["/a"] = CONTENT
    seen = []
    path = get(remote(server, "/a"), tmp_path / "new", progress=lambda *n: seen.append(n))
    assert path == tmp_path / "new" / "a.bin"
    assert path.read_bytes() == CONTENT
    assert [p.name for p in path.parent.iterdir()] == ["a.bin"]
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_a_connection_that_ends_is_taken_up_where_it_stopped(server, tmp_path):
    server.files["/a"] = CONTENT
    server.script["/a"] = [("cut", 300_000), ("cut", 500_000)]
    assert get(remote(server, "/a"), tmp_path).read_bytes() == CONTENT
    asked = [header for _, header in server.requests]
    assert asked == [None, "bytes=300000-", "bytes=800000-"]


def test_the_next_call_goes_on(server, tmp_path):
    server.files["/a"] = CONTENT
    server.script["/a"] = [("cut", 300_000)]
    with pytest.raises(DownloadError, match="the connection ended after 300000 of 1024000 bytes"):
        get(remote(server, "/a"), tmp_path, retries=0)
    assert not (tmp_path / "a.bin").exists()
    assert get(remote(server, "/a"), tmp_path).read_bytes() == CONTENT
    assert server.requests[-1] == ("/a", "bytes=300000-")


@pytest.mark.parametrize("fault", ["no-range", "other-range", 416])
def test_servers_that_cannot_go_on(fault, server, tmp_path):
    server.files["/a"] = CONTENT
    server.script["/a"] = [("cut", 300_000), fault]
    assert get(remote(server, "/a"), tmp_path).read_bytes() == CONTENT


def test_a_part_that_is_whole_already(server, tmp_path):
    server.files["/a"] = CONTENT
    (tmp_path / ".a.bin.part").write_bytes(CONTENT)
    assert get(remote(server, "/a"), tmp_path).read_bytes() == CONTENT
    (tmp_path / ".a.bin.part").write_bytes(CONTENT + b"and more")
    assert get(remote(server, "/a"), tmp_path).read_bytes() == CONTENT


def test_a_part_of_something_else_is_thrown_away(server, tmp_path):
    server.files["/a"] = CONTENT
    (tmp_path / ".a.bin.part").write_bytes(b"x" * 1000)
    file = remote(server, "/a", "/a")
    assert get(file, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("code", [202, 429, 500, 503])
def test_failures_that_pass(code, server, tmp_path):
    server.files["/a"] = CONTENT
    server.script["/a"] = [code, code, code]
    assert get(remote(server, "/a"), tmp_path).read_bytes() == CONTENT
    assert len(server.requests) == 4


@pytest.mark.parametrize("fault", [403, 404, "page", 202])
def test_mirrors(fault, server, tmp_path):
    """A challenge, a missing file, an error page with status 200: the next mirror is asked."""
    server.files["/bad"] = server.files["/good"] = CONTENT
    server.script["/bad"] = [fault] * 9
    path = get(remote(server, "/bad", "/good"), tmp_path, retries=2)
    assert path.read_bytes() == CONTENT
    asked = [path for path, _ in server.requests].count("/bad")
    assert asked == (3 if fault == 202 else 1)


def test_no_mirror_gives_it(server, tmp_path):
    server.files["/b"] = b"something else"
    with pytest.raises(DownloadError, match=r"/a: HTTP 404 .*/b: gave 14 bytes with md5"):
        get(remote(server, "/a", "/b"), tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DownloadError, match="fetched by hand"):
        get(remote(server), tmp_path)


def test_nobody_answers(tmp_path):
    file = RemoteFile("a", ("http://127.0.0.1:9/a",), "0" * 32)
    with pytest.raises(DownloadError, match=r"127\.0\.0\.1:9/a: "):
        get(file, tmp_path, retries=1)


def test_back_off(server, tmp_path, monkeypatch):
    waited = []
    monkeypatch.setattr(time, "sleep", waited.append)
    server.files["/a"] = CONTENT
    server.script["/a"] = [500] * 4
    download(remote(server, "/a"), tmp_path, wait_s=1.0)
    assert waited == [1.0, 2.0, 4.0, 8.0]
    assert fetching._pause(OSError(), 1000.0) == fetching.LONGEST_WAIT_S


def test_a_full_disk(server, tmp_path, monkeypatch):
    server.files["/a"] = CONTENT
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DownloadError, match="1,024,000 bytes are missing, and 1,000 are free"):
        get(remote(server, "/a"), tmp_path)


def test_one_process_at_a_time(server, tmp_path):
    server.files["/a"] = CONTENT
    pytest.importorskip("fcntl")
    with (
        fetching._alone(tmp_path / ".a.bin.part"),
        pytest.raises(DownloadError, match=r"another process is downloading a\.bin"),
    ):
        get(remote(server, "/a"), tmp_path)
    get(remote(server, "/a"), tmp_path)


def test_a_killed_download_leaves_no_half_file(server, tmp_path):
    server.files["/a"] = CONTENT * 20
    code = (
        "import sys, time, pathlib\n"
        "from spikeprop.datasets.fetching import RemoteFile, download\n"
        "def slow(*_):\n    print('.', flush=True); time.sleep(0.05)\n"
        "download(RemoteFile('a.bin', (sys.argv[1],), sys.argv[2]), pathlib.Path(sys.argv[3]),"
        " progress=slow)"
    )
    file = remote(server, "/a", content=CONTENT * 20)
    command = [sys.executable, "-c", code, file.urls[0], file.md5, str(tmp_path)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    for _ in range(3):
        assert child.stdout.readline()
    child.kill()
    child.wait()
    child.stdout.close()
    assert not (tmp_path / "a.bin").exists()
    assert (tmp_path / ".a.bin.part").stat().st_size > 0
    assert get(file, tmp_path).read_bytes() == CONTENT * 20
    assert server.requests[-1][1] is not None


def test_progress_line():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    out = Terminal()
    line = ProgressLine("a.zip", out)
    line(1_000_000, 2_000_000)
    line(1_100_000, 2_000_000)  # too soon
    line(2_000_000, 2_000_000)
    assert out.getvalue() == "\ra.zip: 1.0 of 2.0 MB, 50 % \ra.zip: 2.0 of 2.0 MB, 100 % \n"
    plain = io.StringIO()
    ProgressLine("a", plain)(1, 2)
    assert plain.getvalue() == ""


def archive_of(split="Test", path=None):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        for digit in range(3):
            file.writestr(f"{split}/{digit}/00001.bin", bytes([1, 2, 0, 0, 9]))
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.getvalue())
    return data.getvalue()


def publish(monkeypatch, content, *urls):
    """Make ``content`` the published test split of N-MNIST."""
    file = replace(nmnist.TEST, md5=hashlib.md5(content).hexdigest(), urls=urls)
    parts = {**nmnist.PARTS, "test": replace(nmnist.PARTS["test"], files=(file,))}
    monkeypatch.setattr(nmnist, "PARTS", parts)
    return parts["test"]


@pytest.fixture
def no_network(monkeypatch):
    def refuse(file, folder, **_):
        folder.mkdir(parents=True, exist_ok=True)
        raise DownloadError("Name or service not known")

    monkeypatch.setattr(obtaining, "download", refuse)


def test_a_failed_download_says_what_to_put_where(tmp_path, no_network):
    root = tmp_path / "new" / "folder"
    with pytest.raises(FileNotFoundError) as caught:
        NMNIST(root)
    message = str(caught.value)
    for part in (str(root), "Name or service not known", "train.zip", "39c25547-014b-4137"):
        assert part in message
    assert "20959b8e626244a1b502305a9e6e2031" in message
    assert os.path.join("Train", "<digit 0..9>") in message  # noqa: PTH118
    assert list(tmp_path.iterdir()) == []


def test_a_failed_download_leaves_other_files_alone(tmp_path, no_network):
    (tmp_path / "NMNIST").mkdir()
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(FileNotFoundError):
        NMNIST(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["NMNIST", "mine.txt"]


def test_without_download(tmp_path, monkeypatch):
    monkeypatch.setattr(obtaining, "download", lambda *_, **__: pytest.fail("downloads"))
    with pytest.raises(FileNotFoundError, match=r"test\.zip"):
        NMNIST(tmp_path, train=False, download=False)


def test_download_and_unpack(server, tmp_path, monkeypatch, capsys):
    server.files["/test.zip"] = content = archive_of()
    publish(monkeypatch, content, server.url + "/test.zip")
    dataset = NMNIST(tmp_path, train=False)
    assert dataset.targets.tolist() == [0, 1, 2]
    assert dataset[0][0].tolist() == [(1, 2, 9, 0)]
    assert [path.name for path in (tmp_path / "NMNIST").iterdir()] == ["Test"]
    assert capsys.readouterr().out == ""
    NMNIST(tmp_path, train=False)
    assert len(server.requests) == 1


@pytest.mark.parametrize("place", ["test.zip", "NMNIST/test.zip"])
def test_an_archive_that_lies_there_is_unpacked(place, tmp_path, monkeypatch):
    file = tmp_path / place
    publish(monkeypatch, archive_of(path=file))
    assert len(NMNIST(tmp_path, train=False)) == 3
    assert file.is_file()
    assert (tmp_path / "NMNIST" / "Test" / "0" / "00001.bin").is_file()


def test_a_damaged_archive_is_refused(tmp_path):
    archive_of(path=tmp_path / "test.zip")
    with pytest.raises(ValueError, match="not the published file: its md5 is"):
        NMNIST(tmp_path, train=False)
    assert [path.name for path in tmp_path.iterdir()] == ["test.zip"]


def test_an_archive_without_the_split(tmp_path, monkeypatch):
    publish(monkeypatch, archive_of("Elsewhere", tmp_path / "test.zip"))
    with pytest.raises(ValueError, match=r"test\.zip .* did not hold recordings as Test"):
        NMNIST(tmp_path, train=False)


def test_from_file(tmp_path, monkeypatch):
    part = publish(monkeypatch, archive_of(path=tmp_path / "by hand" / "renamed.zip"))
    obtaining.take_files(tmp_path / "data", part, [tmp_path / "by hand" / "renamed.zip"])
    assert len(NMNIST(tmp_path / "data", train=False, download=False)) == 3
    (tmp_path / "other.zip").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"other\.zip is not the published file"):
        obtaining.take_files(tmp_path / "data", part, [tmp_path / "other.zip"])
    with pytest.raises(FileNotFoundError, match="no such file"):
        obtaining.take_files(tmp_path / "data", part, [tmp_path / "none.zip"])


def test_from_file_that_is_no_archive(tmp_path):
    file = RemoteFile("images.gz", (), hashlib.md5(b"x").hexdigest())
    part = obtaining.Part("Images", "images", "images.gz", (file,), archives=False)
    (tmp_path / "copy.gz").write_bytes(b"x")
    obtaining.take_files(tmp_path, part, [tmp_path / "copy.gz"])
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["images.gz"]
    obtaining.take_files(tmp_path, part, [tmp_path / "images" / "images.gz"])


def tar_with(path, name, kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, 1 if kind == tarfile.REGTYPE else 0
    with tarfile.open(path, "w:gz") as file:
        file.addfile(info, io.BytesIO(b"x"))
    return path


@pytest.mark.parametrize("name", ["../out.txt", "/etc/out.txt", "a/../../out.txt", "C:/out.txt"])
def test_archives_never_write_outside(name, tmp_path):
    from spikeprop.datasets.unpacking import unpack

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(name, "x")
    for archive in (tmp_path / "a.zip", tar_with(tmp_path / "a.tar.gz", name)):
        with pytest.raises(ValueError, match="leads out of the folder"):
            unpack(archive, tmp_path / "target")
    assert list((tmp_path / "target").iterdir()) == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_archives_hold_plain_files_only(kind, tmp_path):
    from spikeprop.datasets.unpacking import unpack

    with pytest.raises(ValueError, match="is no plain file"):
        unpack(tar_with(tmp_path / "a.tar.gz", "link", kind, "/etc/passwd"), tmp_path / "target")
    info = zipfile.ZipInfo("link")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(info, "/etc/passwd")
    with pytest.raises(ValueError, match="is no plain file"):
        unpack(tmp_path / "a.zip", tmp_path / "target")


def test_limits_of_unpacking(tmp_path):
    from spikeprop.datasets.unpacking import unpack

    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for index in range(5):
            file.writestr(f"{index}", bytes(100_000))
    with pytest.raises(ValueError, match="more bytes than are allowed"):
        unpack(tmp_path / "a.zip", tmp_path / "b", max_bytes=450_000)
    with pytest.raises(ValueError, match="more files than are allowed"):
        unpack(tmp_path / "a.zip", tmp_path / "b", max_files=4)
    assert list((tmp_path / "b").iterdir()) == []
    unpack(tmp_path / "a.zip", tmp_path / "b", max_bytes=500_000, max_files=5)
    assert len(list((tmp_path / "b").iterdir())) == 5


def test_archives_in_archives(tmp_path):
    from spikeprop.datasets.unpacking import unpack

    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as file:
        file.writestr("cat/1.bin", "x")
        file.writestr("__MACOSX/cat/._1.bin", "x")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("cat.zip", inner.getvalue())
        file.writestr("readme", "x")
    unpack(tmp_path / "a.zip", tmp_path / "b", inner=True)
    found = sorted(str(p.relative_to(tmp_path / "b")) for p in (tmp_path / "b").rglob("*.*"))
    assert found == [os.path.join("cat", "1.bin")]  # noqa: PTH118


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04nothing", b"hello", archive_of()[:200]])
def test_damaged_archives(data, tmp_path):
    from spikeprop.datasets.unpacking import unpack

    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.zip is (no archive|damaged)"):
        unpack(tmp_path / "a.zip", tmp_path / "b")


def test_bytes_of_an_archive_changed(tmp_path):
    from spikeprop.datasets.unpacking import unpack

    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x", os.urandom(10_000))
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[5000] ^= 255
    (tmp_path / "a.zip").write_bytes(bytes(data))
    with pytest.raises(ValueError, match=r"a\.zip is damaged"):
        unpack(tmp_path / "a.zip", tmp_path / "b")
