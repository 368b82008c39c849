"""The command ``spikeprop neurons``: the table, and pictures of single neurons."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

__all__ = ["NeuronsConfig", "run"]


@dataclass(frozen=True)
class NeuronsConfig:
    """Print the table of neurons; `show NAME` draws one of them, `gallery FILE.md` all."""

    action: tyro.conf.Positional[Literal["table", "show", "gallery"]] = "table"
    """What to do."""

    target: tyro.conf.Positional[str | None] = None
    """For show: the neuron, such as adex or izhikevich:chattering. For gallery: the page to write;
    its pictures go into a folder beside it."""

    input: Literal["step", "ramp", "noise"] = "step"
    """For show: form of the input current."""

    amplitude: float | None = None
    """For show: amplitude of the current; None makes the neuron fire at a moderate rate."""

    steps: int = 200
    """For show: number of time steps."""

    output: Path | None = None
    """For show: the .png file to write; None is NAME-INPUT.png in the current folder."""


def run(config: NeuronsConfig) -> None:
    """Do what the command says.

    Parameters
    ----------
    config
        The command's options.

    Raises
    ------
    ValueError
        If the neuron is unknown or an option does not fit the action.
    """
    if config.action == "table":
        if config.target is not None:
            raise ValueError(f"table takes no further word, got {config.target!r}")
        _table()
    elif config.target is None:
        missing = "the name of a neuron" if config.action == "show" else "a .md file to write"
        raise ValueError(f"{config.action} needs {missing}")
    elif config.action == "show":
        from spikeprop.neuron_gallery import draw

        stem = config.target.lower().replace(":", "-")
        path = config.output or Path(f"{stem}-{config.input}.png")
        draw(
            config.target,
            path,
            kind=config.input,
            amplitude=config.amplitude,
            steps=config.steps,
        )
        print(path)
    else:
        from spikeprop.neuron_gallery import write_gallery

        print(write_gallery(Path(config.target))[-1])


def _table() -> None:
    from rich.table import Table

    from spikeprop.neuron_table import NEURONS
    from spikeprop.terminal import table_console

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("neuron", "a step (v is the voltage, I the current)", "parameters"):
        table.add_column(heading)
    for heading in ("eligibility", "NIR", "snnTorch"):
        table.add_column(heading)
    for e in NEURONS:
        table.add_row(
            e.name, e.dynamics, e.parameters, e.eligibility, e.nir or "-", e.snntorch or "-"
        )
    table_console(200).print(table)
