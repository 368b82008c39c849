"""All data sets by name: what ``spikeprop data list`` shows and ``--dataset`` takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spikeprop.datasets.dvs_gesture import PARTS as GESTURE_PARTS
from spikeprop.datasets.dvs_gesture import DVSGesture
from spikeprop.datasets.events import EventDataset
from spikeprop.datasets.heidelberg import SHD, SSC
from spikeprop.datasets.images import MNIST, SMNIST, FashionMNIST
from spikeprop.datasets.nmnist import NMNIST
from spikeprop.datasets.nmnist import PARTS as NMNIST_PARTS
from spikeprop.datasets.obtaining import Part
from spikeprop.datasets.published import ASLDVS, CIFAR10DVS, DVSLip, NCaltech101, PokerDVS
from spikeprop.datasets.recording_files import EventFolder
from spikeprop.datasets.saccade_digits import SaccadeDigits
from spikeprop.datasets.saccade_images import SaccadeMNIST
from spikeprop.datasets.saccades import SaccadeSet
from spikeprop.datasets.simulated_gestures import SimulatedGestures

__all__ = ["CATALOGUE", "Entry", "open_set"]


@dataclass(frozen=True)
class Entry:
    """A data set.

    Attributes
    ----------
    name
        What it is called.
    about
        One line: what it holds.
    open
        The class: takes the data folder and ``train``.
    parts
        The published files, by split; empty for sets that need none.
    size
        About how much is downloaded, in words.
    licence
        Terms of the data, as far as their publishers state them.
    """

    name: str
    about: str
    open: Callable[..., EventDataset]
    parts: dict[str, Part]
    size: str
    licence: str


CATALOGUE: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            "saccade-digits",
            "1,797 small digits seen by a simulated camera; embedded",
            SaccadeDigits,
            {},
            "nothing",
            "digits: CC BY 4.0 (UCI)",
        ),
        Entry(
            "saccade-mnist",
            "MNIST, 70,000 digits, seen by the same simulated camera",
            SaccadeMNIST,
            MNIST.parts,
            "11 MB (MNIST); made: 1.6 GB",
            "CC BY-SA 3.0 (MNIST)",
        ),
        Entry(
            "simulated-gestures",
            "11 arm gestures of 31 simulated people, 128 x 128",
            SimulatedGestures,
            {},
            "nothing; made: 2.6 GB",
            "none needed: simulated",
        ),
        Entry(
            "nmnist",
            "N-MNIST: 70,000 digits, a moving camera, 34 x 34",
            NMNIST,
            NMNIST_PARTS,
            "1.2 GB",
            "CC BY-SA 4.0",
        ),
        Entry(
            "dvsgesture",
            "DVS Gesture: 11 gestures of 29 people, 128 x 128",
            DVSGesture,
            GESTURE_PARTS,
            "3.1 GB",
            "CC BY 4.0",
        ),
        Entry(
            "ncaltech101",
            "N-Caltech101: 8,709 recordings of 101 classes, 240 x 180",
            NCaltech101,
            NCaltech101.parts,
            "about 4 GB",
            "CC BY 4.0",
        ),
        Entry(
            "cifar10dvs",
            "CIFAR10-DVS: 10,000 moving images of ten classes, 128 x 128",
            CIFAR10DVS,
            CIFAR10DVS.parts,
            "11.2 GB",
            "CC BY 4.0",
        ),
        Entry(
            "dvslip",
            "DVS-Lip: 19,871 recordings of lips, 100 words, 128 x 128",
            DVSLip,
            DVSLip.parts,
            "by hand",
            "for research; see its page",
        ),
        Entry(
            "asldvs",
            "ASL-DVS: 100,800 recordings of 24 signed letters, 240 x 180",
            ASLDVS,
            ASLDVS.parts,
            "about 15 GB",
            "not stated",
        ),
        Entry(
            "pokerdvs",
            "POKER-DVS: 68 card symbols, four classes, 35 x 35",
            PokerDVS,
            PokerDVS.parts,
            "1 MB",
            "not stated",
        ),
        Entry(
            "shd",
            "Spiking Heidelberg Digits: 10,420 spoken digits, 700 inputs",
            SHD,
            SHD.parts,
            "170 MB",
            "CC BY 4.0",
        ),
        Entry(
            "ssc",
            "Spiking Speech Commands: 105,829 spoken words, 700 inputs",
            SSC,
            SSC.parts,
            "2 GB",
            "CC BY 4.0",
        ),
        Entry(
            "smnist",
            "S-MNIST: digits pixel by pixel, 99 inputs",
            SMNIST,
            SMNIST.parts,
            "11 MB",
            "CC BY-SA 3.0 (MNIST)",
        ),
        Entry(
            "mnist",
            "MNIST by rate, latency or direct coding, 28 x 28",
            MNIST,
            MNIST.parts,
            "11 MB",
            "CC BY-SA 3.0",
        ),
        Entry(
            "fashion-mnist",
            "Fashion-MNIST by rate, latency or direct coding, 28 x 28",
            FashionMNIST,
            FashionMNIST.parts,
            "30 MB",
            "MIT",
        ),
        Entry(
            "folder",
            "any folder of <class>/<recording>, in any format",
            EventFolder,
            {},
            "nothing",
            "yours",
        ),
    )
}


def open_set(
    name: str,
    root: str | Path | None = None,
    *,
    train: bool = True,
    first_saccade_only: bool = False,
    stabilize: bool = False,
    download: bool = True,
) -> EventDataset:
    """Open one split of a data set by name.

    Parameters
    ----------
    name
        A key of ``CATALOGUE``.
    root
        Data folder; None for ``$SPIKEPROP_DATA`` or ``~/.cache/spikeprop``.
    train
        The training or the test split.
    first_saccade_only, stabilize
        For sets recorded by saccades only; see :class:`spikeprop.datasets.SaccadeSet`.
    download
        Whether a published set that is not here is fetched.

    Raises
    ------
    FileNotFoundError
        If the data are missing; the message says which files to put where.
    ValueError
        If there is no such set, or it has no saccades.
    """
    if name not in CATALOGUE:
        raise ValueError(f"there is no data set {name!r}: choose one of {', '.join(CATALOGUE)}")
    entry = CATALOGUE[name]
    kind: Any = entry.open
    fetching = {"download": download} if entry.parts else {}
    options = {"first_saccade_only": first_saccade_only, "stabilize": stabilize}
    given = [option for option, value in options.items() if value]
    if issubclass(kind, SaccadeSet):
        opened: EventDataset = kind(root, train=train, **options, **fetching)
    elif given:
        raise ValueError(f"{given[0]} is for sets recorded by three saccades, and {name} is not")
    else:
        opened = kind(root, train=train, **fetching)
    return opened
