"""The figures of a comparison, row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan, sqrt
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from spikeprop.rules.names import split_variant

if TYPE_CHECKING:
    from spikeprop.comparison.cells import Result
    from spikeprop.comparison.cost import Cost
    from spikeprop.comparison.work import Pair

__all__ = ["BASELINE", "Row", "make_rows"]

BASELINE = "bptt"
"""The rule that others are compared with; or its only variant, where it is not there itself."""


@dataclass(frozen=True)
class Row:
    """One rule on one network and data set; figures that were not measured are NaN.

    Attributes
    ----------
    accuracies, frozen : list of float
        Test accuracy of each seed, 0 to 1; the same with hidden layers as they were drawn.
    difference, difference_error : float
        Accuracy less BPTT's with the same seed, mean and its standard error.
    speed, memory : float
        Samples a second, and peak memory, over BPTT's.
    spikes, operations : float
        Spikes and synaptic operations per recording, in inference.
    options : dict
        Hyper-parameters that validation chose.
    failure : str
        Why there are no figures; empty if there are.
    """

    dataset: str
    network: str
    rule: str
    accuracies: list[float]
    frozen: list[float]
    difference: float
    difference_error: float
    speed: float
    memory: float
    spikes: float
    operations: float
    options: dict[str, Any]
    failure: str = ""

    @property
    def accuracy(self) -> float:
        """Mean test accuracy."""
        return mean(self.accuracies) if self.accuracies else nan

    @property
    def spread(self) -> float:
        """Standard deviation of the test accuracy over the seeds."""
        return stdev(self.accuracies) if len(self.accuracies) > 1 else nan

    @property
    def frozen_accuracy(self) -> float:
        """Mean test accuracy with frozen hidden layers."""
        return mean(self.frozen) if self.frozen else nan


def make_rows(
    pairs: Sequence[Pair],
    chosen: Mapping[Pair, dict[str, Any]],
    found: Mapping[tuple[Pair, bool], Sequence[Result | str]],
    costs: Mapping[Pair, Cost],
) -> list[Row]:
    """Put the figures of all cells together, the most accurate rule of each network first."""
    rows = []
    for pair in pairs:
        results = list(found[pair, False])
        failures = [item for item in results if isinstance(item, str)]
        whole = [item for item in results if not isinstance(item, str)]
        frozen = [r for r in found.get((pair, True), ()) if not isinstance(r, str)]
        against = _baseline(pair, pairs)
        difference, error = _paired(results, found.get((against, False), ()))
        rows.append(
            Row(
                *pair,
                accuracies=[item.accuracy for item in whole],
                frozen=[item.accuracy for item in frozen],
                difference=difference,
                difference_error=error,
                speed=_ratio(costs, against, pair, "seconds"),
                memory=_ratio(costs, pair, against, "mib"),
                spikes=mean(r.spikes for r in whole) if whole else nan,
                operations=mean(r.operations for r in whole) if whole else nan,
                options=chosen[pair],
                failure="; ".join(failures),
            )
        )
    order = {(pair.dataset, pair.network): i for i, pair in reversed(list(enumerate(pairs)))}
    return sorted(rows, key=lambda r: (order[r.dataset, r.network], -_number(r.accuracy)))


def _baseline(pair: Pair, pairs: Sequence[Pair]) -> Pair:
    """Return what a pair's figures are set against, which need not be there."""
    itself = pair._replace(rule=BASELINE)
    beside = [other for other in pairs if other._replace(rule=BASELINE) == itself]
    variants = [other for other in beside if split_variant(other.rule)[0] == BASELINE]
    return variants[0] if len(variants) == 1 and itself not in beside else itself


def _paired(ours: Sequence[Any], other: Sequence[Any]) -> tuple[float, float]:
    differences = [
        a.accuracy - b.accuracy
        for a, b in zip(ours, other, strict=False)
        if not isinstance(a, str) and not isinstance(b, str)
    ]
    if not differences:
        return nan, nan
    count = len(differences)
    return mean(differences), stdev(differences) / sqrt(count) if count > 1 else nan


def _ratio(costs: Mapping[Pair, Cost], above: Pair, below: Pair, name: str) -> float:
    if above not in costs or below not in costs:
        return nan
    divisor = float(getattr(costs[below], name))
    return float(getattr(costs[above], name)) / divisor if divisor > 0 else nan


def _number(value: float) -> float:
    return -1.0 if value != value else value
