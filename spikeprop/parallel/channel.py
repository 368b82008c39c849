"""The way between two stages of a pipeline: messages of some numbers and some bytes.

A message and the numbers before it travel together, into memory that the receiver has ready before
they are sent: the sender goes on when it hears that there is room again. That is worth a module.
gloo answers a receive that finds its message waiting at once, on a thread that then looks in a loop
for the very lock that the receive still holds; where there was no core to spare that thread took a
quarter of a stage's time.
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
READY = 8
"""Receives that wait for their messages at a time, and so messages that may be on the way."""
AGAIN = READY // 2
"""Receives that are ready again before the sender hears of it."""
ROOM = 1 << 18
"""Bytes of a message that travel with its numbers; what is behind them comes by itself."""

MESSAGE, REST, HEARD = range(3)
"""Tags of what travels."""

Bytes = NDArray[np.uint8]


class Head(NamedTuple):
    """The numbers before a message: what it is, the kind and bytes of its content, and others.

    ``more`` says that another message lies behind it.
    """

    what: float
    kind: float = 0.0
    size: float = 0.0
    rows: float = 0.0
    number: float = 0.0
    share: float = 0.0
    more: float = 0.0


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
        self._behind = 0  # where another message lies in it
        self._held = np.empty(0, dtype=np.uint8)
        self._again = 0  # receives that were made ready again
        self._count = self._heard = 0  # messages sent, and how often there was room again
        self._hearing: tuple[Any, Tensor] | None = None
        self.bytes_sent = 0

    # ------------------------------------------------------------------ to the stage behind

    def send(self, head: Head, content: Bytes | None = None, *, more: bool = False) -> None:
        """Begin to send a message; the last one of a row is END, and :meth:`settle` follows it.

        ``more`` says that another one follows at once, which it may as well travel with.
        """
        if self._ranks.rank == self._ranks.size - 1:
            return
        body = np.empty(0, dtype=np.uint8) if content is None else content
        room = self._room - len(self._held)
        more = more and not self._exact and _HEAD + len(body) <= room // 2
        head = head._replace(size=len(body), more=float(more))
        numbers = np.array(head, dtype=np.float64).view(np.uint8)
        part = np.concatenate([self._held, numbers, body[:room]])
        self._held = part if more else part[:0]
        if more:
            return
        self._wait_for_room()
        # As many ends as there are receives that wait.
        for _ in range(self._ready if head.what == END else 1):
            self._begin(part, MESSAGE)
        if len(body) > room:
            self._begin(body[room:].copy(), REST)
        self._count += 1

    def _begin(self, part: Bytes, what: int, to: int = 1) -> None:
        tensor = torch.from_numpy(part).to(self._ranks.device)
        work = self._ranks.send(tensor, self._ranks.rank + to, self._tag(what))
        self._sent.append((work, tensor))
        self.bytes_sent += tensor.numel()

    def _wait_for_room(self) -> None:
        if not self._exact:
            if self._hearing is None:
                self._listen()
            while self._count >= READY + AGAIN * self._heard:
                self._hear()
        while len(self._sent) > 2 * READY:
            self._ranks.wait([self._sent.popleft()[0]])

    def _listen(self) -> None:
        memory = torch.empty(1, dtype=torch.uint8)
        work = self._ranks.receive(memory, self._ranks.rank + 1, self._tag(HEARD))
        self._hearing = (work, memory)

    def _hear(self) -> None:
        if self._hearing is None:
            self._listen()
        assert self._hearing is not None, "it listens"
        self._ranks.wait([self._hearing[0]])
        self._hearing = None
        self._heard += 1

    def settle(self) -> None:
        """Wait until all that was sent has been taken; then another row can begin."""
        if self._count and not self._exact:
            while self._heard < (self._count - 1) // AGAIN + 1:
                self._hear()
        self._count = self._heard = 0
        while self._sent:
            self._ranks.wait([self._sent.popleft()[0]])

    # ------------------------------------------------------------------ from the stage before

    def receive(self) -> tuple[Head, Bytes]:
        """Wait for the next message; its content is valid until the next call."""
        if not self._behind:
            self._take()
        head, content = self._look()
        if head.what == END:
            while self._posted:
                self._ranks.wait([self._posted.popleft()[0]])
            self._say()
            self._read, self._again = None, 0
        if len(content) == head.size:
            return head, content
        missing = int(head.size) - len(content)
        rest = torch.empty(missing, dtype=torch.uint8, device=self._ranks.device)
        self._ranks.wait([self._ranks.receive(rest, self._ranks.rank - 1, self._tag(REST))])
        return head, np.concatenate([content, rest.cpu().numpy()])

    def _take(self) -> None:
        """Wait for what travels together, and let the memory before be ready again."""
        if self._read is not None:
            self._post(self._read)
            self._again += 1
            if self._again % AGAIN == 0:
                self._say()
        while len(self._posted) < self._ready:
            size = _HEAD + self._room
            self._post(torch.empty(size, dtype=torch.uint8, device=self._ranks.device))
        work, self._read = self._posted.popleft()
        self._ranks.wait([work])

    def _look(self) -> tuple[Head, Bytes]:
        """Return the next message in what has come."""
        assert self._read is not None, "something has come"
        found = self._read.cpu().numpy()[self._behind :]
        head = Head(*found[:_HEAD].view(np.float64).tolist())
        content = found[_HEAD : _HEAD + int(head.size)]
        self._behind = self._behind + _HEAD + len(content) if head.more else 0
        return head, content

    def _post(self, memory: Tensor) -> None:
        work = self._ranks.receive(memory, self._ranks.rank - 1, self._tag(MESSAGE))
        self._posted.append((work, memory))

    def _say(self) -> None:
        """Tell the stage before that there is room again, or that a row has ended."""
        if not self._exact:
            self._begin(np.zeros(1, dtype=np.uint8), HEARD, to=-1)

    def _tag(self, what: int) -> int:
        return 0 if self._exact else what
