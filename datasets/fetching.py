"""Downloads that survive: mirrors, resume, retries with back-off, md5; no half file in place.

A file grows as ``.<name>.part`` beside its place and is moved there once its md5 is right and it is
on disk. A download that stopped, for whatever reason, goes on from there the next time. A mirror
that answers with an error page, a challenge (figshare answers 202 or 403) or the wrong content is
given up for the next one.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import re
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from spikeprop.datasets.files import flush_folder

Progress = Callable[[int, int | None], None]
BLOCK = 1 << 18
PATIENCE_S = 30.0
LONGEST_WAIT_S = 60.0
_RETRY = (202, 408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class RemoteFile:
    """A published file.

    Attributes
    ----------
    name
        What it is called in the data folder.
    urls
        Where it can be had, the best first; none where it has to be fetched by hand.
    md5
        Its checksum, 32 hexadecimal digits.
    page
        A page for people, for files that have to be fetched by hand.
    size
        About how many bytes it has; None if that is not known.
    """

    name: str
    urls: tuple[str, ...]
    md5: str
    page: str = ""
    size: int | None = None


class DownloadError(OSError):
    """No mirror gave the file; the message says what each of them did."""


class _GiveUpError(Exception):
    """The mirror will not give the file: on to the next one."""


def md5_of(path: Path) -> str:
    """Return the md5 of a file, in hexadecimal digits."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def checked_copy(file: RemoteFile, source: Path, folder: Path) -> Path:
    """Take a file that was fetched by hand (``--from-file``); return its place in ``folder``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not the published file.
    """
    if not source.is_file():
        raise FileNotFoundError(f"{source}: no such file")
    check(file, source)
    target = folder / file.name
    if target.exists() and target.samefile(source):
        return target
    folder.mkdir(parents=True, exist_ok=True)
    part = _part(target)
    shutil.copyfile(source, part)
    return _place(part, target)


def check(file: RemoteFile, path: Path) -> None:
    """Raise ValueError if ``path`` is not the published file."""
    found = md5_of(path)
    if found != file.md5:
        where = f"; download it again from {file.urls[0]}" if file.urls else ""
        raise ValueError(
            f"{path} is not the published file: its md5 is {found}, expected {file.md5}{where}"
        )


def download(
    file: RemoteFile,
    folder: Path,
    *,
    retries: int = 5,
    wait_s: float = 1.0,
    progress: Progress | None = None,
) -> Path:
    """Download a file, or go on with a download that stopped; return its place in ``folder``.

    Parameters
    ----------
    file
        What to download.
    folder
        Made where it is missing.
    retries
        How often a mirror is asked again after a failure that may pass; each time from where the
        download stopped.
    wait_s
        Seconds before the first retry; twice as many before each further one, a minute at most. A
        server's ``Retry-After`` counts.
    progress
        Called with the bytes there are, and all of them (or None).

    Raises
    ------
    DownloadError
        If no mirror gives the file. What has come so far stays, to go on from.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / file.name
    part = _part(target)
    reasons = []
    with _alone(part):
        for url in file.urls:
            for attempt in range(retries + 1):
                try:
                    _fetch(url, part, file, progress)
                    return _place(part, target)
                except _GiveUpError as error:
                    reasons.append(f"{url}: {error}")
                    break
                except _failures as error:
                    if attempt == retries or isinstance(error, _NoSpaceError):
                        reasons.append(f"{url}: {_said(error)}")
                        break
                    time.sleep(_pause(error, wait_s * 2**attempt))
    raise DownloadError("; ".join(reasons) or "the file has to be fetched by hand")


class _NoSpaceError(OSError):
    pass


_failures = (OSError, http.client.HTTPException)


def _fetch(url: str, part: Path, file: RemoteFile, progress: Progress | None) -> None:
    """Ask one mirror once, for what is still missing, and check the whole."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "spikeprop", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=PATIENCE_S)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is missing, or what is there is not the file
            if have and md5_of(part) == file.md5:
                return
            part.unlink(missing_ok=True)
            raise OSError("the server does not go on from here") from None
        if error.code in _RETRY:
            raise
        raise _GiveUpError(f"HTTP {error.code} {error.reason}") from None
    with response:
        if response.status not in (200, 206):
            raise urllib.error.HTTPError(
                url, response.status, "not the file", response.headers, None
            )
        start, total = _extent(response, have)
        if start != have:
            have = start
        if total is not None:
            _check_space(part, total - have)
        with part.open("r+b" if part.exists() else "wb") as out:
            out.seek(have)
            out.truncate()
            for block in iter(lambda: response.read(BLOCK), b""):
                out.write(block)
                have += len(block)
                if total is not None and have > total:
                    break
                if progress is not None:
                    progress(have, total)
            out.flush()
            os.fsync(out.fileno())
    if total is not None and have < total:
        raise OSError(f"the connection ended after {have} of {total} bytes")
    found = md5_of(part)
    if found != file.md5:
        part.unlink()
        raise _GiveUpError(f"gave {have} bytes with md5 {found}, expected {file.md5}")


def _extent(response: Any, have: int) -> tuple[int, int | None]:
    """Where the answer begins in the file, and how long the file is."""
    length = response.headers.get("Content-Length")
    count = int(length) if length is not None and length.isdecimal() else None
    if response.status == 206:
        found = re.fullmatch(
            r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip()
        )
        if found and int(found[1]) <= have:
            total = int(found[2]) if found[2] != "*" else None
            return int(found[1]), total
        raise OSError("the server answers with another part of the file")
    return 0, count


def _check_space(part: Path, count: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if count > free:
        raise _NoSpaceError(f"{count:,} bytes are missing, and {free:,} are free in {part.parent}")


def _pause(error: BaseException, wait_s: float) -> float:
    if isinstance(error, urllib.error.HTTPError):
        said = error.headers.get("Retry-After", "") if error.headers else ""
        if said.isdecimal():
            wait_s = max(wait_s, float(said))
    return min(wait_s, LONGEST_WAIT_S)


def _said(error: BaseException) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    reason = getattr(error, "reason", None) or error
    return f"{type(error).__name__}: {reason}"


def _part(target: Path) -> Path:
    return target.with_name(f".{target.name}.part")


def _place(part: Path, target: Path) -> Path:
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(target)
    flush_folder(target.parent)
    return target


@contextlib.contextmanager
def _alone(part: Path) -> Iterator[None]:
    """Hold a lock, where the system has them: two processes never write one part."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    lock = part.with_name(part.name + ".lock")
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DownloadError(f"another process is downloading {part.name[1:-5]}") from None
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


class ProgressLine:
    """Progress on standard error: one line, renewed twice a second; nothing if it is no terminal.

    Parameters
    ----------
    name
        What is being downloaded.
    out
        Where to write; standard error by default.
    """

    def __init__(self, name: str, out: TextIO | None = None) -> None:
        self.name, self.out = name, sys.stderr if out is None else out
        self.next = 0.0

    def __call__(self, have: int, total: int | None) -> None:
        """Show how many bytes there are, of all."""
        now = time.monotonic()
        done = total is not None and have >= total
        if not self.out.isatty() or (now < self.next and not done):
            return
        self.next = now + 0.5
        share = f" of {total / 1e6:,.1f} MB, {100 * have / total:.0f} %" if total else " MB"
        self.out.write(f"\r{self.name}: {have / 1e6:,.1f}{share} " + ("\n" if done else ""))
        self.out.flush()
