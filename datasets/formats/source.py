"""What all readers share: a file read in pieces, damage with its place, and recordings.

A reader opens a file as a :class:`Stream`: the sensor, as far as the file says, and an iterator of
events in pieces of bounded size. So no file is ever in memory as a whole, and none can ask for more
memory than the caller allows (:func:`spikeprop.datasets.formats.read_recording`). A reader that
meets damage first yields what came before it, and then raises :class:`DamageError`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikeprop.datasets.events import Events, make_events

BLOCK_BYTES = 1 << 20
HEADER_LIMIT = 1 << 20
"""Text headers longer than this are damage: a file without line ends is not read to its end."""

LINE_LIMIT = 1 << 13

SensorSize = tuple[int, int, int] | None
Bytes = NDArray[np.uint8]


class DamageError(ValueError):
    """A place where a file is not what its format says.

    Parameters
    ----------
    offset
        Byte in the file where the damage lies.
    reason
        What is wrong there.
    """

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"at byte {offset}: {reason}")
        self.offset, self.reason = offset, reason


class Stream(NamedTuple):
    """An open recording.

    Attributes
    ----------
    sensor_size : tuple of int, or None
        Width, height and number of polarities; None where the file does not say.
    events : iterator of ndarray
        Events with the fields x, y, t (microseconds) and p, in pieces, in the order of the file.
    """

    sensor_size: SensorSize
    events: Iterator[Events]


class Source:
    """A file that is read from front to back; use as a context manager.

    Parameters
    ----------
    path
        The file.

    Attributes
    ----------
    path : Path
    size : int
        Length in bytes.
    position : int
        Bytes read so far.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO = path.open("rb")
        self.size = self._file.seek(0, 2)
        self.position = self._file.seek(0)

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    @property
    def left(self) -> int:
        """Bytes not yet read."""
        return self.size - self.position

    def seek(self, position: int) -> None:
        """Go on from another place."""
        self.position = self._file.seek(position)

    def read(self, count: int) -> bytes:
        """Read up to ``count`` bytes; fewer only at the end of the file."""
        data = self._file.read(max(0, min(count, self.left)))
        self.position += len(data)
        return data

    def exactly(self, count: int, what: str) -> bytes:
        """Read ``count`` bytes, or raise :class:`DamageError` where they should begin."""
        start = self.position
        if count > self.left:
            raise DamageError(
                start, f"{what} of {count} bytes is cut off: the file ends at byte {self.size}"
            )
        return self.read(count)

    def line(self, limit: int) -> bytes:
        """Read to the end of the line (included), at most ``limit`` bytes; empty at the end."""
        data = self._file.readline(limit)
        self.position += len(data)
        return data

    def comments(self, mark: bytes) -> list[str]:
        """Read the leading lines that begin with ``mark``; stop before the first other line."""
        lines: list[str] = []
        start = self.position
        while True:
            here = self.position
            line = self.line(LINE_LIMIT)
            if not line.startswith(mark) or not is_text_line(line):
                if line.startswith(mark) and not self.left and is_text_line(line + b"\n"):
                    raise DamageError(here, "the header is cut off")
                self.seek(here)
                return lines
            lines.append(line.decode("latin-1").rstrip("\r\n"))
            if self.position - start > HEADER_LIMIT:
                raise DamageError(start, f"the header is longer than {HEADER_LIMIT} bytes")

    def records(self, size: int, block: int = BLOCK_BYTES) -> Iterator[tuple[int, Bytes]]:
        """Yield ``(offset, bytes)`` blocks of whole records of ``size`` bytes.

        Raises
        ------
        DamageError
            At the end, if the last record is cut off.
        """
        per_block = max(1, block // size) * size
        while self.left >= size:
            offset = self.position
            data = self.read(min(per_block, self.left // size * size))
            yield offset, np.frombuffer(data, dtype=np.uint8)
        if self.left:
            raise DamageError(
                self.position, f"the last record has {self.left} of {size} bytes: it is cut off"
            )


def is_text_line(line: bytes) -> bool:
    """Whether bytes are one whole line of text (data may begin like a header's line)."""
    return line.endswith(b"\n") and not line.rstrip(b"\r\n").translate(None, _PRINTABLE)


_PRINTABLE = bytes([9, *range(32, 127), *range(128, 256)])


class Unwrap:
    """Makes times that wrap round at ``2**bits`` go on rising, over pieces of a recording.

    A step back by more than half the range is a wrap; a smaller one is an event out of order.
    """

    def __init__(self, bits: int) -> None:
        self.period = 1 << bits
        self.last: int | None = None
        self.turns = 0

    def __call__(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """Unwrap the next values; shape (N,), in units of one."""
        t = values.astype(np.int64)
        if len(t) == 0:
            return t
        before = np.empty_like(t)
        before[0] = t[0] if self.last is None else self.last
        before[1:] = t[:-1]
        step = t - before
        half = self.period // 2
        turns = self.turns + np.cumsum((step < -half).astype(np.int64) - (step > half))
        if self.turns == 0:
            np.maximum(turns, 0, out=turns)
        self.last, self.turns = int(t[-1]), int(turns[-1])
        return t + turns * self.period


def checked(
    x: NDArray[Any],
    y: NDArray[Any],
    t: NDArray[Any],
    p: NDArray[Any],
    sensor: SensorSize,
    offsets: int | NDArray[np.int64],
) -> Iterator[Events]:
    """Yield events up to the first one outside the sensor; raise there.

    Parameters
    ----------
    x, y, t, p
        The columns.
    sensor
        Width, height, polarities; None lets everything through.
    offsets
        Where each event lies in the file, or all of them.

    Raises
    ------
    DamageError
        At an event outside the sensor, once those before it have been taken.
    """
    if sensor is None or len(x) == 0:
        yield make_events(x, y, t, p)
        return
    width, height, polarities = sensor
    outside = (x < 0) | (y < 0) | (p < 0) | (x >= width) | (y >= height) | (p >= polarities)
    if not outside.any():
        yield make_events(x, y, t, p)
        return
    first = int(np.argmax(outside))
    yield make_events(x[:first], y[:first], t[:first], p[:first])
    raise DamageError(
        offsets if isinstance(offsets, int) else int(offsets[first]),
        f"an event at (x, y, p) = ({int(x[first])}, {int(y[first])}, {int(p[first])}) lies outside "
        f"the sensor of {width} x {height} pixels and {polarities} polarities",
    )
