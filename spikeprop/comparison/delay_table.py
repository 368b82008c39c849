"""The delay task's cells run in parallel, its table and its figure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from functools import partial
from itertools import product
from pathlib import Path

from spikeprop.comparison.claims import Taken
from spikeprop.comparison.config import CompareConfig
from spikeprop.comparison.delays import DelayCell, DelayResult, run_cell
from spikeprop.comparison.kept import load_or_run
from spikeprop.comparison.work import processes
from spikeprop.datasets.files import write_atomically, write_text
from spikeprop.rules.names import make_rule

__all__ = ["compare_delays", "write_delays"]

Found = Mapping[tuple[str, str, int], list[DelayResult]]
"""Results of all seeds by neuron, rule and delay."""


def compare_delays(
    config: CompareConfig, progress: Callable[[int, int], None] = lambda done, total: None
) -> Found:
    """Run what is missing of the delay task, and return all results.

    Raises
    ------
    ValueError
        If a rule is unknown, or a kept result is damaged.
    """
    for rule in config.rules:
        make_rule(rule, 2)
    small = {"hidden": 8, "updates": 2, "batch_size": 4} if config.quick else {}
    wanted = list(product(config.neurons, config.rules, config.delays))
    cells = [
        DelayCell(rule, neuron, delay, seed, **small)
        for neuron, rule, delay in wanted
        for seed in range(config.seeds)
    ]
    results: dict[DelayCell, DelayResult] = {}
    with processes(config.processes) as pool:

        def start(cell: DelayCell) -> Future[DelayResult]:
            return pool.submit(load_or_run, cell, config.out, run_cell, DelayResult)

        running = {start(cell): cell for cell in cells}
        while running:
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                cell = running.pop(future)
                if isinstance(future.exception(), Taken):  # another process does it: look later
                    running[start(cell)] = cell
                else:
                    results[cell] = future.result()
            progress(len(results), len(cells))
    return {
        (neuron, rule, delay): [
            results[DelayCell(rule, neuron, delay, seed, **small)] for seed in range(config.seeds)
        ]
        for neuron, rule, delay in wanted
    }


def write_delays(config: CompareConfig, found: Found) -> list[Path]:
    """Write ``delays.md`` and ``delays.png``, and return their paths."""
    text, picture = config.out / "delays.md", config.out / "delays.png"
    write_text(text, delay_table(config, found), parents=True)
    _draw(config, found, picture)
    return [text, picture]


def delay_table(config: CompareConfig, found: Found) -> str:
    """Return accuracy and alignment, as Markdown."""
    lines = [
        "| neuron | rule | " + " | ".join(f"{d} steps" for d in config.delays) + " |",
        "|---" * (2 + len(config.delays)) + "|",
    ]
    for neuron, rule in product(config.neurons, config.rules):
        cells = [_shown(found[neuron, rule, delay]) for delay in config.delays]
        lines.append(f"| {neuron} | {rule} | " + " | ".join(cells) + " |")
    note = (
        f"Accuracy in % (mean ± standard deviation over {config.seeds} seeds) and, in brackets, "
        "the alignment with BPTT of the first gradient at the cue."
    )
    return "\n".join([*lines, "", note, ""])


def _shown(found: list[DelayResult]) -> str:
    accuracy = [100 * item.accuracy for item in found]
    spread = f" ± {statistics.stdev(accuracy):.0f}" if len(accuracy) > 1 else ""
    aligned = statistics.mean(item.alignment for item in found)
    return f"{statistics.mean(accuracy):.0f}{spread} ({aligned:.2f})"


def _draw(config: CompareConfig, found: Found, path: Path) -> None:
    """Draw accuracy and alignment over the delay, a column a neuron."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = len(config.neurons)
    figure = Figure(figsize=(3.6 * columns + 2, 6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, columns, sharex=True, squeeze=False)
    for column, neuron in enumerate(config.neurons):
        for row, value in enumerate(("accuracy", "alignment")):
            axis = axes[row, column]
            for place, rule in enumerate(config.rules):
                heights = [
                    statistics.mean(getattr(item, value) for item in found[neuron, rule, delay])
                    for delay in config.delays
                ]
                style = ("-", "--", ":")[place // 10 % 3]
                axis.plot(config.delays, heights, style, marker=".", label=rule)
            axis.set_xscale("log")
            axis.set_ylim((0.4, 1.02) if value == "accuracy" else (-0.3, 1.05))
            axis.set_title(f"{neuron}: {value}", fontsize=10)
            axis.minorticks_off()
            axis.set_xticks(config.delays, [str(d) for d in config.delays])
        axes[1, column].set_xlabel("delay (time steps)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=8)
    write_atomically(path, partial(figure.savefig, dpi=110, format="png"), parents=True)
