"""A trivial baseline: a linear classifier on frames summed over time.

It sees where events happened and how many, nothing of when. Logistic regression (scikit-learn) on
standardised features; its regularisation is chosen on the validation split, then it is fitted anew
on all of the training part.

``python -m spikeprop.experiments.linear --dataset saccade-mnist`` does that for any set of events
with a test split; a tenth of the training split is held out for the choice.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikeprop.datasets import Binning, make_loader, open_set, split_validation
from spikeprop.datasets.loader import EventSet
from spikeprop.experiments.recordings import Split

__all__ = ["STRENGTHS", "LinearResult", "linear", "main", "summed_frames"]

#: Inverse regularisation strengths C that are tried.
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)

Floats = NDArray[np.float32]


class LinearResult(NamedTuple):
    """Accuracies from 0 to 1, and the strength C that validation chose."""

    test: float
    validation: float
    strength: float


def linear(
    features: Floats, labels: NDArray[np.int64], split: Split, tuning: Split
) -> LinearResult:
    """Choose the strength on ``tuning``, fit on the training part of ``split``, and test.

    Parameters
    ----------
    features : ndarray of float32, shape (N, F)
        Of all recordings.
    labels : ndarray of int64, shape (N,)
        Of all recordings.
    split, tuning : Split
        What the figure is for, and what choices are made on.
    """
    scores = [_score(features, labels, tuning, strength) for strength in STRENGTHS]
    best = int(np.argmax(scores))  # the first, most regularised, of equals
    test = _score(features, labels, split, STRENGTHS[best])
    return LinearResult(test, scores[best], STRENGTHS[best])


def summed_frames(data: EventSet, binning: Binning) -> Floats:
    """Return every recording's frames summed over time, ``(N, P * H * W)``."""
    batches = make_loader(data, batch_size=100, binning=binning, shuffle=False, seed=0)
    return np.concatenate([x.sum(dim=0).flatten(1).numpy() for x, _ in batches])


def _score(features: Floats, labels: NDArray[np.int64], split: Split, strength: float) -> float:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=300))
    # Threads only get in each other's way in problems of this size (measured: up to 15 x slower).
    with warnings.catch_warnings(), threadpool_limits(1):
        # Weak regularisation separates few recordings perfectly: its optimum lies at infinity.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(features[split.train], labels[split.train])
    return float(model.score(features[split.test], labels[split.test]))


def main(arguments: Sequence[str] | None = None) -> LinearResult:
    """Run the command, and return what it found."""
    parser = argparse.ArgumentParser(
        description="A linear classifier on frames summed over time.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--dataset", default="saccade-digits", help="name of a set of events")
    parser.add_argument("--data-dir", type=Path, help="where the recordings are kept")
    given = parser.parse_args(arguments)
    parts = [open_set(given.dataset, given.data_dir, train=train) for train in (True, False)]
    targets = np.concatenate([part.targets for part in parts])
    n_train = len(parts[0].targets)
    tuning = Split("tuning", *split_validation(parts[0].targets))
    split = Split("test", np.arange(n_train), np.arange(n_train, len(targets)))
    frames = np.concatenate(
        [summed_frames(part, Binning(n_time_bins=1, binary=False)) for part in parts]
    )
    found = linear(frames, targets, split, tuning)
    print(
        f"{100 * found.test:.2f} % on {len(split.test):,} test recordings "
        f"({100 * found.validation:.2f} % on {len(tuning.test):,} held out, C = {found.strength:g})"
    )
    return found


if __name__ == "__main__":
    main()
