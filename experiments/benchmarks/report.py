"""The benchmarks' rows as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["markdown", "table"]

Row = dict[str, Any]


def markdown(results: dict[str, Any]) -> str:
    """Return all tables of a results file."""
    parts = results["parts"]
    text = [f"# Benchmarks\n\n{_machine(results['machine'])}\n"]
    writers = {
        "steps": _steps, "scaling": _scaling, "memory": _memory, "streams": _streams,
        "epoch": _epoch, "race": _race,
    }  # fmt: skip
    for name, writer in writers.items():
        if parts.get(name):
            text.append(writer(parts[name]))
    return "\n".join(text)


def _machine(machine: Row) -> str:
    return "; ".join(f"{key} {value}" for key, value in machine.items())


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; the first column is aligned left, the others right."""
    lines = [
        "| " + " | ".join(head) + " |",
        "|---" + "|---:" * (len(head) - 1) + "|",
        *("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


def _times(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2f}x" if value < 3 else f"{value:.1f}x"


def _groups(rows: Sequence[Row], keys: Sequence[str]) -> dict[tuple[Any, ...], list[Row]]:
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row.get(key) for key in keys), []).append(row)
    return found


def _steps(rows: Sequence[Row]) -> str:
    text = ["## Time of a training step\n",
            "Milliseconds (median); `nx` is how many times as long the other one takes, the median "
            "of the ratios within a round.\n"]  # fmt: skip
    for (batch, source), group in _groups(rows, ("B", "source")).items():
        lengths = sorted({row["T"] for row in group})
        text.append(f"### Batch {batch}, {source} input\n")
        facts = [next(row for row in group if row["T"] == T) for T in lengths]
        text.append(
            "; ".join(
                f"T = {row['T']}: density {100 * row['density']:.2g} %, hidden layers fire at "
                f"{', '.join(f'{100 * rate:.1f}' for rate in row['firing'])} %"
                for row in facts
            )
            + "\n"
        )
        methods = list(dict.fromkeys(row["method"] for row in group))
        cells = {(row["method"], row["T"]): row for row in group}
        others = [
            name for name in ("snntorch", "snntorch_stepwise", "spikingjelly", "sceptic")
            if name in methods
        ]  # fmt: skip
        for other in (None, *others):
            head = "method, ms" if other is None else f"times as fast as {other}"
            text.append(
                table(
                    [head, *(f"T = {T}" for T in lengths)],
                    (
                        [name, *(_cell(cells.get((name, T)), other) for T in lengths)]
                        for name in methods
                    ),
                )
            )
    return "\n".join(text)


def _cell(row: Row | None, other: str | None) -> str:
    if row is None:
        return ""
    return f"{row['ms']:.1f}" if other is None else _times(row["against"].get(other))


def _scaling(rows: Sequence[Row]) -> str:
    text = ["## Scaling\n\nOne thing varied at a time.\n"]
    for (what,), group in _groups(rows, ("varied",)).items():
        key = _KEYS[what]
        values = list(dict.fromkeys(str(key(row)) for row in group))
        methods = list(dict.fromkeys(row["method"] for row in group))
        cells = {(row["method"], str(key(row))): row for row in group}
        text.append(f"### {what}\n")
        text.append(
            table(
                ["method, ms", *values],
                (
                    [
                        name,
                        *(
                            f"{cells[name, value]['ms']:.1f}" if (name, value) in cells else ""
                            for value in values
                        ),
                    ]
                    for name in methods
                ),
            )
        )
    return "\n".join(text)


#: What a row's value is, by what was varied.
_KEYS: dict[str, Any] = {
    "cores": lambda row: row["threads"],
    "width": lambda row: row["hidden"][0],
    "depth": lambda row: len(row["hidden"]),
    "T": lambda row: row["T"],
    "density": lambda row: row["input"].removeprefix("synthetic, "),
}


def _memory(rows: Sequence[Row]) -> str:
    text = ["## Peak memory over the process before training, MiB\n\n"
            "Fresh processes. In brackets the batch itself, which exists before and is not part "
            "of the figure.\n"]  # fmt: skip
    for (work,), group in _groups(rows, ("work",)).items():
        lengths = sorted({row["T"] for row in group})
        cells = {(row["method"], row["T"]): row for row in group}
        text.append(f"### {'a stream' if work == 'stream' else 'a training step'}\n")
        text.append(
            table(
                ["method", *(f"T = {T}" for T in lengths)],
                (
                    [
                        name,
                        *(
                            f"{row['mib']:.1f} ({row['input_mib']:.1f})" if row else ""
                            for row in (cells.get((name, T)) for T in lengths)
                        ),
                    ]
                    for name in dict.fromkeys(row["method"] for row in group)
                ),
            )
        )
    return "\n".join(text)


def _streams(rows: Sequence[Row]) -> str:
    return "## A live stream: batch of one, an update at every time step, one thread\n\n" + table(
        ["method", "T", "density", "us a step", "events/s", "times as fast as dense"],
        (
            [
                row["method"], row["T"], f"{100 * row['density']:.2g} %", f"{row['us']:.1f}",
                f"{row['events_per_second']:.3g}", _times(row["over_dense"]),
            ]
            for row in rows
        ),
    )  # fmt: skip


def _epoch(rows: Sequence[Row]) -> str:
    return "## Epochs from files to weights, seconds (waiting for batches)\n\n" + table(
        ["method", "T", "B", *(f"epoch {i + 1}" for i in range(len(rows[0]["epoch_seconds"])))],
        (
            [
                row["method"], row["T"], row["B"],
                *(
                    f"{seconds:.1f} ({waiting:.1f})"
                    for seconds, waiting in zip(
                        row["epoch_seconds"], row["loading_seconds"], strict=True
                    )
                ),
            ]
            for row in rows
        ),
    )  # fmt: skip


def _race(rows: Sequence[Row]) -> str:
    return "## Training time to BPTT's final validation accuracy less one point\n\n" + table(
        ["method", "data", "seed", "target, %", "seconds", "seconds an epoch"],
        (
            [
                row["method"], row.get("data", ""), row["seed"], f"{100 * row['target']:.2f}",
                "not reached" if row["seconds"] is None else f"{row['seconds']:.1f}",
                f"{row['epoch_seconds']:.2f}",
            ]
            for row in rows
        ),
    )  # fmt: skip
