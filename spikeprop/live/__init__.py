"""Live event streams: packets, their order, sources, and a learner that follows them.

:mod:`spikeprop.live.packets` documents the frame format of sockets and standard input.
"""

from spikeprop.live.follow import Follower, Report
from spikeprop.live.order import Counters, Reorder
from spikeprop.live.packets import (
    END,
    EVENTS,
    LABEL,
    Packet,
    Splitter,
    encode_end,
    encode_events,
    encode_label,
    parse,
)

__all__ = [
    "END",
    "EVENTS",
    "LABEL",
    "Counters",
    "Follower",
    "Packet",
    "Reorder",
    "Report",
    "Splitter",
    "encode_end",
    "encode_events",
    "encode_label",
    "parse",
]
