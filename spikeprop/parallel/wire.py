"""Spikes on the wire: packed bits or lists of events, whichever takes fewer bytes.

A window of ``L`` time steps, ``R`` rows and ``F`` neurons is one row of ``N = L R F`` cells.

    bits:     eight cells a byte, N / 8 bytes
    events:   for each spike the number of silent cells since the one before, a byte each; 255 says
              that 255 silent cells and no spike follow
    numbers:  the cells as they are, for spikes that are not all 1 (graded ones)

An event costs about a byte, so that the list is the smaller one below 12 % density: at 2 % it takes
1/190 of the bytes of float32, and bits take 1/32 at any density.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spikeprop import kernels
from spikeprop.engines.rows import Rows

__all__ = ["BITS", "EVENTS", "NUMBERS", "decode", "decode_rows", "encode", "labels_of", "of_labels"]

BITS, EVENTS, NUMBERS = 0, 1, 2
GAP = 255
"""Byte of a list of events that stands for so many silent cells, without a spike behind them."""

Bytes = NDArray[np.uint8]


def encode(spikes: Tensor | Rows, rows: int, width: int) -> tuple[int, Bytes]:
    """Return the kind of a message and its bytes.

    Parameters
    ----------
    spikes : Tensor or Rows
        A window ``(L, rows, ...)`` of ``width`` cells a row; sparse rows may have fewer rows.
    rows, width : int
        Rows ``R`` of the window, and cells ``F`` of a row.
    """
    if isinstance(spikes, Rows):
        if spikes.values.size:
            dtype = torch.from_numpy(spikes.values).dtype
            return _numbers(spikes.dense(width, rows, dtype).numpy())
        cells = len(spikes.starts) * rows * width
        if kernels.available():
            events, most = spikes.events, -(-cells // 8)
            given = (spikes.starts, spikes.ends, spikes.channels, rows, width)
            if events <= most:
                out = np.empty(events + cells // GAP + 1, dtype=np.uint8)
                size = list_gaps(*given, out)
                if size <= most:
                    return EVENTS, out[:size]
            bits = np.zeros(most, dtype=np.uint8)
            set_bits(*given, bits)
            return BITS, bits
        return _smaller(_positions(spikes, rows, width), cells)
    flat = spikes.detach().cpu().reshape(-1).numpy()
    active = flat != 0
    if not (flat[active] == 1).all():
        return _numbers(flat)
    return _smaller(np.flatnonzero(active), flat.size)


def decode(
    kind: int, content: Bytes, steps: int, rows: int, width: int, dtype: torch.dtype
) -> Tensor:
    """Return the window ``(steps, rows, width)`` of a message.

    Raises
    ------
    ValueError
        If the message does not fit the window.
    """
    cells = steps * rows * width
    if kind == NUMBERS:
        size = torch.empty(0, dtype=dtype).element_size()
        if len(content) != cells * size:
            raise ValueError(f"a message of {len(content)} bytes is no window of {cells} numbers")
        numbers = torch.frombuffer(bytearray(content.tobytes()), dtype=dtype)
        return numbers.view(steps, rows, width)
    out = torch.zeros(cells, dtype=dtype)
    out[torch.from_numpy(_listed(kind, content, cells))] = 1.0
    return out.view(steps, rows, width)


def decode_rows(
    kind: int, content: Bytes, steps: int, rows: int, width: int, dtype: torch.dtype
) -> Rows:
    """Return the same as sparse rows.

    Raises
    ------
    ValueError
        If the message does not fit the window.
    """
    cells = steps * rows * width
    values = np.empty(0, dtype=torch.empty(0, dtype=dtype).numpy().dtype)
    if kind == NUMBERS:
        dense = decode(kind, content, steps, rows, width, dtype).view(-1).numpy()
        positions = np.flatnonzero(dense)
        values = dense[positions]
    elif kind in (BITS, EVENTS) and kernels.available():
        starts = np.empty(steps * rows + 1, dtype=np.int64)
        if kind == BITS:
            _check_bits(content, cells)
            channels = np.empty(cells, dtype=np.int32)  # what is not written takes no memory
            count = read_bits(content, width, starts, channels)
        else:
            channels = np.empty(len(content), dtype=np.int32)
            count = read_gaps(content, width, starts, channels)
            if count < 0:
                raise _too_long(-1 - count, cells)
        return Rows(
            starts[:-1].reshape(steps, rows),
            starts[1:].reshape(steps, rows),
            channels[:count],
            values,
        )
    else:
        positions = _listed(kind, content, cells)
    row, channel = np.divmod(positions, width)
    ends = np.bincount(row, minlength=steps * rows).cumsum()
    starts = np.concatenate([[0], ends[:-1]])
    return Rows(
        starts.reshape(steps, rows).astype(np.int64),
        ends.reshape(steps, rows).astype(np.int64),
        channel.astype(np.int32),
        values,
    )


@kernels.kernel
def list_gaps(starts: Any, ends: Any, channels: Any, rows: int, width: int, out: Any) -> int:
    """Write the list of events of sparse rows into ``out``; return its length."""
    size, behind = 0, 0
    for step in range(starts.shape[0]):
        for row in range(starts.shape[1]):
            base = (step * rows + row) * width
            for at in range(starts[step, row], ends[step, row]):
                cell = base + channels[at]
                silent = cell - behind
                while silent >= 255:
                    out[size] = 255
                    size += 1
                    silent -= 255
                out[size] = silent
                size += 1
                behind = cell + 1
    return size


@kernels.kernel
def read_gaps(content: Any, width: int, starts: Any, channels: Any) -> int:
    """Read a list of events into rows; return the number of events.

    Or ``-1 - cell`` for the first listed cell that is behind the last one of the rows. Row ``r``
    gets the channels from ``starts[r]`` to ``starts[r + 1]`` (exclusive).
    """
    rows, row, count, cell, end = starts.shape[0] - 1, 0, 0, 0, width
    starts[0] = 0
    for at in range(content.shape[0]):
        silent = content[at]
        cell += silent
        if silent == 255:
            continue
        while cell >= end:
            row += 1
            if row >= rows:
                return int(-1 - cell)
            starts[row] = count
            end += width
        channels[count] = cell - end + width
        count += 1
        cell += 1
    for rest in range(row + 1, rows + 1):
        starts[rest] = count
    return count


@kernels.kernel
def set_bits(starts: Any, ends: Any, channels: Any, rows: int, width: int, out: Any) -> None:
    """Set the bits of sparse rows in ``out``, the first cell's is the highest of a byte."""
    for step in range(starts.shape[0]):
        for row in range(starts.shape[1]):
            base = (step * rows + row) * width
            for at in range(starts[step, row], ends[step, row]):
                cell = base + channels[at]
                out[cell >> 3] |= np.uint8(128 >> (cell & 7))


@kernels.kernel
def read_bits(content: Any, width: int, starts: Any, channels: Any) -> int:
    """Read bits into rows as :func:`read_gaps` does events; return the number of bits set.

    Bits behind the last row's are left out.
    """
    rows, row, count, end = starts.shape[0] - 1, 0, 0, width
    starts[0] = 0
    for at in range(content.shape[0]):
        byte = content[at]
        if byte == 0:
            continue
        for bit in range(8):
            if byte & np.uint8(128 >> bit):
                cell = 8 * at + bit
                if cell >= rows * width:
                    break
                while cell >= end:
                    row += 1
                    starts[row] = count
                    end += width
                channels[count] = cell - end + width
                count += 1
    for rest in range(row + 1, rows + 1):
        starts[rest] = count
    return count


def _positions(spikes: Rows, rows: int, width: int) -> NDArray[np.int64]:
    """Return the cells of sparse rows that are active, in ascending order."""
    steps, listed = spikes.starts.shape
    counts = (spikes.ends - spikes.starts).reshape(-1)
    row = np.arange(steps * listed).reshape(steps, listed)
    row = row // listed * rows + row % listed
    before = np.cumsum(counts) - counts
    place = np.arange(int(counts.sum())) + np.repeat(spikes.starts.reshape(-1) - before, counts)
    found: NDArray[np.int64] = np.repeat(row.reshape(-1), counts) * width
    found += spikes.channels[place]
    return found


def _smaller(positions: NDArray[np.int64], cells: int) -> tuple[int, Bytes]:
    silent = np.diff(positions, prepend=-1) - 1
    whole = silent // GAP
    if len(positions) + int(whole.sum()) > -(-cells // 8):
        active = np.zeros(cells, dtype=np.bool_)
        active[positions] = True
        return BITS, np.packbits(active)
    content = np.full(len(positions) + int(whole.sum()), GAP, dtype=np.uint8)
    content[np.cumsum(whole + 1) - 1] = silent - whole * GAP
    return EVENTS, content


def _listed(kind: int, content: Bytes, cells: int) -> NDArray[np.int64]:
    """Return the active cells of a message."""
    if kind == BITS:
        _check_bits(content, cells)
        return np.flatnonzero(np.unpackbits(content, count=cells))
    if kind != EVENTS:
        raise ValueError(f"a message has the unknown kind {kind}")
    ends = np.flatnonzero(content != GAP)
    silent = np.cumsum(content, dtype=np.int64)[ends]
    positions: NDArray[np.int64] = silent + np.arange(len(ends))
    if len(positions) and positions[-1] >= cells:
        raise _too_long(int(positions[np.searchsorted(positions, cells)]), cells)
    return positions


def _check_bits(content: Bytes, cells: int) -> None:
    if len(content) != -(-cells // 8):
        raise ValueError(f"a message of {len(content)} bytes is no window of {cells} bits")


def _too_long(cell: int, cells: int) -> ValueError:
    return ValueError(f"a message lists cell {cell} of a window of {cells}")


def _numbers(cells: NDArray[Any]) -> tuple[int, Bytes]:
    return NUMBERS, np.frombuffer(cells.tobytes(), dtype=np.uint8)


def of_labels(label: Tensor) -> Bytes:
    """Return the bytes of classes ``(B,)``."""
    return np.frombuffer(label.cpu().numpy().tobytes(), dtype=np.uint8)


def labels_of(content: Bytes) -> Tensor:
    """Return the classes of :func:`of_labels`."""
    return torch.from_numpy(np.frombuffer(content.tobytes(), dtype=np.int64).copy())
