"""Where data lie, and how files are written: whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def data_root(root: str | os.PathLike[str] | None) -> Path:
    """Return the data folder: ``root``, else ``$SPIKEPROP_DATA``, else ``~/.cache/spikeprop``."""
    if root is not None and str(root) == "":
        raise ValueError("root is empty; give a folder, or None for the default cache")
    return Path(root or os.environ.get("SPIKEPROP_DATA") or "~/.cache/spikeprop").expanduser()


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then move it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
        # mkstemp lets only the owner read; a data file follows the user's own rules.
        mask = os.umask(0)
        os.umask(mask)
        Path(temporary).chmod(0o666 & ~mask)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
