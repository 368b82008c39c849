"""Accuracy against bits: a finished run on fewer and fewer bits, before and after fine-tuning."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

if TYPE_CHECKING:
    from spikeprop.learner import ForwardLearner

__all__ = ["QuantizeConfig", "fine_tuned", "measure_bits"]


@dataclass(frozen=True)
class QuantizeConfig:
    """Put a finished run on few bits: accuracy after rounding and after fine-tuning in place.

    Weights are rounded per layer and symmetrically, thresholds and biases with them, and the
    neurons compute in fixed point, as integer hardware would. Writes quantized.json to the run.
    """

    run: tyro.conf.Positional[Path]
    """Run folder, such as runs/saccade-digits-001."""

    bits: Annotated[tuple[int, ...], tyro.conf.arg(metavar="2..8")] = (8, 6, 4)
    """Bits of the weights, one result each."""

    epochs: int = 2
    """Passes of fine-tuning by the run's own rule; 0 for none."""

    lr: float = 1e-5
    """Step size of Adam while fine-tuning, falling to zero."""

    rounding: Literal["nearest", "stochastic"] = "nearest"
    """Learn with a master copy of the weights, or on the quantised weights alone."""

    data_dir: Path | None = None
    """Folder of the data set, if it is not where it was in training."""

    device: str | None = None
    """Where to compute (cpu, cuda, cuda:N); None is the device of the training."""

    def __post_init__(self) -> None:
        for value in self.bits:
            if not 2 <= value <= 8:
                raise ValueError(f"bits has to lie in 2 .. 8, got {value}")
        if self.epochs < 0:
            raise ValueError(f"epochs has to be at least 0, got {self.epochs}")
        if not self.lr > 0:
            raise ValueError(f"lr has to be above 0, got {self.lr}")


def measure_bits(config: QuantizeConfig) -> list[dict[str, Any]]:
    """Measure a run on each number of bits; print a table, and write it to the run's folder.

    Returns
    -------
    list of dict
        ``bits`` (None for the run as it is), ``rounded`` and ``tuned``: test accuracies from 0 to
        1, ``tuned`` None without fine-tuning.

    Raises
    ------
    FileNotFoundError, ValueError
        If the run or its data are missing or damaged, or a block cannot be quantised.
    """
    from spikeprop import inference, runs
    from spikeprop.assemble import open_data

    learner, train_config, _ = inference.load(config.run, on=config.device)
    if config.data_dir is not None:
        from dataclasses import replace

        train_config = replace(train_config, data_dir=config.data_dir)
    data = open_data(train_config)
    results: list[dict[str, Any]] = [
        {"bits": None, "rounded": learner.evaluate(data.test).accuracy, "tuned": None}
    ]
    print(f"{'bits':>6}{'rounded':>10}{'tuned':>10}  test accuracy, %")
    print(_line(results[0]), flush=True)
    for bits in config.bits:
        rounded, tuned = fine_tuned(
            learner, bits, data.train, data.test, config.lr, config.epochs, config.rounding
        )
        result = {"bits": bits, "rounded": rounded, "tuned": tuned}
        results.append(result)
        print(_line(result), flush=True)
    path = Path(config.run) / "quantized.json"
    settings = {"epochs": config.epochs, "lr": config.lr, "rounding": config.rounding}
    runs.write_json(path, {**settings, "results": results})
    print(path)
    return results


def fine_tuned(
    learner: ForwardLearner,
    bits: int,
    train: Iterable[Any],
    judge: Iterable[Any],
    lr: float,
    epochs: int,
    rounding: str = "nearest",
) -> tuple[float, float | None]:
    """Quantise a copy of a learner, fine-tune it, and measure it before and after.

    Parameters
    ----------
    learner : ForwardLearner
        A trained learner; it is left as it is.
    bits : int
        Bits of the weights, 2 to 8.
    train, judge : iterable of (x, label)
        What it learns from, and what it is measured on.
    lr : float
        Step size of Adam at the start; it falls to zero along a half cosine.
    epochs : int
        Passes over ``train``; 0 for none.
    rounding : {"nearest", "stochastic"}
        As :class:`~spikeprop.quantize.OnGrid`.

    Returns
    -------
    rounded, tuned : float
        Accuracies from 0 to 1; ``tuned`` is None without an epoch.

    Raises
    ------
    ValueError
        If a block cannot be quantised, or an argument is outside its range.
    """
    import torch

    from spikeprop.quantize import quantized

    small = quantized(
        learner,
        bits,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=lr, fused=True),
        rounding=rounding,
    )
    rounded = small.evaluate(judge).accuracy
    if not epochs:
        return rounded, None
    small.fit(train, epochs=epochs)
    return rounded, small.evaluate(judge).accuracy


def _line(result: dict[str, Any]) -> str:
    bits = "float" if result["bits"] is None else str(result["bits"])
    shown = [
        "-" if result[name] is None else f"{100 * result[name]:.2f}"
        for name in ("rounded", "tuned")
    ]
    return f"{bits:>6}{shown[0]:>10}{shown[1]:>10}"
