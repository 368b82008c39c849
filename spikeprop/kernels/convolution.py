"""Convolutions of sparse rows: an event adds the kernel's taps at the few places that see it.

Outputs of a place lie side by side meanwhile, ``(places, outputs)``, so that a tap is a vector;
rows with hardly an event go where they belong, ``(outputs, places)``, at once. Weights are
``(channels, kernel rows, kernel columns, outputs)``, the outputs filled up to whole vectors
(:attr:`Taps.wide`), and handed over flat.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy.typing import NDArray

from spikeprop.kernels import kernel
from spikeprop.kernels.lanes import lanes, load, spread, store

Array = NDArray[Any]

__all__ = ["Taps", "convolve", "correlate", "sum_taps"]


class Taps(NamedTuple):
    """Which places see an input, and by which tap of the kernel.

    Attributes
    ----------
    rows, columns : ndarray of int64, shape (3, H), (3, W)
        For each row (column) of the input: the last row of places that sees it, how many do, and
        the kernel's row at the last. The place before sees it a stride further into the kernel.
    kernel, stride, padding, places : tuple of int
        Rows and columns of each.
    outputs : int
        Channels that come out.
    wide : int
        The same, filled up to whole vectors.
    """

    rows: Array
    columns: Array
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    places: tuple[int, int]
    outputs: int
    wide: int


@kernel
def convolve(
    starts: Array,
    ends: Array,
    channels: Array,
    values: Array,
    weights: Array,
    bias: Array,
    taps: Taps,
    room: Array,
    out: Array,
    first_row: int,
    last_row: int,
) -> None:
    """``out[l, r] = bias + the convolution of row (l, r)``, flattened ``(outputs, places)``.

    ``bias`` is ``(wide,)``, ``room`` ``(places * wide,)``.
    """
    places, wide = taps.places[0] * taps.places[1], taps.wide
    for step in range(starts.shape[0]):
        for r in range(first_row, last_row):
            row, begin, end = out[step, r], starts[step, r], ends[step, r]
            few = is_few(end - begin, taps)
            if few:
                for o in range(taps.outputs):
                    for p in range(places):
                        row[o * places + p] = bias[o]
            else:
                for p in range(places):
                    for n in range(0, wide, lanes(room)):
                        store(room, p * wide + n, load(bias, n))
            at_places = row if few else room
            meet(channels, values, begin, end, taps, few, at_places, weights, True)
            if not few:
                for o in range(taps.outputs):
                    for p in range(places):
                        row[o * places + p] = room[p * wide + o]


@kernel
def sum_taps(
    starts: Array,
    ends: Array,
    channels: Array,
    values: Array,
    delta: Array,
    taps: Taps,
    room: Array,
    out: Array,
    first_row: int,
    last_row: int,
) -> None:
    """Add to ``out`` the gradient of the weights, flat: the sum over events of ``value * delta``.

    Row ``(l, r)`` has row ``r`` of ``delta[l]`` ``(L, rows, outputs * places)``.
    """
    for step in range(starts.shape[0]):
        for r in range(first_row, last_row):
            row, begin, end = delta[step, r], starts[step, r], ends[step, r]
            few = is_few(end - begin, taps)
            if not few:
                turn(row, taps, room)
            at_places = row if few else room
            meet(channels, values, begin, end, taps, few, at_places, out, False)


@kernel
def meet(
    channels: Array,
    values: Array,
    begin: int,
    end: int,
    taps: Taps,
    few: bool,
    at_places: Array,
    at_taps: Array,
    forward: bool,
) -> None:
    """Let events carry the taps to the places that see them, or back what is at the places.

    Parameters
    ----------
    channels, values : ndarray
        The events ``begin`` to ``end`` (exclusive) of a row.
    begin, end : int
        See above.
    taps : Taps
        Which places see an event.
    few : bool
        Whether ``at_places`` is a row ``(outputs, places)``, or a turned one ``(places, wide)``.
    at_places, at_taps : ndarray
        The one is added to, multiples of the other.
    forward : bool
        Whether that is ``at_places``.
    """
    places, wide = taps.places[0] * taps.places[1], taps.wide
    one = at_taps.dtype.type(1)
    for i in range(begin, end):
        v = values[i] if values.size > 0 else one
        place, tap, y_count, x_count = find(channels[i], taps)
        for j in range(y_count):
            p = place - j * taps.places[1]
            w = (tap + j * taps.stride[0] * taps.kernel[1]) * wide
            for _ in range(x_count):
                if not few:
                    if forward:
                        add_vectors(at_places, p * wide, at_taps, w, v, wide)
                    else:
                        add_vectors(at_taps, w, at_places, p * wide, v, wide)
                elif forward:
                    for o in range(taps.outputs):
                        at_places[o * places + p] += v * at_taps[w + o]
                else:
                    for o in range(taps.outputs):
                        at_taps[w + o] += v * at_places[o * places + p]
                p -= 1
                w += taps.stride[1] * wide


@kernel
def correlate(
    traces: Array,
    delta: Array,
    taps: Taps,
    room: Array,
    out: Array,
    first_row: int,
    last_row: int,
) -> None:
    """Add to ``out`` the gradient of the weights for dense inputs, ``traces`` ``(rows, inputs)``.

    ``delta`` is ``(rows, outputs * places)``. Every tap is summed over all places in registers.
    """
    wide, across = taps.wide, taps.places[1]
    rows, columns = taps.rows.shape[1], taps.columns.shape[1]
    count = lanes(room)
    zero = spread(out.dtype.type(0))
    for r in range(first_row, last_row):
        turn(delta[r], taps, room)
        trace = traces[r]
        for c in range(trace.size // (rows * columns)):
            for ky in range(taps.kernel[0]):
                top = ky - taps.padding[0]
                y_first, y_last = inside(top, taps.stride[0], rows, taps.places[0])
                for kx in range(taps.kernel[1]):
                    left = kx - taps.padding[1]
                    x_first, x_last = inside(left, taps.stride[1], columns, across)
                    w = ((c * taps.kernel[0] + ky) * taps.kernel[1] + kx) * wide
                    for n in range(0, wide, count):
                        even, odd = zero, zero  # two sums, so that one need not wait for the other
                        for y in range(y_first, y_last):
                            at = (c * rows + y * taps.stride[0] + top) * columns + left
                            p, x = y * across * wide + n, x_first
                            while x + 1 < x_last:
                                near, far = trace[at + x * taps.stride[1]], at
                                far += (x + 1) * taps.stride[1]
                                even = even + spread(near) * load(room, p + x * wide)
                                odd = odd + spread(trace[far]) * load(room, p + (x + 1) * wide)
                                x += 2
                            if x < x_last:
                                near = trace[at + x * taps.stride[1]]
                                even = even + spread(near) * load(room, p + x * wide)
                        store(out, w + n, load(out, w + n) + (even + odd))


@kernel
def is_few(events: int, taps: Taps) -> bool:
    """Tell whether so few events cost less one by one than turning a row around would."""
    seen = taps.kernel[0] * taps.kernel[1] // (taps.stride[0] * taps.stride[1])
    return 4 * events * max(1, seen) < taps.places[0] * taps.places[1]


@kernel
def find(channel: int, taps: Taps) -> tuple[int, int, int, int]:
    """Return the last place that sees an input, the tap there, and rows and columns of places."""
    columns = taps.columns.shape[1]
    size = taps.rows.shape[1] * columns
    c = channel // size
    y = (channel - c * size) // columns
    x = channel - c * size - y * columns
    rows, across = taps.rows, taps.columns
    place = rows[0, y] * taps.places[1] + across[0, x]
    tap = (c * taps.kernel[0] + rows[2, y]) * taps.kernel[1] + across[2, x]
    return place, tap, rows[1, y], across[1, x]


@kernel
def inside(offset: int, stride: int, size: int, places: int) -> tuple[int, int]:
    """Return the range of places whose input ``place * stride + offset`` is within ``size``."""
    first, last = 0, places
    while first * stride + offset < 0:
        first += 1
    while last > first and (last - 1) * stride + offset >= size:
        last -= 1
    return first, last


@kernel
def add_vectors(target: Array, t: int, source: Array, s: int, factor: Any, wide: int) -> None:
    """``target[t : t + wide] += factor * source[s : s + wide]``."""
    many = spread(factor)
    for n in range(0, wide, lanes(target)):
        store(target, t + n, load(target, t + n) + many * load(source, s + n))


@kernel
def turn(row: Array, taps: Taps, room: Array) -> None:
    """Put a row ``(outputs, places)`` into ``room`` ``(places, wide)``."""
    places, wide = taps.places[0] * taps.places[1], taps.wide
    for o in range(taps.outputs):
        for p in range(places):
            room[p * wide + o] = row[o * places + p]
