"""A tiny event set in N-MNIST's files, for tests that run whole trainings."""

from pathlib import Path

import numpy as np

from spikeprop.datasets import make_events, write_events

DIGITS = (0, 1, 2)
SENSOR = (34, 34, 2)


def recording(digit: int, number: int, count: int = 150) -> np.ndarray:
    """Events around a place of the sensor that depends on the digit."""
    random = np.random.default_rng((digit, number))
    x = np.clip(8 * (digit + 1) + random.integers(-3, 4, count), 0, 33)
    y = np.clip(16 + random.integers(-3, 4, count), 0, 33)
    t = np.sort(random.integers(0, 300_000, count))
    return make_events(x, y, t, random.integers(0, 2, count))


def write_tiny_events(folder: Path, train: int = 10, test: int = 4) -> Path:
    """Write ``train`` and ``test`` recordings of three digits, and return the folder."""
    for split, count, start in (("Train", train, 0), ("Test", test, 1000)):
        for digit in DIGITS:
            for number in range(count):
                path = folder / split / str(digit) / f"{number:05d}.bin"
                write_events(path, recording(digit, start + number))
    return folder


def tiny_options(data: Path, runs: Path) -> dict[str, object]:
    """Options of a training that takes a fraction of a second."""
    return {
        "dataset": "nmnist",
        "data_dir": data,
        "hidden": (24, 16),
        "epochs": 4,
        "batch_size": 6,
        "lr": 1e-3,
        "time_window": 60_000,
        "lags": (0,),  # of five steps, none is to spare
        "shift": 1,
        "dropout": 0.2,
        "validation": 0.2,
        "threads": 1,
        "runs_dir": runs,
        "quiet": True,
    }


def tiny_arguments(data: Path, runs: Path) -> list[str]:
    """The same options for the command line."""
    arguments = ["train"]
    for name, value in tiny_options(data, runs).items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            arguments.append(flag)
        elif isinstance(value, tuple):
            arguments += [flag, *map(str, value)]
        else:
            arguments += [flag, str(value)]
    return arguments
