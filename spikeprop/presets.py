"""Presets: whole runs on published sets by one name, and what they will cost, said beforehand.

Download and disk are known; time and memory are measured, on this machine, by two updates of a
learner that is then thrown away.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spikeprop.config import TrainConfig

if TYPE_CHECKING:
    from spikeprop.assemble import Data

__all__ = ["PRESETS", "Preset", "complete", "cost", "expectation", "preset"]


@dataclass(frozen=True)
class Preset:
    """Options of a run, and what its data take.

    Attributes
    ----------
    options
        Fields of :class:`TrainConfig` that differ from their defaults.
    download, disk
        How much comes over the network, and lies on the disk in the end, in words.
    """

    options: dict[str, Any]
    download: str
    disk: str


PRESETS = {
    "nmnist": Preset(
        {
            "dataset": "nmnist",
            "hidden": (512, 512),
            "lr": 1e-4,
            "epochs": 8,
            "batch_size": 64,
        },
        download="1.2 GB",
        disk="about 5 GB (archives 1.2, recordings 1.6, event stores 2.0)",
    ),
    "dvsgesture": Preset(
        {
            "dataset": "dvsgesture",
            "pool": 4,
            "n_time_bins": 60,
            "hidden": (512, 512),
            "epochs": 30,
            "batch_size": 32,
        },
        download="3.1 GB",
        disk="up to 20 GB (archives 3.1, recordings unpacked, event stores about 3.5)",
    ),
}
"""Untried on the complete sets: no accuracy is promised."""

_CUTS = ("n_time_bins", "event_count", "time_window")


def preset(name: str, **changes: Any) -> TrainConfig:
    """Return the configuration of a preset, with changes.

    Raises
    ------
    ValueError
        If there is no such preset, or a change is not allowed.
    """
    if name not in PRESETS:
        raise ValueError(f"there is no preset {name!r}: choose one of {', '.join(PRESETS)}")
    options = dict(PRESETS[name].options)
    if any(cut in changes for cut in _CUTS):
        options = {key: value for key, value in options.items() if key not in _CUTS}
    return TrainConfig(**{**options, **changes, "preset": name})


def complete(arguments: Sequence[str]) -> list[str]:
    """Put the options of ``--preset NAME`` behind the arguments, those aside that are given."""
    given = list(arguments)
    flags = {argument.split("=")[0].replace("_", "-") for argument in given}
    value = next((a.split("=", 1)[1] for a in given if a.startswith("--preset=")), None)
    if "--preset" in given[:-1]:
        value = given[given.index("--preset") + 1]
    if value not in PRESETS:
        return given  # none, or one that the parser will refuse by name
    cut = any(f"--{name.replace('_', '-')}" in flags for name in _CUTS)
    for name, option in PRESETS[value].options.items():
        flag = f"--{name.replace('_', '-')}"
        if flag in flags or (cut and name in _CUTS):
            continue
        values = option if isinstance(option, tuple) else (option,)
        given += [flag, *map(str, values)]
    return given


def cost(name: str) -> str:
    """Say what the data of a preset cost, before anything is fetched."""
    found = PRESETS[name]
    return (
        f"preset {name}: downloads {found.download} unless it is there, takes {found.disk} of "
        "disk; untried on the complete set, so no accuracy is promised"
    )


def expectation(config: TrainConfig, data: Data) -> str:
    """Say how long the run will take and how much memory, from two updates on its own data."""
    from spikeprop.assemble import build_learner
    from spikeprop.train import peak_memory_mib

    learner = build_learner(config, data.input_shape, len(data.classes))
    x, label = next(iter(data.train))
    learner.update(x, label)  # the first one still sets things up
    start = time.perf_counter()
    learner.update(x, label)
    seconds = (time.perf_counter() - start) * len(data.train) * config.epochs
    peak = peak_memory_mib()
    memory = f", {peak / 1024:.1f} GB of memory" if peak else ""
    return f"expected: {_words(seconds)} of training for {config.epochs} epochs{memory}"


def _words(seconds: float) -> str:
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
