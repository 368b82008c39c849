"""How a published set gets into the data folder: it, or its archive, lies there, or is fetched.

Every set has a folder of its own, ``<data folder>/<folder>``; what lies in the data folder itself
is found too. An archive there is checked by its md5 and unpacked. Otherwise it is downloaded.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from spikeprop.datasets.fetching import (
    DownloadError,
    ProgressLine,
    RemoteFile,
    check,
    checked_copy,
    download,
)
from spikeprop.datasets.unpacking import unpack


@dataclass(frozen=True)
class Part:
    """What is published of a set in one or more files, such as its training split.

    Attributes
    ----------
    title
        What it is, in messages.
    folder
        The set's folder in the data folder.
    layout
        What the unpacked data look like, relative to the data folder or the set's folder.
    files
        The published files.
    archives
        Whether the files are archives, to be unpacked.
    inner
        Whether archives hold archives.
    """

    title: str
    folder: str
    layout: str
    files: tuple[RemoteFile, ...]
    archives: bool = True
    inner: bool = False
    hint: str = field(default="", compare=False)


Find = Callable[[Path], Path | None]


def obtain(root: Path, part: Part, find: Find, *, fetch: bool) -> Path:
    """Return where a part lies, after unpacking or downloading it if need be.

    Parameters
    ----------
    root
        The data folder.
    part
        What is asked for.
    find
        Returns the place of the data in a folder, or None.
    fetch
        Whether archives may be unpacked and downloaded.

    Raises
    ------
    FileNotFoundError
        If the data are missing and cannot be fetched; says which files to put where.
    ValueError
        If a file that lies there is not the published one, or holds something else.
    """
    found = present(root, part, find)
    if found is not None:
        return found
    if not fetch:
        raise FileNotFoundError(instructions(root, part))
    home = root / part.folder
    new = [place for place in (home, *home.parents) if not place.exists()]
    try:
        for file in part.files:
            _one_file(root, home, part, file)
    except DownloadError as error:
        raise FileNotFoundError(instructions(root, part, str(error))) from error
    finally:
        # Folders made for a download that came to nothing go again; rmdir spares filled ones.
        for made in new:
            with contextlib.suppress(OSError):
                made.rmdir()
    found = present(root, part, find)
    if found is None:
        names = ", ".join(file.name for file in part.files)
        raise ValueError(f"{names} in {home} did not hold {part.layout}")
    return found


def present(root: Path, part: Part, find: Find) -> Path | None:
    """Return where a part lies in the data folder or the set's folder in it, or None."""
    for place in (root, root / part.folder):
        if place.is_dir():
            found = find(place)
            if found is not None:
                return found
    return None


def take_files(root: Path, part: Part, given: Sequence[Path]) -> None:
    """Take files that were fetched by hand; unpack archives.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If one is not among the published files.
    """
    home = root / part.folder
    for path in given:
        wanted = [file for file in part.files if file.name == path.name] or list(part.files)
        error: ValueError | None = None
        for file in wanted:
            try:
                if not path.is_file():
                    raise FileNotFoundError(f"{path}: no such file")
                if part.archives:
                    check(file, path)
                    unpack(path, home, inner=part.inner)
                else:
                    checked_copy(file, path, home)
                break
            except ValueError as reason:
                error = reason
        else:
            assert error is not None
            raise error


def _one_file(root: Path, home: Path, part: Part, file: RemoteFile) -> None:
    for place in (root / file.name, home / file.name):
        if place.is_file():
            check(file, place)
            if part.archives:
                unpack(place, home, inner=part.inner)
            return
    path = download(file, home, progress=ProgressLine(file.name))
    if part.archives:
        unpack(path, home, inner=part.inner)
        path.unlink()


def instructions(root: Path, part: Part, reason: str | None = None) -> str:
    """Say which files to put where."""
    lines = [f"{part.title} is not in {root}."]
    if reason:
        lines.append(f"Downloading it failed: {reason}")
    lines.append(f"Put one of these into {root} (or its sub-folder {part.folder}):")
    lines.append(f"  - {part.layout.replace('/', os.sep)}; part will do")
    for file in part.files:
        where = file.page or (file.urls[0] if file.urls else "its publisher")
        lines.append(f"  - {file.name}, md5 {file.md5}, from {where}")
    if part.hint:
        lines.append(part.hint)
    lines.append("or name another folder (root=..., --data-dir, the environment variable")
    lines.append("SPIKEPROP_DATA).")
    return "\n".join(lines)
