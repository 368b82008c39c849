"""One block of LIF neurons in plain NumPy, a time step a call: for worked examples.

Independent of the library. Rows run together; each step is

    current = x W^T + b + sum of wires  z V^T
    mem     = beta mem + current - threshold 1[mem > threshold]         spk = 1[mem > threshold]
    free    = beta free + current                                       (no reset)
    v      += w (u - v)                              u: free, or spk;  w = 1/t, or a constant
    q       = beta q + x,   e += w (q - e)           the same for the bias (input 1) and each wire
    W      -= rate delta^T e                         once the rule has said delta
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
BETA, THRESHOLD, RATE = 0.9, 0.5, 0.1

#: Five steps of two recordings with six inputs.
X = np.array(
    [
        [[0, 0, 1, 0, 1, 0], [0, 0, 0, 1, 1, 1]],
        [[0, 0, 1, 1, 0, 1], [0, 0, 1, 0, 1, 0]],
        [[0, 0, 0, 1, 1, 0], [0, 0, 1, 1, 0, 1]],
        [[0, 0, 1, 0, 0, 1], [0, 0, 0, 1, 0, 1]],
        [[0, 0, 1, 1, 1, 0], [0, 0, 1, 0, 1, 1]],
    ],
    dtype=np.float64,
)
#: With two classes every wrong label is the other one, so that nothing is left to chance.
LABELS = np.array([0, 1])
WEIGHTS = [
    np.array(
        [
            [0.5, -0.3, 0.4, 0.2, -0.2, 0.3],
            [-0.4, 0.6, 0.3, -0.1, 0.5, 0.2],
            [0.3, 0.2, -0.2, 0.6, 0.4, -0.3],
        ]
    ),
    np.array([[0.9, -0.2, 0.3], [-0.4, 0.8, 0.5], [0.6, 0.1, -0.4]]),
]
BIASES = [np.array([0.05, -0.02, 0.03]), np.array([0.02, 0.04, -0.01])]


def mean(t: int) -> float:
    """The weight of the newest value in a running mean."""
    return 1.0 / t


class Block:
    """State, traces and weights of a block; ``wires`` holds V of each wire."""

    def __init__(
        self,
        W: Floats,
        b: Floats,
        wires: list[Floats],
        weight: Callable[[int], float] = mean,
        see: str = "free",
    ) -> None:
        self.W, self.b, self.wires = W.copy(), b.copy(), [V.copy() for V in wires]
        self.weight, self.see, self.t = weight, see, 0
        self.spk: Floats | None = None

    def step(self, x: Floats, z: list[Floats]) -> Floats:
        """Make a time step of all rows, and return the evidence."""
        current = x @ self.W.T + self.b
        for carried, V in zip(z, self.wires, strict=True):
            current = current + carried @ V.T
        if self.t == 0:
            self.mem, self.free, self.v = (np.zeros_like(current) for _ in range(3))
            self.q = [np.zeros_like(x), 0.0, *[np.zeros_like(carried) for carried in z]]
            self.e = [0.0 * q for q in self.q]
        self.t += 1
        w = self.weight(self.t)
        self.mem = BETA * self.mem + current - THRESHOLD * (self.mem > THRESHOLD)
        self.spk = (self.mem > THRESHOLD).astype(np.float64)
        self.free = BETA * self.free + current
        self.v = self.v + w * ((self.free if self.see == "free" else self.spk) - self.v)
        self.q = [BETA * q + new for q, new in zip(self.q, [x, 1.0, *z], strict=True)]
        self.e = [e + w * (q - e) for e, q in zip(self.e, self.q, strict=True)]
        return self.v

    def learn(self, delta: Floats, fixed: tuple[int, ...] = ()) -> None:
        """Step all weights down their gradient but those of ``fixed`` wires."""
        e_x, e_1, *e_z = self.e
        self.W -= RATE * delta.T @ e_x
        self.b -= RATE * delta.sum(axis=0) * e_1
        for place, e in enumerate(e_z):
            if place not in fixed:
                self.wires[place] -= RATE * delta.T @ e


def sigmoid(x: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-x))


def softmax(y: Floats) -> Floats:
    e = np.exp(y - y.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def normalised(v: Floats) -> Floats:
    a = np.maximum(v, 0)
    return a / (np.sqrt((a * a).mean(axis=1, keepdims=True)) + 1e-8)


class Readout:
    """y = 5 (R a + r) of normalised evidence, by the delta rule."""

    def __init__(self, classes: int = 2, size: int = 3) -> None:
        self.R, self.r = np.zeros((classes, size)), np.zeros(classes)

    def scores(self, v: Floats) -> Floats:
        return 5.0 * (normalised(v) @ self.R.T + self.r)

    def learn(self, v: Floats) -> None:
        error = 5.0 * (softmax(self.scores(v)) - np.eye(2)[LABELS]) / len(LABELS)
        self.R -= RATE * error.T @ normalised(v)
        self.r -= RATE * error.sum(axis=0)
