"""Unpacks archives of others: nothing outside the target, nothing but files, with limits.

Members are written into a temporary folder beside the target; the target appears whole or not at
all. Links, devices, absolute paths and paths through ``..`` are refused, and so is more content
than the limits allow, whatever an archive says about its sizes.
"""

from __future__ import annotations

import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

MAX_BYTES = 1 << 37
MAX_FILES = 1_000_000
_BLOCK = 1 << 20
_Members = Iterator[tuple[str, IO[bytes] | None]]


def unpack(
    archive: Path,
    target: Path,
    *,
    max_bytes: int = MAX_BYTES,
    max_files: int = MAX_FILES,
    inner: bool = False,
) -> None:
    """Unpack a ``.zip`` or ``.tar`` (``.gz``, ``.bz2``, ``.xz``) archive.

    Parameters
    ----------
    archive
        The file.
    target
        Folder for the content. What it holds already stays, but for files of the same names in the
        archive's top level.
    max_bytes, max_files
        The most that is unpacked.
    inner
        Unpack archives inside the archive too, into folders of their names (one level).

    Raises
    ------
    ValueError
        If it is no archive, is damaged, holds anything but plain files, or more than the limits.
    """
    budget = [max_bytes, max_files]
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unpack-", dir=target) as scratch:
        place = Path(scratch)
        _extract(archive, place, budget)
        if inner:
            for file in sorted(place.rglob("*.zip")):
                beside = file.with_suffix("")
                _extract(file, beside, budget)
                file.unlink()
                _flatten(beside)
        for item in sorted(place.iterdir()):
            old = target / item.name
            if old.is_dir() and not old.is_symlink():
                shutil.rmtree(old)
            item.replace(old)


def _flatten(folder: Path) -> None:
    """``cat/cat/a.bin`` becomes ``cat/a.bin``: archives named after the one folder in them."""
    content = list(folder.iterdir())
    if len(content) == 1 and content[0].is_dir() and content[0].name == folder.name:
        single = content[0].rename(folder / ".single")
        for item in list(single.iterdir()):
            item.rename(folder / item.name)
        single.rmdir()


def _extract(archive: Path, target: Path, budget: list[int]) -> None:
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                _write(archive, _zip_members(archive, opened), target, budget)
        elif tarfile.is_tarfile(archive):
            with tarfile.open(archive) as packed:
                _write(archive, _tar_members(archive, packed), target, budget)
        else:
            raise ValueError(f"{archive} is no archive (.zip, .tar, .tar.gz)")
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, NotImplementedError) as error:
        raise ValueError(f"{archive} is damaged: {error}") from None
    except (RuntimeError, OSError) as error:
        if isinstance(error, RuntimeError) or "CRC" in str(error) or error.errno is None:
            raise ValueError(f"{archive} is damaged: {error}") from None
        raise


def _zip_members(archive: Path, opened: zipfile.ZipFile) -> _Members:
    for info in opened.infolist():
        kind = info.external_attr >> 28
        if kind not in (0, 4, 8):  # a link, or a device
            raise ValueError(f"{archive}: {info.filename!r} is no plain file")
        if info.is_dir():
            yield info.filename, None
        else:
            with opened.open(info) as file:
                yield info.filename, file


def _tar_members(archive: Path, packed: tarfile.TarFile) -> _Members:
    for info in packed:
        if info.isdir():
            yield info.name, None
        elif info.isreg():
            yield info.name, packed.extractfile(info)
        else:
            raise ValueError(f"{archive}: {info.name!r} is no plain file")


def _write(archive: Path, members: _Members, target: Path, budget: list[int]) -> None:
    for name, file in members:
        place = _inside(archive, name, target)
        if place is None:
            continue
        budget[1] -= 1
        if budget[1] < 0:
            raise ValueError(f"{archive} holds more files than are allowed")
        if file is None:
            place.mkdir(parents=True, exist_ok=True)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb") as out:
            while block := file.read(_BLOCK):
                budget[0] -= len(block)
                if budget[0] < 0:
                    raise ValueError(f"{archive} unpacks to more bytes than are allowed")
                out.write(block)


def _inside(archive: Path, name: str, target: Path) -> Path | None:
    """Return where a member goes, or None for what macOS adds to archives."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    clean = [part for part in parts if part not in (".", "")]
    if not clean or clean[0] == "__MACOSX":
        return None
    if name.startswith(("/", "\\")) or ".." in clean or ":" in clean[0] or "\0" in name:
        raise ValueError(f"{archive}: {name!r} leads out of the folder")
    return target.joinpath(*clean)
