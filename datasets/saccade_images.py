"""Any set of images, seen by the simulated saccade camera; and MNIST so, whole."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikeprop.datasets.camera import DURATION_US, SIDE, Camera, record, unpack
from spikeprop.datasets.columns import EventColumns
from spikeprop.datasets.events import EventDataset, Events
from spikeprop.datasets.images import MNIST
from spikeprop.datasets.loader import check_labels
from spikeprop.datasets.store_writer import Progress, stored

__all__ = ["SaccadeImages", "SaccadeMNIST"]

CHECKSUMS = {
    "train": (
        "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
        "ecf410ae9adef217cbc86ee2858cc691633f608a03bb356df45a181e0cae69eb",
    ),
    "test": (
        "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
        "ae857cdaee8ee4a9cd23c35f418e9db10ac8381e0178c59d35025468e415bc7e",
    ),
}
"""SHA-256 of MNIST's images, and checksum of what the camera makes of them."""

_RECIPE = "saccade-images 1"  # another number where the same images give other events


class SaccadeImages(EventDataset):
    """Images, seen by an event camera that moves in the three saccades of N-MNIST.

    34 x 34 pixels, two polarities, 315 ms; the camera is :mod:`spikeprop.datasets.camera`. The
    recordings are made on first use, a millisecond or two each, and kept in an event store in the
    data folder; the same images and settings give the same events on every machine.

    Parameters
    ----------
    images : array of uint8, shape (N, H, W) or (N, H, W, 3)
        Dark is 0; colours become their luminance. What lies around an image is dark.
    targets : array of int, shape (N,)
        Labels.
    classes
        Name of every class; None numbers them.
    camera
        Settings; by default images lie 28 pixels wide on the sensor.
    first
        Number of the first image, which its random numbers depend on: give the images of a test
        split other numbers than those of the training split.
    name, train
        What the set is called, and which split it is.
    root
        Data folder; None for ``$SPIKEPROP_DATA`` or ``~/.cache/spikeprop``.
    num_workers
        Processes that record, the first time; None for all cores.
    progress
        Called with the number of recordings made and that of all, the first time.

    Raises
    ------
    ValueError
        If images or labels do not fit.
    OSError
        If the recordings cannot be kept.
    """

    name = "saccade-images"
    sensor_size = (SIDE, SIDE, 2)
    duration = DURATION_US

    def __init__(
        self,
        images: ArrayLike,
        targets: ArrayLike,
        *,
        classes: Sequence[str] | None = None,
        camera: Camera | None = None,
        first: int = 0,
        name: str | None = None,
        train: bool = True,
        root: str | os.PathLike[str] | None = None,
        num_workers: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        camera = camera or Camera(size=28)
        grey = _grey(np.asarray(images))
        labels = np.asarray(targets)
        if labels.shape != (len(grey),) or not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(
                f"targets must be one integer for each of the {len(grey)} images, got shape "
                f"{labels.shape}, {labels.dtype}"
            )
        if classes is None:
            classes = [str(label) for label in range(int(labels.max(initial=0)) + 1)]
        super().__init__(train=train, classes=classes)
        if name is not None:
            self.name = name
        check_labels(labels, len(self.classes))
        self.targets = labels.astype(np.int64)
        scenes = _Scenes(self, grey, camera, first)
        if num_workers is None:
            cores = os.cpu_count() or 1
            num_workers = cores if len(grey) >= 1000 and cores > 1 else 0
        self._store = stored(
            scenes, root, source=scenes.source(), num_workers=num_workers, progress=progress
        )
        self.checksum = self._store.checksum

    def columns(self, indices: NDArray[np.int64]) -> EventColumns:
        """Return several recordings at once."""
        return self._store.columns(indices)

    def _recording(self, index: int) -> Events:
        return self._store[index][0]


class SaccadeMNIST(SaccadeImages):
    """MNIST, complete, seen by the simulated saccade camera: 60,000 and 10,000 recordings.

    Not N-MNIST, which a real camera recorded, but of the same form. The recordings are made on
    first use, in a minute or two on two cores, and take about a gigabyte.

    Parameters
    ----------
    root
        Data folder, in which MNIST's own files are looked for as :class:`MNIST` looks for them;
        None for ``$SPIKEPROP_DATA`` or ``~/.cache/spikeprop``.
    train
        The training or the test split.
    num_workers, progress
        As in :class:`SaccadeImages`.
    download
        Download MNIST's files (11 MB) where they are missing.

    Raises
    ------
    FileNotFoundError
        If MNIST's files are missing and cannot be fetched; the message says which to put where.
    RuntimeError
        If this machine makes other events of MNIST's images than the published ones.
    """

    name = "saccade-mnist"

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        train: bool = True,
        num_workers: int | None = None,
        progress: Progress | None = None,
        download: bool = True,
    ) -> None:
        mnist = MNIST(root, train=train, download=download)
        images, targets = mnist.images, mnist.targets
        super().__init__(
            images,
            targets,
            classes=[str(digit) for digit in range(10)],
            first=0 if train else 60_000,
            train=train,
            root=root,
            num_workers=num_workers,
            progress=progress,
        )
        official, published = CHECKSUMS["train" if train else "test"]
        if hashlib.sha256(images.tobytes()).hexdigest() != official:
            self.partial = True
            self.note = f"not MNIST's own images: {len(images):,} others in its files"
        elif self.checksum != published:
            raise RuntimeError(
                f"the recordings made on this machine have checksum {self.checksum}, the published "
                f"ones {published}; results would not be comparable. Please report this, with the "
                f"version of numpy ({np.__version__})."
            )


class _Scenes:
    """The recordings before they are made: what the store is written from."""

    def __init__(
        self, dataset: EventDataset, images: NDArray[np.uint8], camera: Camera, first: int
    ) -> None:
        self.name, self.classes, self.targets = dataset.name, dataset.classes, dataset.targets
        self.sensor_size, self.duration = dataset.sensor_size, dataset.duration
        self.images, self.camera, self.first = images, camera, first

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Events, int]:
        return self.columns(np.array([index])).events(0), int(self.targets[index])

    def columns(self, indices: NDArray[np.int64]) -> EventColumns:
        """Record consecutive images."""
        images, first = self.images[indices], self.first + int(indices[0])
        packed = record(images, self.camera, white=255, first=first)
        offsets = np.zeros(len(packed) + 1, dtype=np.int64)
        np.cumsum([len(part) for part in packed], out=offsets[1:])
        x, y, t, p = unpack(np.concatenate(packed))
        return EventColumns(t, x, y, p, offsets)

    def source(self) -> str:
        """Return a key of everything that the recordings depend on."""
        text = repr((_RECIPE, astuple(self.camera), self.first, self.name, self.classes))
        digest = hashlib.sha256(text.encode())
        digest.update(repr(self.images.shape).encode())
        digest.update(np.ascontiguousarray(self.images).data)
        digest.update(np.ascontiguousarray(self.targets, dtype="<i8").data)
        return digest.hexdigest()


def _grey(images: NDArray[Any]) -> NDArray[np.uint8]:
    if images.dtype != np.uint8 or not (
        images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)
    ):
        raise ValueError(
            "images have to be bytes (uint8), (N, H, W) or (N, H, W, 3), got shape "
            f"{images.shape}, {images.dtype}"
        )
    if len(images) == 0:
        raise ValueError("images is empty; give at least one")
    if images.ndim == 3:
        return images
    red, green, blue = np.moveaxis(images.astype(np.int32), 3, 0)
    # Weights of ITU-R BT.601 for luminance, in 1/256.
    grey: NDArray[np.uint8] = ((77 * red + 150 * green + 29 * blue) >> 8).astype(np.uint8)
    return grey
