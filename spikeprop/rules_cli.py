"""The command ``spikeprop rules``: what each rule demands of the network and of the hardware."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["RulesConfig", "run"]

HEADINGS = (
    "rule",
    "local in time",
    "local in space",
    "surrogate",
    "feedback",
    "layer by layer",
    "phases",
    "adds",
    "memory",
    "multiply-adds",
    "source",
)

LEGEND = (
    "memory and multiply-adds of learning: per block and time step, with B recordings, C classes, "
    "I inputs, F neurons"
)


@dataclass(frozen=True)
class RulesConfig:
    """Print the table of learning rules and what they demand."""

    output: Path | None = None
    """Write the table to this .md file instead of the terminal."""


def run(config: RulesConfig) -> None:
    """Do what the command says.

    Raises
    ------
    ValueError
        If ``output`` is no .md file.
    """
    rows = table()
    if config.output is None:
        _show(rows)
        return
    if config.output.suffix != ".md":
        raise ValueError(f"output must end in .md, got {config.output}")
    from spikeprop.datasets.files import write_text

    write_text(config.output, markdown(rows), parents=True)
    print(config.output)


def table() -> list[tuple[str, ...]]:
    """Return one row of text a rule, in the order of ``spikeprop.rules.RULES``."""
    from spikeprop.rules import RULES

    rows = []
    for name, kind in RULES.items():
        c = kind.constraints
        if c is None:
            rows.append((name, *["?"] * (len(HEADINGS) - 1)))
            continue
        flags = [
            "yes" if flag else "no" for flag in (c.local_in_time, c.local_in_space, c.surrogate)
        ]
        layerwise = "yes" if c.layerwise else "no"
        asks = (c.feedback, layerwise, c.phases, c.changes_network)
        rows.append((name, *flags, *asks, c.memory, c.multiply_adds, c.source))
    return rows


def markdown(rows: list[tuple[str, ...]]) -> str:
    """Return the table as Markdown, with its legend."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|---" * len(HEADINGS) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([*lines, "", f"{LEGEND[0].upper()}{LEGEND[1:]}.", ""])


def _show(rows: list[tuple[str, ...]]) -> None:
    from rich.table import Table

    from spikeprop.terminal import table_console

    shown = Table(box=None, pad_edge=False, header_style="bold", caption=LEGEND)
    for heading in HEADINGS:
        shown.add_column(heading)
    for row in rows:
        shown.add_row(*row)
    table_console(400).print(shown)
