"""Peak memory against the length of the sequence, each figure from fresh processes.

It is the least of three: what the system itself adds (pages of libraries, of the heap) differs from
process to process by half a MiB and more, and can only add.

Two kinds: one training step on batches of whole sequences, where the input is stated beside the
figure and not part of it; and a stream without an end through ``ForwardLearner.step``, beside BPTT
of the same number of steps as one sequence, which has to hold all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from spikeprop.experiments.peak import measure_in_child

__all__ = ["spread", "stream", "training"]

Row = dict[str, Any]

PROCESSES = 3


def training(
    methods: Sequence[str], steps: Sequence[int], batch: int, sizes: tuple[int, ...]
) -> Iterator[Row]:
    """Yield the peak of three updates over the process before the first of them."""
    for count in steps:
        for method in methods:
            task: Row = {
                "method": method, "work": "update", "steps": count, "batch": batch,
                "sizes": sizes, "density": None,
            }  # fmt: skip
            yield _row(task)


def stream(
    steps: Sequence[int], bptt_steps: Sequence[int], batch: int, sizes: tuple[int, ...]
) -> Iterator[Row]:
    """Yield the peak of a stream, and of BPTT over as many steps."""
    for method, lengths in (("spikeprop", steps), ("bptt", bptt_steps)):
        for count in lengths:
            task: Row = {
                "method": method, "work": "stream", "steps": count, "batch": batch, "sizes": sizes,
            }  # fmt: skip
            yield _row(task)


def _row(task: Row) -> Row:
    tries = [measure_in_child(task) for _ in range(PROCESSES)]
    found = min(tries, key=lambda one: float(one["increment_mib"]))
    return {
        "work": task["work"], "method": task["method"], "T": task["steps"], "B": task["batch"],
        "mib": float(found["increment_mib"]), "input_mib": float(found["input_mib"]),
    }  # fmt: skip


def spread(rows: Sequence[Row], method: str) -> float:
    """Return the largest increment of a method over its smallest, less one.

    Raises
    ------
    ValueError
        If there is no row of that method.
    """
    found = [row["mib"] for row in rows if row["method"] == method]
    if not found:
        raise ValueError(f"there is no row of {method!r}")
    return float(max(found) / min(found) - 1.0)
