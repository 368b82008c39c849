"""A live stream under load: ``spikeprop stream`` in a process of its own, on one core, by UDP.

``python -m spikeprop.experiments.benchmarks.soak [--seconds 60] [--rate 1000000]``

A network 2312-512-512 learns at every time step of 1 ms from random events on the whole sensor of
N-MNIST, a packet each millisecond, the class changing every half second. Reported are packets and
events that were sent and that were learned from, everything that was counted as lost, resident
memory from a tenth of the time on, how far behind the stream ended, and the processor time.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spikeprop.cli import main as spikeprop
from spikeprop.datasets import Events, make_events, write_events
from spikeprop.datasets.files import write_text
from spikeprop.live import encode_end, encode_events, encode_label
from spikeprop.live.packets import MAX_EVENTS
from spikeprop.live.sources import send_udp

__all__ = ["SoakConfig", "main", "soak"]

SIDE, CLASSES = 34, 10
#: Packets of random events that are sent over and over, and milliseconds between two labels.
POOL, LABEL_MS = 200, 500

_COMMAND = "import sys; from spikeprop.cli import main; sys.exit(main(sys.argv[1:]))"


@dataclass(frozen=True)
class SoakConfig:
    """Options of the soak."""

    seconds: float = 60.0
    """How long events come [s]."""
    rate: int = 1_000_000
    """Events a second, in a packet each millisecond."""
    hidden: tuple[int, ...] = (512, 512)
    """Neurons of each hidden layer."""
    optimizer: str = "sgd"
    """As in ``spikeprop stream``."""
    realtime: bool = False
    """Let the system run the stream and its sender before anything else, on a machine that does
    other work too (Linux, and the right to do so)."""
    port: int = 47_321
    """UDP port on the loopback."""
    out: Path | None = None
    """Write the result to this JSON file."""

    def __post_init__(self) -> None:
        if not 1000 <= self.rate <= 1000 * MAX_EVENTS:
            raise ValueError(f"rate has to lie in 1000 .. {1000 * MAX_EVENTS}, got {self.rate}")
        if not self.seconds >= 0.5:
            raise ValueError(f"seconds has to be at least 0.5, got {self.seconds}")


def soak(config: SoakConfig) -> dict[str, Any]:
    """Run it; return the figures.

    Raises
    ------
    RuntimeError
        If the stream fails or does not begin.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = _trained(Path(folder), config)
        packets = _pool(config.rate // 1000)
        _warm_up(run, packets, config)
        return _measure(run, packets, config)


def _trained(folder: Path, config: SoakConfig) -> Path:
    """Train a network of the wanted size for an epoch on random recordings."""
    random = np.random.default_rng(0)
    for split in ("Train", "Test"):
        for digit in range(CLASSES):
            for number in range(3):
                events = _events(random, 200, 300_000)
                write_events(folder / split / str(digit) / f"{number:05d}.bin", events)
    arguments = ["train", "--dataset", "nmnist", "--data-dir", str(folder), "--epochs", "1"]
    arguments += ["--time-window", "60000", "--validation", "0", "--threads", "1", "--quiet"]
    arguments += ["--hidden", *map(str, config.hidden), "--runs-dir", str(folder / "runs")]
    if spikeprop([*arguments, "--name", "soak"]) != 0:
        raise RuntimeError("the network could not be trained")
    return folder / "runs" / "soak"


def _events(random: np.random.Generator, count: int, span: int) -> Events:
    x, y = random.integers(0, SIDE, (2, count))
    return make_events(x, y, np.sort(random.integers(0, span, count)), random.integers(0, 2, count))


def _pool(count: int) -> list[Events]:
    random = np.random.default_rng(1)
    return [_events(random, count, 1000) for _ in range(POOL)]


def _command(run: Path, source: str, config: SoakConfig) -> list[str]:
    arguments = ["stream", str(run), source, "--step", "1000", "--quiet"]
    arguments += ["--optimizer", config.optimizer, "--label", "0"]
    return [sys.executable, "-c", _COMMAND, *arguments]


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def _warm_up(run: Path, pool: list[Events], config: SoakConfig) -> None:
    """Let the kernels be compiled before anything is measured."""
    data = b"".join(encode_events(n, _at(pool, n)) for n in range(5)) + encode_end(5)
    command = _command(run, "-", config)
    subprocess.run(command, input=data, env=_environment(), check=True, capture_output=True)


def _at(pool: list[Events], millisecond: int) -> Events:
    events: Events = pool[millisecond % len(pool)].copy()
    events["t"] += 1000 * millisecond
    return events


def _measure(run: Path, pool: list[Events], config: SoakConfig) -> dict[str, Any]:
    command = _command(run, f"udp://127.0.0.1:{config.port}", config)
    child = subprocess.Popen(command, env=_environment(), stdout=subprocess.PIPE, text=True)
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    try:
        if len(cores) > 1:
            os.sched_setaffinity(child.pid, {cores[0]})
            os.sched_setaffinity(0, set(cores[1:]))
        if config.realtime:
            for pid in (child.pid, 0):
                os.sched_setscheduler(pid, os.SCHED_RR, os.sched_param(1))
        _await(child, config.port)
        before = _processor_seconds(child.pid)
        sent, memory, late = _send(child.pid, pool, config)
        ended = time.monotonic()
        during = _processor_seconds(child.pid) - before
        printed = _finish(child, encode_end(sent - 1), config)
        behind = time.monotonic() - ended
    finally:
        if config.realtime:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        if cores:
            os.sched_setaffinity(0, set(cores))
        if child.poll() is None:
            child.kill()
            child.wait()
    if child.returncode != 0:
        raise RuntimeError(f"the stream failed with exit code {child.returncode}")
    return _result(printed, sent, memory, behind, during, late, config)


def _await(child: subprocess.Popen[str], port: int) -> None:
    """Wait until the child listens."""
    listening, until = f":{port:04X} ", time.monotonic() + 120
    while time.monotonic() < until and child.poll() is None:
        if listening in Path("/proc/net/udp").read_text():
            return
        time.sleep(0.05)
    raise RuntimeError("the stream did not begin to listen")


def _send(pid: int, pool: list[Events], config: SoakConfig) -> tuple[int, list[float], float]:
    """Send packets as they are due; return their number, memory by the second, the worst delay."""
    memory: list[float] = []
    number, late = 0, 0.0
    begun = time.monotonic()
    count = round(1000 * config.seconds)
    every = max(1, round(count / 60))
    address = ("127.0.0.1", config.port)

    def packets() -> Any:
        nonlocal number, late
        for millisecond in range(count):
            if millisecond % LABEL_MS == 0:
                label = millisecond // LABEL_MS % CLASSES
                yield encode_label(number, 1000 * millisecond, label)
                number += 1
            data = encode_events(number, _at(pool, millisecond))
            number += 1
            wait = begun + millisecond / 1000 - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            late = max(late, -wait)
            yield data
            if millisecond % every == every - 1:
                memory.append(_resident_mib(pid))
        yield encode_end(number, 1000 * count)
        number += 1

    send_udp(address, packets())
    return number, memory, late


def _resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _finish(child: subprocess.Popen[str], end: bytes, config: SoakConfig) -> str:
    """Wait for the child; repeat the end, which may be lost as any packet may."""
    until = time.monotonic() + 60 + config.seconds
    while child.poll() is None and time.monotonic() < until:
        time.sleep(0.2)
        send_udp(("127.0.0.1", config.port), iter([end]))
    assert child.stdout is not None
    return child.stdout.read() if child.poll() is not None else ""


def _result(
    printed: str,
    sent: int,
    memory: list[float],
    behind: float,
    processor: float,
    late: float,
    config: SoakConfig,
) -> dict[str, Any]:
    found = {
        name.strip(): int(value.replace(",", ""))
        for name, value in re.findall(r"^([a-z ]+?) +([\d,]+)(?: |$)", printed, re.MULTILINE)
    }
    taken = {name: found.pop(name) for name in ("packets", "events", "time steps")}
    found.pop("accuracy", None)
    settled = memory[len(memory) // 10 :]
    milliseconds = round(1000 * config.seconds)
    return {
        "hidden": list(config.hidden),
        "optimizer": config.optimizer,
        "seconds": config.seconds,
        "sent": {"packets": sent, "events": milliseconds * (config.rate // 1000)},
        "taken": taken,
        "faults": found,
        # Every packet (the end is one) is taken, or its number is missed; what else is counted, the
        # end come twice among it, happened to packets that are in one of the two.
        "unaccounted_packets": sent - taken["packets"] - found.get("lost", 0),
        "behind_s": behind,
        "processor_share": processor / config.seconds,
        "sender_worst_delay_s": late,
        "memory_mib": [round(value, 1) for value in memory],
        "memory_growth": settled[-1] / settled[0] - 1.0,
        "memory_spread": max(settled) / min(settled) - 1.0,
    }


def main() -> int:
    """Read the command line, run, and print the figures; return the exit code."""
    import tyro

    try:
        config = tyro.cli(SoakConfig, description=__doc__)
        result = soak(config)
    except (ValueError, RuntimeError) as error:
        print(f"soak: {error}", file=sys.stderr)
        return 2
    text = json.dumps(result, indent=2)
    if config.out is not None:
        write_text(config.out, text + "\n")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
