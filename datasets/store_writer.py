"""Writes event stores: once, whole or not at all, and again by itself after a kill."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from spikeprop.datasets.binning import check_range, positive_int
from spikeprop.datasets.columns import EventColumns
from spikeprop.datasets.files import data_root, flush_folder
from spikeprop.datasets.loader import EventSet, check_labels
from spikeprop.datasets.store import (
    ALIGN,
    BLOCK,
    COLUMNS,
    FORMAT,
    VERSION,
    EventStore,
    block_hashes,
    pack,
)

__all__ = ["stored", "write_store"]

SUFFIX = ".events"
_CHUNK = 32  # recordings that are read at once
_SAMPLES = 64  # recordings that stand for a set in its description

Progress = Callable[[int, int], None]


def write_store(
    path: str | os.PathLike[str],
    dataset: EventSet,
    *,
    source: str = "",
    num_workers: int = 0,
    progress: Progress | None = None,
) -> None:
    """Write a set of recordings into one file; see :mod:`spikeprop.datasets.store` for its format.

    Columns are collected in a folder ``.NAME.partial`` beside the file, which a killed process
    leaves and the next one clears. A second process that writes the same store waits for the first.

    Parameters
    ----------
    path
        The file; replaced if it is there.
    dataset
        The set. Events are sorted in time where they are not.
    source
        What the store is made from, to be kept in it.
    num_workers
        Processes that read recordings; 0 reads in this one.
    progress
        Called with the number of recordings done and that of all.

    Raises
    ------
    ValueError
        If the set is empty, an event lies outside the sensor or before time 0, or a label is not a
        class.
    OSError
        If the file cannot be written.
    """
    path = Path(path)
    targets = np.asarray(dataset.targets)
    if len(targets) == 0:
        raise ValueError("dataset is empty; give a set of at least one recording")
    check_labels(targets, len(dataset.classes))
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path):
        _write(path, dataset, targets, source, num_workers, progress)


def stored(
    dataset: EventSet,
    root: str | os.PathLike[str] | None = None,
    *,
    source: str | None = None,
    num_workers: int = 0,
    progress: Progress | None = None,
) -> EventStore:
    """Return the set from its store, which is written first where it is missing, old or damaged.

    The store is ``stores/NAME-KEY.events`` in the data folder. The key tells sets apart: it depends
    on the labels, the options, the names, sizes and times of the set's files (``paths``, where it
    has them) and the events of 64 recordings spread over it.

    Parameters
    ----------
    dataset
        The set.
    root
        Data folder; None for ``$SPIKEPROP_DATA`` or ``~/.cache/spikeprop``.
    source
        Key of your own, at least 16 letters and digits, where the one above would not do.
    num_workers, progress
        As in :func:`write_store`.

    Raises
    ------
    ValueError
        As in :func:`write_store`.
    OSError
        If the store cannot be written; the message names the folder.
    """
    if source is None:
        source = describe(dataset)
    elif len(source) < 16 or not source.isalnum():
        raise ValueError(f"source has to be at least 16 letters and digits, got {source!r}")
    name = "".join(c if c.isalnum() or c in "-_" else "-" for c in str(_about(dataset)["name"]))
    path = data_root(root) / "stores" / f"{name}-{source[:16]}{SUFFIX}"
    for attempt in range(2):
        try:
            store = EventStore(path)
            if store.source == source:
                return store
        except FileNotFoundError:
            pass
        except ValueError as error:
            if attempt == 1:
                raise
            warnings.warn(f"{error}. It is made anew.", stacklevel=2)
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path):
            # Another process may have written it while this one waited.
            with contextlib.suppress(FileNotFoundError, ValueError):
                if EventStore(path).source == source:
                    continue
            _write(path, dataset, np.asarray(dataset.targets), source, num_workers, progress)
    return EventStore(path)


def describe(dataset: EventSet) -> str:
    """Return a SHA-256 that tells a set of recordings from another."""
    digest = hashlib.sha256(json.dumps(_about(dataset), sort_keys=True).encode())
    targets = np.asarray(dataset.targets)
    digest.update(np.ascontiguousarray(targets, dtype="<i8").tobytes())
    for file in getattr(dataset, "paths", ()):
        found = Path(file).stat()
        name = "/".join(Path(file).parts[-2:])
        digest.update(f"{name} {found.st_size} {found.st_mtime_ns}\n".encode())
    chosen = np.linspace(0, len(targets) - 1, min(_SAMPLES, len(targets))).round().astype(np.int64)
    columns = _fetch(dataset, chosen)
    for column in columns:
        digest.update(np.ascontiguousarray(column, dtype="<i8").tobytes())
    return digest.hexdigest()


def _about(dataset: EventSet) -> dict[str, Any]:
    return {
        "name": str(getattr(dataset, "name", "events")),
        "classes": [str(name) for name in dataset.classes],
        "sensor_size": [int(v) for v in dataset.sensor_size],
        "duration": int(dataset.duration),
        "note": getattr(dataset, "note", None),
        "partial": bool(getattr(dataset, "partial", False)),
    }


def _fetch(dataset: EventSet, indices: NDArray[np.int64]) -> EventColumns:
    fetch = getattr(dataset, "columns", None)
    if fetch is not None:
        found: EventColumns = fetch(indices)
        return found
    return EventColumns.from_list([dataset[int(index)][0] for index in indices])


class _Chunks(Dataset[EventColumns]):
    """The set in chunks of recordings, for worker processes."""

    def __init__(self, dataset: EventSet) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return -(-len(self.dataset) // _CHUNK)

    def __getitem__(self, chunk: int) -> EventColumns:
        indices = np.arange(chunk * _CHUNK, min((chunk + 1) * _CHUNK, len(self.dataset)))
        columns = _fetch(self.dataset, indices)
        check_range(columns, self.dataset.sensor_size)
        return columns.sorted()


def _write(
    path: Path,
    dataset: EventSet,
    targets: NDArray[Any],
    source: str,
    num_workers: int,
    progress: Progress | None,
) -> None:
    sensor_size = tuple(positive_int("sensor_size", v) for v in dataset.sensor_size)
    if max(sensor_size[:2]) > 1 << 15 or sensor_size[2] > 127:
        raise ValueError(f"sensor_size {sensor_size} is larger than 32,768 x 32,768 pixels x 127")
    pixel = "|u1" if max(sensor_size[:2]) <= 1 << 8 else "<u2"
    kinds = {"t": "<i8", "x": pixel, "y": pixel, "p": "|u1"}
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        lengths = [np.zeros(1, dtype=np.int64)]
        last = 0
        chunks = DataLoader(_Chunks(dataset), batch_size=None, num_workers=num_workers)
        with contextlib.ExitStack() as stack:
            files = {n: stack.enter_context((partial / n).open("wb")) for n in COLUMNS}
            for columns in chunks:
                for name, file in files.items():
                    file.write(np.asarray(getattr(columns, name)).astype(kinds[name]).data)
                last = max(last, int(np.asarray(columns.t).max(initial=0)))
                lengths.append(np.diff(np.asarray(columns.offsets)))
                if progress is not None:
                    progress(sum(map(len, lengths)) - 1, len(targets))
        arrays = {"offsets": np.cumsum(np.concatenate(lengths)), "targets": targets}
        groups = getattr(dataset, "groups", None)
        if groups is not None:
            arrays["groups"] = np.asarray(groups)
        stored_as = {**kinds, "t": "<u4" if last < 1 << 32 else "<i8"}
        about = {**_about(dataset), "source": source}
        whole = partial / "store"
        _assemble(whole, partial, stored_as, arrays, about)
        whole.replace(path)
        flush_folder(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _assemble(
    whole: Path,
    partial: Path,
    kinds: dict[str, str],
    arrays: dict[str, NDArray[Any]],
    about: dict[str, Any],
) -> None:
    """Put the collected columns together, with a header that has their checksums."""
    events = int(arrays["offsets"][-1])
    columns: dict[str, list[Any]] = {}
    size = 0
    for name in (*COLUMNS, *arrays):
        kind, count = (kinds[name], events) if name in kinds else ("<i8", len(arrays[name]))
        columns[name] = [kind, size, count]
        size += -(-count * np.dtype(kind).itemsize // ALIGN) * ALIGN
    header = {
        "format": FORMAT,
        "version": VERSION,
        "set": about,
        "size": size,
        "columns": columns,
        "sha256": ["0" * 64] * -(-size // BLOCK),  # as long as the real ones
    }
    start = len(pack(header))
    with whole.open("w+b") as file:
        file.truncate(start + size)
        for name, (kind, place, _) in columns.items():
            file.seek(start + place)
            if name in kinds:
                _copy(partial / name, file, "<i8" if name == "t" else kind, kind)
            else:
                file.write(arrays[name].astype(kind).data)
        file.flush()
        body: NDArray[np.uint8] = np.memmap(whole, np.uint8, "r", start, (size,))
        header["sha256"] = block_hashes(body)
        file.seek(0)
        file.write(pack(header))
        file.flush()
        os.fsync(file.fileno())


def _copy(column: Path, file: BinaryIO, kind: str, target: str) -> None:
    with column.open("rb") as source:
        while block := source.read(BLOCK):
            file.write(np.frombuffer(block, kind).astype(target, copy=False).data)
    column.unlink()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the right to write ``path``; the system takes it back from a process that dies."""
    try:
        import fcntl
    except ImportError:  # Windows: the store still appears whole, but may be written twice
        yield
        return
    with path.with_name(f".{path.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
