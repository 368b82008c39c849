"""The library's side of the examples in plain loops, and losses over rows of numbers."""

from __future__ import annotations

import math

import torch
import worked
from torch import Tensor, nn
from worked import WEIGHTS, Rows

from spikeprop.neurons import LIF


def network() -> nn.Sequential:
    layers: list[nn.Module] = []
    for W in WEIGHTS:
        linear = nn.Linear(len(W[0]), len(W), bias=False)
        layers += [linear, LIF(beta=worked.BETA, threshold=worked.THRESHOLD, init_hidden=True)]
        linear.weight.data = torch.tensor(W)
    return nn.Sequential(*layers).double()


def hold(found: list[Tensor], wanted: list[Rows]) -> None:
    for a, b, before in zip(found, wanted, WEIGHTS, strict=True):
        assert (a - torch.tensor(before)).abs().max() > 1e-3, "nothing was learned"
        torch.testing.assert_close(a, torch.tensor(b, dtype=torch.float64), rtol=1e-6, atol=1e-6)


def softmax(row: list[float]) -> list[float]:
    total = sum(math.exp(y) for y in row)
    return [math.exp(y) / total for y in row]


def dot(a: list[float], b: list[float]) -> float:
    return sum(p * q for p, q in zip(a, b, strict=True))


def cross(h: Rows, s: Rows, targets: Rows) -> tuple[Rows, Rows]:
    """Cross-entropy over dot products of rows with rows; d L / d y = (p sum(T) - T) / B."""
    d = []
    for b, row in enumerate(h):
        p = softmax([dot(row, other) for other in s])
        total = sum(targets[b])
        d.append([(p[j] * total - targets[b][j]) / len(h) for j in range(len(s))])
    size = range(len(h[0]))
    # y_bj = h_b s_j:  d L / d h_b = sum_j d_bj s_j,  d L / d s_j = sum_b d_bj h_b
    delta_h = [[sum(d[b][j] * s[j][i] for j in range(len(s))) for i in size] for b in range(len(h))]
    delta_s = [[sum(d[b][j] * h[b][i] for b in range(len(h))) for i in size] for j in range(len(s))]
    return delta_h, delta_s


def target_rows(kind: str, c: Rows) -> Rows:
    """T from the similarities or distances of the signals at the block's input."""
    n = range(len(c))
    norm = [max(math.sqrt(dot(row, row)), 1e-8) for row in c]
    y = [[dot(c[a], c[b]) / (norm[a] * norm[b]) for b in n] for a in n]
    if kind == "soft":
        return [softmax([-math.dist(c[a], c[b]) for b in n]) for a in n]
    if kind == "top-1":
        return [[1.0 if b == y[a].index(max(y[a])) else 0.0 for b in n] for a in n]
    return [[1.0 if y[a][b] > max(y[a]) - 1e-6 else 0.0 for b in n] for a in n]
