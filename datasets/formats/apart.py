"""Runs a reader in a process of its own, for C libraries that damaged files can hang or crash.

The HDF5 library does both (a damaged attribute sent it into a loop without end in our tests). The
child sends what it reads through a pipe; silence for too long, or its death, is damage like any
other. Where processes cannot be forked (Windows), the reader runs here, without that protection.
"""

from __future__ import annotations

import json
import os
import select
import signal
import struct
import time
import warnings
from collections.abc import Callable, Iterator

import numpy as np

from spikeprop.datasets.events import EVENT_DTYPE, Events
from spikeprop.datasets.formats.source import DamageError, Stream

SILENCE_S = 20.0
"""A reader that says nothing for so long is taken for hung."""

_SIZE = struct.Struct("<q")
_END, _DAMAGE = -1, -2
CAN_FORK = hasattr(os, "fork")


def apart(open_stream: Callable[[], Stream]) -> Stream:
    """Open a stream in a child process, and return what it reads as a stream.

    Raises
    ------
    DamageError
        As ``open_stream``; and if the child dies, or is silent for longer than ``SILENCE_S``.
    """
    if not CAN_FORK:
        return open_stream()
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # The child calls one library and ends by _exit: other threads' locks do not matter.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            _work(open_stream, writer)
        finally:
            os._exit(0)
    os.close(writer)
    link = _Link(reader, child)
    try:
        kind, data = link.message()
    except BaseException:
        link.close()
        raise
    if kind == _DAMAGE:
        link.close()
        raise _damage(data)
    size = json.loads(data)
    return Stream(None if size is None else (size[0], size[1], size[2]), _pieces(link))


def _pieces(link: _Link) -> Iterator[Events]:
    try:
        while True:
            kind, data = link.message()
            if kind == _END:
                return
            if kind == _DAMAGE:
                raise _damage(data)
            yield np.frombuffer(data, dtype=EVENT_DTYPE).copy()
    finally:
        link.close()


def _damage(data: bytes) -> DamageError:
    offset, reason = json.loads(data)
    return DamageError(int(offset), str(reason))


class _Link:
    """The parent's end of the pipe."""

    def __init__(self, reader: int, child: int) -> None:
        self.reader, self.child, self.closed = reader, child, False

    def __del__(self) -> None:
        # A stream that nobody ever took events from ends here.
        self.close()

    def message(self) -> tuple[int, bytes]:
        """Return the next message: its kind (or length) and content."""
        (kind,) = _SIZE.unpack(self._exactly(_SIZE.size))
        if kind == _END:
            return kind, b""
        (length,) = _SIZE.unpack(self._exactly(_SIZE.size))
        return kind, self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        data = bytearray()
        until = time.monotonic() + SILENCE_S
        while len(data) < count:
            ready, _, _ = select.select([self.reader], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise DamageError(0, f"reading the file does not come to an end ({SILENCE_S:g} s)")
            piece = os.read(self.reader, min(count - len(data), 1 << 20))
            if not piece:
                raise DamageError(0, "the library that reads the file crashed")
            data += piece
            until = time.monotonic() + SILENCE_S
        return bytes(data)

    def close(self) -> None:
        """End the child, whatever it is doing."""
        if self.closed:
            return
        self.closed = True
        os.close(self.reader)
        try:
            os.kill(self.child, signal.SIGKILL)
            os.waitpid(self.child, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


def _work(open_stream: Callable[[], Stream], writer: int) -> None:
    try:
        stream = open_stream()
        _send(writer, 0, json.dumps(stream.sensor_size).encode())
        for events in stream.events:
            _send(writer, 0, events.tobytes())
        _write(writer, _SIZE.pack(_END))
    except DamageError as damage:
        _send(writer, _DAMAGE, json.dumps([damage.offset, damage.reason]).encode())
    except BrokenPipeError:  # the parent has seen enough
        pass
    except BaseException as error:
        _send(writer, _DAMAGE, json.dumps([0, f"it cannot be read: {error!r}"]).encode())


def _send(writer: int, kind: int, data: bytes) -> None:
    _write(writer, _SIZE.pack(kind) + _SIZE.pack(len(data)) + data)


def _write(writer: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(writer, view) :]
