"""How a simulated person moves an arm: eleven gestures, told apart by direction and order in time.

Three movements of the hand, around the same place and of the same size: to and fro *sideways*, *up
and down*, and *circles*. Four gestures are circles alone: clockwise, counter-clockwise, first the
one and then the other, and the reverse. Six are the three movements one after another, in the six
possible orders (circles turning either way); the eleventh is the three in short bouts, in no order.
Which arm moves says nothing. So a picture of a whole recording, its time forgotten, shows which
movements were made and hardly more: circles alone (four gestures), or all three (seven).

A person has limbs, clothes, a tempo and habits of their own; a take has its light, and is never
quite like another. Everything depends on the seed, person, gesture and take only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeprop.datasets._gesture_kernel import SIDE, STEP_US, follow_arm, follow_arm_numpy
from spikeprop.datasets._random import below, raw
from spikeprop.datasets.compiled import compiled

__all__ = ["GESTURES", "LIGHTS", "MIRRORED", "perform"]

GESTURES = (
    "clockwise",
    "counter-clockwise",
    "clockwise, counter-clockwise",
    "counter-clockwise, clockwise",
    "sideways, up-down, circles",
    "sideways, circles, up-down",
    "up-down, sideways, circles",
    "up-down, circles, sideways",
    "circles, sideways, up-down",
    "circles, up-down, sideways",
    "in no order",
)
"""Names of the eleven classes."""

MIRRORED = (1, 0, 3, 2, 4, 5, 6, 7, 8, 9, 10)
"""The class that each one is in a mirror (left and right exchanged)."""

_SIDEWAYS, _UP_DOWN, _CLOCKWISE, _COUNTER, _CIRCLES = range(5)
_ORDERS = {
    0: (_CLOCKWISE,),
    1: (_COUNTER,),
    2: (_CLOCKWISE, _COUNTER),
    3: (_COUNTER, _CLOCKWISE),
    4: (_SIDEWAYS, _UP_DOWN, _CIRCLES),
    5: (_SIDEWAYS, _CIRCLES, _UP_DOWN),
    6: (_UP_DOWN, _SIDEWAYS, _CIRCLES),
    7: (_UP_DOWN, _CIRCLES, _SIDEWAYS),
    8: (_CIRCLES, _SIDEWAYS, _UP_DOWN),
    9: (_CIRCLES, _UP_DOWN, _SIDEWAYS),
}
_BOUTS = 9
_FADE_S = 0.25  # from one movement into the next
_PERSON, _TAKE, _NOISE, _SENSOR = range(4)


@dataclass(frozen=True)
class Light:
    """What the light does: contrast, and events without a cause in Hz a pixel."""

    contrast: float
    noise: float


LIGHTS = (Light(1.0, 0.06), Light(0.85, 0.1), Light(0.7, 0.16), Light(1.15, 0.08))


class _Draws:
    """Random numbers of a key, one after another, as exact fractions."""

    def __init__(self, key: tuple[int, ...]) -> None:
        self.words = raw(key, 64)
        self.used = 0

    def __call__(self, low: float, high: float) -> float:
        self.used += 1
        return low + (high - low) * (
            int(below(self.words[self.used - 1 : self.used], 4096)[0]) / 4096
        )

    def choice(self, count: int) -> int:
        self.used += 1
        return int(below(self.words[self.used - 1 : self.used], count)[0])


def perform(seed: int, person: int, gesture: int, take: int) -> NDArray[np.int64]:
    """Record one gesture.

    Parameters
    ----------
    seed
        Of everything.
    person, take
        Who, and which of the person's recordings of this gesture.
    gesture
        Index into :data:`GESTURES`.

    Returns
    -------
    ndarray of int64
        Ascending packed events, ``(t << 14 | y << 7 | x) << 1 | p``; t in microseconds.
    """
    light = LIGHTS[take % len(LIGHTS)]
    who = _Draws((seed, _PERSON, person))
    now = _Draws((seed, _TAKE, person, gesture, take))
    seconds = now(5.0, 7.0)
    steps = int(seconds * 1_000_000) // STEP_US
    side = 1.0 if now.choice(2) else -1.0  # which arm: right of the body's middle, or left
    # The person: limbs, clothes, habits; then what differs from take to take.
    upper, fore = who(30, 38), who(30, 38)
    radii = np.array([who(4.0, 6.5), who(6.0, 8.5)])
    skin, sleeve = who(0.7, 1.1), who(0.3, 0.8) * (1.0 if who.choice(2) else -1.0)
    stripes, stripe = who(0.1, 0.35), who(8.0, 16.0)
    tempo, size, tilt = who(0.9, 1.5), who(18.0, 24.0), who(-0.15, 0.15)
    stature = who(-4.0, 4.0)
    tempo, size = tempo * now(0.9, 1.1), size * now(0.9, 1.1)
    body_x, body_y = SIDE / 2 + now(-5.0, 5.0), 44.0 + stature + now(-4.0, 4.0)
    centre = np.array([body_x + side * (28.0 + now(-3.0, 3.0)), body_y + now(18.0, 28.0)])
    path = _path(gesture, steps, tempo, now)
    turned = np.stack([path[:, 0] - tilt * path[:, 1], path[:, 1] + tilt * path[:, 0]], axis=1)
    hand = centre + size * turned
    sway = now(0.5, 1.5) * _sine(np.arange(steps + 1) * now(0.2, 0.4) * (STEP_US / 1e6))
    shoulder = np.stack([body_x + side * 12.0 + sway, np.full(steps + 1, body_y)], axis=1)
    hand, elbow = _bend(shoulder, hand, upper, fore, side)
    looks = np.array(
        [sleeve * light.contrast, skin * light.contrast, stripes * light.contrast, stripe]
    )
    background = _backdrop((seed, _PERSON, person, take)) * light.contrast
    on, off = _thresholds(seed)
    follow = compiled(follow_arm) or follow_arm_numpy
    memory = background + (_noise_plane((seed, _NOISE, person, gesture, take)) - 0.5) * on
    arm = follow(shoulder, elbow, hand, radii, looks, background, on, off, memory)
    noise = _stray((seed, _NOISE, person, gesture, take, 1), steps * STEP_US, light.noise)
    return np.sort(np.concatenate([arm, noise]))


def _path(gesture: int, steps: int, tempo: float, now: _Draws) -> NDArray[np.float64]:
    """Return where the hand is around its centre at every step, in units of the movement's size."""
    either = _CLOCKWISE if now.choice(2) else _COUNTER
    if gesture in _ORDERS:
        order = [either if part == _CIRCLES else part for part in _ORDERS[gesture]]
        ends = [(i + 1) / len(order) + now(-0.05, 0.05) for i in range(len(order) - 1)]
    else:
        order, last = [], -1
        for _ in range(_BOUTS):
            kind = now.choice(3) if last < 0 else (last + 1 + now.choice(2)) % 3
            order.append((_SIDEWAYS, _UP_DOWN, either)[kind])
            last = kind
        ends = [(i + 1) / _BOUTS + now(-0.01, 0.01) for i in range(_BOUTS - 1)]
    time = np.arange(steps + 1) * (STEP_US / 1e6)
    turns = now(0.0, 1.0) + time * tempo + 0.04 * _sine(time * now(0.3, 0.6))
    sine, cosine = _sine(turns), _sine(turns + 0.25)
    nothing = 0.12 * _sine(2.0 * turns)  # nobody moves along a ruler
    movements = {
        _SIDEWAYS: np.stack([sine, nothing], axis=1),
        _UP_DOWN: np.stack([nothing, sine], axis=1),
        # The image's y points down: (cos, sin) turns clockwise as seen.
        _CLOCKWISE: np.stack([cosine, sine], axis=1),
        _COUNTER: np.stack([cosine, -sine], axis=1),
    }
    path = movements[order[0]]
    for kind, end in zip(order[1:], ends, strict=True):
        weight = np.clip((time - end * time[-1]) / _FADE_S + 0.5, 0.0, 1.0)[:, None]
        path = path + weight * (movements[kind] - path)
    return path


def _sine(turns: NDArray[Any]) -> NDArray[np.float64]:
    """Sine of a full turn times ``turns``, from a table: the same on every machine."""
    place = turns * 4096.0
    below_ = np.floor(place)
    index = below_.astype(np.int64)
    value: NDArray[np.float64] = _TABLE[index & 4095] + (place - below_) * (
        _TABLE[(index + 1) & 4095] - _TABLE[index & 4095]
    )
    return value


# Rounded, so that the last bit of the system's sine does not matter.
_TABLE = np.array([round(math.sin(2 * math.pi * i / 4096) * 2**30) / 2**30 for i in range(4096)])


def _bend(
    shoulder: NDArray[np.float64], hand: NDArray[np.float64], upper: float, fore: float, side: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Keep the hand within the arm's reach, and find the elbow, which points outward and down."""
    away = hand - shoulder
    distance = np.sqrt(away[:, 0] * away[:, 0] + away[:, 1] * away[:, 1])
    distance = np.maximum(distance, 1.0)
    kept = np.minimum(np.maximum(distance, abs(upper - fore) + 1.0), 0.98 * (upper + fore))
    unit = away / distance[:, None]
    along = (upper * upper - fore * fore + kept * kept) / (2.0 * kept)
    aside = np.sqrt(np.maximum(upper * upper - along * along, 0.0))
    normal = np.stack([-unit[:, 1], unit[:, 0]], axis=1) * side
    elbow = shoulder + along[:, None] * unit + aside[:, None] * normal
    return shoulder + kept[:, None] * unit, elbow


def _backdrop(key: tuple[int, ...]) -> NDArray[np.float64]:
    """Logarithmic brightness of what is behind the person: soft patches."""
    coarse = below(raw(key, 81), 4096).reshape(9, 9) / 4096 * 0.3 - 0.15
    place = np.arange(SIDE) / 16.0
    low = np.floor(place).astype(np.int64)
    part = place - low
    rows = coarse[low] + part[:, None] * (coarse[low + 1] - coarse[low])
    patches: NDArray[np.float64] = rows[:, low] + part * (rows[:, low + 1] - rows[:, low])
    return patches


def _thresholds(seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    words = raw((seed, _SENSOR), 2 * SIDE * SIDE).reshape(2, SIDE, SIDE)
    on, off = (0.15 * (0.85 + 0.3 * (below(word, 4096) / 4096)) for word in words)
    return on, off


def _noise_plane(key: tuple[int, ...]) -> NDArray[np.float64]:
    plane: NDArray[np.float64] = below(raw(key, SIDE * SIDE), 4096).reshape(SIDE, SIDE) / 4096
    return plane


def _stray(key: tuple[int, ...], duration: int, rate: float) -> NDArray[np.int64]:
    """Events without a cause, anywhere at any time; and a few pixels that fire all the while."""
    count = int(rate * SIDE * SIDE * (duration / 1e6))
    hot, often = 6, int(15 * (duration / 1e6))
    when, where, sign = raw(key, 3 * (count + hot * often)).reshape(3, -1)
    place = below(where, SIDE * SIDE)
    place[count:] = np.repeat(place[count : count + hot], often)
    return (below(when, duration) << 14 | place) << 1 | below(sign, 2)
