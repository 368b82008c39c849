"""``spikeprop doctor``: what is here, what is missing, and how to get it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["Check", "DoctorConfig", "examine", "run"]

FINE, NOTE, BROKEN = "ok", "note", "broken"
SPACE_GIB = 1.0
EXTRAS = ("nir", "compare", "peers", "bench")
"""Optional parts that users may want, as ``setup.cfg`` names them."""


@dataclass(frozen=True)
class DoctorConfig:
    """Say what is here, what is missing and how to get it; exit code 1 if something is broken."""

    json: bool = False
    """Print JSON, for other programs."""

    data_dir: Path | None = None
    """Folder of data sets; None is the default cache."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    topic, name : str
        What it belongs to, and what it is.
    state : {"ok", "note", "broken"}
        ``note`` is worth knowing, ``broken`` has to be mended before all of spikeprop works.
    found : str
        What is here.
    advice : str
        What to do about it, if anything.
    """

    topic: str
    name: str
    state: str
    found: str
    advice: str = ""


def run(config: DoctorConfig) -> int:
    """Print the checks, and return the exit code: 1 if something is broken."""
    checks = examine(config)
    broken = [check for check in checks if check.state == BROKEN]
    if config.json:
        print(json.dumps({"broken": len(broken), "checks": [asdict(c) for c in checks]}, indent=2))
        return 1 if broken else 0
    topic = ""
    width = max(len(check.name) for check in checks)
    for check in checks:
        if check.topic != topic:
            print(f"{check.topic}")
            topic = check.topic
        print(f"  {check.state:<6}  {check.name:<{width}}  {check.found}")
        if check.advice:
            print(f"  {'':<6}  {'':<{width}}  -> {check.advice}")
    print(f"{len(broken)} broken" if broken else "nothing is broken")
    return 1 if broken else 0


def examine(config: DoctorConfig) -> list[Check]:
    """Look at everything; a look that fails is itself a broken check."""
    looks: list[Callable[[DoctorConfig], list[Check]]] = [
        _versions,
        _packages,
        _machine,
        _compiled,
        _data,
    ]
    checks: list[Check] = []
    for look in looks:
        try:
            checks += look(config)
        except Exception as error:  # a doctor must not fall ill of what it finds
            name = look.__name__.strip("_")
            checks.append(Check(name, name, BROKEN, f"{type(error).__name__}: {error}"))
    return checks


def _versions(config: DoctorConfig) -> list[Check]:
    from spikeprop._version import __version__

    place = str(Path(__file__).resolve().parent)
    python = sys.version_info[:2]
    return [
        Check("versions", "spikeprop", FINE, f"{__version__} in {place}"),
        Check(
            "versions",
            "python",
            FINE if python >= (3, 10) else BROKEN,
            f"{platform.python_version()} in {sys.executable}",
            "" if python >= (3, 10) else "spikeprop needs Python 3.10 or later",
        ),
        Check("versions", "system", FINE, platform.platform()),
    ]


def _packages(config: DoctorConfig) -> list[Check]:
    from packaging.requirements import Requirement

    checks: list[Check] = []
    missing: dict[str, list[str]] = {extra: [] for extra in EXTRAS}
    for text in importlib.metadata.requires("spikeprop") or []:
        wanted = Requirement(text)
        extra = next((e for e in EXTRAS if _wants(wanted, e)), None)
        if not _wants(wanted, "") and extra is None:
            continue  # for another system, or for tests
        version = _version_of(wanted.name)
        if extra is not None and not _wants(wanted, ""):
            if version is None or version not in wanted.specifier:
                for name in EXTRAS:
                    if _wants(wanted, name):
                        missing[name].append(f"{wanted.name}{wanted.specifier}")
            continue
        if version is None:
            state, found = BROKEN, "not installed"
        elif not wanted.specifier.contains(version, prereleases=True):
            state, found = BROKEN, f"{version}, and spikeprop needs {wanted.specifier}"
        else:
            state, found = FINE, version
        advice = "" if state == FINE else f"pip install '{wanted.name}{wanted.specifier}'"
        if wanted.name == "tonic" and state != FINE:  # left out on purpose by some, for its licence
            state, advice = NOTE, f"only needed to compare with it: {advice}"
        checks.append(Check("packages", wanted.name, state, found, advice))
    for extra, names in missing.items():
        words = ", ".join(re.split("[<>=!~]", name)[0] for name in names)
        found = f"without {words}" if names else "all installed"
        state = NOTE if names else FINE
        quoted = " ".join(f"'{name}'" for name in names)
        advice = f"pip install {quoted}" if names else ""
        checks.append(Check("optional packages", extra, state, found, advice))
    return checks


def _wants(wanted: Any, extra: str) -> bool:
    """Tell whether a requirement belongs to an extra (or, for "", to every installation)."""
    return wanted.marker is None or bool(wanted.marker.evaluate({"extra": extra}))


def _version_of(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _machine(config: DoctorConfig) -> list[Check]:
    import torch

    cores = os.cpu_count() or 1
    threads = torch.get_num_threads()
    limit = os.environ.get("OMP_NUM_THREADS")
    text = f"{threads} of {cores} cores" + (f" (OMP_NUM_THREADS={limit})" if limit else "")
    checks = [Check("machine", "threads", FINE, text)]
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        built = f"{', '.join(names)}; torch built for CUDA {torch.version.cuda}"
        checks.append(Check("machine", "GPU", FINE, f"{built}; use it by --device cuda"))
    else:
        why = "torch's CPU build" if torch.version.cuda is None else "no CUDA device, or no driver"
        checks.append(Check("machine", "GPU", NOTE, f"none ({why}); everything runs on the CPU"))
    return checks


def _compiled(config: DoctorConfig) -> list[Check]:
    from spikeprop import kernels

    if not kernels.available():
        by_hand = os.environ.get("SPIKEPROP_NO_NUMBA", "") not in ("", "0")
        why = "switched off by SPIKEPROP_NO_NUMBA" if by_hand else "numba cannot be imported"
        advice = "unset it" if by_hand else "pip install numba"
        found = f"{why}: the event engine is not used, and learning is several times slower"
        return [Check("compiled code", "engine", NOTE, found, advice)]
    from spikeprop.kernels import sparse

    compiled: Any = sparse.fit
    path = compiled.stats.cache_path
    if not path:
        return [
            Check(
                "compiled code",
                "cache",
                NOTE,
                "no folder can be written: kernels are compiled anew in every process",
                "name one by the environment variable NUMBA_CACHE_DIR",
            )
        ]
    place = Path(path)
    count = len(list(place.glob("*.nbc")))
    writable = os.access(_existing(place), os.W_OK)
    found = f"{place}, {count} compiled kernels"
    if not count:
        found += " (the first run compiles for some seconds)"
    state = FINE if writable else NOTE
    advice = "" if writable else "not writable: name another folder by NUMBA_CACHE_DIR"
    return [Check("compiled code", "cache", state, found, advice)]


def _data(config: DoctorConfig) -> list[Check]:
    from spikeprop.data_cli import is_here
    from spikeprop.datasets.catalogue import CATALOGUE
    from spikeprop.datasets.files import data_root

    root = data_root(config.data_dir)
    parent = _existing(root)
    free = shutil.disk_usage(parent).free / 2**30
    writable = os.access(parent, os.W_OK)
    if not writable:
        state, advice = BROKEN, "name a folder that can be written: SPIKEPROP_DATA or --data-dir"
    elif free < SPACE_GIB:
        state, advice = NOTE, "little room: name a folder on another disk by SPIKEPROP_DATA"
    else:
        state, advice = FINE, ""
    exists = "" if root.is_dir() else " (made when it is needed)"
    found = f"{root}{exists}, {free:.0f} GiB free" + ("" if writable else ", not writable")
    checks = [Check("data", "folder", state, found, advice)]
    for name, entry in CATALOGUE.items():
        if not entry.parts:
            if name != "folder":
                checks.append(Check("data", name, FINE, "made on first use, without a download"))
            continue
        here = is_here(entry, config.data_dir)
        advice = "" if here else f"spikeprop data download {name} ({entry.size})"
        checks.append(Check("data", name, FINE if here else NOTE, "here" if here else "-", advice))
    return checks


def _existing(path: Path) -> Path:
    """Return the nearest folder above that is there."""
    path = path.absolute()
    while not path.is_dir():
        path = path.parent
    return path
