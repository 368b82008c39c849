"""Batches for training: order and shifts depend on ``(seed, epoch)`` and nothing else.

Dense batches (frames) and sparse ones (:class:`EventBatch`) come in the same order with the same
shifts: a run is the same either way. A run that was killed goes on in any epoch with the very
batches that it would have seen, and the global random state of the process is neither read nor
moved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from spikeprop.datasets._draws import Draws
from spikeprop.datasets._random import permutation, raw, symmetric
from spikeprop.datasets.augment import Augmentation, augment_batch
from spikeprop.datasets.binning import Binning, bin_events, positive_int, true_lengths
from spikeprop.datasets.columns import EventColumns
from spikeprop.datasets.events import Events
from spikeprop.datasets.sparse import EventBatch
from spikeprop.datasets.sparse_binning import bin_events_sparse

_ORDER, _SHIFT = 1, 2  # keep the two uses of one seed apart

Batch = tuple[Tensor | EventBatch, Tensor]
#: Events, labels, and, if the events are those of more recordings, which of them are meant.
_Recordings = tuple[EventColumns, NDArray[np.int64], NDArray[np.int64] | None]


class EventSet(Protocol):
    """What a set must offer: every :class:`~spikeprop.datasets.events.EventDataset` does.

    One that also has a method ``columns(indices) -> EventColumns`` is asked for whole batches,
    which is faster; one with ``mapped``, all recordings as ``EventColumns``, is not even copied
    from where nothing changes the events.
    """

    sensor_size: tuple[int, int, int]
    classes: list[str]
    targets: NDArray[np.int64]
    duration: int

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Events, int]: ...


class EventLoader(DataLoader[Any]):
    """A ``torch.utils.data.DataLoader`` with a stateless order; made by :func:`make_loader`.

    Call ``set_epoch(epoch)`` before each pass (``ForwardLearner.fit`` does): without it every pass
    sees the same order and the same shifts.
    """

    def set_epoch(self, epoch: int) -> None:
        """Choose the order and the shifts of the following passes."""
        assert isinstance(self.sampler, _EpochSampler)
        self.sampler.set_epoch(epoch)

    def skip(self, batches: int) -> None:
        """Leave out so many batches at the beginning of the next pass, without loading them."""
        assert isinstance(self.sampler, _EpochSampler)
        batches = positive_int("batches", batches, least=0)
        self.sampler.skipped = batches * int(self.batch_size or 1)

    def __iter__(self) -> Any:
        # Iterators of a DataLoader draw one number for their workers; from a generator of our own,
        # always in the same state, not from the global one.
        self.generator = torch.Generator().manual_seed(0)
        found = super().__iter__()
        return map(_unpack, found) if self.num_workers else found


class _EpochSampler(Sampler[tuple[int, int]]):
    """Yields ``(epoch, index)``: worker processes learn the epoch from the key."""

    def __init__(self, indices: NDArray[np.int64], shuffle: bool, seed: int) -> None:
        self.indices, self.shuffle, self.seed, self.epoch = indices, shuffle, seed, 0
        self.skipped = 0  # of the next pass

    def set_epoch(self, epoch: int) -> None:
        self.epoch = positive_int("epoch", epoch, least=0)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch, indices = self.epoch, self.indices
        if self.shuffle:
            indices = indices[permutation((self.seed, _ORDER, epoch), len(indices))]
        skipped, self.skipped = self.skipped, 0
        return iter([(epoch, int(index)) for index in indices[skipped:]])


class _Keyed(Dataset[tuple[Events, int]]):
    """The set seen through ``(epoch, index)`` keys, with random shifts; a batch at a time."""

    def __init__(
        self, dataset: EventSet, shift: int, augment: Sequence[Augmentation], seed: int, lend: bool
    ) -> None:
        self.dataset, self.shift, self.seed = dataset, shift, seed
        self.augment = tuple(augment)
        self.lend = lend and not shift and not self.augment

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, keys: list[tuple[int, int]]) -> _Recordings:
        indices = np.array([index for _, index in keys], dtype=np.int64)
        mapped = getattr(self.dataset, "mapped", None)
        if self.lend and mapped is not None:
            return mapped, np.asarray(self.dataset.targets)[indices].astype(np.int64), indices
        fetch = getattr(self.dataset, "columns", None)
        if fetch is not None:
            columns, labels = fetch(indices), np.asarray(self.dataset.targets)[indices]
        else:
            items = [self.dataset[int(index)] for index in indices]
            columns = EventColumns.from_list([events for events, _ in items])
            labels = np.array([label for _, label in items])
        if self.shift:
            words = np.stack([raw((self.seed, _SHIFT, epoch, index), 2) for epoch, index in keys])
            columns = columns.shifted(symmetric(words, self.shift), self.dataset.sensor_size)
        labels = labels.astype(np.int64)
        if self.augment:
            draws = Draws(self.seed, np.array([epoch for epoch, _ in keys]), indices)
            sensor_size = self.dataset.sensor_size
            columns, labels = augment_batch(self.augment, columns, labels, sensor_size, draws)
        return columns, labels, None


class _Collate:
    """Turns recordings into a batch (a class, so that workers can pickle it)."""

    def __init__(
        self,
        binning: Binning,
        sensor_size: tuple[int, int, int],
        duration: int,
        sparse: bool,
        whole: bool,
        lengths: bool,
    ) -> None:
        self.binning, self.sensor_size, self.duration = binning, sensor_size, duration
        self.sparse, self.whole, self.lengths = bool(sparse), bool(whole), bool(lengths)

    @property
    def reads(self) -> bool:
        """Whether events are read once, and only read."""
        return self.sparse and not self.whole and not self.lengths

    def __call__(self, items: _Recordings) -> Any:
        columns, labels, chosen = items
        duration = int(columns.t.max(initial=0)) + 1 if self.whole else self.duration
        arguments = columns, self.binning, self.sensor_size, duration
        if not self.sparse:
            x: Tensor | EventBatch = bin_events(*arguments)
        else:
            x = bin_events_sparse(*arguments, chosen)
        rest = [torch.from_numpy(labels)]
        if self.lengths:
            rest.append(torch.from_numpy(true_lengths(columns, self.binning, x.shape[0])))
        if isinstance(x, EventBatch) and get_worker_info() is not None:
            return _pack(x, rest)
        return (x, *rest)


class _Parcel(NamedTuple):
    """A sparse batch as one tensor: one process opens a connection for each that another sends."""

    content: Tensor
    channels: int  # their number
    values: bool  # whether there are any
    rest: int  # tensors of B
    batch: int
    time_steps: int
    features: torch.Size


def _pack(x: EventBatch, rest: Sequence[Tensor]) -> _Parcel:
    parts = [x.offsets, *rest, x.channels]
    if x.values is not None:
        parts.append(x.values)
    content = torch.cat([part.view(torch.uint8) for part in parts])
    values = x.values is not None
    return _Parcel(content, len(x.channels), values, len(rest), x.batch, x.time_steps, x.features)


def _unpack(item: Any) -> Any:
    if not isinstance(item, _Parcel):
        return item
    place = 0

    def take(count: int, kind: torch.dtype) -> Tensor:
        nonlocal place
        first, place = place, place + count * kind.itemsize
        return item.content[first:place].view(kind)

    offsets = take(item.batch * item.time_steps + 1, torch.int64)
    rest = [take(item.batch, torch.int64) for _ in range(item.rest)]
    channels = take(item.channels, torch.int32)
    values = take(item.channels, torch.float32) if item.values else None
    return EventBatch(offsets, channels, values, item.time_steps, item.features), *rest


def make_loader(
    dataset: EventSet,
    *,
    batch_size: int,
    binning: Binning,
    shuffle: bool,
    seed: int,
    shift: int = 0,
    augment: Sequence[Augmentation] = (),
    indices: Sequence[int] | NDArray[np.int64] | None = None,
    sparse: bool = False,
    whole: bool = False,
    lengths: bool = False,
    num_workers: int = 0,
    pin_memory: bool = False,
) -> EventLoader:
    """Make a loader of ``(x, labels)`` from a set of recordings.

    Parameters
    ----------
    dataset
        A set of events.
    batch_size
        Recordings in a batch; the last batch of a pass may be smaller.
    binning
        How recordings are cut into time steps.
    shuffle
        A new random order in every epoch, instead of the given one.
    seed
        Seed of order, shifts and augmentation.
    shift
        Random shift by -shift..shift pixels on each axis (for training only), new in every epoch.
    augment
        Augmentations of :mod:`spikeprop.datasets.augment`, applied in order after the shift (for
        training only), new in every epoch.
    indices
        Use only these recordings, in this order where ``shuffle`` is False.
    sparse
        Batches of sparse events (:class:`spikeprop.datasets.EventBatch`), never made dense; the
        same batches otherwise.
    whole
        With ``time_window``: T is that of the batch's longest recording, and nothing is cut off;
        otherwise it is that of the set's nominal duration, the same for every batch.
    lengths
        Batches ``(x, labels, lengths)``: the number of time steps up to each recording's last
        event, int64, shape (B,); :func:`spikeprop.datasets.length_mask` makes a mask of it.
    num_workers
        Processes that load ahead; 0 loads when a batch is asked for. The batches are the same.
    pin_memory
        Batches in page-locked memory, from which copies to a CUDA device run beside the computing.

    Returns
    -------
    EventLoader
        Yields ``x``, float32, shape (T, B, P, H, W), or an ``EventBatch`` of that shape, and
        ``labels``, int64, shape (B,).

    Raises
    ------
    ValueError
        If an argument is out of range, there is no recording, or a label is not a class.
    TypeError
        If an argument has the wrong type.
    """
    if not isinstance(binning, Binning):
        raise TypeError(f"binning must be a Binning, got {binning!r}")
    batch_size = positive_int("batch_size", batch_size)
    seed = positive_int("seed", seed, least=0)
    shift = positive_int("shift", shift, least=0)
    num_workers = positive_int("num_workers", num_workers, least=0)
    if shift >= min(dataset.sensor_size[:2]):
        raise ValueError(
            f"shift must be smaller than the sensor {dataset.sensor_size[:2]}, got {shift}"
        )
    chosen = np.arange(len(dataset)) if indices is None else _indices(indices, len(dataset))
    if len(chosen) == 0:
        raise ValueError("there is no recording to load: the set, or indices, is empty")
    check_labels(np.asarray(dataset.targets)[chosen], len(dataset.classes))
    collate = _Collate(binning, dataset.sensor_size, dataset.duration, sparse, whole, lengths)
    return epoch_loader(
        _Keyed(dataset, shift, augment, seed, collate.reads),
        collate,
        chosen,
        batch_size=batch_size,
        shuffle=bool(shuffle),
        seed=seed,
        num_workers=num_workers,
        pin_memory=bool(pin_memory),
    )


def epoch_loader(
    dataset: Dataset[Any],
    collate: Callable[[Any], Any],
    indices: NDArray[np.int64],
    *,
    batch_size: int,
    shuffle: bool,
    seed: int,
    num_workers: int,
    pin_memory: bool,
) -> EventLoader:
    """Make a loader with a stateless order of a set whose items are asked for by (epoch, index)."""
    return EventLoader(
        dataset,
        batch_size=batch_size,
        sampler=_EpochSampler(indices, shuffle, seed),
        collate_fn=collate,
        num_workers=num_workers,
        pin_memory=pin_memory,
        persistent_workers=num_workers > 0,
    )


def check_labels(labels: NDArray[Any], classes: int) -> None:
    """Raise ValueError unless every label is an integer in ``0 .. classes - 1``."""
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be integers, got {labels.dtype}")
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        raise ValueError(
            f"label {int(wrong[0])} is out of range: {classes} classes allow 0 to {classes - 1}"
        )


def _indices(indices: Sequence[int] | NDArray[np.int64], count: int) -> NDArray[np.int64]:
    chosen = np.asarray(indices)
    if chosen.size == 0:
        return np.empty(0, dtype=np.int64)
    if chosen.ndim != 1 or not np.issubdtype(chosen.dtype, np.integer):
        raise TypeError(
            f"indices must be a list of integers, got shape {chosen.shape}, {chosen.dtype}"
        )
    if chosen.min() < 0 or chosen.max() >= count:
        raise ValueError(
            f"indices reach from {chosen.min()} to {chosen.max()}; "
            f"{count} recordings allow 0 to {count - 1}"
        )
    return chosen.astype(np.int64)
