"""Sets recorded by three saccades over an image: what N-MNIST and its kin have in common."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spikeprop.datasets.events import EventDataset, Events, make_events

DIGITS = tuple(str(digit) for digit in range(10))

FIRST_SACCADE_US = 100_000
"""Events before this time belong to the first saccade (tonic's rule)."""


def first_saccade(events: Events) -> Events:
    """Keep the events of the first of three saccades: those before 100 ms."""
    return events[events["t"] < FIRST_SACCADE_US]


def stabilize(events: Events) -> Events:
    """Undo the camera's saccades, so that the digit stands still in the middle of the sensor.

    The image of N-MNIST moves along a triangle, 105 ms a side: from (0, 0) to (3.5, 7) to (7, 0)
    pixels and back. Each event is moved against that, and by (4, 2) pixels into the middle. Events
    that leave the 34 x 34 sensor are dropped. The same numbers as
    ``tonic.datasets.nmnist.stabilize`` (tested), which changes its argument; this does not.

    Parameters
    ----------
    events
        Events of one recording, with the sensor of N-MNIST, 34 x 34.

    Returns
    -------
    ndarray
        A new array of events, in the same order.

    Source: G. Orchard et al., "Converting static image datasets to spiking neuromorphic datasets
    using saccades", 2015, and the data set's page.
    """
    t = events["t"]
    # Offsets in 1/30000 pixel, in which 1 us of the triangle is a whole number on both axes.
    moved_x = np.where(t <= 210_000, t, 2 * 105_000 - 2 * (t - 210_000))
    moved_y = 2 * np.where(t <= 105_000, t, np.where(t <= 210_000, 210_000 - t, 0))
    x = ((events["x"] + 4) * 30_000 - moved_x) / 30_000
    y = ((events["y"] + 2) * 30_000 - moved_y) / 30_000
    inside = (x >= 0) & (y >= 0) & (x <= 33) & (y <= 33)
    return make_events(np.round(x[inside]), np.round(y[inside]), t[inside], events["p"][inside])


class SaccadeSet(EventDataset):
    """Recordings of three saccades, 105 ms each, with N-MNIST's two options.

    Parameters
    ----------
    train
        The training or the test split.
    classes
        Name of every class; the ten digits by default.
    first_saccade_only
        Only the events before 100 ms.
    stabilize
        Undo the camera's saccades; see :func:`stabilize`.

    Attributes
    ----------
    duration : int
        315,000 us, or 100,000 with ``first_saccade_only``. Single recordings may be longer.
    """

    def __init__(
        self,
        *,
        train: bool,
        classes: Sequence[str] = DIGITS,
        first_saccade_only: bool = False,
        stabilize: bool = False,
    ) -> None:
        duration = FIRST_SACCADE_US if first_saccade_only else 315_000
        super().__init__(train=train, classes=classes, duration=duration)
        self.first_saccade_only = bool(first_saccade_only)
        self.stabilize = bool(stabilize)

    def __getitem__(self, index: int) -> tuple[Events, int]:
        events, label = super().__getitem__(index)
        if self.first_saccade_only:
            events = first_saccade(events)
        if self.stabilize:
            events = stabilize(events)
        return events, label
