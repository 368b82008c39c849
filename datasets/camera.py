"""A simulated event camera that looks at a digit along the three saccades of N-MNIST.

Everything is integer arithmetic on random words from :mod:`spikeprop.datasets._random`, so that the
same digit gives the same events, to the bit, on every machine. Units: intensity 0..256, logarithmic
brightness in 1/1024, positions in sub-pixels (1/6 pixel), time in microseconds.

The pixel model is the usual one of a dynamic vision sensor: a pixel remembers the brightness of its
last event and fires an ON (OFF) event when the brightness has risen (fallen) by its own threshold,
unless it is still in its refractory time, after which it catches up.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikeprop.datasets._random import below, raw, symmetric

SIDE = 34
SUBPIXELS = 6
SACCADE_STEPS = 42  # 7 pixels of 6 sub-pixels: the fastest axis moves one sub-pixel a step
STEP_US = 2_500
DURATION_US = 3 * SACCADE_STEPS * STEP_US  # 315 ms, 105 ms a saccade

_PIXELS = SIDE * SIDE
_MARGIN = 7  # pixels that the path adds to the field of view
_FIELD = SIDE + _MARGIN
_GRID = 12  # the 8 x 8 digit with a border of 2 on every side
_ADDRESS_BITS = 12  # 2 * 34 * 34 addresses < 2**12; 315,000 us < 2**19
_CHUNK = 48  # recordings at once: the working set stays in the processor's cache


@dataclass(frozen=True)
class Camera:
    """Settings of the simulated camera; fractions are in 1/256, so 64 means 25 %.

    Parameters
    ----------
    size
        Side of the digit on the sensor, in pixels.
    position
        The digit's start is off its place by up to this many sub-pixels (1/6 pixel) on each axis.
    rotation, shear, zoom
        Largest rotation and shear (1/256 rad, small angles) and change of size (1/256).
    contrast
        Lowest contrast of a recording (1/256); each draws its own between this and 256.
    background
        Brightness behind the digit; a stroke at full contrast is ``256 + background``.
    threshold
        Change of logarithmic brightness (1/1024) that makes an event.
    mismatch
        Largest deviation of a pixel's threshold from that (1/256), fixed for the sensor.
    refractory_us
        Time after an event in which its pixel stays silent, in microseconds.
    noise
        Events without a cause, in 1/256 of those with one.
    seed
        Seed of the sensor and of every recording.
    """

    size: int = 22
    position: int = 5
    rotation: int = 15
    shear: int = 10
    zoom: int = 15
    contrast: int = 180
    background: int = 32
    threshold: int = 560
    mismatch: int = 80
    refractory_us: int = 3_000
    noise: int = 20
    seed: int = 2015


def path() -> NDArray[np.int64]:
    """Positions of the image on the sensor along the triangle of three saccades.

    Returns
    -------
    ndarray, shape (127, 2)
        x and y in sub-pixels at the start and after every step of 2.5 ms: from (0, 0) to (3.5, 7)
        to (7, 0) pixels and back, the path that :func:`spikeprop.datasets.stabilize` undoes.
    """
    step = np.arange(SACCADE_STEPS, dtype=np.int64)
    top = 7 * SUBPIXELS
    x = np.concatenate([step // 2, (SACCADE_STEPS + step) // 2, top - step, [0]])
    y = np.concatenate([step, top - step, 0 * step, [0]])
    return np.stack([x, y], axis=1)


def record(images: NDArray[np.int64], camera: Camera) -> list[NDArray[np.uint32]]:
    """Record digits.

    Parameters
    ----------
    images : ndarray, shape (N, 8, 8)
        Integers 0..16, as ``sklearn.datasets.load_digits`` gives them. The random numbers of a
        recording depend on the camera's seed and on its place in this array.
    camera
        Settings.

    Returns
    -------
    list of ndarray
        One array of packed events a digit, ``t << 12 | (p * 34 + y) * 34 + x``, in ascending order
        (see :func:`unpack`).
    """
    recordings: list[NDArray[np.uint32]] = []
    for start in range(0, len(images), _CHUNK):
        indices = range(start, min(start + _CHUNK, len(images)))
        recordings.extend(_record_chunk(images[start : start + _CHUNK], indices, camera))
    return recordings


def unpack(packed: NDArray[np.uint32]) -> tuple[NDArray[np.int64], ...]:
    """Split packed events into x, y, t (microseconds) and p."""
    words = packed.astype(np.int64)
    address = words & ((1 << _ADDRESS_BITS) - 1)
    return address % SIDE, address // SIDE % SIDE, words >> _ADDRESS_BITS, address // _PIXELS


def _record_chunk(
    images: NDArray[np.int64], indices: range, camera: Camera
) -> Iterator[NDArray[np.uint32]]:
    words = np.stack([raw([camera.seed, 1, i], 8 + _PIXELS) for i in indices])
    brightness = _field(images, words[:, :8], camera)
    rec, pixel, t, p = _events(brightness, words[:, 8:], camera)
    counts = np.bincount(rec, minlength=len(indices))
    parts = [(rec, pixel, t, p, np.zeros(len(rec), dtype=bool))]
    for row, index in enumerate(indices):
        # Noise in proportion to the recording's own events keeps its share the same in all classes.
        n = (int(counts[row]) * camera.noise + 128) // 256
        place, when, sign = raw([camera.seed, 2, index], 3 * n).reshape(3, n)
        parts.append(
            (
                np.full(n, row, dtype=np.int64),
                below(place, _PIXELS),
                below(when, DURATION_US),
                below(sign, 2),
                np.ones(n, dtype=bool),
            )
        )
    rec, pixel, t, p, noise = (np.concatenate(column) for column in zip(*parts, strict=True))
    keep = ~_too_close(rec, pixel, t, noise, camera.refractory_us)
    key = (rec << 32) | (t << _ADDRESS_BITS) | (p * _PIXELS + pixel)
    key = np.sort(key[keep])
    bounds = np.searchsorted(key >> 32, np.arange(1, len(indices)))
    return iter(np.split((key & 0xFFFFFFFF).astype(np.uint32), bounds))


def _too_close(
    rec: NDArray[np.int64],
    pixel: NDArray[np.int64],
    t: NDArray[np.int64],
    noise: NDArray[np.bool_],
    refractory_us: int,
) -> NDArray[np.bool_]:
    """Mark noise events that fall into the refractory time of their pixel's other events."""
    # Pixels lie further apart on this one axis than any refractory time.
    line = (rec * _PIXELS + pixel) * (4 * DURATION_US) + t
    order = np.argsort(line, kind="stable")
    near = np.diff(line[order]) < refractory_us
    close = np.zeros(len(line), dtype=bool)
    close[order[1:]] |= near
    close[order[:-1]] |= near
    return close & noise


def _field(
    images: NDArray[np.int64], words: NDArray[np.uint64], camera: Camera
) -> NDArray[np.int16]:
    """Draw every digit at sub-pixel resolution: logarithmic brightness of the whole scene.

    Returns shape (6, 6, n, 41, 41): sub-pixel phase y and x, recording, pixel y and x, so that the
    view at any point of the path is one contiguous window.
    """
    n = len(images)
    zoom = 256 + symmetric(words[:, 0], camera.zoom)
    turn = symmetric(words[:, 1], camera.rotation)
    shear = symmetric(words[:, 2], camera.shear)
    contrast = camera.contrast + below(words[:, 3], 257 - camera.contrast)
    # Where the scene's middle lies in the field; (4, 2) pixels is what ``stabilize`` adds back.
    half = 3 * (SIDE - 1)
    centre = np.stack(
        [
            symmetric(words[:, 4], camera.position) + half + SUBPIXELS * (_MARGIN - 4),
            symmetric(words[:, 5], camera.position) + half + SUBPIXELS * (_MARGIN - 2),
        ]
    )

    # Digit coordinates in 1/65536 of a digit pixel, an affine map of the field's sub-pixels.
    pitch = (8 * 65536 * 256) // (camera.size * SUBPIXELS * zoom)
    axis = np.arange(_FIELD * SUBPIXELS)
    dx = axis - centre[0][:, None]
    dy = axis - centre[1][:, None]
    middle = (2 * 65536) + 7 * 32768  # border of two, then the middle of eight pixels
    last = (_GRID - 1) * 65536 - 1

    def coordinate(along_x: NDArray[np.int64], along_y: NDArray[np.int64]) -> NDArray[np.int32]:
        in_x = (dx * along_x[:, None] + middle).astype(np.int32)
        in_y = (dy * along_y[:, None]).astype(np.int32)
        inside: NDArray[np.int32] = np.clip(in_y[:, :, None] + in_x[:, None, :], 0, last)
        return inside

    qx = coordinate(pitch, pitch * (shear - turn) // 256)
    qy = coordinate(pitch * turn // 256, pitch)

    # The four neighbours of a grid point, five bits each, in one word: one look-up instead of four.
    grid = np.zeros((n, _GRID + 1, _GRID + 1), dtype=np.int32)
    grid[:, 2:10, 2:10] = images
    four = (
        grid[:, :-1, :-1] | grid[:, :-1, 1:] << 5 | grid[:, 1:, :-1] << 10 | grid[:, 1:, 1:] << 15
    ).reshape(-1)
    first = (np.arange(n, dtype=np.int32) * _GRID * _GRID)[:, None, None]
    corner = four[first + (qy >> 16) * _GRID + (qx >> 16)]
    fx = (qx >> 8) & 255
    fy = (qy >> 8) & 255
    top = (corner & 31) * (256 - fx) + (corner >> 5 & 31) * fx
    bottom = (corner >> 10 & 31) * (256 - fx) + (corner >> 15) * fx
    level = (top * (256 - fy) + bottom * fy) >> 12  # 0..256
    level = (level * contrast.astype(np.int32)[:, None, None]) >> 8
    log = _log_table(camera.background)[level]
    phases = log.reshape(n, _FIELD, SUBPIXELS, _FIELD, SUBPIXELS)
    return np.ascontiguousarray(phases.transpose(2, 4, 0, 1, 3))


def _log_table(background: int) -> NDArray[np.int16]:
    """Logarithmic brightness of 0..256 above the background, in 1/1024."""
    values = [round(1024 * math.log((v + background) / background)) for v in range(257)]
    return np.array(values, dtype=np.int16)


def _thresholds(camera: Camera) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """ON and OFF threshold of every pixel of the sensor."""
    words = raw([camera.seed, 0], 4 * _PIXELS).reshape(4, _PIXELS)
    # The sum of two uniform deviations: most pixels are near the nominal value.
    half = camera.mismatch // 2
    on, off = (
        camera.threshold * (256 + symmetric(a, half) + symmetric(b, camera.mismatch - half)) // 256
        for a, b in (words[:2], words[2:])
    )
    return on.astype(np.int16), off.astype(np.int16)


def _events(
    brightness: NDArray[np.int16], words: NDArray[np.uint64], camera: Camera
) -> tuple[NDArray[np.int64], ...]:
    """Move the scene along the path and collect events: recording, pixel, t, p."""
    n = brightness.shape[2]
    on, off = _thresholds(camera)
    positions = 7 * SUBPIXELS - path()

    def view(step: int) -> NDArray[np.int16]:
        x, y = (int(v) for v in positions[step])
        phase = brightness[y % SUBPIXELS, x % SUBPIXELS]
        top, left = y // SUBPIXELS, x // SUBPIXELS
        window: NDArray[np.int16] = phase[:, top : top + SIDE, left : left + SIDE]
        return window.reshape(n, _PIXELS)

    level = view(0)
    # What a pixel saw before the recording is unknown: its memory is up to half a threshold off.
    memory = level + symmetric(words, camera.threshold // 2).astype(np.int16)
    ready = np.zeros((n, _PIXELS), dtype=np.int32)  # end of the refractory time
    found: list[tuple[NDArray[np.int64], ...]] = []
    for step in range(len(positions) - 1):
        before, level = level, view(step + 1)
        change = level - memory
        rec, pixel = np.nonzero((change >= on) | (change <= -off))
        rise = change[rec, pixel] > 0
        mark = memory[rec, pixel] + np.where(rise, on[pixel], -off[pixel])
        old = before[rec, pixel].astype(np.int64)
        new = level[rec, pixel].astype(np.int64)
        # Brightness changes linearly within a step; a mark passed before it (in the refractory
        # time) is due at once.
        passed = np.where(rise, old < mark, old > mark)
        span = np.where(passed, np.abs(new - old), 1)
        t = step * STEP_US + np.where(passed, np.abs(mark - old) * STEP_US // span, 0)
        t = np.maximum(t, ready[rec, pixel])
        fired = t < (step + 1) * STEP_US
        rec, pixel, t = rec[fired], pixel[fired], t[fired]
        memory[rec, pixel] = mark[fired]
        ready[rec, pixel] = t + camera.refractory_us
        found.append((rec, pixel, t, rise[fired].astype(np.int64)))
    rec, pixel, t, p = (np.concatenate(column) for column in zip(*found, strict=True))
    return rec, pixel, t, p
