"""Runs functions in several real processes that form a gloo group on 127.0.0.1.

The processes are forked, so that they need not import everything again; the command line's tests
start theirs anew.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from spikeprop.parallel import join, leave

#: Seconds that a job may take on a busy machine.
PATIENCE = 300


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(size: int, rank: int, port: int) -> dict[str, str]:
    """What torchrun tells its processes."""
    return {
        "OMP_NUM_THREADS": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(size),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "SPIKEPROP_PEER_TIMEOUT": os.environ.get("SPIKEPROP_PEER_TIMEOUT", "200"),
    }


@contextmanager
def _counted_lines() -> Iterator[None]:
    """Let a measurement of coverage that runs in the parent see what a forked process does."""
    coverage = sys.modules.get("coverage")
    parent = coverage.Coverage.current() if coverage is not None else None
    if coverage is None or parent is None:
        yield
        return
    parent.stop()
    config = parent.config
    own = coverage.Coverage(
        data_file=config.data_file, data_suffix=True, config_file=config.config_file or True
    )
    own.start()
    try:
        yield
    finally:
        own.stop()
        own.save()


def _enter(
    function: Callable[..., None], arguments: tuple[Any, ...], size: int, rank: int, port: int,
    errors: str,
) -> None:  # fmt: skip
    os.environ.update(environment(size, rank, port))
    torch.set_num_threads(1)
    try:
        with _counted_lines():
            join()
            function(*arguments)
            leave()
    except BaseException:
        Path(errors).write_text(traceback.format_exc())
        os._exit(1)


def run(size: int, function: Callable[..., None], *arguments: Any, folder: Path) -> None:
    """Call ``function(*arguments)`` in ``size`` processes, all of which have to succeed."""
    processes = begin(size, function, *arguments, folder=folder)
    end(processes)
    for rank, process in enumerate(processes):
        error = folder / f"error.{rank}"
        said = error.read_text() if error.exists() else "no error was written"
        assert process.exitcode == 0, f"rank {rank}: {said}"


def begin(
    size: int, function: Callable[..., None], *arguments: Any, folder: Path
) -> list[multiprocessing.process.BaseProcess]:
    """Start the processes."""
    context, port = multiprocessing.get_context("fork"), free_port()
    processes = [
        context.Process(
            target=_enter,
            args=(function, arguments, size, rank, port, str(folder / f"error.{rank}")),
        )
        for rank in range(size)
    ]
    for process in processes:
        process.start()
    return list(processes)


def end(processes: list[multiprocessing.process.BaseProcess]) -> None:
    """Wait for the processes; none outlives its time."""
    until = time.monotonic() + PATIENCE
    try:
        for process in processes:
            process.join(max(0.0, until - time.monotonic()))
    finally:
        for process in processes:
            process.kill()
            process.join()
