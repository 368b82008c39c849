"""What one training run is: every option with its meaning, default and unit, in one place.

The command line, the run folder and the experiments all read their defaults here. This module
imports nothing heavy, so ``spikeprop train --help`` stays quick.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from spikeprop.names import meant
from spikeprop.rule_names import check_rule_name
from spikeprop.seals import seal, unseal

FORMAT = "spikeprop-run"
VERSION = 1

DatasetName = Literal[
    "saccade-digits",
    "nmnist",
    "saccade-mnist",
    "simulated-gestures",
    "dvsgesture",
    "ncaltech101",
    "cifar10dvs",
    "dvslip",
    "asldvs",
    "pokerdvs",
    "shd",
    "ssc",
    "smnist",
    "mnist",
    "fashion-mnist",
    "folder",
]
PresetName = Literal["nmnist", "dvsgesture"]
EvidenceName = Literal["running-mean", "instantaneous", "leaky"]
LossName = Literal[
    "cosine",
    "dot",
    "squared-distance",
    "contrast-maximum",
    "contrast-random",
    "contrast-top-k",
    "contrast-soft",
]
SignalName = Literal[
    "propagated",
    "projection",
    "learned",
    "synapse",
    "drawn",
    "context-input",
    "concatenated",
    "overlaid",
]
CodingName = Literal["constant", "rate", "latency", "pattern", "phases"]
PlacementName = Literal["parallel", "interleaved", "leading", "trailing"]
ClassSignals = Literal["all", "batch"]
OutputName = Literal["nearest", "trained"]
PotentialName = Literal["free", "membrane", "spikes"]
SmoothName = Literal["atan", "fast-sigmoid", "sigmoid"]
ReadoutName = Literal["last", "vote"]
ScheduleName = Literal["cosine", "constant"]


@dataclass(frozen=True)
class TrainConfig:
    """One training run of a fully connected spiking network on a data set of events.

    Raises
    ------
    TypeError
        If an option has the wrong type.
    ValueError
        If an option is outside its range; the message names it, its value and the range.
    """

    preset: PresetName | None = None
    """Options for a whole run on a published set; those given beside it count."""

    dataset: DatasetName = "saccade-digits"
    """Data set: saccade-digits is embedded; `spikeprop data list` shows all of them."""

    data_dir: Path | None = None
    """Folder of the data set; None is the default cache."""

    first_saccade_only: bool = False
    """Keep only the first of the three saccades of a recording."""

    stabilize: bool = False
    """Take the motion of the saccades out of the coordinates."""

    time_window: int = 15_000
    """Time bins, one a time step, of this length; unless one of the next two is given [µs]."""

    n_time_bins: int | None = None
    """Cut every recording into this many equal time bins instead [bins]."""

    event_count: int | None = None
    """Fill every time bin with this many events instead [events]."""

    binary: bool = True
    """A cell of a time bin holds a spike or none; otherwise the number of its events."""

    pool: int = 1
    """Pool so many by so many pixels into one [pixels]."""

    shift: int = 1
    """Augmentation: random shift of every training recording by up to so many pixels [pixels]."""

    limit: int | None = None
    """Learn from so many of the training recordings only, of all classes alike [recordings]."""

    order_window: int | None = None
    """Cut windows of this length at random places and play half of them backward: twice the
    classes, told apart by order in time alone [µs]."""

    validation: float = 0.1
    """Share of the training recordings kept for validation, per class; 0 is none [fraction]."""

    rule: str = "sigprop"
    """Learning rule, one that `spikeprop rules` lists, or module:Class for one of your own."""

    rule_options: tuple[str, ...] = ()
    """Hyper-parameters of another rule than sigprop, NAME=VALUE: kappa=0.8 feedback_scale=0.3."""

    loss: LossName = "cosine"
    """sigprop: local loss, on similarities with class signals or, contrast-..., in the batch."""

    tau: float = 0.07
    """sigprop: temperature of the cosine and contrast losses."""

    top_k: int = 6
    """sigprop: how many signals count as alike in the loss contrast-top-k [signals]."""

    potential: PotentialName = "free"
    """sigprop: what the loss sees: the voltage, what it would be without resets, or spikes."""

    evidence: EvidenceName = "leaky"
    """sigprop: filter over time through which the loss sees it."""

    evidence_alpha: float = 0.7
    """sigprop: weight of the newest time step in leaky evidence [fraction]."""

    evidence_tau: float | None = None
    """sigprop: time constant of leaky evidence, whatever the time_window, in place of
    evidence_alpha [ms]."""

    rectify: bool = True
    """sigprop: cut evidence below zero off."""

    smooth: SmoothName | None = None
    """sigprop: compare a smooth function of the evidence instead, with --no-rectify."""

    signal: SignalName = "propagated"
    """sigprop: how the signal enters, from a projection to an overlay on the input."""

    coding: CodingName = "constant"
    """sigprop: the signal's code along time."""

    coding_period: int = 20
    """sigprop: after so many time steps a code that is not constant begins anew [time steps]."""

    phases: int = 6
    """sigprop: phases of a recording, each with a signal of its own, with --coding phases."""

    placement: PlacementName = "parallel"
    """sigprop: beside the recording, in turns with it, or in steps before or after it."""

    signal_steps: int = 5
    """sigprop: length of a leading or trailing signal [time steps]."""

    class_signals: ClassSignals = "all"
    """sigprop: signals of all classes, or of those in the batch alone."""

    readout: OutputName = "nearest"
    """sigprop: predict the nearest signal, or by an output layer trained on each layer."""

    signal_scale: float = 0.3
    """sigprop: standard deviation of the class signal's current [thresholds]."""

    homeostasis: float | None = 0.1
    """sigprop: firing rate that thresholds keep; None is off [spikes per neuron and step]."""

    homeostasis_gain: float = 0.1
    """sigprop: largest change of a threshold's logarithm per batch."""

    predict_from: ReadoutName = "last"
    """sigprop: predict from the last layer or by a vote of all."""

    hidden: tuple[int, ...] = (256, 256)
    """Sizes of the spiking layers, first to last [neurons]."""

    beta: float = 0.5
    """Decay of the membrane voltage [per time step]."""

    tau_mem: float | None = None
    """Time constant of the membrane voltage, whatever the time_window, in place of beta [ms]."""

    lags: tuple[int, ...] | None = None
    """Let every input of a layer arrive later by one of these, drawn at random; multiples of
    time_window, 0 alone for none; None is at once or three time steps later [µs]."""

    dropout: float = 0.0
    """Share of the inputs that are dropped before every layer but the first [fraction]."""

    epochs: int = 24
    """Passes through the training recordings [epochs]."""

    batch_size: int = 50
    """Recordings per batch [recordings]."""

    lr: float | None = None
    """Learning rate of Adam at the start; None is the rule's own, 4e-4 for sigprop; for tens of
    thousands of recordings rather 1e-4."""

    schedule: ScheduleName = "cosine"
    """How the learning rate goes on: down to zero along a cosine, or constant."""

    update_every: int | None = None
    """Update the weights after every so many time steps; None is the rule's own, mostly 1 [time
    steps]."""

    seed: int = 0
    """Seed of weights, class signals, batches, augmentation and the validation split."""

    device: str = "cpu"
    """Where to compute: cpu, cuda or cuda:N."""

    threads: int = 0
    """CPU threads, 0 is torch's own choice; the same number gives the same bits [threads]."""

    pipeline: bool = False
    """Put the blocks into the processes that torchrun started, one behind the other, instead of
    splitting the batches among them."""

    checkpoint_minutes: float = 5.0
    """Write a checkpoint after so many minutes of training, beside that of every epoch [min]."""

    checkpoint_updates: int | None = None
    """Write a checkpoint after so many batches as well, on the way through an epoch [batches]."""

    keep: int = 2
    """So many checkpoints are kept: the newest, and older ones in case it gets damaged."""

    name: str | None = None
    """Name of the run folder; None takes the data set's name and the next free number."""

    runs_dir: Path = Path("runs")
    """Folder that run folders are made in."""

    resume: str | None = None
    """Go on with a stopped run: its folder; alone, the run --name or the latest unfinished; auto:
    the run --name if it is there, else begin it, for jobs that start over after a kill."""

    quiet: bool = False
    """Print nothing but the result."""

    def __post_init__(self) -> None:
        hints = _hints(type(self))
        for field in dataclasses.fields(self):
            value = _convert(field.name, getattr(self, field.name), hints[field.name])
            object.__setattr__(self, field.name, value)
        for name in COUNTS:
            _at_least(self, name, 1)
        for name in ("shift", "seed", "threads"):
            _at_least(self, name, 0)
        for name in ("limit", "order_window"):
            _at_least(self, name, 1)
        if self.n_time_bins is not None and self.event_count is not None:
            raise ValueError(
                "n_time_bins and event_count are two ways to cut a recording: give one of them, "
                f"not both (got {self.n_time_bins} and {self.event_count})"
            )
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"hidden must be one or more sizes of at least 1, got {self.hidden}")
        lag_steps(self.lags, self.time_window)
        self._check_times()
        _inside(self, "beta", 0.0, 1.0, "[]")
        _inside(self, "validation", 0.0, 1.0, "[)")
        _inside(self, "dropout", 0.0, 1.0, "[)")
        _inside(self, "evidence_alpha", 0.0, 1.0, "(]")
        _inside(self, "homeostasis", 0.0, 1.0, "(]")
        _inside(self, "homeostasis_gain", 0.0, math.inf, "[)")
        for name in ("lr", "tau", "evidence_tau", "tau_mem", "signal_scale", "checkpoint_minutes"):
            _inside(self, name, 0.0, math.inf, "()")
        check_rule_name(self.rule)
        if self.rule != "sigprop":
            self._refuse_options_of_sigprop()
        elif self.rule_options:
            raise ValueError(
                "rule 'sigprop' has options of its own (--tau, --potential, ...), no rule_options; "
                f"got {', '.join(self.rule_options)}"
            )
        if self.resume == "auto" and self.name is None:
            raise ValueError("resume='auto' goes on with the run --name: give it a name")
        if self.name is not None and (
            self.name in ("", ".", "..") or Path(self.name).name != self.name
        ):
            raise ValueError(
                f"name must be the name of one folder inside runs_dir, got {self.name!r}"
            )

    @property
    def decay(self) -> float:
        """Decay of the membrane voltage per time step, by ``beta`` or ``tau_mem``."""
        return self.beta if self.tau_mem is None else self._kept(self.tau_mem)

    @property
    def newest(self) -> float:
        """Weight of the newest step in leaky evidence, by its alpha or its time constant."""
        tau = self.evidence_tau
        return self.evidence_alpha if tau is None else 1.0 - self._kept(tau)

    def _kept(self, milliseconds: float) -> float:
        """Return what a time step leaves of a value that decays with this time constant."""
        return math.exp(-self.time_window / (1000 * milliseconds))

    def _check_times(self) -> None:
        """Refuse times where steps have none, and two ways of saying the same."""
        for name in ("lags", "tau_mem", "evidence_tau"):
            value = getattr(self, name)
            if value not in (None, (), (0,)) and not (self.n_time_bins is self.event_count is None):
                raise ValueError(
                    f"{name}={value} needs time steps of one length: give time_window, neither "
                    "n_time_bins nor event_count"
                )
        for name, other in (("tau_mem", "beta"), ("evidence_tau", "evidence_alpha")):
            time, number = getattr(self, name), getattr(self, other)
            if time is not None and number != getattr(TrainConfig, other):
                raise ValueError(
                    f"{name} stands in place of {other}: give one of them, not both (got {time} "
                    f"and {number})"
                )
        if self.evidence_tau is not None and self.evidence != "leaky":
            raise ValueError(
                f"evidence_tau={self.evidence_tau} is that of evidence 'leaky', got "
                f"{self.evidence!r}"
            )

    def _refuse_options_of_sigprop(self) -> None:
        given = [
            field.name
            for field in dataclasses.fields(self)
            if field.name in SIGPROP_OPTIONS and getattr(self, field.name) != field.default
        ]
        if given:
            raise ValueError(
                f"rule {self.rule!r} has no {', '.join(given)}; use rule 'sigprop' to choose them, "
                "or rule_options for the rule's own"
            )


SIGPROP_OPTIONS = (
    "loss",
    "tau",
    "top_k",
    "potential",
    "evidence",
    "evidence_alpha",
    "evidence_tau",
    "rectify",
    "smooth",
    "signal",
    "coding",
    "coding_period",
    "phases",
    "placement",
    "signal_steps",
    "class_signals",
    "readout",
    "signal_scale",
    "homeostasis",
    "homeostasis_gain",
    "predict_from",
)
"""Options that only the rule ``sigprop`` reads."""

COUNTS = (
    "time_window",
    "n_time_bins",
    "event_count",
    "pool",
    "epochs",
    "batch_size",
    "update_every",
    "top_k",
    "coding_period",
    "phases",
    "signal_steps",
    "checkpoint_updates",
    "keep",
)
"""Options that count something, from 1."""

HOW_TO_RUN = (
    "data_dir",
    "checkpoint_minutes",
    "checkpoint_updates",
    "keep",
    "name",
    "runs_dir",
    "resume",
    "quiet",
)
"""Options that say where and how to run, and may differ when a run is resumed."""

BEFORE: dict[str, Any] = {
    "limit": None,
    "order_window": None,
    "lags": (0,),
    "pipeline": False,
    "coding_period": 20,
    "phases": 6,
    "tau_mem": None,
    "evidence_tau": None,
}
"""Options that older runs do not have, and the value that says what was done before."""

LAGS = (0, 3)
"""Delays of a layer's inputs to draw from, unless others are given [time steps]."""


def lag_steps(lags: tuple[int, ...] | None, time_window: int) -> tuple[int, ...]:
    """Return delays in time steps, those in µs counted in steps of ``time_window``.

    Raises
    ------
    ValueError
        If one is negative, or no multiple of ``time_window``.
    """
    if lags is None:
        return LAGS
    if any(lag < 0 or lag % time_window for lag in lags):
        raise ValueError(
            f"lags must be whole numbers of time steps of {time_window} µs, got {lags}"
        )
    return tuple(lag // time_window for lag in lags)


def to_json(config: TrainConfig) -> str:
    """Return the text of ``config.json``: the format, its version and every option."""
    from spikeprop._version import __version__

    options = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in dataclasses.asdict(config).items()
    }
    head = {"format": FORMAT, "version": VERSION, "spikeprop": __version__, "config": options}
    return json.dumps(seal(head), indent=2) + "\n"


def from_json(text: str, source: str = "the configuration") -> TrainConfig:
    """Read the configuration that :func:`to_json` wrote.

    Parameters
    ----------
    text
        The JSON text.
    source
        What error messages call it; the command line gives the file's path.

    Raises
    ------
    ValueError
        If it is no JSON, no run configuration, of another version, damaged, or has unknown or
        missing options, or one with a value that is not allowed.
    """
    try:
        head = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{source} is not valid JSON: {error}") from None
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise ValueError(f"{source} is not the configuration of a spikeprop run")
    if head.get("version") != VERSION:
        raise ValueError(
            f"{source} has version {head.get('version')!r} (written by spikeprop "
            f"{head.get('spikeprop')}), and this spikeprop reads version {VERSION}"
        )
    options = head.get("config")
    if not isinstance(options, dict):
        raise ValueError(f"{source} has no options under 'config'")
    names = {field.name for field in dataclasses.fields(TrainConfig)}
    missing = names - set(options) - {*HOW_TO_RUN, *BEFORE}
    for kind, wrong in (("unknown", set(options) - names), ("no", missing)):
        if wrong:
            raise ValueError(
                f"{source} has {kind} option{'s' * (len(wrong) > 1)} {', '.join(sorted(wrong))}: "
                f"it was written by spikeprop {head.get('spikeprop')}, another version"
            )
    try:
        config = TrainConfig(**{**BEFORE, **options})
    except (TypeError, ValueError) as error:
        raise ValueError(f"{source}: {error}") from None
    unseal(head, source)
    return config


def differences(given: TrainConfig, stored: TrainConfig) -> list[str]:
    """List options given that contradict a stored run, as ``--option new (run: old)``.

    An option that has its default counts as not given.
    """
    found = []
    for field in dataclasses.fields(TrainConfig):
        new, old = getattr(given, field.name), getattr(stored, field.name)
        if field.name not in HOW_TO_RUN and new not in (field.default, old):
            found.append(f"--{field.name.replace('_', '-')} {new} (run: {old})")
    return found


def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _convert(name: str, value: Any, hint: Any) -> Any:
    """``value`` as the type ``hint``; numbers and paths that mean the same are taken, no others."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value not in arguments:
            raise ValueError(
                f"{name} must be one of {', '.join(arguments)}, got {value!r}"
                f"{meant(value, arguments)}"
            )
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        return _convert(name, value, next(a for a in arguments if a is not type(None)))
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise TypeError(f"{name} must be a sequence of {arguments[0].__name__}, got {value!r}")
        return tuple(_convert(name, item, arguments[0]) for item in value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise TypeError(f"{name} must be of type {hint.__name__}, got {value!r}")
    return value


def _at_least(config: TrainConfig, name: str, low: int) -> None:
    value = getattr(config, name)
    if value is not None and value < low:
        raise ValueError(f"{name} must be at least {low}, got {value}")


def _inside(config: TrainConfig, name: str, low: float, high: float, ends: str) -> None:
    value = getattr(config, name)
    if value is None:
        return
    above = value > low or (ends[0] == "[" and value == low)
    below = value < high or (ends[1] == "]" and value == high)
    if not (above and below):
        raise ValueError(f"{name} must be in {ends[0]}{low:g}, {high:g}{ends[1]}, got {value}")
