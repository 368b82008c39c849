"""The loop behind :func:`spikeprop.datasets.bin_events_sparse`, written for numba.

One pass over the events. The channels of the time step at hand are bits of a bitmap, with a second
bitmap over its words, so that reading them in ascending order costs as much as there are events and
not as much as there are channels. Nothing is ever sorted or made dense.
"""

from __future__ import annotations

from typing import Any

import numpy as np

TIME_WINDOW, N_TIME_BINS, EVENT_COUNT = 0, 1, 2
FINE, OUTSIDE, UNSORTED = 0, 1, 2

# Position of a lone bit in a 64-bit word: the top six bits of its product with this number.
_DE_BRUIJN = np.uint64(0x022FDD63CC95386D)
_POSITION = np.zeros(64, dtype=np.int64)
for _bit in range(64):
    _POSITION[(0x022FDD63CC95386D << _bit) % 2**64 >> 58] = _bit


def bin_rows(
    t: Any,
    x: Any,
    y: Any,
    p: Any,
    starts: Any,
    stops: Any,
    measure: int,
    amount: int,
    duration: int,
    steps: int,
    sensor: Any,
    pool: int,
    merge: bool,
    binary: bool,
    channels: Any,
    values: Any,
    rows: Any,
) -> Any:
    """Fill ``channels``, ``values`` and ``rows`` (offsets); return (status, entries)."""
    width, height, polarities = sensor[0], sensor[1], sensor[2]
    columns, lines = (width + pool - 1) // pool, (height + pool - 1) // pool
    planes = 1 if merge else polarities
    words = (columns * lines * planes + 63) // 64
    one = np.uint64(1)
    bits = np.zeros(words, dtype=np.uint64)
    summary = np.zeros((words + 63) // 64, dtype=np.uint64)
    count = np.zeros(1 if binary else words * 64, dtype=np.int64)
    step_of = np.empty(0, dtype=np.int64)
    sorted_index = np.empty(0, dtype=np.int64)
    n = 0
    rows[0] = 0
    for sample in range(len(starts)):
        start, stop = starts[sample], stops[sample]
        length = stop - start
        if len(step_of) < length:
            step_of = np.empty(length, dtype=np.int64)
        first = t[start] if length > 0 else 0
        last = t[stop - 1] if length > 0 else 0
        span = last - first + 1
        # The division that finds a time step is done again only when the time leaves it.
        low, high, step = 0, 0, 0
        in_order = True
        before = 0
        for i in range(length):
            k = start + i
            now = t[k]
            if now < 0 or not (0 <= x[k] < width and 0 <= y[k] < height and 0 <= p[k] < polarities):
                return OUTSIDE, n
            if measure == EVENT_COUNT:
                step = i // amount
            elif not low <= now < high:
                if measure == N_TIME_BINS:
                    if now < first or now > last:
                        return UNSORTED, n
                    step = (now - first) * amount // span
                    low = first + (step * span + amount - 1) // amount
                    high = first + ((step + 1) * span + amount - 1) // amount
                elif now >= duration:
                    step = steps
                    low, high = duration, now + 1
                else:
                    step = now // amount
                    low = step * amount
                    high = min(low + amount, duration)
            step_of[i] = step
            if step < before:
                in_order = False
            before = step
        if not in_order:  # a stable counting sort by time step
            place = np.zeros(steps + 2, dtype=np.int64)
            for i in range(length):
                place[step_of[i] + 1] += 1
            for s in range(steps + 1):
                place[s + 1] += place[s]
            if len(sorted_index) < length:
                sorted_index = np.empty(length, dtype=np.int64)
            for i in range(length):
                sorted_index[place[step_of[i]]] = i
                place[step_of[i]] += 1
        done = 0
        for s in range(steps):
            while done < length:
                i = done if in_order else sorted_index[done]
                if step_of[i] != s:
                    break
                k = start + i
                plane = 0 if merge else p[k]
                if pool == 1:
                    channel = (plane * lines + y[k]) * columns + x[k]
                else:
                    channel = (plane * lines + y[k] // pool) * columns + x[k] // pool
                word = channel >> 6
                bits[word] |= one << np.uint64(channel & 63)
                summary[word >> 6] |= one << np.uint64(word & 63)
                if not binary:
                    count[channel] += 1
                done += 1
            for outer in range(len(summary)):
                left = summary[outer]
                summary[outer] = 0
                while left != 0:
                    lowest = left & (~left + one)
                    left ^= lowest
                    word = (outer << 6) + _POSITION[(lowest * _DE_BRUIJN) >> np.uint64(58)]
                    inner = bits[word]
                    bits[word] = 0
                    while inner != 0:
                        lowest = inner & (~inner + one)
                        inner ^= lowest
                        channel = (word << 6) + _POSITION[(lowest * _DE_BRUIJN) >> np.uint64(58)]
                        channels[n] = channel
                        if not binary:
                            values[n] = count[channel]
                            count[channel] = 0
                        n += 1
            rows[sample * steps + s + 1] = n
    return FINE, n
