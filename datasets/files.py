"""Where data lie, and how files are written: whole or not at all.

A file is written under another name beside its place, flushed to disk and renamed; then the folder
is flushed, so that neither a killed process nor a power cut leaves half of a file. Data sets, run
folders, checkpoints and results are all written by these functions. A full disk or a read-only
folder is an ``OSError`` that names the file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Callable
from pathlib import Path

__all__ = ["data_root", "flush_folder", "write_atomically", "write_bytes", "write_text"]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)


def data_root(root: str | os.PathLike[str] | None) -> Path:
    """Return the data folder: ``root``, else ``$SPIKEPROP_DATA``, else ``~/.cache/spikeprop``.

    Raises
    ------
    ValueError
        If ``root`` is empty.
    """
    if root is not None and str(root) == "":
        raise ValueError("root is empty; give a folder, or None for the default cache")
    return Path(root or os.environ.get("SPIKEPROP_DATA") or "~/.cache/spikeprop").expanduser()


def write_atomically(
    path: str | os.PathLike[str], write: Callable[[Path], object], *, parents: bool = False
) -> None:
    """Let ``write`` write a temporary file beside ``path``, then move it into place in one step.

    Parameters
    ----------
    path
        The file; an older one is replaced only once the new one is whole and on disk.
    write
        Called with the temporary file's path, which ends like ``path`` and is empty so far.
    parents
        Make the file's folder where it is missing.

    Raises
    ------
    FileNotFoundError
        If the folder is missing and ``parents`` is false.
    OSError
        If the file cannot be written (a full disk, a read-only folder): the message names the file
        and the reason. Whatever else ``write`` raises goes through. Neither leaves anything behind.
    """
    path = Path(path)
    if parents:
        path.parent.mkdir(parents=True, exist_ok=True)
    elif not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: there is no folder {path.parent}")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}{path.suffix}")
    try:
        # Made here and not by tempfile: the file then has the permissions that the user's umask
        # asks for, and O_EXCL refuses a name that is taken or a link.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and _of_the_place(error, temporary):
            raise OSError(error.errno, f"cannot write {path}: {error.strerror}") from error
        raise
    flush_folder(path.parent)


def _of_the_place(error: OSError, temporary: Path) -> bool:
    """Tell whether an error is one of the disk or the folder, not of what ``write`` reads."""
    return error.errno in (*_FULL, *_FORBIDDEN) and error.filename in (None, str(temporary))


def flush_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, where the system can do that (not on Windows)."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_bytes(path: str | os.PathLike[str], data: bytes, *, parents: bool = False) -> None:
    """Write ``data`` in one step; see :func:`write_atomically`."""
    write_atomically(path, lambda temporary: temporary.write_bytes(data), parents=parents)


def write_text(path: str | os.PathLike[str], text: str, *, parents: bool = False) -> None:
    """Write a UTF-8 text file in one step; see :func:`write_atomically`."""
    write_bytes(path, text.encode("utf-8"), parents=parents)
