"""The command ``spikeprop compare``: progress, the table, and the files."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from spikeprop.comparison.config import CompareConfig

__all__ = ["run"]


def run(config: CompareConfig) -> None:
    """Run the comparison, print its table and write its files.

    Raises
    ------
    ValueError, FileNotFoundError, RuntimeError
        As :func:`spikeprop.comparison.compare`.
    """
    from spikeprop.comparison.delay_table import compare_delays, delay_table, write_delays
    from spikeprop.comparison.figures import write_figures
    from spikeprop.comparison.tables import print_table, write_tables
    from spikeprop.comparison.work import compare

    if config.delays:
        with _progress() as progress:
            found = compare_delays(config, progress)
        print(delay_table(config, found))
        files = write_delays(config, found)
    else:
        with _progress() as progress:
            rows = compare(config, progress)
        print_table(rows)
        files = [*write_tables(rows, config.out, _note(config)), *write_figures(rows, config.out)]
    for path in files:
        print(path)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Show a bar on a terminal while the block runs; yields what moves it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("training runs"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("runs", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _note(config: CompareConfig) -> str:
    if config.quick:
        return "A trial of the command: these figures mean nothing."
    search = (
        f"hyper-parameters by {config.trials} trials each on a validation part of "
        f"{100 * config.validation:.0f} % of the training recordings"
        if config.trials > 1
        else "hyper-parameters at their defaults"
    )
    return (
        f"Test accuracy after the last of {config.epochs} epochs, mean ± standard deviation over "
        f"{config.seeds} seeds; {search}. Differences are paired by seed, ± standard error. "
        f"Frozen: the hidden layers stay as they were drawn. Spikes and synaptic operations are "
        f"per recording, in inference."
    )
