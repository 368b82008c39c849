"""A simulated event camera that looks at an image along the three saccades of N-MNIST.

Everything is integer arithmetic on random words from :mod:`spikeprop.datasets._random`, so that the
same digit gives the same events, to the bit, on every machine. Units: intensity 0..256, logarithmic
brightness in 1/1024, positions in sub-pixels (1/6 pixel), time in microseconds.

The pixel model is the usual one of a dynamic vision sensor: a pixel remembers the brightness of its
last event and fires an ON (OFF) event when the brightness has risen (fallen) by its own threshold,
unless it is still in its refractory time, after which it catches up. The scene is rendered and the
pixels are followed by a compiled loop, or by its twin in NumPy; both give the same events.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikeprop.datasets import _camera_kernel
from spikeprop.datasets._camera_kernel import DURATION_US, SACCADE_STEPS, SIDE, STEP_US, SUBPIXELS
from spikeprop.datasets._random import below, raw, symmetric
from spikeprop.datasets.compiled import compiled

__all__ = [
    "DURATION_US",
    "SACCADE_STEPS",
    "SIDE",
    "STEP_US",
    "SUBPIXELS",
    "Camera",
    "path",
    "record",
    "unpack",
]

LARGEST = 4096

_PIXELS = SIDE * SIDE
_MARGIN = 7  # pixels that the path adds to the field of view
_ADDRESS_BITS = 12  # 2 * 34 * 34 addresses < 2**12; 315,000 us < 2**19
_LINE_BITS = 34  # below the recording: 11 bits of pixel, 21 of time, one each of noise and polarity
_CHUNK = 48  # recordings at once: the working set stays in the processor's cache


@dataclass(frozen=True)
class Camera:
    """Settings of the simulated camera; fractions are in 1/256, so 64 means 25 %.

    Parameters
    ----------
    size
        Longer side of the image on the sensor, in pixels.
    position
        The image's start is off its place by up to this many sub-pixels (1/6 pixel) on each axis.
    rotation, shear, zoom
        Largest rotation and shear (1/256 rad, small angles) and change of size (1/256).
    contrast
        Lowest contrast of a recording (1/256); each draws its own between this and 256.
    background
        Brightness behind the image; a stroke at full contrast is ``256 + background``.
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


def record(
    images: NDArray[np.integer], camera: Camera, *, white: int = 16, first: int = 0
) -> list[NDArray[np.uint32]]:
    """Record images; what lies around an image is as dark as its 0.

    Parameters
    ----------
    images : ndarray of int, shape (N, H, W)
        From 0 to ``white``; 16 is that of ``sklearn.datasets.load_digits``.
    camera
        Settings.
    white
        Value of full brightness, 1 to 65,535.
    first
        Number of the first image. The random numbers of a recording depend on the camera's seed and
        on its number.

    Returns
    -------
    list of ndarray
        One array of packed events an image, ``t << 12 | (p * 34 + y) * 34 + x``, in ascending order
        (see :func:`unpack`).

    Raises
    ------
    ValueError
        If the images have another shape or other values.
    """
    images = np.asarray(images)
    if images.ndim != 3 or 0 in images.shape[1:] or max(images.shape[1:]) > LARGEST:
        raise ValueError(
            f"images have to be (N, H, W), sides of 1 to {LARGEST}, got shape {images.shape}"
        )
    if not np.issubdtype(images.dtype, np.integer):
        raise ValueError(f"images have to be integers, 0 to white={white}, got {images.dtype}")
    if images.size and not (images.min() >= 0 and images.max() <= white <= 65_535):
        raise ValueError(
            f"images reach from {images.min()} to {images.max()}; white={white} allows 0 to {white}"
        )
    recordings: list[NDArray[np.uint32]] = []
    for start in range(0, len(images), _CHUNK):
        chunk = images[start : start + _CHUNK].astype(np.int64) * 256 // white
        numbers = range(first + start, first + start + len(chunk))
        recordings.extend(_record_chunk(chunk, numbers, camera))
    return recordings


def unpack(packed: NDArray[np.uint32]) -> tuple[NDArray[np.int64], ...]:
    """Split packed events into x, y, t (microseconds) and p."""
    words = packed.astype(np.int64)
    address = words & ((1 << _ADDRESS_BITS) - 1)
    return address % SIDE, address // SIDE % SIDE, words >> _ADDRESS_BITS, address // _PIXELS


def _record_chunk(
    levels: NDArray[np.int64], numbers: range, camera: Camera
) -> Iterator[NDArray[np.uint32]]:
    words = np.stack([raw([camera.seed, 1, i], 8 + _PIXELS) for i in numbers])
    # What a pixel saw before the recording is unknown: its memory is up to half a threshold off.
    memory = symmetric(words[:, 8:], camera.threshold // 2)
    follow = compiled(_camera_kernel.follow) or _camera_kernel.follow_numpy
    lines = follow(
        levels,
        _geometry(words[:, :8], levels.shape[1:], camera),
        _log_table(camera.background),
        memory,
        *_thresholds(camera),
        _margins(),
        camera.refractory_us,
    )
    counts = np.bincount(lines >> _LINE_BITS, minlength=len(numbers))
    parts = [lines]
    for row, number in enumerate(numbers):
        # Noise in proportion to the recording's own events keeps its share the same in all classes.
        n = (int(counts[row]) * camera.noise + 128) // 256
        place, when, sign = raw([camera.seed, 2, number], 3 * n).reshape(3, n)
        line = (row << 11 | below(place, _PIXELS)) << 21 | below(when, DURATION_US)
        parts.append(line << 2 | 2 | below(sign, 2))
    lines = np.sort(np.concatenate(parts))
    lines = lines[~_too_close(lines, camera.refractory_us)]
    pixel, t, p = lines >> 23 & 2047, lines >> 2 & (1 << 21) - 1, lines & 1
    key = lines >> _LINE_BITS << 32 | t << _ADDRESS_BITS | p * _PIXELS + pixel
    key.sort()
    bounds = np.searchsorted(key >> 32, np.arange(1, len(numbers)))
    return iter(np.split((key & 0xFFFFFFFF).astype(np.uint32), bounds))


def _too_close(lines: NDArray[np.int64], refractory_us: int) -> NDArray[np.bool_]:
    """Mark noise events that fall into the refractory time of their pixel's other events."""
    # Pixels lie further apart on this one axis than any refractory time.
    near = np.diff(lines >> 2) < refractory_us
    close = np.zeros(len(lines), dtype=bool)
    close[1:] |= near
    close[:-1] |= near
    close &= (lines & 2).astype(bool)
    return close


def _geometry(
    words: NDArray[np.uint64], shape: tuple[int, ...], camera: Camera
) -> NDArray[np.int64]:
    """How each scene lies in the field, in integers.

    Returns shape (n, 9): the image's coordinates in 1/65,536 of its pixels are an affine map of the
    field's sub-pixels; per recording its four coefficients, the field's middle (x, y), the image's
    middle (x, y), and the contrast.
    """
    height, width = shape
    zoom = 256 + symmetric(words[:, 0], camera.zoom)
    turn = symmetric(words[:, 1], camera.rotation)
    shear = symmetric(words[:, 2], camera.shear)
    contrast = camera.contrast + below(words[:, 3], 257 - camera.contrast)
    pitch = (max(shape) * 65536 * 256) // (camera.size * SUBPIXELS * zoom)
    # Where the scene's middle lies in the field; (4, 2) pixels is what ``stabilize`` adds back.
    half = 3 * (SIDE - 1)
    columns = (
        pitch,
        pitch * (shear - turn) // 256,
        pitch * turn // 256,
        pitch,
        symmetric(words[:, 4], camera.position) + half + SUBPIXELS * (_MARGIN - 4),
        symmetric(words[:, 5], camera.position) + half + SUBPIXELS * (_MARGIN - 2),
        # A border of two dark pixels, then the middle of the image.
        np.full(len(words), 2 * 65536 + (width - 1) * 32768),
        np.full(len(words), 2 * 65536 + (height - 1) * 32768),
        contrast,
    )
    return np.stack(columns, axis=1).astype(np.int64)


def _margins() -> NDArray[np.int64]:
    """Return what the sensor's corner sees at each point of the path: sub-pixels of the field."""
    return _MARGIN * SUBPIXELS - path()


def _log_table(background: int) -> NDArray[np.int64]:
    """Logarithmic brightness of 0..256 above the background, in 1/1024."""
    values = [round(1024 * math.log((v + background) / background)) for v in range(257)]
    return np.array(values, dtype=np.int64)


def _thresholds(camera: Camera) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """ON and OFF threshold of every pixel of the sensor."""
    words = raw([camera.seed, 0], 4 * _PIXELS).reshape(4, _PIXELS)
    # The sum of two uniform deviations: most pixels are near the nominal value.
    half = camera.mismatch // 2
    on, off = (
        camera.threshold * (256 + symmetric(a, half) + symmetric(b, camera.mismatch - half)) // 256
        for a, b in (words[:2], words[2:])
    )
    return on, off
