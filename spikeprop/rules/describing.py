"""Rules and their parts as JSON can write them: what a checkpoint compares."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from spikeprop.evidence import as_filters

__all__ = ["describe", "settings"]


def describe(part: Any) -> dict[str, Any]:
    """Return a part's class name and, for a dataclass, its fields, described the same way."""
    if not is_dataclass(part) or isinstance(part, type):
        return {"name": type(part).__name__}
    values = {item.name: getattr(part, item.name) for item in fields(part)}
    return {
        "name": type(part).__name__,
        **{k: describe(v) if is_dataclass(v) else v for k, v in values.items()},
    }


def settings(rule: Any) -> dict[str, Any]:
    """Return the name and the fields of a rule that is a dataclass; other objects by their type."""
    return {"rule": type(rule).__name__} | {
        item.name: _plain(item.name, getattr(rule, item.name)) for item in fields(rule)
    }


def _plain(name: str, value: Any) -> Any:
    if name in ("evidence", "stream_evidence"):
        return [describe(part) for part in as_filters(value)]
    if is_dataclass(value) and not isinstance(value, type):
        return describe(value)
    simple = value is None or isinstance(value, (bool, int, float, str))
    return value if simple else type(value).__name__
