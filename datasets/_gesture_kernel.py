"""The inner loop of the simulated gestures: an arm in front of an event camera.

Compiled where numba is there, and in NumPy; both give the same events on every machine, because
they use nothing but additions, products, quotients, square roots and comparisons of 64-bit floats,
in the same order, which IEEE 754 fixes to the bit.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE = 128
STEP_US = 4_000
EDGE = 1.5  # pixels over which an edge blurs
MOST = 3  # events of a pixel in a step


def follow_arm(
    shoulder: Any,
    elbow: Any,
    hand: Any,
    radii: Any,
    looks: Any,
    background: Any,
    on: Any,
    off: Any,
    memory: Any,
) -> Any:
    """Record an arm; written for numba.

    Parameters
    ----------
    shoulder, elbow, hand : (S + 1, 2) float64
        Where they are at every step, (x, y) in pixels.
    radii : (2,) float64
        Of the sleeve and the hand, in pixels.
    looks : (4,) float64
        Logarithmic brightness of sleeve and hand; height and length (pixels) of the sleeve's
        stripes.
    background, on, off, memory : (128, 128) float64
        Logarithmic brightness behind the arm, thresholds, and what each pixel saw last (changed).

    Returns
    -------
    ndarray of int64
        One integer an event, ``(t << 14 | y << 7 | x) << 1 | p``, in no order.
    """
    sleeve, skin, height, length = looks
    steps = len(hand) - 1
    level = background.copy()
    out = np.empty(1 << 16, dtype=np.int64)
    found = 0
    reach = max(radii[0], radii[1]) + EDGE
    old_left, old_top, old_right, old_bottom = SIDE, SIDE, 0, 0
    for step in range(steps + 1):
        sx, sy = shoulder[step]
        ex, ey = elbow[step]
        hx, hy = hand[step]
        left = max(0, math.floor(min(sx, ex, hx) - reach))
        top = max(0, math.floor(min(sy, ey, hy) - reach))
        right = min(SIDE, math.ceil(max(sx, ex, hx) + reach) + 1)
        bottom = min(SIDE, math.ceil(max(sy, ey, hy) + reach) + 1)
        ax, ay, bx, by = ex - sx, ey - sy, hx - ex, hy - ey
        a_length = math.sqrt(ax * ax + ay * ay)
        b_length = math.sqrt(bx * bx + by * by)
        # A little too far rather than too near: rounding must not matter.
        a_reach, b_reach = (reach + 0.01) * a_length, (reach + 0.01) * b_length
        h_reach = (reach + 0.01) * (reach + 0.01)
        for y in range(min(top, old_top), max(bottom, old_bottom)):
            for x in range(min(left, old_left), max(right, old_right)):
                # Most pixels are far from the lines of both limbs and from the hand.
                value = background[y, x]
                px, py = x - sx, y - sy
                qx, qy = x - ex, y - ey
                rx, ry = x - hx, y - hy
                if (
                    abs(px * ay - py * ax) <= a_reach
                    or abs(qx * by - qy * bx) <= b_reach
                    or rx * rx + ry * ry <= h_reach
                ):
                    # Where it lies along the upper arm and the forearm, and how far from them.
                    along = (px * ax + py * ay) / a_length
                    along = min(max(along, 0.0), a_length)
                    dx, dy = px - along * ax / a_length, py - along * ay / a_length
                    near = math.sqrt(dx * dx + dy * dy)
                    beyond = (qx * bx + qy * by) / b_length
                    beyond = min(max(beyond, 0.0), b_length)
                    dx, dy = qx - beyond * bx / b_length, qy - beyond * by / b_length
                    close = math.sqrt(dx * dx + dy * dy)
                    if close < near:
                        near, along = close, a_length + beyond
                    cover = min(max(0.5 + (radii[0] - near) / EDGE, 0.0), 1.0)
                    if cover > 0.0:
                        stripe = along / length - math.floor(along / length)
                        cloth = sleeve + height * (abs(stripe - 0.5) * 4.0 - 1.0)
                        value = value + cover * (cloth - value)
                    cover = 0.5 + (radii[1] - math.sqrt(rx * rx + ry * ry)) / EDGE
                    cover = min(max(cover, 0.0), 1.0)
                    value = value + cover * (skin - value)
                before = level[y, x]
                level[y, x] = value
                if step == 0:  # what was there before the recording made its events before it
                    memory[y, x] = memory[y, x] + (value - before)
                    continue
                change = value - memory[y, x]
                if change >= on[y, x]:
                    threshold, p = on[y, x], 1
                elif change <= -off[y, x]:
                    threshold, p = -off[y, x], 0
                else:
                    continue
                count = min(math.floor(change / threshold), MOST)
                if found + count > len(out):
                    longer = np.empty(2 * len(out), dtype=np.int64)
                    longer[:found] = out[:found]
                    out = longer
                for _ in range(count):
                    mark = memory[y, x] + threshold
                    memory[y, x] = mark
                    # Brightness changes linearly within a step; what was due before it comes at
                    # once.
                    part = 0.0
                    if (mark - before) * threshold > 0.0:
                        part = (mark - before) / (value - before)
                    part = min(max(part, 0.0), 1.0)
                    t = (step - 1) * STEP_US + math.floor(part * (STEP_US - 1))
                    out[found] = ((t << 14 | y << 7 | x) << 1) | p
                    found += 1
        old_left, old_top, old_right, old_bottom = left, top, right, bottom
    return out[:found].copy()


def follow_arm_numpy(
    shoulder: NDArray[np.float64],
    elbow: NDArray[np.float64],
    hand: NDArray[np.float64],
    radii: NDArray[np.float64],
    looks: NDArray[np.float64],
    background: NDArray[np.float64],
    on: NDArray[np.float64],
    off: NDArray[np.float64],
    memory: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Do the same, all pixels of a step at once."""
    level = background.copy()
    reach = radii.max() + EDGE
    joints = np.stack([shoulder, elbow, hand])
    first = np.maximum(np.floor(joints.min(axis=0) - reach).astype(np.int64), 0)
    last = np.minimum(np.ceil(joints.max(axis=0) + reach).astype(np.int64) + 1, SIDE)
    found: list[NDArray[np.int64]] = []
    for step in range(len(hand)):
        back = max(step - 1, 0)
        left, top = np.minimum(first[step], first[back])
        right, bottom = np.maximum(last[step], last[back])
        box = np.s_[top:bottom, left:right]
        x, y = np.arange(left, right)[None, :], np.arange(top, bottom)[:, None]
        if 0 in (x.size, y.size):
            continue
        value = _look(x, y, shoulder[step], elbow[step], hand[step], radii, looks, background[box])
        before = level[box].copy()
        level[box] = value
        if step == 0:
            memory[box] = memory[box] + (value - before)
            continue
        change = value - memory[box]
        rise, fall = change >= on[box], change <= -off[box]
        rows, columns = np.nonzero(rise | fall)
        p = rise[rows, columns]
        rows, columns = rows + top, columns + left
        threshold = np.where(p, on[rows, columns], -off[rows, columns])
        mark = memory[rows, columns]
        count = np.minimum(np.floor((level[rows, columns] - mark) / threshold), MOST)
        old, new = before[rows - top, columns - left], level[rows, columns]
        for turn in range(MOST):
            more = count > turn
            mark = np.where(more, mark + threshold, mark)
            due = (mark - old) * threshold > 0.0
            part = np.zeros(len(mark))
            np.divide(mark - old, new - old, out=part, where=due)
            part = np.minimum(np.maximum(part, 0.0), 1.0)
            t = (step - 1) * STEP_US + np.floor(part * (STEP_US - 1)).astype(np.int64)
            found.append((((t << 14 | rows << 7 | columns) << 1) | p)[more])
        memory[rows, columns] = mark
    return np.concatenate(found) if found else np.empty(0, dtype=np.int64)


def _look(
    x: NDArray[np.int64],
    y: NDArray[np.int64],
    shoulder: NDArray[np.float64],
    elbow: NDArray[np.float64],
    hand: NDArray[np.float64],
    radii: NDArray[np.float64],
    looks: NDArray[np.float64],
    background: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Logarithmic brightness of a window of the scene."""
    sleeve, skin, height, length = looks

    def segment(start: Any, end: Any) -> tuple[Any, Any, Any]:
        ax, ay = end[0] - start[0], end[1] - start[1]
        whole = np.sqrt(ax * ax + ay * ay)
        px, py = x - start[0], y - start[1]
        along = np.minimum(np.maximum((px * ax + py * ay) / whole, 0.0), whole)
        dx, dy = px - along * ax / whole, py - along * ay / whole
        return along, np.sqrt(dx * dx + dy * dy), whole

    along, near, whole = segment(shoulder, elbow)
    beyond, close, _ = segment(elbow, hand)
    along = np.where(close < near, whole + beyond, along)
    near = np.where(close < near, close, near)
    cover = np.minimum(np.maximum(0.5 + (radii[0] - near) / EDGE, 0.0), 1.0)
    stripe = along / length - np.floor(along / length)
    cloth = sleeve + height * (np.abs(stripe - 0.5) * 4.0 - 1.0)
    value = np.where(cover > 0.0, background + cover * (cloth - background), background)
    px, py = x - hand[0], y - hand[1]
    cover = 0.5 + (radii[1] - np.sqrt(px * px + py * py)) / EDGE
    cover = np.minimum(np.maximum(cover, 0.0), 1.0)
    seen: NDArray[np.float64] = value + cover * (skin - value)
    return seen
