"""Augmentation of events, a batch at a time.

Give a list of these to ``make_loader(..., augment=[...])``; they are applied in order, in training
and before binning. Each is a pure function of the batch and of random numbers that depend on
``(seed, epoch, index of the recording)`` only (:mod:`spikeprop.datasets._draws`): a run that was
killed goes on with the very same recordings, in any number of worker processes. What leaves the
sensor is dropped. Lengths are in pixels, times in microseconds.

An augmentation of your own is a function ``(batch, labels, sensor_size, draws) -> (batch,
labels)``; one of tonic's is :class:`TonicTransform`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from spikeprop.datasets._draws import Draws
from spikeprop.datasets._refractory import refractory
from spikeprop.datasets.binning import positive_int
from spikeprop.datasets.columns import EventColumns
from spikeprop.datasets.events import make_events

__all__ = [
    "Augmentation",
    "DropArea",
    "DropEvents",
    "DropTime",
    "FlipLeftRight",
    "FlipPolarity",
    "FlipUpDown",
    "Noise",
    "Refractory",
    "Rotate",
    "Scale",
    "Shift",
    "TimeJitter",
    "TimeStretch",
    "TonicTransform",
    "augment_batch",
]

Sensor = tuple[int, int, int]
Labels = NDArray[np.int64]
Result = tuple[EventColumns, Labels]


class Augmentation(Protocol):
    """What every augmentation is."""

    def __call__(
        self, batch: EventColumns, labels: Labels, sensor_size: Sensor, draws: Draws, /
    ) -> Result:
        """Return the changed batch, with as many recordings, and its labels."""


def augment_batch(
    augmentations: Sequence[Augmentation],
    batch: EventColumns,
    labels: Labels,
    sensor_size: Sensor,
    draws: Draws,
) -> Result:
    """Apply augmentations in order, each with draws of its own."""
    for number, augmentation in enumerate(augmentations):
        batch, labels = augmentation(batch, labels, sensor_size, draws.stream(number))
    return batch, labels


@dataclass(frozen=True)
class DropEvents:
    """Drop every event with a probability between ``low`` and ``high``, one for each recording."""

    low: float = 0.0
    high: float = 0.3

    def __post_init__(self) -> None:
        _between("DropEvents", self.low, self.high, 0.0, 1.0)

    def __call__(
        self, batch: EventColumns, labels: Labels, sensor_size: Sensor, draws: Draws
    ) -> Result:
        """Drop events."""
        share = draws.uniform(0, self.low, self.high)
        kept = draws.each(1, batch.lengths) >= np.repeat(share, batch.lengths)
        return batch.keep(kept), labels


@dataclass(frozen=True)
class DropArea:
    """Drop the events of a rectangle: ``share`` of the sensor's width and height, anywhere."""

    share: float = 0.25

    def __post_init__(self) -> None:
        _between("DropArea", 0.0, self.share, 0.0, 1.0)

    def __call__(
        self, batch: EventColumns, labels: Labels, sensor_size: Sensor, draws: Draws
    ) -> Result:
        """Drop a rectangle."""
        inside = np.ones(len(batch.t), dtype=bool)
        for place, column, side in zip((0, 1), (batch.x, batch.y), sensor_size[:2], strict=True):
            size = round(self.share * side)
            start = np.floor(draws.uniform(place, 0, side - size + 1)).astype(np.int64)
            start = np.repeat(start, batch.lengths)
            inside &= (column >= start) & (column < start + size)
        return batch.keep(~inside), labels


@dataclass(frozen=True)
class DropTime:
    """Drop the events of an interval: ``share`` of the recording's length, at any time."""

    share: float = 0.2

    def __post_init__(self) -> None:
        _between("DropTime", 0.0, self.share, 0.0, 1.0)

    def __call__(
        self, batch: EventColumns, labels: Labels, sensor_size: Sensor, draws: Draws
    ) -> Result:
        """Drop an interval."""
        first, last = batch.span()
        length = np.floor(self.share * (last - first + 1))
        begin = first + np.floor(draws.uniform(0) * (last - first + 2 - length))
        begin, end = (np.repeat(v, batch.lengths) for v in (begin, begin + length))
        return batch.keep((batch.t < begin) | (batch.t >= end)), labels


@dataclass(frozen=True)
class Shift:
    """Move every recording by up to ``pixels`` whole pixels on either axis."""

    pixels: int = 2

    def __post_init__(self) -> None:
        positive_int("Shift: pixels", self.pixels, least=0)

    def __call__(
        self, batch: EventColumns, labels: Labels, sensor_size: Sensor, draws: Draws
    ) -> Result:
        """Move recordings."""
        moves = [np.floor(draws.uniform(k, -self.pixels, self.pixels + 1)) for k in (0, 1)]
        return batch.shifted(np.stack(moves, axis=1).astype(np.int64), sensor_size), labels


@dataclass(frozen=True)
class Rotate:
    """Turn every recording about the sensor's middle by up to ``degrees`` either way."""

    degrees: float = 10.0

    def __post_init__(self) -> None:
        _between("Rotate", 0.0, self.degrees, 0.0, 180.0)

    def __call__(
        self, batch: EventColumns, labels: Labels, sensor_size: Sensor, draws: Draws
    ) -> Result:
        """Turn recordings."""
        angle = np.repeat(np.radians(draws.uniform(0, -self.degrees, self.degrees)), batch.lengths)
        return _moved(batch, sensor_size, np.cos(angle), np.sin(angle)), labels


@dataclass(frozen=True)
class Scale:
    """Magnify every recording about the sensor's middle by a factor between ``low`` and ``high``.

    Events are moved, not added: magnified edges are thinner in events.
    """

    low: float = 0.8
    high: float = 1.2

    def __post_init__(self) -> None:
        _between("Scale", self.low, self.high, 1e-3, 1e3)

    def __call__(
        self, batch: EventColumns, labels: Labels, sensor_size: Sensor, draws: Draws
    ) -> Result:
        """Magnify recordings."""
        factor = np.repeat(draws.uniform(0, self.low, self.high), batch.lengths)
        return _moved(batch, sensor_size, factor, np.zeros(len(factor))), labels


@dataclass(frozen=True)
class FlipLeftRight:
    """Mirror recordings left to right, each with a ``probability``.

    Parameters
    ----------
    probability
        Share of the recordings that are mirrored.
    labels
        The class that each class becomes in the mirror (``(1, 0)``: a left and a right one change
        places); None where they stay. ``SimulatedGestures.mirrored`` is such a map.
    """

    probability: float = 0.5
    labels: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        _between("FlipLeftRight", 0.0, self.probability, 0.0, 1.0)
        if self.labels is not None and sorted(self.labels) != list(range(len(self.labels))):
            raise ValueError(
                "FlipLeftRight: labels must name every class once, the class that each becomes, "
                f"got {self.labels!r}"
            )

    def __call__(
        self, batch: EventColumns, labels: Labels, sensor_size: Sensor, draws: Draws
    ) -> Result:
        """Mirror recordings and labels."""
        chosen = draws.uniform(0) < self.probability
        if self.labels is not None:
            if labels.max(initial=0) >= len(self.labels):
                raise ValueError(
                    f"FlipLeftRight: labels has {len(self.labels)} classes, and there is a "
                    f"recording of class {labels.max()}"
                )
            labels = np.where(chosen, np.asarray(self.labels, dtype=np.int64)[labels], labels)
        return batch._replace(x=_mirrored(batch.x, sensor_size[0], chosen, batch)), labels


@dataclass(frozen=True)
class FlipUpDown:
    """Turn recordings upside down, each with a ``probability``."""

    probability: float = 0.5

    def __post_init__(self) -> None:
        _between("FlipUpDown", 0.0, self.probability, 0.0, 1.0)

    def __call__(
        self, batch: EventColumns, labels: Labels, sensor_size: Sensor, draws: Draws
    ) -> Result:
        """Turn recordings upside down."""
        chosen = draws.uniform(0) < self.probability
        return batch._replace(y=_mirrored(batch.y, sensor_size[1], chosen, batch)), labels


@dataclass(frozen=True)
class FlipPolarity:
    """Exchange the polarities of recordings, each with a ``probability``."""

    probability: float = 0.5

    def __post_init__(self) -> None:
        _between("FlipPolarity", 0.0, self.probability, 0.0, 1.0)

    def __call__(
        self, batch: EventColumns, labels: Labels, sensor_size: Sensor, draws: Draws
    ) -> Result:
        """Exchange polarities."""
        chosen = draws.uniform(0) < self.probability
        return batch._replace(p=_mirrored(batch.p, sensor_size[2], chosen, batch)), labels


@dataclass(frozen=True)
class TimeStretch:
    """Multiply the times of every recording by a factor between ``low`` and ``high``."""

    low: float = 0.8
    high: float = 1.25

    def __post_init__(self) -> None:
        _between("TimeStretch", self.low, self.high, 1e-3, 1e3)

    def __call__(
        self, batch: EventColumns, labels: Labels, sensor_size: Sensor, draws: Draws
    ) -> Result:
        """Stretch time."""
        factor = np.repeat(draws.uniform(0, self.low, self.high), batch.lengths)
        return batch._replace(t=np.floor(batch.t * factor).astype(np.int64)), labels


@dataclass(frozen=True)
class TimeJitter:
    """Move every event in time by a random amount of standard deviation ``std`` in microseconds.

    The sum of four uniform numbers, close to a normal one; at most 3.5 ``std``. Events do not come
    before time 0, and are sorted again.
    """

    std: float = 1000.0

    def __post_init__(self) -> None:
        _between("TimeJitter", 0.0, self.std, 0.0, math.inf)

    def __call__(
        self, batch: EventColumns, labels: Labels, sensor_size: Sensor, draws: Draws
    ) -> Result:
        """Move events in time."""
        total = sum(draws.each(place, batch.lengths) for place in range(4))
        moved = batch.t + np.rint((total - 2.0) * (math.sqrt(3.0) * self.std)).astype(np.int64)
        return batch._replace(t=np.maximum(moved, 0)).sorted(), labels


@dataclass(frozen=True)
class Noise:
    """Add events without a cause: a share of the recording's own, between ``low`` and ``high``."""

    low: float = 0.0
    high: float = 0.1

    def __post_init__(self) -> None:
        _between("Noise", self.low, self.high, 0.0, math.inf)

    def __call__(
        self, batch: EventColumns, labels: Labels, sensor_size: Sensor, draws: Draws
    ) -> Result:
        """Add events."""
        lengths = batch.lengths
        count = np.floor(draws.uniform(0, self.low, self.high) * lengths).astype(np.int64)
        first, last = (np.repeat(v, count) for v in batch.span())
        t = first + np.floor(draws.each(1, count) * (last - first + 1)).astype(np.int64)
        places = (
            np.floor(draws.each(2 + k, count) * side).astype(np.int64)
            for k, side in enumerate(sensor_size)
        )
        row = np.concatenate([batch.row, np.repeat(np.arange(batch.batch), count)])
        own = zip(batch[:4], (t, *places), strict=True)
        columns = [np.concatenate(pair) for pair in own]
        order = np.argsort(row, kind="stable")
        offsets = np.concatenate([[0], np.cumsum(lengths + count)])
        t, x, y, p = (column[order] for column in columns)
        return EventColumns(t, x, y, p, offsets).sorted(), labels


@dataclass(frozen=True)
class Refractory:
    """Drop what a pixel fires within ``period`` microseconds of its last event that was kept."""

    period: int = 1000

    def __post_init__(self) -> None:
        positive_int("Refractory: period", self.period, least=0)

    def __call__(
        self, batch: EventColumns, labels: Labels, sensor_size: Sensor, draws: Draws
    ) -> Result:
        """Drop events."""
        return batch.keep(refractory(batch, sensor_size, self.period)), labels


@dataclass(frozen=True)
class TonicTransform:
    """A transform of tonic (or any function of one structured array of events) as augmentation.

    It is called once a recording, which is slow beside the others. tonic draws from NumPy's global
    random state; that is set from the recording's own key, and put back afterwards.
    """

    transform: Any

    def __call__(
        self, batch: EventColumns, labels: Labels, sensor_size: Sensor, draws: Draws
    ) -> Result:
        """Call the transform for every recording."""
        before = np.random.get_state()  # noqa: NPY002 (what tonic uses)
        changed = []
        try:
            for index, word in enumerate(draws.words(0)):
                np.random.seed(int(word) & 0xFFFFFFFF)  # noqa: NPY002
                events = self.transform(batch.events(index))
                names = getattr(getattr(events, "dtype", None), "names", None) or ()
                if not {"x", "y", "t", "p"} <= set(names):
                    raise TypeError(
                        f"{self.transform!r} has to return events with the fields x, y, t and p, "
                        f"got {type(events).__name__} of {getattr(events, 'dtype', 'no dtype')}; "
                        "cut into frames with binning"
                    )
                fields = (np.asarray(events[name]).astype(np.int64) for name in "xytp")
                changed.append(make_events(*fields))
        finally:
            np.random.set_state(before)  # noqa: NPY002
        return EventColumns.from_list(changed).sorted().inside(sensor_size), labels


def _between(name: str, low: float, high: float, least: float, most: float) -> None:
    if not least <= low <= high <= most:
        raise ValueError(
            f"{name}: {least:g} <= low <= high <= {most:g} is asked, got {low}, {high}"
        )


def _mirrored(
    column: NDArray[Any], side: int, chosen: NDArray[np.bool_], batch: EventColumns
) -> NDArray[Any]:
    mirrored: NDArray[Any] = np.where(np.repeat(chosen, batch.lengths), side - 1 - column, column)
    return mirrored


def _moved(
    batch: EventColumns, sensor_size: Sensor, cosine: NDArray[Any], sine: NDArray[Any]
) -> EventColumns:
    """Turn and scale about the middle; to the nearest pixel."""
    middle_x, middle_y = (sensor_size[0] - 1) / 2, (sensor_size[1] - 1) / 2
    x, y = batch.x - middle_x, batch.y - middle_y
    new_x = np.rint(cosine * x - sine * y + middle_x).astype(np.int64)
    new_y = np.rint(sine * x + cosine * y + middle_y).astype(np.int64)
    return batch._replace(x=new_x, y=new_y).inside(sensor_size)
