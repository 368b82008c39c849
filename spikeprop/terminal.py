"""The terminal that text and tables are printed to."""

from __future__ import annotations

from rich.console import Console

__all__ = ["table_console", "text_console"]


def text_console(*, soft_wrap: bool = False, width: int | None = None) -> Console:
    """Return a console that prints text as it is: what is in brackets is no markup."""
    return Console(soft_wrap=soft_wrap, width=width, highlight=False, markup=False)


def table_console(width: int) -> Console:
    """Return the console; in a pipe, which has no width to fit into, one of ``width`` columns."""
    console = text_console()
    return console if console.is_terminal else text_console(width=width)
