"""Your own data: arrays of events, any ``Dataset``, and sequences that are tensors already.

A folder of recordings is :class:`spikeprop.datasets.EventFolder`; the others take one line each::

    train = EventArrays(list_of_arrays, labels)                    # arrays of events
    train = EventArrays.from_dataset(any_dataset_of_events_label)  # tonic's, torch's, yours
    loader = sequence_loader(dataset_of_tensor_label, batch_size=64, shuffle=True, seed=0)

The first two are event sets: give them to ``make_loader`` (and to ``stored``, where they are
large). The third makes batches ``(T, B, ...)`` at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.utils.data import Dataset

from spikeprop.datasets.binning import check_range, positive_int
from spikeprop.datasets.columns import EventColumns
from spikeprop.datasets.events import EventDataset, Events, make_events
from spikeprop.datasets.loader import EventLoader, check_labels, epoch_loader
from spikeprop.datasets.sparse import EventBatch

__all__ = ["EventArrays", "as_events", "sequence_loader"]


def as_events(events: Any, order: str = "xytp") -> Events:
    """Return events as a structured array, whatever they were.

    Parameters
    ----------
    events
        A structured array with the fields x, t and, where there are any, y and p (0 where not); or
        an array or tensor of integers, shape (N, columns), one column for each letter of ``order``.
    order
        What the columns are: the letters x, y, t and p; x and t have to be among them.

    Raises
    ------
    ValueError
        If they are neither.
    """
    names = getattr(getattr(events, "dtype", None), "names", None)
    if names is not None:
        fields = {name: events[name] for name in names if name in "xytp"}
    else:
        array = np.asarray(events)
        if sorted(set(order)) != sorted(order) or not {"x", "t"} <= set(order) <= set("xytp"):
            raise ValueError(
                f"order has to be letters of 'xytp', x and t among them, got {order!r}"
            )
        if array.size == 0:
            array = array.reshape(0, len(order))
        if array.ndim != 2 or array.shape[1] != len(order):
            raise ValueError(
                f"events have to be a structured array, or (N, {len(order)}) with the columns "
                f"{order!r}, got shape {array.shape}, {array.dtype}"
            )
        fields = dict(zip(order, array.T, strict=True))
    if not {"x", "t"} <= set(fields):
        raise ValueError(f"events need the fields x and t, got {', '.join(names or ())}")
    found = {}
    for name in "xytp":
        values = np.asarray(fields.get(name, np.zeros(len(fields["t"]), dtype=np.int64)))
        whole = values.astype(np.int64)
        if values.dtype.kind == "f" and not np.array_equal(whole, values):
            raise ValueError(
                f"events[{name!r}] has fractions; pixels and times in microseconds are whole"
            )
        found[name] = whole
    return make_events(found["x"], found["y"], found["t"], found["p"])


class EventArrays(EventDataset):
    """Recordings in memory: a list of arrays of events, and their labels.

    Parameters
    ----------
    recordings
        Arrays that :func:`as_events` takes, times in microseconds from any start; they are sorted
        in time, and times made to count from the recording's first event where ``from_zero``.
    targets : array of int, shape (N,)
        Label of each.
    sensor_size
        Width, height and number of polarities; None is as much as the events need.
    classes
        Name of every class; None numbers them.
    duration
        Nominal duration in microseconds; None is that of the longest recording.
    order
        Columns of arrays without names.
    from_zero
        Count times from each recording's first event.
    groups
        Group of each recording (a person, say), or None.
    train, name
        Which split it is, and what it is called.

    Raises
    ------
    ValueError
        If recordings, labels or sensor do not fit.
    """

    name = "arrays"

    def __init__(
        self,
        recordings: Sequence[Any],
        targets: ArrayLike,
        *,
        sensor_size: tuple[int, int, int] | None = None,
        classes: Sequence[str] | None = None,
        duration: int | None = None,
        order: str = "xytp",
        from_zero: bool = True,
        groups: ArrayLike | None = None,
        train: bool = True,
        name: str | None = None,
    ) -> None:
        columns = EventColumns.from_list([as_events(events, order) for events in recordings])
        columns = columns.sorted()
        if from_zero:
            columns = columns._replace(t=columns.t - np.repeat(columns.span()[0], columns.lengths))
        labels = np.asarray(targets)
        if labels.shape != (columns.batch,):
            raise ValueError(
                f"targets must be one label for each of the {columns.batch} recordings, got shape "
                f"{labels.shape}"
            )
        if classes is None:
            check_labels(labels, np.iinfo(np.int64).max)
            classes = [str(label) for label in range(int(labels.max()) + 1)]
        check_labels(labels, len(classes))
        if sensor_size is None:
            width, height, polarities = (
                int(column.max(initial=0)) + 1 for column in (columns.x, columns.y, columns.p)
            )
            sensor_size = (width, height, polarities)
        check_range(columns, sensor_size)
        if duration is None:
            duration = int(columns.t.max(initial=0)) + 1
        super().__init__(train=train, classes=classes, sensor_size=sensor_size, duration=duration)
        self.targets = labels.astype(np.int64)
        self.groups = None if groups is None else np.asarray(groups, dtype=np.int64)
        if name is not None:
            self.name = name
        self._columns = columns

    @classmethod
    def from_dataset(cls, dataset: Any, **options: Any) -> EventArrays:
        """Read all items ``(events, label)`` of any map-style data set, such as one of tonic.

        Parameters
        ----------
        dataset
            Has a length and items ``(events, label)``; events as :func:`as_events` takes them.
            ``sensor_size`` and ``classes`` are taken from it where it has them.
        **options
            As for the class.

        Raises
        ------
        ValueError, TypeError
            If an item is not such a pair.
        """
        recordings, labels = [], []
        for index in range(len(dataset)):
            item = dataset[index]
            if not isinstance(item, tuple | list) or len(item) != 2:
                raise TypeError(f"dataset[{index}] has to be (events, label), got {type(item)}")
            recordings.append(item[0])
            labels.append(int(item[1]))
        size, classes = getattr(dataset, "sensor_size", None), getattr(dataset, "classes", None)
        if size is not None:
            options.setdefault("sensor_size", tuple(int(v) for v in size))
        if classes is not None and len(classes) > max(labels, default=0):
            options.setdefault("classes", [str(name) for name in classes])
        options.setdefault("name", type(dataset).__name__.lower())
        return cls(recordings, labels, **options)

    def columns(self, indices: NDArray[np.int64]) -> EventColumns:
        """Return several recordings at once."""
        starts, lengths = self._columns.offsets[indices], self._columns.lengths[indices]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        place = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
        t, x, y, p = (column[place] for column in self._columns[:4])
        return EventColumns(t, x, y, p, offsets)

    def _recording(self, index: int) -> Events:
        return self._columns.events(index)


def sequence_loader(
    dataset: Any,
    *,
    batch_size: int,
    shuffle: bool,
    seed: int,
    sparse: bool = False,
    lengths: bool = False,
    num_workers: int = 0,
    pin_memory: bool = False,
) -> EventLoader:
    """Make a loader of time-first batches from any data set of ``(x, label)``, x of ``(T, ...)``.

    Parameters
    ----------
    dataset
        Has a length and items ``(x, label)``: a tensor or array, time first, and an integer.
        Sequences may differ in T: shorter ones end in zeros.
    batch_size, shuffle, seed, sparse, num_workers, pin_memory
        As in :func:`spikeprop.datasets.make_loader`.
    lengths
        Batches ``(x, labels, lengths)``, the third being each sequence's own T, shape (B,).

    Returns
    -------
    EventLoader
        Yields ``x``, float32, shape (T, B, ...), or an ``EventBatch``, and ``labels``, int64, (B,).

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range, or sequences do not fit together.
    """
    if len(dataset) == 0:
        raise ValueError("dataset is empty; give a set of at least one sequence")
    return epoch_loader(
        _Sequences(dataset),
        partial(_stack, sparse=bool(sparse), lengths=bool(lengths)),
        np.arange(len(dataset)),
        batch_size=positive_int("batch_size", batch_size),
        shuffle=bool(shuffle),
        seed=positive_int("seed", seed, least=0),
        num_workers=positive_int("num_workers", num_workers, least=0),
        pin_memory=bool(pin_memory),
    )


class _Sequences(Dataset[tuple[Tensor, int]]):
    """The set seen through ``(epoch, index)`` keys."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int]:
        x, label = self.dataset[key[1]]
        x = torch.as_tensor(x).to(torch.float32)
        if x.dim() < 2 or x.shape[0] == 0:
            raise ValueError(
                f"item {key[1]} has to be (T, features...), at least one time step, got "
                f"{tuple(x.shape)}"
            )
        return x, int(label)


def _stack(items: list[tuple[Tensor, int]], sparse: bool, lengths: bool) -> Any:
    features = items[0][0].shape[1:]
    for x, _ in items:
        if x.shape[1:] != features:
            raise ValueError(
                f"sequences of {tuple(features)} and of {tuple(x.shape[1:])} in one batch: all of "
                "a set have to be of one shape beside T"
            )
    x = torch.nn.utils.rnn.pad_sequence([x for x, _ in items])
    labels = torch.tensor([label for _, label in items], dtype=torch.int64)
    batch = EventBatch.from_dense(x) if sparse else x
    if lengths:
        return batch, labels, torch.tensor([len(x) for x, _ in items], dtype=torch.int64)
    return batch, labels
