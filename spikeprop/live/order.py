"""Brings packets into the order of their numbers, within limits, and counts what is wrong."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from spikeprop.live.packets import Packet

REMEMBERED = 4_096


@dataclass
class Counters:
    """What happened to a stream so far.

    Attributes
    ----------
    packets, events
        Taken, in order.
    malformed
        Damaged: skipped.
    duplicated
        Seen before: skipped.
    reordered
        Came after one with a higher number, in time to be put into its place.
    late
        Came when the stream had gone on without it: skipped.
    lost
        Numbers that never came in time.
    late_events
        Events of a time step that had been closed already: skipped.
    outside_events
        Events outside the sensor: skipped.
    skipped_steps
        Time steps without events that were passed over in a long silence.
    bad_labels
        Labels that are no class: skipped.
    overflows
        Packets dropped since processing fell behind and the queue was full.
    """

    packets: int = 0
    events: int = 0
    malformed: int = 0
    duplicated: int = 0
    reordered: int = 0
    late: int = 0
    lost: int = 0
    late_events: int = 0
    outside_events: int = 0
    skipped_steps: int = 0
    bad_labels: int = 0
    overflows: int = 0

    def faults(self) -> dict[str, int]:
        """Return everything that went wrong, without what did not."""
        names = [name for name in self.__dataclass_fields__ if name not in ("packets", "events")]
        return {name: getattr(self, name) for name in names if getattr(self, name)}


@dataclass
class Reorder:
    """Puts packets into order: a packet is waited for until ``window`` later ones are there.

    Parameters
    ----------
    counters
        Where to count.
    window
        How many packets may wait for one that is missing.
    """

    counters: Counters
    window: int = 32
    _next: int | None = None
    _waiting: list[tuple[int, Packet]] = field(default_factory=list)
    _numbers: set[int] = field(default_factory=set)
    _recent: deque[int] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    _known: set[int] = field(default_factory=set)

    def push(self, packet: Packet) -> Iterator[Packet]:
        """Take a packet; yield those that are in order now."""
        if self._next is None:
            self._next = packet.number
        number = packet.number
        if number in self._numbers or number in self._known:
            self.counters.duplicated += 1
            return
        if number < self._next:
            self.counters.late += 1
            self._remember(number)
            return
        if self._waiting and number < max(self._numbers):
            self.counters.reordered += 1
        heapq.heappush(self._waiting, (number, packet))
        self._numbers.add(number)
        yield from self._ready(self.window)

    def flush(self) -> Iterator[Packet]:
        """Yield what waits, whatever is missing before it."""
        yield from self._ready(0)

    def _ready(self, window: int) -> Iterator[Packet]:
        assert self._next is not None or not self._waiting
        while self._waiting and (self._waiting[0][0] == self._next or len(self._waiting) > window):
            number, packet = heapq.heappop(self._waiting)
            self._numbers.discard(number)
            assert self._next is not None
            self.counters.lost += number - self._next
            self._next = number + 1
            self._remember(number)
            self.counters.packets += 1
            yield packet

    def _remember(self, number: int) -> None:
        if len(self._recent) == self._recent.maxlen:
            self._known.discard(self._recent[0])
        self._recent.append(number)
        self._known.add(number)
