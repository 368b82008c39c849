"""The processes of a run, and what they tell each other.

Whoever dies is named: a process that finds a connection broken or silent notes in the group's table
of keys that it lives itself, gives the others a moment to do the same, and says who did not.
"""

from __future__ import annotations

import os
import socket
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from spikeprop.checkpoint import load_state, save_state

__all__ = ["Ranks", "join", "leave", "restarted"]

#: Seconds that a process waits for a silent peer; another number by this variable.
TIMEOUT, TIMEOUT_VARIABLE = 600.0, "SPIKEPROP_PEER_TIMEOUT"
#: Seconds in which the living say that they live, after something broke.
GRACE = 3.0
#: Gradients of up to so many numbers in all travel in one message: above, to copy them together
#: costs more than a message does.
BUCKET = 1 << 18


def join(device: str = "cpu") -> Ranks | None:
    """Join the processes that ``torchrun`` started; None for a process on its own.

    Parameters
    ----------
    device : str
        Where the network computes: "cuda" takes the backend nccl and the GPU of this process's
        number on its machine, everything else gloo.

    Raises
    ------
    ValueError
        If the timeout in the environment is no number above 0.
    ConnectionError
        If the others are not there in time.
    """
    if dist.is_available() and dist.is_initialized():
        return Ranks.present()
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or "RANK" not in os.environ:
        return None
    cuda = torch.device(device).type == "cuda"
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    else:
        _let_threads_wait()
    limit = timedelta(seconds=_timeout())
    try:
        found = dist.rendezvous("env://", timeout=limit)  # type: ignore[attr-defined]
        store, rank, size = next(iter(found))
        # torchrun keeps one store through its restarts, and with it the addresses of processes that
        # are dead: those of each start have a place of their own.
        started = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        dist.init_process_group(
            "nccl" if cuda else "gloo",
            store=dist.PrefixStore(f"start {started}", store),  # type: ignore[attr-defined]
            rank=rank,
            world_size=size,
            timeout=limit,
        )
    except (RuntimeError, dist.DistError) as error:
        raise ConnectionError(
            f"rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']} did not find the others: "
            f"{_first_line(error)}"
        ) from error
    return Ranks.present()


def leave() -> None:
    """Leave the group that :func:`join` joined, if any."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def restarted() -> bool:
    """Tell whether ``torchrun`` has started these processes again after a failure."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


class Ranks:
    """The processes of a group, seen by one of them.

    Parameters
    ----------
    group : ProcessGroup, optional
        The default group if not given.

    Attributes
    ----------
    rank, size : int
        Number of this process, from 0, and how many there are.
    """

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        self._group = group
        self.rank, self.size = dist.get_rank(group), dist.get_world_size(group)
        nccl = dist.get_backend(group) == "nccl"
        self.device = torch.device("cuda" if nccl else "cpu")
        self._broken = 0

    @classmethod
    def present(cls) -> Ranks | None:
        """Return the default group of several processes, if there is one."""
        if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() < 2:
            return None
        return cls()

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.rank == 0

    # ------------------------------------------------------------------ sums

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum over all processes, the same bits in each."""
        return self.begin_total(tensor)()

    def begin_total(self, tensor: Tensor) -> Callable[[], Tensor]:
        """Begin to sum a tensor over all processes; return what waits for the sum and gives it."""
        total = tensor.detach().to(self.device, copy=True)
        wait = self.begin_sum([total])

        def result() -> Tensor:
            wait()
            return total.to(tensor.device)

        return result

    def begin_sum(self, tensors: Sequence[Tensor], weight: float = 1.0) -> Callable[[], None]:
        """Begin to sum tensors in place, each process's ``weight`` times; return the wait.

        Tensors lie in memory in the same order in all processes.
        """
        flat = [_flat(t) for t in tensors]
        together = len(flat) > 1 and sum(t.numel() for t in flat) <= BUCKET
        moving = [torch.cat(flat)] if together else flat
        waits: list[Any] = []
        try:
            for tensor in moving:
                if weight != 1.0:
                    tensor.mul_(weight)
                waits.append(dist.all_reduce(tensor, group=self._group, async_op=True))
        except RuntimeError as error:
            raise self.lost(error) from error

        def wait() -> None:
            self.wait(waits)
            found = torch.split(moving[0], [t.numel() for t in flat]) if together else moving
            for tensor, copy, summed in zip(tensors, flat, found, strict=True):
                if copy.data_ptr() != tensor.data_ptr():
                    tensor.copy_(summed.view(tensor.shape))
                elif together:
                    copy.copy_(summed)

        return wait

    def counts(self, number: int) -> list[int]:
        """Return a number of every process, in the order of their ranks."""
        return self.begin_counts(number)()

    def begin_counts(self, number: int) -> Callable[[], list[int]]:
        """Begin to do so; return what waits for the numbers and returns them."""
        found = torch.zeros(self.size, dtype=torch.int64)
        found[self.rank] = number
        total = self.begin_total(found)
        return lambda: [int(value) for value in total()]

    def near(self) -> bool:
        """Tell whether all processes run on one machine; all of them have to ask."""
        return len(set(self.counts(_machine()))) == 1

    # ------------------------------------------------------------------ parts of one tensor

    def spread(self, parts: Sequence[Tensor]) -> None:
        """Send every process its part of the others', in the order of the ranks: fill the rest."""
        self._for_each(parts, dist.broadcast)

    def collect(self, parts: Sequence[Tensor]) -> None:
        """Sum each process's part in that process; the others' may become anything."""
        self._for_each(parts, dist.reduce)

    def _for_each(self, parts: Sequence[Tensor], exchange: Callable[..., Any]) -> None:
        try:
            works = [
                exchange(part, rank, group=self._group, async_op=True)
                for rank, part in enumerate(parts)
                if part.numel()
            ]
        except RuntimeError as error:
            raise self.lost(error) from error
        self.wait(works)

    # ------------------------------------------------------------------ words from the first

    def state_of_first(self, state: dict[str, Any] | None) -> dict[str, Any]:
        """Return the first process's nested state; see :meth:`state_of`."""
        return self.state_of(0, state)

    def state_of(self, rank: int, state: dict[str, Any] | None) -> dict[str, Any]:
        """Return a process's nested state (see :func:`spikeprop.checkpoint.save_state`).

        No code travels: it is the content of a checkpoint file. Others' ``state`` is not read.
        """
        data = torch.empty(0, dtype=torch.uint8)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "state"
            if self.rank == rank:
                assert state is not None, "it has one"
                save_state(path, state)
                data = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
            size = self.counts(len(data))[rank]
            data = data if self.rank == rank else torch.empty(size, dtype=torch.uint8)
            data = data.to(self.device)
            self.call(lambda: dist.broadcast(data, rank, group=self._group))
            if self.rank == rank:
                assert state is not None, "it has one"
                return state
            path.write_bytes(data.cpu().numpy().tobytes())
            return load_state(path)

    def agree(self, work: Callable[[], Any]) -> Any:
        """Let the first process do something and all have what came of it, or its error.

        What comes of it is None, numbers, strings, tensors and lists or dictionaries of them.

        Raises
        ------
        Exception
            The first process raises its own; the others a ``RuntimeError`` with its words.
        """
        found: dict[str, Any] = {}
        error: Exception | None = None
        if self.first:
            try:
                found = {"value": work()}
            except Exception as raised:
                error, found = raised, {"error": str(raised) or type(raised).__name__}
        found = self.state_of_first(found)
        if error is not None:
            raise error
        if "error" in found:
            raise RuntimeError(f"rank 0: {found['error']}")
        return found["value"]

    # ------------------------------------------------------------------ point to point

    def send(self, tensor: Tensor, to: int, tag: int = 0) -> Any:
        """Begin to send a tensor; it is not to be touched until :meth:`wait` has seen it off."""
        try:
            return dist.isend(tensor, to, group=self._group, tag=tag)
        except RuntimeError as error:
            raise self.lost(error) from error

    def receive(self, tensor: Tensor, source: int, tag: int = 0) -> Any:
        """Begin to receive into a tensor; over gloo a shorter message fills its beginning."""
        try:
            return dist.irecv(tensor, source, group=self._group, tag=tag)
        except RuntimeError as error:
            raise self.lost(error) from error

    def wait(self, works: Sequence[Any]) -> None:
        """Wait for what was begun.

        Raises
        ------
        ConnectionError
            If a peer is lost; it says which.
        """
        for work in works:
            self.call(work.wait)

    def call(self, function: Callable[[], Any]) -> Any:
        """Call something that talks to the others.

        Raises
        ------
        ConnectionError
            If a peer is lost; it says which.
        """
        try:
            return function()
        except RuntimeError as error:
            raise self.lost(error) from error

    # ------------------------------------------------------------------ the lost

    def lost(self, error: Exception) -> ConnectionError:
        """Find out who is missing, and return the error that says so."""
        reason = _first_line(error)
        here = f"rank {self.rank} of {self.size}"
        self._broken += 1
        try:
            missing = self._missing()
        except RuntimeError:
            return ConnectionError(
                f"{here} lost the others: the process that keeps the group's table (rank 0, or "
                f"torchrun) is gone ({reason})"
            )
        if not missing:
            return ConnectionError(f"{here} lost a connection, but no process: {reason}")
        who = ", ".join(str(rank) for rank in missing)
        plural = "s" if len(missing) > 1 else ""
        return ConnectionError(
            f"{here} lost rank{plural} {who}: dead, or silent for more than {_timeout():g} s "
            f"({reason})"
        )

    def _missing(self) -> list[int]:
        store = dist.distributed_c10d._get_default_store()
        era = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        keys = [f"spikeprop.alive.{era}.{self._broken}.{rank}" for rank in range(self.size)]
        store.set(keys[self.rank], "yes")
        until = time.monotonic() + GRACE
        missing = list(range(self.size))
        while missing and time.monotonic() < until:
            missing = [rank for rank in missing if not store.check([keys[rank]])]
            time.sleep(0.05)
        return missing


def _let_threads_wait() -> None:
    """Let no thread of this process take the core from another one when it wakes, on Linux.

    A thread of gloo that wakes while another one holds its lock looks for it in a loop. Where all
    cores compute, it takes the core of the very thread that it waits for, for milliseconds a
    message. Processes of the class for batch work take a core when it is free, or at the next tick.
    """
    if hasattr(os, "SCHED_BATCH") and os.sched_getscheduler(0) == os.SCHED_OTHER:
        with suppress(OSError):  # a sandbox may forbid it
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _machine() -> int:
    """Return a number of this machine since it was started."""
    name = socket.gethostname()
    with suppress(OSError):  # Linux has one; elsewhere the name has to do
        name += Path("/proc/sys/kernel/random/boot_id").read_text()
    return zlib.crc32(name.encode())


def _flat(tensor: Tensor) -> Tensor:
    """Return a tensor's memory as one row: a view if it fills its memory, else a copy."""
    if tensor.is_contiguous():
        return tensor.view(-1)
    if tensor.dim() == 2 and tensor.t().is_contiguous():
        return tensor.t().view(-1)
    return tensor.reshape(-1)


def _timeout() -> float:
    given = os.environ.get(TIMEOUT_VARIABLE, str(TIMEOUT))
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds < 1e6:
        raise ValueError(f"{TIMEOUT_VARIABLE} has to be a number of seconds above 0, got {given!r}")
    return seconds


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
