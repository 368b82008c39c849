"""From runs and what their networks do to the text of one HTML page."""

from __future__ import annotations

import base64
import hashlib
import math
from dataclasses import fields
from importlib import resources
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from spikeprop._version import __version__
from spikeprop.config import TrainConfig
from spikeprop.report.behaviour import Behaviour, Layer, Shown
from spikeprop.report.charts import HEIGHT, LEFT, WIDTH, Chart, histogram, line_chart
from spikeprop.report.images import pack, png, weight_images
from spikeprop.report.reading import Run, differing_options, wilson

__all__ = ["render"]

ADD_PJ, MULTIPLY_ADD_PJ = 0.9, 4.6
"""Energy of an addition, and of a multiplication with an addition, of 32-bit floating-point numbers
at 45 nm: M. Horowitz, "Computing's energy problem", ISSCC 2014."""

COLOURS = 6
WIDE_MATRIX = 30
"""With more classes the confusion matrix is an image."""


def render(found: list[tuple[Run, Behaviour | None]]) -> str:
    """Return the page; a run without behaviour has not finished."""
    environment = Environment(
        loader=PackageLoader("spikeprop.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": _percent, "quantity": _quantity, "share": _interval}
    script, style = _resource("page.js"), _resource("page.css")
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    everything = [run for run, _ in found]
    return environment.get_template("page.html").render(
        title=", ".join(run.name for run in everything),
        version=__version__,
        script=script,
        script_hash=digest,
        style=style,
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        runs=[_section(number, run, seen) for number, (run, seen) in enumerate(found, start=1)],
        comparison=_comparison(found) if len(found) > 1 else None,
        data=[_playable(run, seen) for run, seen in found],
    )


def _resource(name: str) -> str:
    place = resources.files("spikeprop.report") / "templates" / name
    return place.read_text(encoding="utf-8")


def _section(number: int, run: Run, seen: Behaviour | None) -> dict[str, Any]:
    metrics = run.metrics
    section: dict[str, Any] = {
        "id": f"run-{number}",
        "name": run.name,
        "path": str(run.path),
        "facts": _facts(run),
        "charts": _curves(run),
        "rows": run.rows,
        "columns": list(run.rows[0]) if run.rows else [],
        "options": [(f.name, getattr(run.config, f.name)) for f in fields(TrainConfig)],
        "versions": sorted((metrics or {}).get("versions", {}).items()),
        "finished": metrics is not None,
        "confusion": None,
        "missing": "",
        "playable": False,
        "weights": None,
        "activity": None,
    }
    if metrics is not None:
        section["confusion"] = _confusion(metrics)
    if seen is not None:
        section["missing"] = seen.missing
        section["playable"] = bool(seen.shown)
        if seen.weight is not None:
            images, words = weight_images(seen.weight, seen.input_shape)
            section["weights"] = {"images": images, "words": words}
        if seen.layers:
            section["activity"] = _activity(run, seen)
    return section


def _facts(run: Run) -> list[tuple[str, str]]:
    config, metrics = run.config, run.metrics
    sizes = "-".join(map(str, config.hidden))
    if metrics is None:
        done = len(run.rows)
        return [
            ("state", f"not finished: {done} of {config.epochs} epochs"),
            ("data", config.dataset),
            ("network", sizes),
            ("rule", config.rule),
        ]
    data = metrics["data"]
    accuracy, count = metrics["test_accuracy"], metrics["samples"]
    inputs = int(np.prod(data["input_shape"]))
    facts = [
        ("test accuracy", _percent(accuracy)),
        ("95 % interval", f"{_interval(accuracy, count)}, {count:,} recordings"),
        ("by layer", ", ".join(_percent(value) for value in metrics["layer_accuracy"])),
        ("data", f"{data.get('name', config.dataset)}, {data.get('train', '?')} to train"),
        ("network", f"{inputs}-{sizes}"),
        ("rule", config.rule),
        ("weights", f"{metrics.get('parameters', 0):,}"),
        ("epochs", f"{metrics.get('epochs', config.epochs)} in {metrics.get('seconds', 0):,.0f} s"),
        ("backward passes", f"{metrics.get('backward_passes', 0):,}"),
        ("engine", str(metrics.get("engine", "?"))),
    ]
    if metrics.get("peak_memory_mib"):
        facts.append(("peak memory", f"{metrics['peak_memory_mib']:,.0f} MiB"))
    if data.get("note"):
        facts.append(("note", str(data["note"])))
    return facts


def _curves(run: Run) -> list[Chart]:
    layers = range(1, run.layers + 1)

    def each(column: str, scale: float = 1.0) -> list[tuple[str, int, list[tuple[float, float]]]]:
        return [
            (f"layer {i}", _colour(i), [(x, scale * y) for x, y in run.series(f"{column}_{i}")])
            for i in layers
        ]

    accuracy = [
        (f"{name}, while it learns", c, points)
        for name, c, points in each("train_accuracy_layer", 100)
    ]
    validation = [
        (f"{name}, validation", c + 100, points)
        for name, c, points in each("validation_accuracy_layer", 100)
    ]
    charts = [
        line_chart(
            "Accuracy of every layer by epoch", "accuracy, %", accuracy + validation, top=100
        ),
        line_chart("Local loss of every layer by epoch", "loss", each("train_loss_layer")),
        line_chart(
            "Firing rate of every layer by epoch", "spikes per neuron and step", each("rate_layer")
        ),
    ]
    return [chart for chart in charts if chart is not None]


def _confusion(metrics: dict[str, Any]) -> dict[str, Any]:
    classes = [str(name) for name in metrics["data"]["classes"]]
    counts = np.array(metrics["confusion_matrix"], dtype=np.int64)
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    mistakes = counts - np.diag(np.diag(counts))
    order = np.argsort(-mistakes, axis=None, kind="stable")[:5]
    pairs = [np.unravel_index(place, counts.shape) for place in order]
    return {
        "classes": classes,
        "counts": counts.tolist(),
        "shares": shares.round(3).tolist(),
        "per_class": [float(shares[i, i]) if totals[i, 0] else None for i in range(len(classes))],
        "image": png(shares) if len(classes) > WIDE_MATRIX else None,
        "worst": [
            (classes[i], classes[j], int(counts[i, j])) for i, j in pairs if mistakes[i, j] > 0
        ],
    }


def _activity(run: Run, seen: Behaviour) -> dict[str, Any]:
    rows = []
    for number, layer in enumerate(seen.layers, start=1):
        # Inputs that are counts and no spikes are multiplied.
        price = ADD_PJ if number > 1 or run.config.binary else MULTIPLY_ADD_PJ
        rows.append(
            {
                "name": f"layer {number}",
                "neurons": len(layer.rates),
                "rate": float(layer.rates.mean()),
                "silent": int((layer.rates == 0).sum()),
                "arrivals": layer.arrivals,
                "operations": layer.operations,
                "dense": layer.dense,
                "nanojoules": layer.operations * price / 1e3,
                "dense_nanojoules": layer.dense * MULTIPLY_ADD_PJ / 1e3,
            }
        )
    names = ("arrivals", "operations", "dense", "nanojoules", "dense_nanojoules")
    return {
        "layers": rows,
        "total": {name: sum(row[name] for row in rows) for name in names},
        "charts": [_rates(number, layer) for number, layer in enumerate(seen.layers, start=1)],
        "counted": seen.counted,
        "steps": seen.steps,
        "add": ADD_PJ,
        "multiply_add": MULTIPLY_ADD_PJ,
    }


def _rates(number: int, layer: Layer) -> Chart:
    title = f"Layer {number}: firing rates of its {len(layer.rates)} neurons"
    return histogram(title, "spikes per time step", "neurons", layer.rates, _colour(number))


def _comparison(found: list[tuple[Run, Behaviour | None]]) -> dict[str, Any]:
    rows = []
    for number, (run, seen) in enumerate(found, start=1):
        metrics = run.metrics or {}
        operations = sum(layer.operations for layer in seen.layers) if seen is not None else 0.0
        rows.append(
            {
                "id": f"run-{number}",
                "name": run.name,
                "data": metrics.get("data", {}).get("name", run.config.dataset),
                "rule": run.config.rule,
                "accuracy": metrics.get("test_accuracy"),
                "samples": metrics.get("samples", 0),
                "epochs": len(run.rows),
                "seconds": metrics.get("seconds"),
                "memory": metrics.get("peak_memory_mib"),
                "backward": metrics.get("backward_passes"),
                "operations": operations or None,
            }
        )
    runs = [run for run, _ in found]
    tests = {(run.metrics or {}).get("data", {}).get("test_sha256") for run in runs if run.metrics}
    column = "validation_accuracy"
    if not all(run.series(column) for run in runs):
        column = "train_accuracy"
    series = [
        (run.name, _colour(number), [(x, 100 * y) for x, y in run.series(column)])
        for number, run in enumerate(runs, start=1)
    ]
    words = "Validation accuracy" if column == "validation_accuracy" else "Accuracy while learning"
    return {
        "rows": rows,
        "chart": line_chart(f"{words} of the runs by epoch", "accuracy, %", series, top=100),
        "options": differing_options(runs),
        "same_test": len(tests) <= 1,
    }


def _playable(run: Run, seen: Behaviour | None) -> dict[str, Any] | None:
    """Return what the script plays, as JSON can write it."""
    if seen is None or not seen.shown or run.metrics is None:
        return None
    config = run.config
    fixed = config.n_time_bins is None and config.event_count is None
    polarities, height, width = seen.input_shape
    return {
        "classes": [str(name) for name in run.metrics["data"]["classes"]],
        "polarities": polarities,
        "height": height,
        "width": width,
        "neurons": [len(layer.rates) for layer in seen.layers],
        "stepMs": config.time_window / 1e3 if fixed else None,
        "recordings": [_packed(shown) for shown in seen.shown],
    }


def _packed(shown: Shown) -> dict[str, Any]:
    return {
        "index": shown.index,
        "label": shown.label,
        "prediction": shown.prediction,
        "ends": shown.ends,
        "frames": pack(shown.frames),
        "evidence": [[float(f"{value:.6g}") for value in row] for row in shown.evidence.tolist()],
        "spikes": [pack(own) for own in shown.spikes],
    }


def _colour(number: int) -> int:
    return (number - 1) % COLOURS + 1


def _percent(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{100 * value:.2f} %"


def _interval(accuracy: float, count: int) -> str:
    low, high = wilson(accuracy, count)
    return f"{100 * low:.1f} to {100 * high:.1f} %"


def _quantity(value: float | None) -> str:
    """Three digits, without an exponent where people do not expect one."""
    if value is None or not math.isfinite(value):
        return "-"
    if value >= 1e7:
        return f"{value / 1e6:,.0f} million"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
