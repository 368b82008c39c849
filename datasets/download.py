"""Fetches N-MNIST: unpacks archives that lie there, or has tonic download them.

tonic's licence is GPL-3. It is imported here only, and only when a download is asked for.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

_FILES = "https://data.mendeley.com/public-files/datasets/468j46mzdv/files/"
_PATIENCE_S = 30.0


@dataclass(frozen=True)
class Archive:
    """One published archive: folder in it, file name, address, checksum, number of recordings."""

    split: str
    file: str
    url: str
    md5: str
    recordings: int


ARCHIVES = {
    "train": Archive(
        "Train",
        "train.zip",
        _FILES + "39c25547-014b-4137-a934-9d29fa53c7a0/file_downloaded",
        "20959b8e626244a1b502305a9e6e2031",
        60_000,
    ),
    "test": Archive(
        "Test",
        "test.zip",
        _FILES + "05a4d654-7e03-4c15-bdfa-9bb2bcbea494/file_downloaded",
        "69ca8762b2fe404d9b9bad1103e97832",
        10_000,
    ),
}


def instructions(folder: Path, archive: Archive, reason: str | None = None) -> str:
    """Say which files to put where."""
    lines = [f"N-MNIST's {archive.split} recordings are not in {folder}."]
    if reason:
        lines.append(f"Downloading them failed: {reason}")
    lines.append(f"Put one of these into {folder} (or its sub-folder NMNIST):")
    lines.append(
        f"  - recordings as {archive.split}{os.sep}<digit 0..9>{os.sep}*.bin; part will do"
    )
    for other in ARCHIVES.values():
        lines.append(f"  - {other.file}, md5 {other.md5}, from {other.url}")
    lines.append("or name another folder (root=..., or the environment variable SPIKEPROP_DATA).")
    return "\n".join(lines)


def fetch(folder: Path, archive: Archive) -> Path:
    """Unpack or download a split; return its folder, ``<folder>/NMNIST/<split>``.

    Everything is done in a temporary folder beside the place; the split appears whole or not at
    all.

    Raises
    ------
    FileNotFoundError
        If it cannot be downloaded; says which files to put where.
    ValueError
        If an archive that lies there is not the published one.
    """
    for place in (folder / archive.file, folder / "NMNIST" / archive.file):
        if place.is_file():
            found = _md5(place)
            if found != archive.md5:
                raise ValueError(
                    f"{place} is not the published archive: its md5 is {found}, expected "
                    f"{archive.md5}; download it again from {archive.url}"
                )
            return _unpack(place, folder / "NMNIST", archive)
    target = folder / "NMNIST"
    new = [place for place in (target, *target.parents) if not place.exists()]
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=target) as scratch:
            _download(archive, scratch)
            return _unpack(Path(scratch, archive.file), target, archive)
    except (OSError, RuntimeError, ImportError, zipfile.BadZipFile) as error:
        reason = f"{type(error).__name__}: {error}"
        raise FileNotFoundError(instructions(folder, archive, reason)) from error
    finally:
        # Folders made for a download that came to nothing go again; rmdir spares filled ones.
        for made in new:
            with contextlib.suppress(OSError):
                made.rmdir()


def _download(archive: Archive, scratch: str) -> None:
    from tonic.download_utils import download_url

    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE_S)
    try:
        # Progress belongs on stderr; stdout is for results.
        with contextlib.redirect_stdout(sys.stderr):
            download_url(archive.url, scratch, filename=archive.file, md5=archive.md5)
    finally:
        socket.setdefaulttimeout(patience)


def _unpack(file: Path, target: Path, archive: Archive) -> Path:
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unpack-", dir=target) as scratch:
        with zipfile.ZipFile(file) as opened:
            opened.extractall(scratch)
        unpacked = Path(scratch, archive.split)
        if not unpacked.is_dir():
            raise ValueError(f"{file} holds no folder {archive.split}")
        unpacked.replace(target / archive.split)
    return target / archive.split


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
