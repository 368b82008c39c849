"""The inner loops of the simulated camera: compiled where numba is there, and in NumPy.

Both render the scene at sub-pixel resolution, move it along the path and follow every pixel. They
return one integer an event, ``((recording << 11 | pixel) << 21 | t) << 2 | p``, in no order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE = 34
SUBPIXELS = 6
SACCADE_STEPS = 42  # 7 pixels of 6 sub-pixels: the fastest axis moves one sub-pixel a step
STEP_US = 2_500
DURATION_US = 3 * SACCADE_STEPS * STEP_US  # 315 ms, 105 ms a saccade
FIELD = SIDE + 7  # what the sensor sees along the whole path
PIXELS = SIDE * SIDE

_POINTS = FIELD * SUBPIXELS


def follow(
    levels: Any,
    geometry: Any,
    log: Any,
    memories: Any,
    on: Any,
    off: Any,
    corners: Any,
    refractory_us: int,
) -> Any:
    """Record ``levels`` (n, H, W); written for numba."""
    n, height, width = levels.shape
    steps = len(corners) - 1
    last_x, last_y = (width + 3) * 65536 - 1, (height + 3) * 65536 - 1
    grid = np.zeros((height + 5, width + 5), dtype=np.int32)
    field = np.empty(_POINTS * _POINTS, dtype=np.int32)
    places = np.empty(steps + 1, dtype=np.int64)
    for step in range(steps + 1):
        places[step] = corners[step, 1] * _POINTS + corners[step, 0]
    out = np.empty(n * PIXELS * steps, dtype=np.int64)  # far too much: its pages are not touched
    found = 0
    dark = log[0]
    for image in range(n):
        for i in range(height):
            for j in range(width):
                grid[i + 2, j + 2] = levels[image, i, j]
        x_of_x, x_of_y, y_of_x, y_of_y = geometry[image, :4]
        centre_x, centre_y, middle_x, middle_y, contrast = geometry[image, 4:]
        for row in range(_POINTS):
            start_x = middle_x + (row - centre_y) * x_of_y
            start_y = middle_y + (row - centre_y) * y_of_y
            for column in range(_POINTS):
                qx = start_x + (column - centre_x) * x_of_x
                qy = start_y + (column - centre_x) * y_of_x
                qx = min(max(qx, 0), last_x)
                qy = min(max(qy, 0), last_y)
                i, j = qy >> 16, qx >> 16
                one, two = grid[i, j], grid[i, j + 1]
                three, four = grid[i + 1, j], grid[i + 1, j + 1]
                value = dark
                if one | two | three | four:
                    fx, fy = (qx >> 8) & 255, (qy >> 8) & 255
                    top = one * (256 - fx) + two * fx
                    bottom = three * (256 - fx) + four * fx
                    level = (top * (256 - fy) + bottom * fy) >> 16
                    value = log[(level * contrast) >> 8]
                field[row * _POINTS + column] = value
        for pixel in range(PIXELS):
            corner = (pixel // SIDE) * (SUBPIXELS * _POINTS) + (pixel % SIDE) * SUBPIXELS
            rise, fall = on[pixel], off[pixel]
            level = field[corner + places[0]]
            memory = level + memories[image, pixel]
            ready = 0
            for step in range(steps):
                before = level
                level = field[corner + places[step + 1]]
                change = level - memory
                if change >= rise or change <= -fall:
                    up = change > 0
                    mark = memory + rise if up else memory - fall
                    # Brightness changes linearly within a step; a mark passed before it (in the
                    # refractory time) is due at once.
                    t = step * STEP_US
                    if (before < mark) if up else (before > mark):
                        t += abs(mark - before) * STEP_US // abs(level - before)
                    t = max(t, ready)
                    if t < (step + 1) * STEP_US:
                        memory = mark
                        ready = t + refractory_us
                        line = (image << 11 | pixel) << 21 | t
                        out[found] = line << 2 | (1 if up else 0)
                        found += 1
    return out[:found].copy()


def follow_numpy(
    levels: NDArray[np.int64],
    geometry: NDArray[np.int64],
    log: NDArray[np.int64],
    memories: NDArray[np.int64],
    on: NDArray[np.int64],
    off: NDArray[np.int64],
    corners: NDArray[np.int64],
    refractory_us: int,
) -> NDArray[np.int64]:
    """Do the same step by step, for all pixels of all scenes at once."""
    brightness = _field(levels, geometry, log.astype(np.int16))
    n = len(levels)
    on, off = on.astype(np.int16), off.astype(np.int16)

    def view(step: int) -> NDArray[np.int16]:
        x, y = (int(v) for v in corners[step])
        phase = brightness[y % SUBPIXELS, x % SUBPIXELS]
        top, left = y // SUBPIXELS, x // SUBPIXELS
        window: NDArray[np.int16] = phase[:, top : top + SIDE, left : left + SIDE]
        return window.reshape(n, PIXELS)

    level = view(0)
    memory = level + memories.astype(np.int16)
    ready = np.zeros((n, PIXELS), dtype=np.int32)  # end of the refractory time
    found: list[NDArray[np.int64]] = []
    for step in range(len(corners) - 1):
        before, level = level, view(step + 1)
        change = level - memory
        rec, pixel = np.nonzero((change >= on) | (change <= -off))
        rise = change[rec, pixel] > 0
        mark = memory[rec, pixel] + np.where(rise, on[pixel], -off[pixel])
        old = before[rec, pixel].astype(np.int64)
        new = level[rec, pixel].astype(np.int64)
        passed = np.where(rise, old < mark, old > mark)
        span = np.where(passed, np.abs(new - old), 1)
        t = step * STEP_US + np.where(passed, np.abs(mark - old) * STEP_US // span, 0)
        t = np.maximum(t, ready[rec, pixel])
        fired = t < (step + 1) * STEP_US
        rec, pixel, t = rec[fired], pixel[fired], t[fired]
        memory[rec, pixel] = mark[fired]
        ready[rec, pixel] = t + refractory_us
        found.append(((rec << 11 | pixel) << 21 | t) << 2 | rise[fired])
    return np.concatenate(found)


def _field(
    levels: NDArray[np.int64], geometry: NDArray[np.int64], log: NDArray[np.int16]
) -> NDArray[np.int16]:
    """Draw every image at sub-pixel resolution: logarithmic brightness of the whole scene.

    Returns shape (6, 6, n, 41, 41): sub-pixel phase y and x, recording, pixel y and x, so that the
    view at any point of the path is one contiguous window.
    """
    n, height, width = levels.shape
    grid = np.zeros((n, height + 5, width + 5), dtype=np.int32)
    grid[:, 2:-3, 2:-3] = levels
    flat = grid.reshape(-1)
    columns = (column[:, None, None] for column in geometry.T)
    x_of_x, x_of_y, y_of_x, y_of_y, centre_x, centre_y, middle_x, middle_y, contrast = columns
    axis = np.arange(_POINTS)
    dx, dy = axis[None, None, :] - centre_x, axis[None, :, None] - centre_y
    qx = np.clip(dx * x_of_x + (dy * x_of_y + middle_x), 0, (width + 3) * 65536 - 1)
    qy = np.clip(dx * y_of_x + (dy * y_of_y + middle_y), 0, (height + 3) * 65536 - 1)
    first = (np.arange(n) * grid[0].size)[:, None, None]
    corner = first + (qy >> 16) * (width + 5) + (qx >> 16)
    fx, fy = (qx >> 8).astype(np.int32) & 255, (qy >> 8).astype(np.int32) & 255
    top = flat[corner] * (256 - fx) + flat[corner + 1] * fx
    corner += width + 5
    bottom = flat[corner] * (256 - fx) + flat[corner + 1] * fx
    level = (top * (256 - fy) + bottom * fy) >> 16  # 0..256
    phases = log[(level * contrast) >> 8].reshape(n, FIELD, SUBPIXELS, FIELD, SUBPIXELS)
    return np.ascontiguousarray(phases.transpose(2, 4, 0, 1, 3))
