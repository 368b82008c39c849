"""Still images as events: MNIST and Fashion-MNIST by rate, latency or direct coding, and S-MNIST.

IDX files: a big-endian header (two zero bytes, type 8 for bytes, number of dimensions, then each
length as uint32) and the values; plain or ``.gz``. Codings turn a pixel of brightness v (0 to 1)
into events of one polarity, in steps of 1 ms:

- ``rate``: in each step an event with probability ``v * max_rate``, from the seed and the index of
  the image alone;
- ``latency``: one event at step ``round((1 - v) * (steps - 1))``, none where v is below
  ``threshold``: bright first;
- ``direct``: the same image in each step, in ``levels``: ``round(v * levels)`` events a pixel and
  step. Load it with ``binary=False``, time windows of 1 ms, and divide by ``levels``.

S-MNIST (as tonic's ``SMNIST``) reads the pixels of a digit one after another; each input belongs to
a threshold of brightness and has an event where that is crossed.

Source: Y. LeCun et al., http://yann.lecun.com/exdb/mnist; H. Xiao et al., arXiv 1708.07747.
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from spikeprop.datasets._random import raw
from spikeprop.datasets.binning import positive_int
from spikeprop.datasets.events import EventDataset, Events, make_events
from spikeprop.datasets.fetching import RemoteFile
from spikeprop.datasets.files import data_root
from spikeprop.datasets.obtaining import Part, obtain
from spikeprop.datasets.recording_files import note_part

STEP_US = 1_000
CODINGS = ("rate", "latency", "direct")
IDX_LIMIT = 1 << 30
_MNIST_URLS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
_FASHION_URLS = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
)
_NAMES = {"train": "train", "test": "t10k"}
Images = NDArray[np.uint8]


def read_idx(path: Path) -> Images:
    """Read an IDX file of bytes, plain or compressed by gzip.

    Raises
    ------
    ValueError
        If the file is damaged, of another type, or holds more than a gigabyte.
    """
    try:
        with path.open("rb") as plain:
            packed = plain.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if packed else path.open("rb") as file:
            head = file.read(4)
            if len(head) < 4 or head[:3] != b"\0\0\x08" or not 1 <= head[3] <= 4:
                raise ValueError(f"{path}: at byte 0: no IDX file of bytes: {head!r}")
            lengths = file.read(4 * head[3])
            if len(lengths) != 4 * head[3]:
                raise ValueError(f"{path}: at byte 4: the header is cut off")
            shape = tuple(np.frombuffer(lengths, dtype=">u4").tolist())
            size = math.prod(shape)
            if size > IDX_LIMIT:
                raise ValueError(f"{path}: at byte 4: the shape {shape} makes no sense")
            data = file.read(size + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: damaged: {error}") from None
    if len(data) != size:
        raise ValueError(f"{path}: holds {len(data)} values or more, expected {size}")
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)


def _parts(title: str, folder: str, urls: tuple[str, ...], md5: dict[str, str]) -> dict[str, Part]:
    parts = {}
    for split, prefix in _NAMES.items():
        names = (f"{prefix}-images-idx3-ubyte.gz", f"{prefix}-labels-idx1-ubyte.gz")
        files = tuple(
            RemoteFile(name, tuple(url + name for url in urls), md5[name]) for name in names
        )
        kind = "training" if split == "train" else "test"
        parts[split] = Part(
            f"The {kind} split of {title}",
            folder,
            f"the IDX files {names[0]} and {names[1]} (or without .gz)",
            files,
            archives=False,
        )
    return parts


_MNIST_PARTS = _parts(
    "MNIST",
    "MNIST",
    _MNIST_URLS,
    {
        "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    },
)
_FASHION_PARTS = _parts(
    "Fashion-MNIST",
    "FashionMNIST",
    _FASHION_URLS,
    {
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    },
)


def _find(folder: Path, split: str) -> Path | None:
    stems = (f"{_NAMES[split]}-images-idx3-ubyte", f"{_NAMES[split]}-labels-idx1-ubyte")
    return folder if all(_file(folder, stem) for stem in stems) else None


def _file(folder: Path, stem: str) -> Path | None:
    return next((p for p in (folder / stem, folder / f"{stem}.gz") if p.is_file()), None)


class _IdxSet(EventDataset):
    """Images and labels of two IDX files."""

    title: ClassVar[str] = "MNIST"
    parts: ClassVar[dict[str, Part]] = _MNIST_PARTS
    images: Images

    def _read(self, root: str | os.PathLike[str] | None, download: bool) -> None:
        split = "train" if self.train else "test"
        folder = obtain(
            data_root(root), self.parts[split], lambda place: _find(place, split), fetch=download
        )
        images = _file(folder, f"{_NAMES[split]}-images-idx3-ubyte")
        labels = _file(folder, f"{_NAMES[split]}-labels-idx1-ubyte")
        assert images is not None
        assert labels is not None
        self.images, targets = read_idx(images), read_idx(labels)
        if self.images.ndim != 3 or targets.shape != self.images.shape[:1]:
            raise ValueError(
                f"{images}: images of shape {self.images.shape} do not go with labels of shape "
                f"{targets.shape}"
            )
        self.targets = targets.astype(np.int64)
        if len(targets) and targets.max() >= len(self.classes):
            raise ValueError(f"{labels}: label {targets.max()} is out of range")
        note_part(self, len(targets), 60_000 if self.train else 10_000, self.title)


class MNIST(_IdxSet):
    """MNIST by rate, latency or direct coding; see the module.

    Parameters
    ----------
    root
        Data folder with the four IDX files, also in ``MNIST`` in it (``FashionMNIST``); None for
        ``$SPIKEPROP_DATA`` or ``~/.cache/spikeprop``.
    train
        The training or the test split.
    coding
        ``"rate"``, ``"latency"`` or ``"direct"``.
    steps
        Time steps, of 1 ms.
    max_rate
        Rate coding: events a step of a white pixel, 0 to 1.
    threshold
        Latency coding: darker pixels have no event, 0 to 1.
    levels
        Direct coding: events of a white pixel in a step.
    seed
        Rate coding: seed of the events.
    download
        Download the files (11 MB, 30 MB) where they are missing.

    Raises
    ------
    FileNotFoundError
        If the files are missing and cannot be fetched; the message says what to put where.
    ValueError
        If an argument is out of range, or a file is damaged.
    """

    name = "mnist"

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        train: bool = True,
        coding: str = "rate",
        steps: int = 20,
        max_rate: float = 0.5,
        threshold: float = 0.2,
        levels: int = 15,
        seed: int = 0,
        download: bool = True,
    ) -> None:
        if coding not in CODINGS:
            raise ValueError(f"coding must be one of {', '.join(CODINGS)}, got {coding!r}")
        for label, value in (("max_rate", max_rate), ("threshold", threshold)):
            if not 0 < value <= 1:
                raise ValueError(f"{label} must lie in (0, 1], got {value!r}")
        self.coding, self.steps = coding, positive_int("steps", steps)
        self.max_rate, self.threshold = float(max_rate), float(threshold)
        self.levels = positive_int("levels", levels)
        self.seed = positive_int("seed", seed, least=0)
        super().__init__(train=train, classes=self._names(), duration=self.steps * STEP_US)
        self._read(root, download)
        self.sensor_size = (self.images.shape[2], self.images.shape[1], 1)

    def _names(self) -> list[str]:
        return [str(digit) for digit in range(10)]

    def _recording(self, index: int) -> Events:
        image = self.images[index]
        if self.coding == "latency":
            y, x = np.nonzero((image > 0) & (image >= self.threshold * 255))
            step = np.round((255 - image[y, x].astype(np.int64)) * (self.steps - 1) / 255)
            step = step.astype(np.int64)
        elif self.coding == "rate":
            # Thresholds of 16 bits from the raw stream: the same on every machine.
            words = raw((self.seed, index), (self.steps * image.size + 3) // 4)
            draws = words.astype("<u8").view("<u2")[: self.steps * image.size]
            limit = np.round(image.reshape(-1) * (self.max_rate * 65536 / 255))
            spikes = draws.reshape(self.steps, -1) < limit
            step, pixel = np.nonzero(spikes)
            y, x = np.divmod(pixel, image.shape[1])
        else:
            counts = np.round(image.reshape(-1) * (self.levels / 255)).astype(np.int64)
            pixel = np.repeat(np.arange(image.size), counts)
            step = np.repeat(np.arange(self.steps), len(pixel))
            y, x = np.divmod(np.tile(pixel, self.steps), image.shape[1])
        order = np.argsort(step, kind="stable")
        zero = np.zeros(len(step), dtype=np.int64)
        return make_events(x[order], y[order], step[order] * STEP_US, zero)


class FashionMNIST(MNIST):
    """Fashion-MNIST by rate, latency or direct coding; as :class:`MNIST`."""

    name, title = "fashion-mnist", "Fashion-MNIST"
    parts = _FASHION_PARTS

    def _names(self) -> list[str]:
        return [
            *("T-shirt", "trouser", "pullover", "dress", "coat"),
            *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
        ]


class SMNIST(_IdxSet):
    """Spiking sequential MNIST: 99 inputs, the 784 pixels one after another.

    Half of the inputs have an event where brightness rises to their threshold from one pixel to the
    next, half where it falls below it, and one where a pixel is white (255). Two steps of 1 ms for
    each pixel, an event in both, as in tonic's set; x counts inputs from the falling end.

    Parameters
    ----------
    root, train, download
        As in :class:`MNIST`.
    neurons
        Number of inputs, odd.

    Raises
    ------
    FileNotFoundError, ValueError
        As :class:`MNIST`.
    """

    name, title = "smnist", "S-MNIST"

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        train: bool = True,
        neurons: int = 99,
        download: bool = True,
    ) -> None:
        neurons = positive_int("neurons", neurons, least=3)
        if neurons % 2 == 0:
            raise ValueError(f"neurons must be odd, got {neurons}")
        super().__init__(
            train=train,
            classes=[str(digit) for digit in range(10)],
            sensor_size=(neurons, 1, 1),
            duration=2 * 784 * STEP_US,
        )
        self._read(root, download)

    def _recording(self, index: int) -> Events:
        pixels = self.images[index].reshape(-1)
        neurons = self.sensor_size[0]
        half = neurons // 2
        thresholds = np.linspace(0.0, 254.0, half).astype(np.uint8)
        above = pixels[:, None] >= thresholds
        rises = np.argwhere(~above[:-1] & above[1:])
        falls = np.argwhere(above[:-1] & ~above[1:]) + np.array([0, half])
        white = np.flatnonzero(pixels == 255)
        touches = np.stack([white, np.full_like(white, 2 * half)], axis=1)
        place, unit = np.concatenate([rises, falls, touches]).T
        x = neurons - 1 - unit
        order = np.lexsort((x, place))
        step = np.concatenate([2 * place[order], 2 * place[order] + 1])
        again = np.argsort(step, kind="stable")
        step, x = step[again], np.tile(x[order], 2)[again]
        zero = np.zeros(len(x), dtype=np.int64)
        return make_events(x, zero, step * STEP_US, zero)
