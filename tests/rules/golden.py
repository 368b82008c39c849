"""Signal propagation worked out by plain loops over numbers, for a few neurons and time steps.

Independent of the library: nothing here is a tensor operation, and the modulators come from the
test that calls. Layers of LIF neurons, each with

    current = sum_j W_ij x_j                               (the first layer's signal rows: S c)
    mem_t   = beta mem_{t-1} + current - threshold 1[mem_{t-1} > threshold]
    spk_t   = 1[mem_t > threshold]
    q_t     = beta q_{t-1} + x_t                           trace of each input of each row
    v_t     = v_{t-1} + (mem_t - v_{t-1}) w_t              evidence,  w_t its weight
    e_t     = e_{t-1} + (q_t - e_{t-1}) w_t
    W_ij   -= lr sum_r delta_ri e_rj                       at each time step
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Rows = list[list[float]]
#: ``(layer, h, s, context) -> (delta_h, delta_s)``, each one list a row.
Modulate = Callable[[int, Rows, Rows, Rows], tuple[Rows, Rows]]

BETA, THRESHOLD, RATE = 0.9, 0.5, 0.1

X = [  # five steps of two recordings with two inputs
    [[1.0, 0.0], [0.0, 1.0]],
    [[1.0, 1.0], [0.0, 0.0]],
    [[0.0, 1.0], [1.0, 1.0]],
    [[1.0, 0.0], [0.0, 1.0]],
    [[0.0, 0.0], [1.0, 0.0]],
]
LABELS = [0, 1]
WEIGHTS = [
    [[0.4, -0.3], [0.2, 0.7], [-0.5, 0.6]],
    [[0.9, -0.2, 0.3], [-0.4, 0.8, 0.5], [0.6, 0.1, -0.7]],
]
SIGNAL = [[0.7, -0.2, 0.4], [-0.3, 0.6, 0.8]]  # the current S c of two classes


@dataclass
class Layer:
    """What a layer carries from step to step."""

    W: Rows
    mem: Rows = field(default_factory=list)
    q: Rows = field(default_factory=list)
    v: Rows = field(default_factory=list)
    e: Rows = field(default_factory=list)
    c: Rows = field(default_factory=list)


def zeros(rows: int, columns: int) -> Rows:
    return [[0.0] * columns for _ in range(rows)]


def propagate(
    modulate: Modulate,
    weight: Callable[[int], float] = lambda t: 1.0 / t,
    *,
    signal: Callable[[int], Rows] = lambda t: SIGNAL,
    see_spikes: bool = False,
    layers: Sequence[Rows] = WEIGHTS,
) -> list[Rows]:
    """The weights after the five steps."""
    net = [Layer([list(row) for row in W]) for W in layers]
    n = len(LABELS)
    for t, x_t in enumerate(X, start=1):
        now = signal(t)
        x = [list(row) for row in x_t] + zeros(len(now), len(x_t[0]))
        context: Rows = now
        for k, layer in enumerate(net):
            rows, size, inputs = len(x), len(layer.W), len(x[0])
            if t == 1:
                layer.mem, layer.v = zeros(rows, size), zeros(rows, size)
                layer.q, layer.e = zeros(rows, inputs), zeros(rows, inputs)
                layer.c = zeros(len(context), len(context[0]))
            spikes = zeros(rows, size)
            for r in range(rows):
                for i in range(size):
                    current = sum(layer.W[i][j] * x[r][j] for j in range(inputs))
                    if k == 0 and r >= n:
                        current = now[r - n][i]
                    reset = THRESHOLD if layer.mem[r][i] > THRESHOLD else 0.0
                    layer.mem[r][i] = BETA * layer.mem[r][i] + current - reset
                    spikes[r][i] = 1.0 if layer.mem[r][i] > THRESHOLD else 0.0
                    seen = spikes[r][i] if see_spikes else layer.mem[r][i]
                    layer.v[r][i] += (seen - layer.v[r][i]) * weight(t)
                for j in range(inputs):
                    layer.q[r][j] = BETA * layer.q[r][j] + x[r][j]
                    layer.e[r][j] += (layer.q[r][j] - layer.e[r][j]) * weight(t)
            for c, row in enumerate(context):
                for j, value in enumerate(row):
                    layer.c[c][j] += (value - layer.c[c][j]) * weight(t)
            delta_h, delta_s = modulate(k, layer.v[:n], layer.v[n:], layer.c)
            # The first layer's signal rows are no W x: they say nothing of W.
            delta = delta_h + (delta_s if k > 0 else [])
            for i in range(size):
                for j in range(inputs):
                    gradient = sum(delta[r][i] * layer.e[r][j] for r in range(len(delta)))
                    layer.W[i][j] -= RATE * gradient
            x, context = spikes, spikes[n:]
    return [layer.W for layer in net]
