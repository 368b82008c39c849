"""The event files of N-MNIST: five bytes an event, read strictly and written.

::

    byte 0    x
    byte 1    y; 240 marks an overflow record: no event, later times are 2**13 us further on
    byte 2    bit 7: polarity (1 = ON); bits 6..0: bits 22..16 of the time
    byte 3    bits 15..8 of the time
    byte 4    bits 7..0 of the time, in microseconds

Read as ``tonic.io.read_mnist_file`` reads (tested), but a damaged file is an error and not a
strange recording. Source: the format's description at
https://www.garrickorchard.com/datasets/n-mnist.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from spikeprop.datasets.events import Events, make_events
from spikeprop.datasets.files import write_bytes

RECORD_BYTES = 5
OVERFLOW_Y = 240
OVERFLOW_US = 2**13
TIME_LIMIT_US = 2**23


def read_events(path: str | os.PathLike[str], sensor_size: tuple[int, int, int]) -> Events:
    """Read one recording.

    Timestamps out of order are repaired by a stable sort: every event keeps its own time, and
    events of equal time their order in the file.

    Parameters
    ----------
    path
        A ``.bin`` file.
    sensor_size
        Width, height and number of polarities of the sensor; at most 240 rows.

    Returns
    -------
    ndarray
        Events with fields x, y (pixels), t (microseconds) and p (0 OFF, 1 ON), sorted in t.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is truncated, holds no event, or an event lies outside the sensor.
    """
    data = Path(path).read_bytes()
    if len(data) % RECORD_BYTES:
        raise ValueError(
            f"{path}: truncated: {len(data)} bytes is not a whole number of 5-byte events"
        )
    records = np.frombuffer(data, dtype=np.uint8).reshape(-1, RECORD_BYTES).astype(np.int64)
    x, y, high, middle, low = records.T
    overflow = y == OVERFLOW_Y
    t = ((high & 127) << 16 | middle << 8 | low) + OVERFLOW_US * np.cumsum(overflow)
    event = ~overflow
    x, y, t, p = x[event], y[event], t[event], high[event] >> 7
    if len(t) == 0:
        raise ValueError(f"{path}: empty recording: the file holds no event")
    width, height = sensor_size[:2]
    outside = np.flatnonzero((x >= width) | (y >= height))
    if len(outside):
        first = outside[0]
        raise ValueError(
            f"{path}: event {first} at (x, y) = ({x[first]}, {y[first]}) lies outside the sensor "
            f"of {width} x {height} pixels ({len(outside)} of {len(t)} events do)"
        )
    events = make_events(x, y, t, p)
    if np.any(np.diff(t) < 0):
        events = events[np.argsort(t, kind="stable")]
    return events


def write_events(path: str | os.PathLike[str], events: Events) -> None:
    """Write one recording in the same format; the file appears whole or not at all.

    Parameters
    ----------
    path
        The file; its folder is made where it is missing.
    events
        Fields x (0..255), y (0..239), t (0..2**23 - 1 microseconds) and p (0, 1), in any order.

    Raises
    ------
    ValueError
        If a value does not fit the format.
    """
    limits = {"x": 256, "y": OVERFLOW_Y, "t": TIME_LIMIT_US, "p": 2}
    for name, limit in limits.items():
        values = events[name]
        if len(values) and not (values.min() >= 0 and values.max() < limit):
            raise ValueError(
                f"events[{name!r}] reaches from {values.min()} to {values.max()}; "
                f"the format allows 0 to {limit - 1}"
            )
    x, y, t, p = (events[name].astype(np.int64) for name in "xytp")
    columns = (x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255)
    data = np.stack(columns, axis=1).astype(np.uint8).tobytes()
    write_bytes(path, data, parents=True)
