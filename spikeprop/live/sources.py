"""Where packets come from: a file paced in real time, standard input, UDP and TCP on the loopback.

Each source is a generator of lists: the packets that are at hand, in any order; an empty one says
that nothing has come for a tenth of a second. Sockets are read by a thread of their own into a
queue of bounded length, so that a slow time step does not lose packets in the system's buffer; what
does not fit is counted.
"""

from __future__ import annotations

import csv
import ipaddress
import os
import queue
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

from spikeprop.datasets.formats import open_recording
from spikeprop.live.order import Counters
from spikeprop.live.packets import END, EVENTS, LABEL, Packet, Splitter, parse

IDLE_S = 0.1
QUEUE_PACKETS = 20_000
RECEIVE_BUFFER = 1 << 23
FILE_PACKET = 1_000
TOGETHER = 16
"""Packets in a list, at most."""
Stream = Iterator[list[Packet]]
Labels = list[tuple[int, int, int]]


def open_source(
    where: str, counters: Counters, *, speed: float = 1.0, labels: Labels | None = None
) -> Stream:
    """Open what a text names.

    Parameters
    ----------
    where
        ``-`` (standard input), ``udp://HOST:PORT``, ``tcp://HOST:PORT`` (both listen, on a loopback
        address), or the path of a recording of any format.
    counters
        Where to count.
    speed
        How many times faster than real time a file is played; 0 is as fast as can be.
    labels
        For a file: ``(start, stop, class)`` in microseconds since its first event.

    Raises
    ------
    ValueError
        If the address is no loopback address, or something does not fit.
    FileNotFoundError
        If there is no such file.
    """
    if not speed >= 0:
        raise ValueError(f"speed must be 0 or more, got {speed!r}")
    found = re.fullmatch(r"(udp|tcp)://(.+):(\d{1,5})", where)
    if found is None and "://" in where:
        raise ValueError(f"a socket is udp://HOST:PORT or tcp://HOST:PORT, got {where!r}")
    if labels is not None and (found or where == "-"):
        raise ValueError("labels belong to a file; packets carry labels of their own")
    if found:
        host, port = loopback(found[2]), int(found[3])
        if port > 65_535:
            raise ValueError(f"a port is 0 to 65535, got {port}")
        return udp(host, port, counters) if found[1] == "udp" else tcp(host, port, counters)
    if where == "-":
        return standard_input(counters)
    if not Path(where).is_file():
        raise FileNotFoundError(f"{where}: no such file")
    return recording(Path(where), speed, labels or [])


def loopback(host: str) -> str:
    """Return the host if it is this machine's own, or raise ValueError."""
    name = "127.0.0.1" if host == "localhost" else host.strip("[]")
    try:
        own = ipaddress.ip_address(name).is_loopback
    except ValueError:
        own = False
    if not own:
        raise ValueError(
            f"host must be a loopback address such as 127.0.0.1, got {host!r}: packets are not "
            "authenticated, so nobody else's are taken"
        )
    return name


def recording(path: Path, speed: float, labels: Labels) -> Stream:
    """Play a recording: packets of up to 1,000 events, each when its first event is due."""
    number = 0
    ready: list[Packet] = []
    changes = sorted(
        [(start, label) for start, _, label in labels] + [(stop, -1) for _, stop, _ in labels],
        key=lambda change: (change[0], change[1] >= 0),
    )
    first: int | None = None
    begun = time.monotonic()
    with open_recording(path) as stream:
        for piece in stream.events:
            for start in range(0, len(piece), FILE_PACKET):
                events = piece[start : start + FILE_PACKET]
                if first is None:
                    first, begun = int(events["t"][0]), time.monotonic()
                due = int(events["t"][0]) - first
                while changes and changes[0][0] <= int(events["t"][-1]) - first:
                    at, label = changes.pop(0)
                    known = None if label < 0 else label
                    ready.append(Packet(LABEL, number, first + at, None, known))
                    number += 1
                while speed and (wait := begun + due / 1e6 / speed - time.monotonic()) > 0:
                    if ready:
                        yield ready
                        ready = []
                        continue  # some of the wait may be over
                    time.sleep(min(wait, IDLE_S))
                    if wait > IDLE_S:
                        yield []
                ready.append(Packet(EVENTS, number, int(events["t"][0]), events))
                number += 1
                if len(ready) >= TOGETHER:
                    yield ready
                    ready = []
    yield [*ready, Packet(END, number, 0)]


def standard_input(counters: Counters) -> Stream:
    """Read packets from standard input, one after another."""
    splitter = Splitter()
    try:
        while data := os.read(0, 1 << 16):
            if found := list(splitter.feed(data)):
                yield found
        splitter.close()
    finally:
        counters.malformed += splitter.malformed


def udp(host: str, port: int, counters: Counters) -> Stream:
    """Take datagrams; bind at once, so that a sender may begin when this returns."""
    receiver = _socket(host, port, socket.SOCK_DGRAM)

    def receive(put: Callable[[Packet], None]) -> bool:
        data = receiver.recv(1 << 16)
        packet = parse(data)
        if packet is None:
            counters.malformed += 1
        else:
            put(packet)
        return True

    return _threaded(receiver, receive, counters)


def tcp(host: str, port: int, counters: Counters) -> Stream:
    """Take one connection after another; bytes are cut into packets."""
    listener = _socket(host, port, socket.SOCK_STREAM)
    listener.listen(1)
    state: dict[str, socket.socket | None] = {"peer": None}
    splitter = Splitter()

    def receive(put: Callable[[Packet], None]) -> bool:
        peer = state["peer"]
        if peer is None:
            peer, _ = listener.accept()
            peer.settimeout(IDLE_S)
            state["peer"] = peer
        try:
            data = peer.recv(1 << 16)
        except ConnectionError:
            data = b""
        for packet in splitter.feed(data):
            put(packet)
        if not data:
            splitter.close()
            peer.close()
            state["peer"] = None
        counters.malformed += splitter.malformed
        splitter.malformed = 0
        return True

    return _threaded(listener, receive, counters)


def _socket(host: str, port: int, kind: socket.SocketKind) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, kind)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if kind == socket.SOCK_DGRAM:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    opened.settimeout(IDLE_S)
    try:
        opened.bind((host, port))
    except OSError as error:
        opened.close()
        raise OSError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    return opened


def _threaded(
    source: socket.socket, receive: Callable[[Callable[[Packet], None]], bool], counters: Counters
) -> Stream:
    waiting: queue.Queue[Packet] = queue.Queue(QUEUE_PACKETS)
    stop = threading.Event()

    def put(packet: Packet) -> None:
        try:
            waiting.put_nowait(packet)
        except queue.Full:
            counters.overflows += 1

    def work() -> None:
        with closing(source):
            while not stop.is_set():
                try:
                    receive(put)
                except TimeoutError:
                    continue
                except OSError:
                    return

    thread = threading.Thread(target=work, name="spikeprop-stream", daemon=True)
    thread.start()

    def packets() -> Stream:
        try:
            while True:
                found: list[Packet] = []
                with suppress(queue.Empty):
                    found.append(waiting.get(timeout=IDLE_S))
                    while len(found) < TOGETHER:
                        found.append(waiting.get_nowait())
                yield found
        finally:
            stop.set()
            thread.join(timeout=2.0)

    return packets()


def read_labels(path: Path, classes: list[str]) -> Labels:
    """Read a table of labels: columns start, stop (microseconds since the first event) and class.

    ``class`` is a name, or a number from 0.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a line makes no sense; the message names it.
    """
    found: Labels = []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            try:
                start, stop, name = int(row["start"]), int(row["stop"]), row["class"].strip()
                label = classes.index(name) if name in classes else int(name)
                if not (0 <= start < stop and 0 <= label < len(classes)):
                    raise ValueError
            except (KeyError, TypeError, ValueError, AttributeError):
                raise ValueError(
                    f"{path}: line {number}: expected columns start, stop and class (one of "
                    f"{', '.join(classes)}, or its number), got {list(row.values())}"
                ) from None
            found.append((start, stop, label))
    return found


def send_udp(address: tuple[str, int], packets: Iterator[bytes], rate: float | None = None) -> int:
    """Send packets to a stream, ``rate`` a second; return how many (for demonstrations)."""
    count, begun = 0, time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for data in packets:
            if rate is not None:
                wait = begun + count / rate - time.monotonic()
                if wait > 0:
                    time.sleep(wait)
            sender.sendto(data, address)
            count += 1
    return count
