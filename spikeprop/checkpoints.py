"""The checkpoints of a run: the newest whole one is found, older ones are kept to a number.

Each is a file named by the number of updates that it holds, so that a clock that jumps moves
nothing; a newer one never takes the place of an older one before it is whole and on disk.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from spikeprop.checkpoint import load_state, save_state

__all__ = ["Checkpoints"]

T = TypeVar("T")

STEM, SUFFIX, DAMAGED = "checkpoint-", ".safetensors", ".damaged"


class Checkpoints:
    """Checkpoints in a folder.

    Parameters
    ----------
    folder
        The folder.
    keep
        How many are kept, at least 1.
    """

    def __init__(self, folder: Path, keep: int = 1) -> None:
        self.folder, self.keep = folder, keep

    def paths(self) -> list[Path]:
        """Return the checkpoints, newest first."""
        found = [
            (int(digits), path)
            for path in self.folder.glob(f"{STEM}*{SUFFIX}")
            if (digits := path.name[len(STEM) : -len(SUFFIX)]).isascii() and digits.isdecimal()
        ]
        return [path for _, path in sorted(found, reverse=True)]

    def write(self, updates: int, state: dict[str, Any]) -> Path:
        """Write the checkpoint after so many updates, then remove those that are too old.

        Raises
        ------
        OSError
            If it cannot be written; the older ones are all there.
        """
        path = self.folder / f"{STEM}{updates:09d}{SUFFIX}"
        try:
            save_state(path, state)
        except OSError as error:
            older = self.paths()
            if not error.strerror or not older:
                raise
            text = f"{error.strerror}; {older[0].name} is whole, and --resume goes on from it"
            raise OSError(error.errno, text) from error
        for old in self.paths()[self.keep :]:
            old.unlink(missing_ok=True)
        return path

    def newest(self, take: Callable[[dict[str, Any]], T]) -> T | None:
        """Give ``take`` the newest checkpoint that is whole and that it accepts.

        Newer ones that are damaged are put aside under another name, with a warning.

        Parameters
        ----------
        take
            Raises ``ValueError`` for a state that cannot be gone on with, and changes nothing then.

        Returns
        -------
        object
            What ``take`` returned; None if there is no checkpoint.

        Raises
        ------
        ValueError
            If no checkpoint will do: why the newest will not. All stay as they are.
        """
        refused: list[tuple[Path, Exception]] = []
        for path in self.paths():
            try:
                found = take(load_state(path))
            except (ValueError, FileNotFoundError) as error:
                refused.append((path, error))
                continue
            for bad, reason in refused:
                bad.replace(bad.with_name(bad.name + DAMAGED))
                warnings.warn(f"{reason}; going on from the one before, {path.name}", stacklevel=2)
            return found
        if refused:
            more = f" (nor do the {len(refused) - 1} before it)" if len(refused) > 1 else ""
            raise ValueError(f"{refused[0][1]}{more}") from refused[0][1]
        return None

    def remove(self) -> None:
        """Remove them all."""
        for path in self.paths():
            path.unlink(missing_ok=True)
