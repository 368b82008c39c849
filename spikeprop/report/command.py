"""The command ``spikeprop report``."""

from __future__ import annotations

from pathlib import Path

from spikeprop.datasets.files import write_text
from spikeprop.report.behaviour import observe
from spikeprop.report.config import ReportConfig
from spikeprop.report.page import render
from spikeprop.report.reading import read_run

__all__ = ["run", "write_report"]


def run(config: ReportConfig) -> None:
    """Write the page and print where it is; errors as :func:`write_report`."""
    print(write_report(config))


def write_report(config: ReportConfig) -> Path:
    """Write the page in one step, and return its path.

    Raises
    ------
    FileNotFoundError
        If a run folder, or the folder of the page, is missing.
    ValueError
        If a run folder is damaged or of another version.
    """
    output = config.output or config.runs[0] / "report.html"
    found = [read_run(path) for path in config.runs]
    if not output.absolute().parent.is_dir():
        raise FileNotFoundError(f"output: there is no folder {output.absolute().parent}")
    seen = [None if item.metrics is None else observe(item, config) for item in found]
    write_text(output, render(list(zip(found, seen, strict=True))))
    return output
