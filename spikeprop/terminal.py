"""The terminal that tables are printed to."""

from __future__ import annotations

from rich.console import Console

__all__ = ["table_console"]


def table_console(width: int) -> Console:
    """Return the console; in a pipe, which has no width to fit into, one of ``width`` columns."""
    console = Console(highlight=False, markup=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, width=width)
