"""``spikeprop data list | download | check | show | convert``."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from spikeprop.config import DatasetName


@dataclass(frozen=True)
class ListConfig:
    """List all data sets, and which of them are here."""

    data_dir: Path | None = None
    """Folder of data sets; None is the default cache."""


@dataclass(frozen=True)
class DownloadConfig:
    """Download a data set; what has come already is not asked for again."""

    dataset: tyro.conf.Positional[DatasetName]
    """Data set; `spikeprop data list` shows all."""

    data_dir: Path | None = None
    """Folder to put it in; None is the default cache."""

    from_file: tuple[Path, ...] = ()
    """Take these files, fetched by hand, instead; they are checked and unpacked."""


@dataclass(frozen=True)
class CheckConfig:
    """Read every recording of a data set and say what is damaged or missing."""

    dataset: tyro.conf.Positional[DatasetName]
    """Data set; `spikeprop data list` shows all."""

    data_dir: Path | None = None
    """Folder of the data set; None is the default cache."""

    limit: int = 0
    """Read only so many recordings of each split, spread over it; 0 is all [recordings]."""


@dataclass(frozen=True)
class ShowConfig:
    """Show a data set or an event file; missing sets are downloaded, embedded ones made."""

    what: tyro.conf.Positional[str] = "saccade-digits"
    """Data set (`spikeprop data list` shows all) or event file."""

    data_dir: Path | None = None
    """Folder of the data set; None is the default cache."""

    first_saccade_only: bool = False
    """Keep only the first of the three saccades of a recording."""

    stabilize: bool = False
    """Take the motion of the saccades out of the coordinates."""

    index: int = 0
    """Which training recording of a data set to draw [recording]."""

    output: Path | None = None
    """Draw the recording into this .png file."""

    order: str | None = None
    """Columns of arrays and tables without names, such as txyp."""


@dataclass(frozen=True)
class ConvertConfig:
    """Convert event files: one, or all in a folder, whose sub-folders are kept."""

    source: tyro.conf.Positional[Path]
    """Event file or folder; any format of `spikeprop.datasets.formats`."""

    target: tyro.conf.Positional[Path]
    """File that ends in .npy, .npz, .h5, .csv or .bin; or folder."""

    suffix: str = ".npz"
    """Kind of files to write into a folder: .npy, .npz, .h5, .csv or .bin."""

    order: str | None = None
    """Columns of arrays and tables without names, such as txyp."""

    from_zero: bool = False
    """Let time begin with the first event."""

    strict: bool = False
    """Stop at a damaged file, instead of keeping the events before the damage."""


COMMANDS: dict[str, type] = {
    "list": ListConfig,
    "download": DownloadConfig,
    "check": CheckConfig,
    "show": ShowConfig,
    "convert": ConvertConfig,
}


def run(config: Any) -> None:
    """Run one of the commands.

    Raises
    ------
    FileNotFoundError, ValueError, OSError
        If data are missing or damaged, or cannot be written.
    """
    commands: dict[type, Any] = {
        ListConfig: list_sets,
        DownloadConfig: download_set,
        CheckConfig: check_set,
        ShowConfig: show,
        ConvertConfig: convert,
    }
    commands[type(config)](config)


def list_sets(config: ListConfig) -> None:
    """Print a line for each data set."""
    from spikeprop.datasets.catalogue import CATALOGUE
    from spikeprop.datasets.files import data_root

    print(f"data folder {data_root(config.data_dir)}")
    width = max(map(len, CATALOGUE))
    for entry in CATALOGUE.values():
        state = (
            f"{'here' if is_here(entry, config.data_dir) else '-':<5}" if entry.parts else "     "
        )
        print(f"{entry.name:<{width}}  {state} {entry.about}")
        print(f"{'':<{width}}        download: {entry.size}; licence: {entry.licence}")


def is_here(entry: Any, data_dir: Path | None) -> bool:
    """Tell whether a published set lies in the data folder; nothing is fetched or made."""
    from spikeprop.datasets.images import MNIST

    # Sets made of MNIST's images take minutes to make: whether the images are here is the question.
    kind = MNIST if entry.parts is MNIST.parts else entry.open
    try:
        kind(data_dir, train=True, download=False)
    except (OSError, ValueError):
        return False
    return True


def download_set(config: DownloadConfig) -> None:
    """Download both splits, or take files fetched by hand."""
    from spikeprop.datasets.catalogue import CATALOGUE
    from spikeprop.datasets.files import data_root
    from spikeprop.datasets.obtaining import take_files

    entry = CATALOGUE[config.dataset]
    root = data_root(config.data_dir)
    if config.from_file:
        parts = list(entry.parts.values())
        if not parts:
            raise ValueError(f"{config.dataset} needs no files")
        for path in config.from_file:
            _take(root, parts, path, take_files)
    options = {"download": False} if config.from_file else {}
    for train in (True, False):
        try:
            dataset = entry.open(config.data_dir, train=train, **options)
        except FileNotFoundError as error:
            if not config.from_file:
                raise
            print(str(error).splitlines()[0])  # the files given may hold one split alone
            continue
        print(f"{'train' if train else 'test':<6} {len(dataset):,} recordings")


def _take(root: Path, parts: list[Any], path: Path, take_files: Any) -> None:
    error: ValueError | None = None
    for part in parts:
        try:
            take_files(root, part, [path])
            return
        except ValueError as reason:
            error = error or reason
    assert error is not None
    raise error


def check_set(config: CheckConfig) -> None:
    """Read recordings of both splits; raise ValueError if any is damaged."""
    import numpy as np

    from spikeprop.datasets.catalogue import open_set

    bad: list[str] = []
    for train in (True, False):
        dataset = open_set(config.dataset, config.data_dir, train=train)
        count = len(dataset) if config.limit <= 0 else min(config.limit, len(dataset))
        events, empty, before = 0, 0, len(bad)
        for index in np.linspace(0, len(dataset) - 1, count).round().astype(int):
            with warnings.catch_warnings():
                warnings.simplefilter("error", category=UserWarning)
                try:
                    recording, _ = dataset[int(index)]
                except (ValueError, OSError, UserWarning) as error:
                    bad.append(str(error))
                    continue
            events += len(recording)
            empty += len(recording) == 0
        name = "train" if train else "test"
        print(
            f"{name:<6} {count:,} of {len(dataset):,} recordings read, {events:,} events; "
            f"{len(bad) - before} damaged, {empty} empty"
        )
        if dataset.note:
            print(f"       note: {dataset.note}")
    if bad:
        shown = "\n".join(bad[:10])
        raise ValueError(f"{len(bad)} damaged recordings; the first are\n{shown}")


def show(config: ShowConfig) -> None:
    """Print what a data set or a file holds, and draw a recording if asked."""
    from spikeprop.datasets.catalogue import CATALOGUE

    if config.output is not None:
        if config.output.suffix.lower() != ".png":
            raise ValueError(f"output must end in .png, got {config.output}")
        if not config.output.absolute().parent.is_dir():
            raise FileNotFoundError(f"output: there is no folder {config.output.absolute().parent}")
    if config.what in CATALOGUE:
        _show_set(config)
    elif Path(config.what).is_file():
        _show_file(config)
    else:
        raise ValueError(
            f"there is neither a data set nor a file {config.what!r}; the sets are "
            f"{', '.join(CATALOGUE)}"
        )


def _show_file(config: ShowConfig) -> None:
    from spikeprop.datasets.formats import read_recording

    found = read_recording(config.what, order=config.order)
    events, size = found.events, found.sensor_size
    duration = int(events["t"][-1] - events["t"][0])
    print(f"file       {config.what}")
    print(f"format     {found.format}")
    print(f"sensor     {'not named in the file' if size is None else _sensor(size)}")
    print(f"x, y       {_range(events['x'])}, {_range(events['y'])}")
    print(f"events     {len(events):,}, {100 * float(events['p'].mean()):.1f} % of them ON")
    rate = f"{len(events) / duration * 1e3:,.1f} events per ms" if duration else "one moment"
    print(f"time       {duration / 1000:,.3f} ms from {int(events['t'][0]):,} us on; {rate}")
    _draw(config, events, size, Path(config.what).name)


def _show_set(config: ShowConfig) -> None:
    import numpy as np

    from spikeprop.datasets.catalogue import open_set
    from spikeprop.datasets.files import data_root

    splits = {
        name: open_set(
            config.what,
            config.data_dir,
            train=name == "train",
            first_saccade_only=config.first_saccade_only,
            stabilize=config.stabilize,
        )
        for name in ("train", "test")
    }
    first = splits["train"]
    print(f"name       {first.name}")
    print(f"folder     {data_root(config.data_dir)}")
    print(f"classes    {len(first.classes)}: {', '.join(first.classes)}")
    print(f"sensor     {_sensor(first.sensor_size)}")
    print(f"duration   {first.duration / 1000:g} ms")
    for name, dataset in splits.items():
        counts = np.bincount(dataset.targets, minlength=len(dataset.classes))
        sample = np.linspace(0, len(dataset) - 1, min(200, len(dataset))).round().astype(int)
        events = np.mean([len(dataset[int(index)][0]) for index in sample])
        print(f"{name:<10} {len(dataset):,} recordings; per class {' '.join(map(str, counts))}")
        print(f"           {events:,.0f} events each (mean of {len(sample)} recordings)")
        if dataset.note:
            print(f"           note: {dataset.note}")
    if config.output is not None:
        recording, label = first[config.index]
        title = f"{first.name}, training recording {config.index}: {first.classes[label]}"
        _draw(config, recording, first.sensor_size, title)


def _sensor(size: tuple[int, int, int]) -> str:
    return f"{size[0]} x {size[1]} pixels, {size[2]} polarities"


def _range(values: Any) -> str:
    return f"{int(values.min())} to {int(values.max())}"


def _draw(config: ShowConfig, events: Any, size: Any, title: str) -> None:
    if config.output is None:
        return
    from spikeprop.pictures import save_recording

    save_recording(config.output, events, size, title)
    print(config.output)


def convert(config: ConvertConfig) -> None:
    """Convert one file, or all recordings in a folder."""
    from spikeprop.datasets.formats import read_recording, write_recording
    from spikeprop.datasets.formats.reading import SUFFIXES
    from spikeprop.datasets.formats.writing import WRITTEN

    if config.suffix not in WRITTEN:
        raise ValueError(f"suffix must be one of {', '.join(WRITTEN)}, got {config.suffix!r}")
    source, target = config.source, config.target
    if source.is_dir():
        files = sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES)
        pairs = [
            (path, (target / path.relative_to(source)).with_suffix(config.suffix)) for path in files
        ]
        if not pairs:
            raise ValueError(f"{source} holds no event files ({', '.join(SUFFIXES)})")
        if len({new for _, new in pairs}) != len(pairs):
            raise ValueError(f"{source} holds files whose names differ in their endings alone")
    else:
        pairs = [(source, target)]
        if target.suffix.lower() not in WRITTEN:
            raise ValueError(f"{target}: the name must end in {', '.join(WRITTEN)}")
    events = 0
    for path, new in pairs:
        found = read_recording(
            path, order=config.order, strict=config.strict, from_zero=config.from_zero
        )
        write_recording(new, found.events, found.sensor_size)
        events += len(found.events)
    print(f"{len(pairs)} files, {events:,} events: {target}")
