"""What was meant: names near to one that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["meant"]


def meant(given: object, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'a' or 'b'?"``, or nothing where no known name is near."""
    near = difflib.get_close_matches(str(given).lower(), list(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
