"""Writes recordings: the formats that keep everything, and N-MNIST's."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from spikeprop.datasets.bin_format import write_events
from spikeprop.datasets.events import Events
from spikeprop.datasets.files import write_atomically, write_bytes

WRITTEN = (".npy", ".npz", ".h5", ".csv", ".bin")


def write_recording(
    path: str | os.PathLike[str],
    events: Events,
    sensor_size: tuple[int, int, int] | None = None,
) -> None:
    """Write a recording; the format follows from the name. The file appears whole or not at all.

    Parameters
    ----------
    path
        ``.npy`` (fields x, y, t, p), ``.npz`` and ``.h5`` (four arrays and the sensor), ``.csv``
        (a line of names, then lines of numbers) or ``.bin`` (N-MNIST's five bytes an event).
    events
        Fields x, y, t (microseconds) and p.
    sensor_size
        Width, height and number of polarities, kept by ``.npz``, ``.h5`` and ``.csv``.

    Raises
    ------
    ValueError
        If the name ends otherwise, or a value does not fit the format.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".npy":
        write_atomically(path, lambda file: np.save(file, events), parents=True)
    elif suffix == ".npz":
        arrays = {name: events[name] for name in "xytp"}
        if sensor_size is not None:
            arrays["sensor_size"] = np.array(sensor_size)
        write_atomically(path, lambda file: np.savez_compressed(file, **arrays), parents=True)  # type: ignore[arg-type]
    elif suffix == ".h5":
        write_atomically(path, lambda file: _write_hdf5(file, events, sensor_size), parents=True)
    elif suffix == ".csv":
        size = (
            "" if sensor_size is None else f"# {sensor_size[0]}x{sensor_size[1]}x{sensor_size[2]}\n"
        )
        rows = np.stack([events[name] for name in "txyp"], axis=1)
        lines = "\n".join(",".join(map(str, row)) for row in rows.tolist())
        write_bytes(path, f"{size}t,x,y,p\n{lines}\n".encode(), parents=True)
    elif suffix == ".bin":
        write_events(path, events)
    else:
        raise ValueError(f"{path}: can write names that end in {', '.join(WRITTEN)}")


def _write_hdf5(path: Path, events: Events, sensor_size: tuple[int, int, int] | None) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        group = file.create_group("events")
        for name in "xytp":
            group.create_dataset(name, data=events[name], compression="gzip", shuffle=True)
        if sensor_size is not None:
            file.attrs["sensor_size"] = np.array(sensor_size)
