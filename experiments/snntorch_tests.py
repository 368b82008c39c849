"""Run snnTorch's own unit tests with our neurons in the place of theirs.

    python -m spikeprop.experiments.snntorch_tests PATH

PATH is a checkout of https://github.com/snntorch/snntorch. Its tests of the neurons that we have
run twice in fresh processes, against the snnTorch that is installed here: as they are, and with the
classes of :data:`PLACES` exchanged. Needs pytest.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import snntorch as snn

from spikeprop import neurons

__all__ = ["PLACES", "TESTS", "main", "run"]

#: Whose place our classes take.
PLACES: dict[str, type] = {
    "Leaky": neurons.LIF,
    "Synaptic": neurons.Synaptic,
    "Alpha": neurons.Alpha,
    "Lapicque": neurons.Lapicque,
    "RLeaky": neurons.RLIF,
    "RSynaptic": neurons.RSynaptic,
    "GradedSpikes": neurons.GradedSpikes,
}

#: The files in the checkout that test them.
TESTS: tuple[str, ...] = (
    "tests/test_snntorch.py",
    *(
        f"tests/test_snntorch/test_{name}.py"
        for name in ("leaky", "synaptic", "alpha", "lapicque", "rleaky", "rsynaptic")
    ),
    "tests/test_snntorch/test_graded_spikes.py",
)

_EXCHANGE = "SPIKEPROP_EXCHANGE_NEURONS"
_PLUGIN = "spikeprop.experiments.snntorch_tests"


def pytest_configure() -> None:
    """Exchange the classes before pytest, whose plugin this module then is, collects a test."""
    if os.environ.get(_EXCHANGE) == "1":
        for name, ours in PLACES.items():
            setattr(snn, name, ours)


def pytest_report_header() -> str:
    """Say whose neurons are tested, from the classes themselves."""
    return f"neurons of {', '.join(sorted({getattr(snn, n).__module__ for n in PLACES}))}"


def run(checkout: Path, *, exchange: bool) -> tuple[int, int, str]:
    """Run the tests once.

    Parameters
    ----------
    checkout : Path
        Folder with snnTorch's ``tests``.
    exchange : bool
        Whether our neurons take part.

    Returns
    -------
    passed, failed : int
        Numbers of tests; an error counts as a failure.
    output : str
        What pytest said.

    Raises
    ------
    FileNotFoundError
        If one of the test files is not there.
    """
    files = [checkout / name for name in TESTS]
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"{file} is missing; PATH must be a checkout of snnTorch")
    arguments = ["-p", _PLUGIN, "-p", "no:cacheprovider", "-ra"]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments, f"--rootdir={checkout}", *map(str, files)],
        cwd=checkout,
        env={**os.environ, _EXCHANGE: "1" if exchange else "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    (header,) = re.findall(r"^neurons of (.*)$", result.stdout, re.MULTILINE) or [""]
    modules = header.split(", ")
    if not all(module.startswith("spikeprop.neurons") == exchange for module in modules):
        raise RuntimeError(f"the wrong neurons were tested:\n{result.stdout}{result.stderr}")
    counts = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|error)", result.stdout)}
    if "passed" not in counts:
        raise RuntimeError(f"pytest did not run:\n{result.stdout}{result.stderr}")
    return counts["passed"], counts.get("failed", 0) + counts.get("error", 0), result.stdout


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tests twice and print the figures.

    Parameters
    ----------
    arguments
        Without the program's name; those of the process if not given.

    Returns
    -------
    int
        0 if ours pass all that theirs pass, else 1.
    """
    parser = argparse.ArgumentParser(
        prog="python -m spikeprop.experiments.snntorch_tests",
        description=__doc__.partition("\n")[0],
    )
    parser.add_argument("checkout", type=Path, metavar="PATH", help="a checkout of snnTorch")
    checkout = parser.parse_args(arguments).checkout.resolve()
    theirs, their_failures, _ = run(checkout, exchange=False)
    ours, our_failures, output = run(checkout, exchange=True)
    print(f"snnTorch {snn.__version__} installed, tests of {checkout}")
    print(f"with snnTorch's neurons   {theirs} passed, {their_failures} failed")
    print(f"with spikeprop's neurons  {ours} passed, {our_failures} failed")
    if our_failures:
        print(output)
    return int(ours < theirs)


if __name__ == "__main__":
    sys.exit(main())
