"""Starts ``spikeprop train`` again and again in processes of their own, without their start-up.

Run as a program, it forks a child for every line that it reads, a list of arguments in JSON, and
answers with the child's number, and with its exit code when it has ended. The first line it runs
itself, so that all that is imported and compiled is there for the children. Updates are noted in
the file ``$UPDATES``, and the disk is a slow one, so that a kill at a random moment often hits a
write.
"""

from __future__ import annotations

import contextlib
import json
import os
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

    def run(self, arguments: list[str], kill_after: float | None = None) -> tuple[int, float]:
        """Run to the end, or kill after a time; return exit code (minus the signal) and seconds."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(arguments) + "\n")
        self.process.stdin.flush()
        pid = int(self.process.stdout.readline())
        begun = time.monotonic()
        if kill_after is not None:
            time.sleep(kill_after)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        code = int(self.process.stdout.readline())
        return code, time.monotonic() - begun

    def noted(self) -> list[int]:
        """The updates of all children so far, each by its number, in the order they were made."""
        return [int(line) for line in self.updates.read_text().split()]

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def _prepare() -> None:
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


def _serve() -> None:
    import torch

    from spikeprop.cli import main

    answers = os.fdopen(os.dup(1), "w")
    torch.set_num_threads(1)
    _prepare()
    for number, line in enumerate(sys.stdin):
        pid = os.fork() if number else os.getpid()
        if pid == 0:
            try:
                os._exit(main(json.loads(line)))
            finally:
                os._exit(99)
        print(pid, file=answers, flush=True)
        if number:
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        else:
            code = main(json.loads(line))
        print(code, file=answers, flush=True)


if __name__ == "__main__":
    _serve()
