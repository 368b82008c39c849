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
    """What a layer carries from step to step; one list of rows a filter in ``v`` and ``e``."""

    W: Rows
    mem: Rows = field(default_factory=list)
    q: Rows = field(default_factory=list)
    v: list[Rows] = field(default_factory=list)
    e: list[Rows] = field(default_factory=list)
    c: Rows = field(default_factory=list)


@dataclass
class Learned:
    """A projection that is learned, ``S`` (neurons x entries of a code), and the codes' traces."""

    S: Rows
    codes: Callable[[int], Rows]
    q: Rows = field(default_factory=list)
    e: Rows = field(default_factory=list)


def zeros(rows: int, columns: int) -> Rows:
    return [[0.0] * columns for _ in range(rows)]


def towards(old: Rows, new: Rows, weight: float) -> None:
    """v += w (z - v), entry by entry."""
    for old_row, new_row in zip(old, new, strict=True):
        for i, value in enumerate(new_row):
            old_row[i] += (value - old_row[i]) * weight


def propagate(
    modulate: Modulate,
    *weights: Callable[[int], float],
    signal: Callable[[int], Rows] | None = lambda t: SIGNAL,
    inputs: Callable[[int], Rows] | None = None,
    own: Callable[[int], Rows] | None = None,
    learned: Learned | None = None,
    see_spikes: bool = False,
    layers: Sequence[Rows] = WEIGHTS,
    recordings: Sequence[Rows] = X,
) -> list[Rows]:
    """The weights after all steps.

    ``signal(t)`` is the current of the signal rows in the first layer; ``inputs(t)`` what they give
    to the first synapse, whose current it then adds to; ``own(t)`` is added to the recordings'
    current. ``modulate`` sees evidence and gives modulators filter by filter, side by side.
    """
    weights = weights or ((lambda t: 1.0 / t),)
    net = [Layer([list(row) for row in W]) for W in layers]
    n = len(LABELS)
    for t, x_t in enumerate(recordings, start=1):
        if learned is not None:
            code = learned.codes(t)
            if t == 1:
                learned.q, learned.e = (
                    zeros(len(code), len(code[0])),
                    zeros(len(code), len(code[0])),
                )
            for q_row, c_row in zip(learned.q, code, strict=True):
                for d, value in enumerate(c_row):
                    q_row[d] = BETA * q_row[d] + value
            towards(learned.e, learned.q, weights[0](t))
            now = [[sum(S[d] * c[d] for d in range(len(c))) for S in learned.S] for c in code]
        else:
            now = [] if signal is None else signal(t)
        through = [] if inputs is None else inputs(t)
        x = [list(row) for row in x_t] + (through or zeros(len(now), len(x_t[0])))
        context: Rows = now or through
        for k, layer in enumerate(net):
            rows, size, width = len(x), len(layer.W), len(x[0])
            if t == 1:
                layer.mem = zeros(rows, size)
                layer.q = zeros(rows, width)
                layer.v = [zeros(rows, size) for _ in weights]
                layer.e = [zeros(rows, width) for _ in weights]
                layer.c = zeros(len(context), len(context[0]))
            spikes = zeros(rows, size)
            for r in range(rows):
                for i in range(size):
                    current = sum(layer.W[i][j] * x[r][j] for j in range(width))
                    if k == 0 and r >= n and now:
                        current = now[r - n][i] + (current if through else 0.0)
                    if k == 0 and r < n and own is not None:
                        current += own(t)[r][i]
                    reset = THRESHOLD if layer.mem[r][i] > THRESHOLD else 0.0
                    layer.mem[r][i] = BETA * layer.mem[r][i] + current - reset
                    spikes[r][i] = 1.0 if layer.mem[r][i] > THRESHOLD else 0.0
                for j in range(width):
                    layer.q[r][j] = BETA * layer.q[r][j] + x[r][j]
            for f, weight in enumerate(weights):
                towards(layer.v[f], spikes if see_spikes else layer.mem, weight(t))
                towards(layer.e[f], layer.q, weight(t))
            towards(layer.c, context, weights[-1](t))
            seen = [[a for v in layer.v for a in v[r]] for r in range(rows)]
            delta_h, delta_s = modulate(k, seen[:n], seen[n:], layer.c)
            if k == 0 and learned is not None:
                for i, row in enumerate(learned.S):
                    for d in range(len(row)):
                        row[d] -= RATE * sum(
                            delta_s[c][i] * learned.e[c][d] for c in range(len(delta_s))
                        )
            # The first layer's signal rows are no W x, and say nothing of W, unless they pass it.
            delta = delta_h + (delta_s if k > 0 or through else [])
            for i in range(size):
                for j in range(width):
                    layer.W[i][j] -= RATE * sum(
                        delta[r][f * size + i] * e[r][j]
                        for r in range(len(delta))
                        for f, e in enumerate(layer.e)
                    )
            x, context = spikes, spikes[n:]
    return [layer.W for layer in net]
