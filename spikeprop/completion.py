"""``spikeprop completion``: a script that lets a shell complete commands, options and choices."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, make_dataclass
from typing import Annotated, Any, Literal

import tyro

__all__ = ["CompletionConfig", "script"]


@dataclass(frozen=True)
class CompletionConfig:
    """Print a script that lets a shell complete commands, options and choices.

    bash: spikeprop completion bash > ~/.local/share/bash-completion/completions/spikeprop

    zsh: spikeprop completion zsh > FOLDER/_spikeprop, with FOLDER in $fpath before compinit

    fish: spikeprop completion fish > ~/.config/fish/completions/spikeprop.fish
    """

    shell: tyro.conf.Positional[Literal["bash", "zsh", "fish"]]
    """Which shell."""


def script(
    shell: str, commands: Mapping[str, type], groups: Mapping[str, Mapping[str, type]]
) -> str:
    """Return the shell's script for all commands.

    Parameters
    ----------
    shell
        bash, zsh or fish.
    commands
        Configurations by the names of their commands.
    groups
        Commands that have commands of their own.
    """
    kinds = dict(commands)
    for name, inner in groups.items():
        group = make_dataclass(f"Group{name.capitalize()}", [("command", _union(inner))])
        group.__doc__ = f"Commands of spikeprop {name}."
        kinds[name] = group
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        tyro.cli(
            _union(kinds),
            prog="spikeprop",
            args=["--tyro-print-completion", shell],
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
        )
    return text.getvalue()


def _union(commands: Mapping[str, type]) -> Any:
    union: Any = None
    for name, kind in commands.items():
        command: Any = Annotated[kind, tyro.conf.subcommand(name, prefix_name=False)]
        union = command if union is None else union | command
    return union
