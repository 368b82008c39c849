"""A trivial baseline: a linear classifier on frames summed over time.

It sees where events happened and how many, nothing of when. Logistic regression (scikit-learn) on
standardised features; its regularisation is chosen on the validation split, then it is fitted anew
on all of the training part.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikeprop.datasets import Binning
from spikeprop.experiments.recordings import Recordings, Split, loader

__all__ = ["STRENGTHS", "LinearResult", "linear", "summed_frames"]

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


def summed_frames(recordings: Recordings, binning: Binning) -> Floats:
    """Return every recording's frames summed over time, ``(N, P * H * W)``."""
    batches = loader(recordings, np.arange(len(recordings)), binning, batch_size=100)
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
