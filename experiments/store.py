"""Results that are kept: one JSON file of finished cells, written whole after each of them.

A cell is one training run. Its key has a digest of all that determines it, so that a run which is
started again finds what is done, and one with other settings never takes up another's result.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from pathlib import Path
from typing import Any

from spikeprop.datasets.files import write_text

__all__ = ["Store"]

VERSION = 1


class Store:
    """Finished cells in ``folder/results.json``, and a table of them in ``folder/results.csv``.

    Parameters
    ----------
    folder : Path
        Made if it is missing.

    Raises
    ------
    ValueError
        If ``results.json`` there is damaged or of another version.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "results.json"
        self.cells: dict[str, dict[str, Any]] = {}
        if self.path.exists():
            self.cells = self._read()

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            version, cells = content["version"], content["cells"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{self.path} is not a results file ({error}); move it away, or choose another "
                f"folder with --out"
            ) from error
        if version != VERSION or not isinstance(cells, dict):
            raise ValueError(
                f"{self.path} has version {version!r}, this program reads {VERSION}; choose "
                f"another folder with --out"
            )
        return cells

    @staticmethod
    def key(label: str, identity: dict[str, Any]) -> str:
        """Return ``label`` with a digest of ``identity`` (anything that JSON can write)."""
        text = json.dumps(identity, sort_keys=True)
        return f"{label} {hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def get(self, key: str) -> dict[str, Any] | None:
        """Return a finished cell, or None."""
        return self.cells.get(key)

    def put(self, new: dict[str, dict[str, Any]]) -> None:
        """Add finished cells and write the file."""
        self.cells.update(new)
        content = json.dumps({"version": VERSION, "cells": self.cells}, indent=1)
        write_text(self.path, content, parents=True)

    def write_csv(self) -> Path:
        """Write one row per cell, without what is nested; return the file."""
        rows = [
            {"cell": key, **{k: v for k, v in cell.items() if not isinstance(v, (dict, list))}}
            for key, cell in self.cells.items()
        ]
        text = io.StringIO()
        columns = list(dict.fromkeys(name for row in rows for name in row))
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        path = self.path.with_suffix(".csv")
        write_text(path, text.getvalue(), parents=True)
        return path
