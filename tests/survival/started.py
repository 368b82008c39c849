"""Starts ``spikeprop train`` again and again in processes of their own, without their start-up.

Run as a program, it reads lines of arguments and a number of ranks in JSON, forks as many children,
and answers with their numbers, and with their exit codes when they have ended. The first line it
runs itself, so that all that is imported and compiled is there for the children. Updates are noted
in the file ``$UPDATES``, and the disk is a slow one, so that a kill at a random moment often hits a
write.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SLOW_DISK_S = 0.02


class Starter:
    """The other end: starts runs and kills them."""

    def __init__(self, updates: Path) -> None:
        self.updates = updates
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "UPDATES": str(updates)}
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def run(
        self, arguments: list[str], kill_after: float | None = None, ranks: int = 1, victim: int = 0
    ) -> tuple[list[int], float]:
        """Run to the end, or kill one of the ranks after a time.

        Returns exit codes (minus the signal for what was killed) and seconds.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([arguments, ranks]) + "\n")
        self.process.stdin.flush()
        pids = json.loads(self.process.stdout.readline())
        begun = time.monotonic()
        if kill_after is not None:
            time.sleep(kill_after)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pids[victim], 9)
        codes = json.loads(self.process.stdout.readline())
        return codes, time.monotonic() - begun

    def noted(self) -> list[int]:
        """The updates of all children so far, each by its number, in the order they were made."""
        return [int(line) for line in self.updates.read_text().split()]

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def _prepare() -> int:
    from spikeprop import plots
    from spikeprop.datasets.files import write_text
    from spikeprop.learner import ForwardLearner

    log = os.open(os.environ["UPDATES"], os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    silent = os.open(os.environ["UPDATES"] + ".out", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    update, fsync = ForwardLearner.update, os.fsync

    def noting(self: Any, x: Any, label: Any) -> Any:
        metrics = update(self, x, label)
        os.write(log, f"{self.updates}\n".encode())
        return metrics

    def slowly(handle: int) -> None:
        time.sleep(SLOW_DISK_S)
        fsync(handle)

    ForwardLearner.update = noting  # type: ignore[method-assign]
    os.fsync = slowly
    # Drawing takes as long as all the rest.
    plots.save_curves = lambda path, *_: write_text(path, "drawn")  # type: ignore[assignment]
    return log


def _serve() -> None:
    import torch

    from spikeprop.cli import main

    answers = os.fdopen(os.dup(1), "w")
    torch.set_num_threads(1)
    log = _prepare()
    for number, line in enumerate(sys.stdin):
        arguments, ranks = json.loads(line)
        if number == 0:
            print(json.dumps([os.getpid()]), file=answers, flush=True)
            print(json.dumps([main(arguments)]), file=answers, flush=True)
            continue
        port, pids = _free_port(), []
        for rank in range(ranks):
            pids.append(os.fork())
            if pids[-1] == 0:
                _child(arguments, rank, ranks, port, log)
        print(json.dumps(pids), file=answers, flush=True)
        print(json.dumps(_await(pids)), file=answers, flush=True)


def _child(arguments: list[str], rank: int, ranks: int, port: int, log: int) -> None:
    from spikeprop.cli import main

    try:
        if ranks > 1:  # what torchrun tells them
            os.environ |= {
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank),
                "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks),
            }  # fmt: skip
        if rank:  # all make the same updates
            os.dup2(os.open(os.devnull, os.O_WRONLY), log)
        os._exit(main(arguments))
    finally:
        os._exit(99)


def _await(pids: list[int]) -> list[int]:
    """Wait for all; where one fails, end the others in a while, as torchrun does."""
    codes: dict[int, int] = {}
    failed: float | None = None
    while len(codes) < len(pids):
        for pid in [pid for pid in pids if pid not in codes]:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                codes[pid] = os.waitstatus_to_exitcode(status)
                failed = time.monotonic() if codes[pid] and failed is None else failed
            elif failed is not None and time.monotonic() - failed > 4.0:
                os.kill(pid, signal.SIGKILL)
            elif failed is not None and 2.0 < time.monotonic() - failed < 2.02:
                os.kill(pid, signal.SIGTERM)
        time.sleep(0.01)
    return [codes[pid] for pid in pids]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    _serve()
