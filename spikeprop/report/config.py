"""The options of ``spikeprop report``, apart from what loads heavy modules."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True)
class ReportConfig:
    """Write a run, or several beside each other, as one HTML page that needs no network.

    Raises
    ------
    ValueError
        If an option is outside its range.
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders, such as runs/saccade-digits-001; several are compared."""

    output: Path | None = None
    """The .html file; None is report.html in the first run folder."""

    data_dir: Path | None = None
    """Folder of the data set, if it is not where it was in training."""

    recordings: int = 12
    """How many test recordings of a run the page plays [recordings]."""

    samples: int = 500
    """On how many test recordings firing rates and operations are counted [recordings]."""

    device: str | None = None
    """Where to compute (cpu, cuda, cuda:N); None is the device of the training."""

    def __post_init__(self) -> None:
        if not self.runs:
            raise ValueError("name at least one run folder, such as runs/saccade-digits-001")
        if len({path.resolve() for path in self.runs}) < len(self.runs):
            raise ValueError("a run folder is named twice")
        for name in ("recordings", "samples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.output is not None and self.output.suffix not in (".html", ".htm"):
            raise ValueError(f"output must end in .html, got {self.output}")
