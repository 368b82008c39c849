"""A whole epoch: from N-MNIST files on disk to final weights.

Our side reads the files through ``spikeprop.datasets`` into its store, and that as sparse events.
The other side is the usual stack: ``tonic.datasets.NMNIST``, ``ToFrame``, one of tonic's caches,
``PadTensors``, and snnTorch. What is timed begins with an empty cache or no store and ends when the
last weight is written; the time spent waiting for batches is stated beside it, epoch by epoch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from spikeprop.datasets import NMNIST
from spikeprop.datasets.binning import Binning
from spikeprop.datasets.loader import EventLoader, make_loader
from spikeprop.datasets.sparse import EventBatch
from spikeprop.datasets.store_writer import stored
from spikeprop.experiments.benchmarks import cases
from spikeprop.experiments.benchmarks.workload import Batch, recorded, weights

__all__ = ["CACHES", "EpochTime", "epochs", "ours", "tonic_frames"]

CACHES = ("disk", "memory")

Row = dict[str, Any]
Batches = Iterable[tuple[Any, Tensor]]


@dataclass(frozen=True)
class EpochTime:
    """Seconds of one epoch, and how many of them went into waiting for batches."""

    seconds: float
    loading: float


def ours(folder: Path, steps: int, batch: int, place: Path, *, sparse: bool = True) -> EventLoader:
    """Return our loader of the training files, as sparse events or frames, from a store."""
    return make_loader(
        stored(NMNIST(folder, train=True, download=False), place),
        batch_size=batch,
        binning=Binning(n_time_bins=steps),
        shuffle=True,
        seed=0,
        sparse=sparse,
    )


def tonic_frames(folder: Path, steps: int, batch: int, cache: str, place: Path) -> DataLoader[Any]:
    """Return tonic's loader of the same files, cached on disk or in memory.

    Raises
    ------
    ValueError
        For another cache.
    """
    import tonic

    if cache not in CACHES:
        raise ValueError(f"cache has to be one of {CACHES}, got {cache!r}")

    class Files(tonic.datasets.NMNIST):  # type: ignore[misc]
        def _check_exists(self) -> bool:  # part of the set will do, and it may lie anywhere
            self.location_on_system = str(folder)
            return True

    frames = tonic.transforms.ToFrame(sensor_size=Files.sensor_size, n_time_bins=steps)
    files = Files(save_to=str(folder), train=True, transform=frames)
    if cache == "disk":
        cached = tonic.DiskCachedDataset(files, cache_path=str(place))
    else:
        cached = tonic.MemoryCachedDataset(files)
    return DataLoader(
        cached,
        batch_size=batch,
        shuffle=True,
        collate_fn=tonic.collation.PadTensors(batch_first=False),
    )


def _pass(batches: Callable[[], Batches], learn: Callable[[Any, Tensor], None]) -> EpochTime:
    """Learn from every batch once."""
    start = time.perf_counter()
    source = iter(batches())
    loading = time.perf_counter() - start
    while True:
        before = time.perf_counter()
        item = next(source, None)
        loading += time.perf_counter() - before
        if item is None:
            return EpochTime(time.perf_counter() - start, loading)
        learn(*item)


def epochs(
    folder: Path,
    methods: Sequence[str],
    *,
    steps: int,
    batch: int,
    hidden: tuple[int, ...],
    count: int = 3,
    classes: int = 10,
) -> list[Row]:
    """Time ``count`` epochs of every method, epoch by epoch in turn.

    A method of ours is a case; a peer is ``snntorch+disk`` or ``snntorch+memory`` (any case that
    takes dense batches, and one of tonic's caches).
    """
    sample = recorded(folder, steps, 16)
    matrices = weights((sample.dense.shape[2], *hidden), sample)
    times: dict[str, list[EpochTime]] = {name: [] for name in methods}
    with TemporaryDirectory() as place:
        loaders: dict[str, Batches] = {}
        learners = {
            name: cases.make(name.partition("+")[0], matrices, classes, steps) for name in methods
        }

        def open_loader(name: str) -> Batches:
            own, cache = Path(place, name.replace("/", "-")), name.partition("+")[2]
            if cache:
                return tonic_frames(folder, steps, batch, cache, own)
            return ours(folder, steps, batch, own, sparse=learners[name].takes_events)

        for epoch in range(count):
            for name in methods:
                learner = learners[name]

                def batches(name: str = name, epoch: int = epoch) -> Batches:
                    if name not in loaders:  # the first epoch fills cache or store
                        loaders[name] = open_loader(name)
                    loader = loaders[name]
                    if isinstance(loader, EventLoader):
                        loader.set_epoch(epoch)
                    return loader

                def learn(x: Any, label: Tensor, learner: Any = learner) -> None:
                    learner.update(_batch(x, label))

                times[name].append(_pass(batches, learn))
    return [
        {
            "method": name,
            "T": steps,
            "B": batch,
            "hidden": list(hidden),
            "epoch_seconds": [item.seconds for item in items],
            "loading_seconds": [item.loading for item in items],
        }
        for name, items in times.items()
    ]


class _Frames(Batch):
    """A batch that came as frames."""

    def __init__(self, frames: Tensor, label: Tensor) -> None:
        self.label = label
        self._dense = frames


def _batch(x: Any, label: Tensor) -> Batch:
    if isinstance(x, EventBatch):
        size = x.features.numel()
        return Batch(x._replace(features=torch.Size((size,))), label, "files")
    # tonic counts the events of a pixel and time step; both sides learn from "any".
    return _Frames((x.flatten(2) > 0).to(torch.float32), label)
