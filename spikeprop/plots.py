"""Pictures of a run: learning curves, and what every layer does with one recording."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor, nn

from spikeprop.datasets import EventBatch
from spikeprop.datasets.files import write_atomically
from spikeprop.learner import ForwardLearner
from spikeprop.neurons import reset

__all__ = ["record_spikes", "save_curves"]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's palette, which colour-blind people can tell apart."""

GREY = "#555555"


def record_spikes(learner: ForwardLearner, x: Tensor) -> list[Tensor]:
    """Return the spikes of every block for one recording, from a plain forward pass.

    Parameters
    ----------
    learner
        A learner whose network maps one time step.
    x
        The recording, ``(T, *features)``.

    Returns
    -------
    list of Tensor
        ``(T, neurons)`` per block.
    """
    net = learner.net
    neurons = [block.neuron for block in learner.blocks]
    seen: list[list[Tensor]] = [[] for _ in neurons]

    def keep(place: list[Tensor]) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            spikes = output[0] if isinstance(output, tuple) else output
            place.append(spikes.detach().flatten().cpu())

        return hook

    hooks = [
        neuron.register_forward_hook(keep(place))
        for neuron, place in zip(neurons, seen, strict=True)
    ]
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    learner.reset()
    try:
        with torch.no_grad():
            for x_t in x.to(learner.device):
                net(x_t.unsqueeze(0))
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes:
            module.training = mode
        reset(net)
    return [torch.stack(place) for place in seen]


def save_curves(
    path: Path,
    rows: Sequence[dict[str, Any]],
    learner: ForwardLearner,
    test: Iterable[Any],
    classes: Sequence[str],
) -> None:
    """Draw the learning curves, and the spikes of every layer for the first test recording.

    Parameters
    ----------
    path
        The PNG file; written in one step.
    rows
        Epochs, as in ``metrics.csv``.
    learner
        The trained learner.
    test
        Batches ``(x (T, B, P, H, W), labels (B,))``, dense or as sparse events; the first recording
        of the first is drawn.
    classes
        Names of the classes.
    """
    x, labels = next(iter(test))
    x = x.to_dense() if isinstance(x, EventBatch) else x
    recording = x[:, 0]
    predicted = int(learner.predict(x[:, :1])[0])
    names = classes[int(labels[0])], classes[predicted]
    layers = [recording.flatten(start_dim=1), *record_spikes(learner, recording)]
    style: Any = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(13, 3.4 + 1.6 * len(layers)), layout="constrained")
        FigureCanvasAgg(figure)
        parts: Any = figure.subfigures(2, 1, height_ratios=[3.0, 0.4 + 1.6 * len(layers)])
        top, bottom = parts
        accuracy, loss, rate, picture = top.subplots(1, 4, width_ratios=[1, 1, 1, 0.8])
        _draw_accuracy(accuracy, rows)
        _draw_layers(loss, rows, "train_loss", "local loss")
        _draw_layers(rate, rows, "rate", "spikes per neuron and step")
        _draw_recording(picture, recording)
        picture.set_xlabel(f"test recording: a {names[0]}, predicted {names[1]}")
        axes = bottom.subplots(len(layers), 1, sharex=True, squeeze=False)[:, 0]
        axes[0].set_title("spikes of that recording", fontsize=9, loc="left")
        for index, (axis, spikes) in enumerate(zip(axes, layers, strict=True)):
            _draw_raster(axis, spikes, index)
        axes[-1].set_xlabel("time step")
        axes[-1].xaxis.get_major_locator().set_params(integer=True)
        write_atomically(path, lambda file: figure.savefig(file, dpi=110, format="png"))


def _draw_recording(axis: Any, recording: Tensor) -> None:
    """All events of a recording as an image: ON red, OFF blue; without polarities in grey."""
    frame = recording.sum(dim=0)
    signed = frame[1] - frame[0] if len(frame) == 2 else frame[0]
    limit = max(float(signed.abs().max()), 1.0)
    axis.imshow(signed.numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)


def _draw_accuracy(axis: Any, rows: Sequence[dict[str, Any]]) -> None:
    epochs = [row["epoch"] for row in rows]
    for layer, colour in _layers(rows, "train_accuracy"):
        name = f"train_accuracy_layer_{layer}"
        values = [100 * row[name] for row in rows]
        axis.plot(epochs, values, color=colour, marker=".", lw=1, label=f"train, layer {layer}")
    if rows and "validation_accuracy" in rows[0]:
        values = [100 * row["validation_accuracy"] for row in rows]
        axis.plot(epochs, values, color="black", marker="o", ms=4, lw=1.5, label="validation")
    _finish_curve(axis, rows, "accuracy [%]")


def _draw_layers(axis: Any, rows: Sequence[dict[str, Any]], name: str, label: str) -> None:
    epochs = [row["epoch"] for row in rows]
    for layer, colour in _layers(rows, name):
        values = [row[f"{name}_layer_{layer}"] for row in rows]
        axis.plot(epochs, values, color=colour, marker=".", lw=1, label=f"layer {layer}")
    axis.set_ylim(bottom=0)
    _finish_curve(axis, rows, label)


def _finish_curve(axis: Any, rows: Sequence[dict[str, Any]], label: str) -> None:
    axis.set_xlabel("epoch")
    axis.set_ylabel(label)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(alpha=0.25, lw=0.5)
    if rows:
        axis.legend(frameon=False, fontsize=8)


def _draw_raster(axis: Any, spikes: Tensor, index: int) -> None:
    steps, neurons = spikes.shape
    time, neuron = (where.numpy() for where in torch.nonzero(spikes, as_tuple=True))
    colour = GREY if index == 0 else COLOURS[(index - 1) % len(COLOURS)]
    # A dash as long as its time step: dots would leave short recordings mostly white.
    axis.hlines(neuron, time - 0.42, time + 0.42, color=colour, lw=0.35 if neurons > 600 else 0.8)
    axis.set_ylim(-1, neurons)
    axis.set_xlim(-0.5, steps - 0.5)
    name, unit = ("input", "pixels") if index == 0 else (f"layer {index}", "neurons")
    axis.set_ylabel(f"{name}\n{neurons} {unit}")
    axis.set_title(f"{len(time)} spikes", loc="right", fontsize=8, color=GREY, pad=2)


def _layers(rows: Sequence[dict[str, Any]], name: str) -> list[tuple[int, str]]:
    count = sum(key.startswith(f"{name}_layer_") for key in rows[0]) if rows else 0
    return [(layer, COLOURS[(layer - 1) % len(COLOURS)]) for layer in range(1, count + 1)]
