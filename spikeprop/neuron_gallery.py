"""Pictures of single neurons: current, voltage, eligibility trace and spikes over time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from spikeprop.datasets.files import write_atomically
from spikeprop.neuron_table import NEURONS, Entry, find, names
from spikeprop.neurons import SpikingNeuron, advance, read
from spikeprop.plots import COLOURS, GREY

__all__ = ["InputKind", "Record", "draw", "page", "record", "write_gallery"]

#: Heading of the figures in the docs, which no command draws.
MEASURED = "\n## Measured\n"

InputKind = Literal["step", "ramp", "noise"]
Series = NDArray[np.float64]


@dataclass(frozen=True)
class Record:
    """What one neuron did, ``(T,)`` each, in float64.

    Attributes
    ----------
    current, spikes : ndarray
        Input and output.
    state : dict of str to ndarray
        Every state variable, the voltage ``mem`` among them.
    trace : ndarray
        Derivative of the voltage with respect to the weight of a synapse that carries the current.
    """

    current: Series
    spikes: Series
    state: dict[str, Series]
    trace: Series


def current_of(kind: InputKind, amplitude: float, steps: int, seed: int = 0) -> Series:
    """Return an input current, ``(steps,)``.

    Parameters
    ----------
    kind : {"step", "ramp", "noise"}
        On for the middle 80 % of the time; growing from 0 to twice the amplitude; or Gaussian noise
        around 0.7 of it, with a deviation of 1.5 of it.
    amplitude : float
        In the neuron's units of current.
    steps : int
        Number of time steps.
    seed : int
        Of the noise.
    """
    t = np.arange(steps)
    if kind == "step":
        return np.where((t >= steps // 10) & (t < steps - steps // 10), amplitude, 0.0)
    if kind == "ramp":
        return 2.0 * amplitude * t / steps
    noise = np.random.default_rng(seed).standard_normal(steps)
    return amplitude * (0.7 + 1.5 * noise)


def record(neuron: SpikingNeuron, current: Series) -> Record:
    """Run one neuron and note everything.

    Parameters
    ----------
    neuron : SpikingNeuron
        With scalar parameters; it is converted to float64.
    current : ndarray
        ``(T,)``.
    """
    neuron = neuron.double()
    x = torch.from_numpy(current).reshape(-1, 1, 1)
    state: Any = None
    e = q = None
    spikes, trace = [], []
    kept: dict[str, list[float]] = {name: [] for name in neuron.State._fields}
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for row in x:
            before = neuron.initial_state(row) if state is None else state
            if neuron.exact:
                q = advance(neuron.filter(), q, row)
                trace.append(float(read(neuron.filter(), q)))
            else:
                A, B, C = (part[..., 0, 0] for part in neuron.linearize(row, before))
                e = B * row[0, 0] if e is None else A @ e + B * row[0, 0]
                trace.append(float(C @ e))
            spk, state = neuron.step(row, before)
            spikes.append(float(spk))
            for name, value in zip(state._fields, state, strict=True):
                kept[name].append(float(value))
    return Record(
        current,
        np.array(spikes),
        {name: np.array(values) for name, values in kept.items()},
        np.array(trace),
    )


def draw(
    name: str,
    path: Path,
    *,
    kind: InputKind = "step",
    amplitude: float | None = None,
    steps: int = 200,
) -> None:
    """Draw one neuron to a PNG file.

    Parameters
    ----------
    name : str
        See :func:`spikeprop.neuron_table.find`.
    path : Path
        The file, which must end in .png.
    kind : {"step", "ramp", "noise"}
        Form of the input current.
    amplitude : float, optional
        Of the current; by default one that makes the neuron fire.
    steps : int
        Number of time steps.

    Raises
    ------
    ValueError
        If there is no such neuron, ``path`` does not end in .png, or ``steps`` is below 10.
    """
    entry = find(name)
    if path.suffix != ".png":
        raise ValueError(f"output must end in .png, got {path}")
    if steps < 10:
        raise ValueError(f"steps must be at least 10, got {steps}")
    neuron = entry.build()
    seen = record(neuron, current_of(kind, entry.drive if amplitude is None else amplitude, steps))
    with matplotlib.rc_context({"font.size": 8}):
        figure = _figure(name, entry, neuron, seen)
        write_atomically(path, lambda file: figure.savefig(file, dpi=75, format="png"))


def _figure(name: str, entry: Entry, neuron: SpikingNeuron, seen: Record) -> Figure:
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(4, 1, sharex=True, height_ratios=[1, 2.4, 1.2, 0.6])
    figure.suptitle(f"{name}:  {entry.dynamics}", fontsize=8)
    t = np.arange(len(seen.current))
    axes[0].plot(t, seen.current, color=GREY, linewidth=1)
    axes[0].set_ylabel("current")
    voltage = axes[1]
    voltage.plot(t, seen.state["mem"], color=COLOURS[0], linewidth=1.2, label="mem")
    threshold = getattr(neuron, "threshold", None)
    if threshold is not None:
        voltage.axhline(float(threshold), color=GREY, linewidth=0.8, linestyle="--")
        voltage.text(0, float(threshold), "threshold", color=GREY, fontsize=7, va="bottom")
    voltage.set_ylabel("voltage")
    _others(voltage, t, {n: v for n, v in seen.state.items() if n not in ("mem", "spk")})
    axes[2].plot(t, seen.trace, color=COLOURS[2], linewidth=1.2)
    axes[2].set_ylabel("trace")
    axes[3].vlines(t, np.minimum(seen.spikes, 0), np.maximum(seen.spikes, 0), color="black", lw=1)
    axes[3].set_ylabel("spikes")
    axes[3].set_yticks([])
    axes[3].set_xlabel("time step")
    axes[3].set_xlim(-1, len(t))
    figure.align_ylabels(axes)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def _others(voltage: Any, t: NDArray[np.int64], others: dict[str, Series]) -> None:
    """Draw the state variables beside the voltage on an axis of their own."""
    if not others:
        return
    side = voltage.twinx()
    for colour, (name, values) in zip(COLOURS[1:], others.items(), strict=False):
        side.plot(t, values, color=colour, linewidth=0.9, alpha=0.8, label=name)
    lines = voltage.get_lines()[:1] + side.get_lines()
    side.legend(lines, [line.get_label() for line in lines], fontsize=7, loc="upper right")
    side.spines["top"].set_visible(False)
    side.set_ylabel(", ".join(others))


def write_gallery(path: Path) -> list[Path]:
    """Write the gallery page and its pictures.

    Parameters
    ----------
    path : Path
        The Markdown file; the pictures go into a folder of its name beside it. What an older page
        there has behind the heading ``Measured`` is kept.

    Returns
    -------
    list of Path
        All files, the page last.

    Raises
    ------
    ValueError
        If ``path`` does not end in .md.
    """
    if path.suffix != ".md":
        raise ValueError(f"output must end in .md, got {path}")
    folder = path.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name in names():
        files.append(folder / f"{_file(name)}.png")
        draw(name, files[-1])
    text = page(folder.name) + measured(path)
    write_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))
    return [*files, path]


def measured(path: Path) -> str:
    """Return what a page has behind the gallery, from its heading on; nothing without a page."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    _, heading, figures = text.partition(MEASURED)
    return heading + figures


def page(folder: str) -> str:
    """Return the gallery page in Markdown.

    Parameters
    ----------
    folder : str
        Where its pictures are.
    """
    lines = [
        "# Neurons",
        "",
        "Made by `spikeprop neurons gallery docs/neurons.md`. Each picture shows one neuron under",
        "a step of current: the current, the voltage and the other state variables, the",
        "eligibility trace of a synapse that carries the current (the derivative of the voltage",
        "with respect to its weight), and the spikes.",
        "`spikeprop neurons show NAME --input ramp` draws others.",
        "",
        "| neuron | a step | parameters | state | eligibility | NIR | snnTorch |",
        "|---|---|---|---|---|---|---|",
    ]
    for e in NEURONS:
        cells = (e.name, f"`{e.dynamics}`", e.parameters, e.state, e.eligibility, e.nir, e.snntorch)
        lines.append(f"| {' | '.join(cells)} |")
    for name in names():
        entry = find(name)
        lines += ["", f"## {name}", ""]
        if ":" not in name:
            lines += [entry.summary, ""]
        lines.append(f"![{name} under a step of current]({folder}/{_file(name)}.png)")
    return "\n".join(lines) + "\n"


def _file(name: str) -> str:
    return name.lower().replace(":", "-")
