"""Results of training runs, one file each: what is finished is not run again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from spikeprop.comparison.claims import claimed
from spikeprop.datasets.files import write_text

__all__ = ["CELLS", "file_word", "load_or_run"]

CELLS = "cells"


def file_word(word: str) -> str:
    """Return a rule's or network's word as it may stand in the name of a file."""
    return re.sub(r"[^\w.+-]+", ".", word)


class Keyed(Protocol):
    """A training run and all that determines it."""

    @property
    def key(self) -> str:
        """Name of its file."""

    def as_dict(self) -> dict[str, Any]:
        """Return all fields as JSON can write them."""


class Named(Protocol):
    """What a training run gave: a ``NamedTuple``."""

    def _asdict(self) -> dict[str, Any]: ...


CellT = TypeVar("CellT", bound=Keyed)
ResultT = TypeVar("ResultT", bound=Named)


def load_or_run(
    cell: CellT, out: Path, run: Callable[[CellT], ResultT], kind: Callable[..., ResultT]
) -> ResultT:
    """Return a cell's result, a ``kind``: from its file, or by running it and writing it whole.

    Raises
    ------
    ValueError
        If the file is damaged.
    Taken
        If another process runs it just now.
    """
    path = out / CELLS / f"{cell.key}.json"
    if path.exists():
        return _read(path, kind)
    with claimed(out, cell.key):
        if path.exists():  # finished between the two
            return _read(path, kind)
        result = run(cell)
        content = {"cell": cell.as_dict(), "result": result._asdict()}
        write_text(path, json.dumps(content, indent=1), parents=True)
    return result


def _read(path: Path, kind: Callable[..., ResultT]) -> ResultT:
    try:
        return kind(**json.loads(path.read_text(encoding="utf-8"))["result"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not the result of a training run ({error!r}); delete it to run it again"
        ) from error
