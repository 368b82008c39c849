"""JSON objects that carry a SHA-256 of their own content, so that damage is found."""

from __future__ import annotations

import hashlib
import json
from typing import Any

__all__ = ["seal", "unseal"]

KEY = "sha256"
LENGTH = 64


def seal(content: dict[str, Any]) -> dict[str, Any]:
    """Return the object with its digest as one key more."""
    return {**content, KEY: _digest(content)}


def unseal(sealed: dict[str, Any], source: str) -> dict[str, Any]:
    """Return the object without its digest; one that never had any is taken as it is.

    The digest stands last: what looks like one there, under another name, is one whose name is
    damaged.

    Parameters
    ----------
    sealed
        What was read.
    source
        What the error message calls it.

    Raises
    ------
    ValueError
        If the content is not what it was when the digest was made.
    """
    content = {key: value for key, value in sealed.items() if key != KEY}
    last = next(reversed(sealed.values()), None)
    renamed = KEY not in sealed and isinstance(last, str) and len(last) == LENGTH
    if renamed or sealed.get(KEY) not in (None, _digest(content)):
        raise ValueError(
            f"{source} is damaged, or was edited: its content has another SHA-256 than it had"
        )
    return content


def _digest(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
