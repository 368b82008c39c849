"""The way between two stages of a pipeline: messages of some numbers and some bytes.

A message and the numbers before it travel together, into memory that the receiver has ready before
they come. That is worth a module: gloo answers a receive that finds its message waiting at once, on
a thread that then waits in a loop for the very lock that the receive still holds; where there is no
core to spare that thread took a quarter of a stage's time.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spikeprop.parallel.ranks import Ranks

__all__ = ["BATCH", "END", "STEP", "WINDOW", "Channel", "Head"]

BATCH, WINDOW, STEP, END = range(4)
"""What a message is."""
ON_THE_WAY = 8
"""Messages that may be on the way to the next stage at a time."""
READY = 4
"""Receives that wait for their messages at a time."""
ROOM = 1 << 18
"""Bytes of a message that travel with its numbers; what is behind them comes by itself."""

Bytes = NDArray[np.uint8]


class Head(NamedTuple):
    """The numbers before a message: what it is, the kind and bytes of its content, and more."""

    what: float
    kind: float = 0.0
    size: float = 0.0
    rows: float = 0.0
    number: float = 0.0
    share: float = 0.0


_HEAD = 8 * len(Head._fields)


class Channel:
    """Messages from the process before, and to the one behind.

    Parameters
    ----------
    ranks : Ranks
        The processes, in the order of the stages.
    """

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        # nccl wants the exact size of what it receives, and knows no tags.
        self._exact = ranks.device.type != "cpu"
        self._room, self._ready = (0, 1) if self._exact else (ROOM, READY)
        self._sent: deque[tuple[Any, Tensor]] = deque()
        self._posted: deque[tuple[Any, Tensor]] = deque()
        self._read: Tensor | None = None
        self.bytes_sent = 0

    def send(self, head: Head, content: Bytes | None = None) -> None:
        """Begin to send a message; the last one of a row has to be END."""
        if self._ranks.rank == self._ranks.size - 1:
            return
        body = np.empty(0, dtype=np.uint8) if content is None else content
        numbers = np.array(head._replace(size=len(body)), dtype=np.float64).view(np.uint8)
        # As many ends as there are receives that wait.
        for _ in range(self._ready if head.what == END else 1):
            self._begin(np.concatenate([numbers, body[: self._room]]), rest=False)
        if len(body) > self._room:
            self._begin(body[self._room :].copy(), rest=True)
        while len(self._sent) > 2 * ON_THE_WAY:
            self._ranks.wait([self._sent.popleft()[0]])

    def _begin(self, part: Bytes, *, rest: bool) -> None:
        tensor = torch.from_numpy(part).to(self._ranks.device)
        work = self._ranks.send(tensor, self._ranks.rank + 1, self._tag(rest))
        self._sent.append((work, tensor))
        self.bytes_sent += tensor.numel()

    def receive(self) -> tuple[Head, Bytes]:
        """Wait for the next message; its content is valid until the next call."""
        if self._read is not None:
            self._post(self._read)
        while len(self._posted) < self._ready:
            size = _HEAD + self._room
            self._post(torch.empty(size, dtype=torch.uint8, device=self._ranks.device))
        head, content = self._take()
        if head.what == END:
            while self._posted:
                self._take()
            self._read = None
        if len(content) == head.size:
            return head, content
        rest = torch.empty(
            int(head.size) - len(content), dtype=torch.uint8, device=self._ranks.device
        )
        self._ranks.wait([self._ranks.receive(rest, self._ranks.rank - 1, self._tag(True))])
        return head, np.concatenate([content, rest.cpu().numpy()])

    def _post(self, memory: Tensor) -> None:
        work = self._ranks.receive(memory, self._ranks.rank - 1)
        self._posted.append((work, memory))

    def _take(self) -> tuple[Head, Bytes]:
        work, self._read = self._posted.popleft()
        self._ranks.wait([work])
        found = self._read.cpu().numpy()
        head = Head(*found[:_HEAD].view(np.float64).tolist())
        return head, found[_HEAD : _HEAD + min(int(head.size), self._room)]

    def _tag(self, rest: bool) -> int:
        return int(rest and not self._exact)

    def settle(self) -> None:
        """Wait until all that was sent has gone."""
        while self._sent:
            self._ranks.wait([self._sent.popleft()[0]])
