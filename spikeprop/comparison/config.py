"""Options of ``spikeprop compare``. Imports nothing heavy, so that help answers at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from spikeprop.config import DatasetName, lag_steps
from spikeprop.shapes import check_shape

__all__ = ["CompareConfig"]


@dataclass(frozen=True)
class CompareConfig:
    """Compare learning rules: rules x networks x data sets x seeds, in one table.

    Every rule gets the same number of trials for its hyper-parameters, judged on a validation part
    of the training recordings; the best then trains on all of them, once a seed, and is tested once
    after the last epoch. What is finished in --out is not run again.
    """

    rules: tyro.conf.Positional[tuple[str, ...]] = ("sigprop", "bptt")
    """Rules (`spikeprop rules` lists them), module:Class of your own, or variants, which fix
    options: 'sigprop[evidence=leaky:0.1,rectify=False]'."""

    networks: tuple[str, ...] = ("256-256",)
    """Networks: sizes of spiking layers (256-256), or with convolutions in front: conv:8-16:128
    (3 x 3, each pooled), conv:16k5s2:40 (kernel 5 x 5, stride 2), conv:16k5s2p:40 (and pooled)."""

    datasets: tuple[DatasetName, ...] = ("saccade-digits",)
    """Data sets: `spikeprop data list` shows all of them."""

    data_dir: Path | None = None
    """Folder of the data sets; None is the default cache."""

    seeds: int = 3
    """Seeds of the final runs: 0, 1, ... [runs]"""

    epochs: int = 12
    """Passes through the training recordings in the final runs [epochs]."""

    trials: int = 12
    """Search budget of each rule on each network and data set; 1 takes the defaults [trials]."""

    trial_epochs: int | None = None
    """Passes in a trial of the search; None is as many as in the final runs [epochs]."""

    validation: float = 0.2
    """Share of the training recordings that judges the trials [fraction]."""

    batch_size: int = 50
    """Recordings per batch [recordings]."""

    time_window: int = 15_000
    """Length of a time step [µs]."""

    pool: int = 1
    """Pool so many by so many pixels into one [pixels]."""

    shift: int = 1
    """Random shift of every training recording by up to so many pixels [pixels]."""

    limit: int | None = None
    """Learn from so many of the training recordings only, of all classes alike [recordings]."""

    order_window: int | None = None
    """Cut windows of this length at random places and play half of them backward: twice the
    classes, told apart by order in time alone [µs]."""

    update_every: int | None = None
    """Time steps between updates of the weights; more than there are is one update a sequence, None
    is as each rule has it [time steps]."""

    lags: tuple[int, ...] | None = None
    """Let every input of a layer arrive later by one of these, drawn at random; multiples of
    time_window, 0 alone for none; None is at once or three time steps later [µs]."""

    beta: float = 0.5
    """Decay of the membrane voltage [per time step]."""

    frozen: bool = True
    """Also run every rule on hidden layers that stay as they were drawn."""

    measure: bool = True
    """Also measure time (interleaved) and peak memory (fresh processes) beside BPTT."""

    device: str = "cpu"
    """Where to learn: cpu, cuda or cuda:N; time and memory are measured on the CPU alone."""

    processes: int = 0
    """Training runs at a time, one thread each; 0 is one a core [processes]."""

    delays: tuple[int, ...] = ()
    """Ask for credit over time instead: a cue, so many silent steps, a question; its own small
    network and fixed options, no search, no data set [time steps]."""

    neurons: tuple[Literal["lif", "alif", "rlif"], ...] = ("lif", "alif", "rlif")
    """Hidden neurons of the delay task: leaky, adaptive, recurrent."""

    storage: str | None = None
    """Where the search keeps its trials: a database URL that several machines share; None is a file
    in --out."""

    out: Path = Path("runs/compare")
    """Folder of the results: table.md, table.csv, table.tex, figures and one file a run."""

    quick: bool = False
    """A tiny run that only shows that everything works: its figures mean nothing."""

    def __post_init__(self) -> None:
        for name in ("seeds", "epochs", "trials", "batch_size", "time_window", "pool"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("limit", "order_window", "update_every"):
            given = getattr(self, name)
            if given is not None and given < 1:
                raise ValueError(f"{name} must be None or at least 1, got {given}")
        lag_steps(self.lags, self.time_window)
        if self.trial_epochs is not None and not 1 <= self.trial_epochs <= self.epochs:
            raise ValueError(
                f"trial_epochs must be None or lie within [1, epochs = {self.epochs}], "
                f"got {self.trial_epochs}"
            )
        for name in ("shift", "processes"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if self.measure and self.device != "cpu":
            raise ValueError(
                f"measure must be off (--no-measure) on another device than the CPU, got device "
                f"{self.device!r}"
            )
        if not 0.0 < self.validation < 1.0:
            raise ValueError(f"validation must lie within (0, 1), got {self.validation}")
        if not 0.0 <= self.beta <= 1.0:
            raise ValueError(f"beta must lie within [0, 1], got {self.beta}")
        if any(delay < 0 for delay in self.delays) or len(set(self.delays)) < len(self.delays):
            raise ValueError(f"delays must be numbers of time steps, each once, got {self.delays}")
        for name in ("rules", "networks", "datasets", "neurons"):
            given = getattr(self, name)
            if not given or len(set(given)) < len(given):
                raise ValueError(f"{name} must name one or more, each once, got {given}")
        for network in self.networks:
            check_shape(network)
