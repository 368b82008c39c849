"""Samples a second that loaders deliver, from files on disk: ours beside tonic's.

Ours is the event store, as sparse batches and as frames. tonic's is ``DiskCachedDataset`` with
``ToFrame`` through a ``torch.utils.data.DataLoader``, in the two ways it is used: frames in the
cache, or events in the cache and frames made from them. Both are filled before anything is timed,
and all of them deliver shuffled batches of the same recordings, T time bins each; an epoch of each
in turn.

Then the time to reach into a store of recordings as long as those of DVS Gesture: a whole recording
without copying it, and half a second out of the middle of one, copied.

``python -m spikeprop.experiments.benchmarks.loading --data-dir FOLDER`` (without a folder: the
embedded recordings)
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from spikeprop.datasets import (
    NMNIST,
    Binning,
    EventDataset,
    Events,
    EventSlices,
    EventStore,
    SaccadeDigits,
    make_events,
    make_loader,
    write_store,
)

__all__ = ["Loading", "LoadingConfig", "main", "measure_access", "measure_loading"]


@dataclass(frozen=True)
class LoadingConfig:
    """Options of the benchmark."""

    data_dir: Path | None = None
    """Folder of N-MNIST, whole or in part; None takes the embedded recordings."""
    samples: int = 1000
    """Recordings of an epoch."""
    time_bins: int = 100
    """Time steps T."""
    batch_size: int = 64
    """Recordings in a batch."""
    workers: tuple[int, ...] = (0, 2)
    """Numbers of worker processes to measure with."""
    repeats: int = 5
    """Rounds; each times an epoch of every loader."""

    def __post_init__(self) -> None:
        for name in ("samples", "time_bins", "batch_size", "repeats"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} has to be at least 1, got {getattr(self, name)}")
        if not self.workers or min(self.workers) < 0:
            raise ValueError(f"workers have to be numbers of at least 0, got {self.workers}")


@dataclass(frozen=True)
class Loading:
    """Median samples a second of a loader; ratio to the faster of tonic's in the same round."""

    loader: str
    workers: int
    samples_per_second: float
    ratio: float


class _Recordings(Dataset[tuple[Events, int]]):
    """The recordings as tonic's own data sets give them, seen through its transforms."""

    def __init__(self, dataset: EventDataset, transform: Callable[[Any], Any] | None) -> None:
        self.dataset, self.transform = dataset, transform

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        events, label = self.dataset[index]
        return (events if self.transform is None else self.transform(events)), label


class _Part:
    """The first recordings of a set, as an event set of its own."""

    def __init__(self, dataset: EventDataset, count: int) -> None:
        # Spread over the set, whose recordings may be ordered by class.
        self._chosen = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).astype(np.int64)
        self._dataset = dataset
        self.name, self.classes = dataset.name, list(dataset.classes)
        self.sensor_size, self.duration = dataset.sensor_size, dataset.duration
        self.targets = dataset.targets[self._chosen]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Events, int]:
        return self._dataset[int(self._chosen[index])]


def measure_loading(config: LoadingConfig) -> list[Loading]:
    """Time an epoch of every loader, in turn."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        whole = SaccadeDigits() if config.data_dir is None else NMNIST(config.data_dir)
        part: Any = _Part(whole, config.samples)
        write_store(root / "store.events", part)
        rows = []
        for workers in config.workers:
            epochs = {
                "store, sparse": _ours(root, config, workers, sparse=True),
                "store, frames": _ours(root, config, workers, sparse=False),
                "tonic, cached frames": _tonic(part, root / "frames", config, workers, True),
                "tonic, cached events": _tonic(part, root / "events", config, workers, False),
            }
            rows += _rows(epochs, workers, config.repeats)
    return rows


def measure_access(
    seconds: int = 10, events: int = 400_000, repeats: int = 200
) -> dict[str, float]:
    """Return the median milliseconds of reaching into long recordings at random places."""
    rng = np.random.default_rng(0)
    half = 500_000
    with tempfile.TemporaryDirectory() as folder:
        write_store(Path(folder) / "long.events", _Long(seconds * 1_000_000, events))
        store = EventStore(Path(folder) / "long.events")
        slices = EventSlices(store, half)
        milliseconds: dict[str, list[float]] = {"whole, a view": [], "half a second, copied": []}
        for _ in range(repeats):
            index, piece = int(rng.integers(len(store))), rng.integers(len(slices), size=1)
            start = time.perf_counter()
            store.view(index)
            middle = time.perf_counter()
            slices.columns(piece)
            milliseconds["whole, a view"].append(1000 * (middle - start))
            milliseconds["half a second, copied"].append(1000 * (time.perf_counter() - middle))
    return {name: median(values) for name, values in milliseconds.items()}


class _Long:
    """Long recordings of noise."""

    sensor_size = (128, 128, 2)

    def __init__(self, duration: int, events: int, count: int = 20) -> None:
        self.classes = ["noise"]
        self.duration, self.events = duration, events
        self.targets = np.zeros(count, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Events, int]:
        rng = np.random.default_rng(index)
        x, y, p = (rng.integers(0, limit, self.events) for limit in self.sensor_size)
        return make_events(x, y, np.sort(rng.integers(0, self.duration, self.events)), p), 0


def _rows(epochs: dict[str, Callable[[], int]], workers: int, repeats: int) -> list[Loading]:
    for epoch in epochs.values():  # fills caches, compiles, starts workers
        epoch()
    speeds: dict[str, list[float]] = {name: [] for name in epochs}
    for _ in range(repeats):
        for name, epoch in epochs.items():
            start = time.perf_counter()
            samples = epoch()
            speeds[name].append(samples / (time.perf_counter() - start))
    best = [max(pair) for pair in zip(*[s for n, s in speeds.items() if "tonic" in n], strict=True)]
    return [
        Loading(
            name,
            workers,
            median(values),
            median(value / peer for value, peer in zip(values, best, strict=True)),
        )
        for name, values in speeds.items()
    ]


def _ours(root: Path, config: LoadingConfig, workers: int, *, sparse: bool) -> Callable[[], int]:
    loader = make_loader(
        EventStore(root / "store.events"),
        batch_size=config.batch_size,
        binning=Binning(n_time_bins=config.time_bins),
        shuffle=True,
        seed=0,
        sparse=sparse,
        num_workers=workers,
    )
    return lambda: sum(len(labels) for _, labels in loader)


def _tonic(
    part: Any, cache: Path, config: LoadingConfig, workers: int, cached_frames: bool
) -> Callable[[], int]:
    from tonic import DiskCachedDataset
    from tonic.transforms import ToFrame

    to_frame = ToFrame(sensor_size=part.sensor_size, n_time_bins=config.time_bins)
    dataset = DiskCachedDataset(
        _Recordings(part, to_frame if cached_frames else None),
        cache_path=str(cache),
        transform=None if cached_frames else to_frame,
    )
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_size=config.batch_size,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    return lambda: sum(len(labels) for _, labels in loader)


def main() -> int:
    """Read the command line and print the table; return the exit code."""
    import tyro

    config = tyro.cli(LoadingConfig, description=__doc__)
    print(f"T {config.time_bins}, batch {config.batch_size}, {config.repeats} rounds")
    print(f"{'loader':<22} {'workers':>7} {'samples/s':>10} {'over tonic':>11}")
    for row in measure_loading(config):
        print(
            f"{row.loader:<22} {row.workers:>7} {row.samples_per_second:>10.0f} {row.ratio:>11.1f}"
        )
    for name, milliseconds in measure_access().items():
        print(f"a recording of 10 s, 400,000 events: {name}: {milliseconds:.3f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
