"""The Hebbian update: golden numbers from plain loops, and a learner of rate neurons."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from spikeprop import ForwardLearner
from spikeprop.evidence import Instantaneous
from spikeprop.experiments import continuous
from spikeprop.neurons import GradedLIF
from spikeprop.rules.hebbian import Hebbian

W = [
    [[0.4, -0.3], [0.2, 0.7], [-0.5, 0.6]],
    [[0.9, -0.2, 0.3], [-0.4, 0.8, 0.5], [0.6, 0.1, -0.7]],
]
S = [[0.7, -0.2, 0.4], [-0.3, 0.6, 0.8]]
X = [[[1.0, 0.2], [0.3, 1.0]], [[0.5, 1.0], [0.1, 0.4]], [[0.0, 1.0], [1.0, 0.6]],
     [[1.0, 0.1], [0.2, 0.9]], [[0.3, 0.3], [1.0, 0.2]]]  # fmt: skip
LABELS, BETA, RATE = [0, 1], 0.6, 0.1


def network() -> nn.Sequential:
    layers: list[nn.Module] = []
    for weights in W:
        linear = nn.Linear(len(weights[0]), 3, bias=False)
        linear.weight.data = torch.tensor(weights)
        layers += [
            linear,
            GradedLIF(beta=BETA, threshold=0.0, reset_mechanism="none", init_hidden=True),
        ]
    return nn.Sequential(*layers).double()


def test_golden_five_steps_of_three_neurons() -> None:
    weights = [[list(row) for row in layer] for layer in W]
    out = [[[0.0] * 3 for _ in range(2)] for _ in W]  # an output layer a block, and its bias
    bias = [[0.0] * 2 for _ in W]
    u = [[[0.0] * 3 for _ in range(4)] for _ in W]  # rows: h of both recordings, t of both
    q = [[[0.0] * 2 for _ in range(4)], [[0.0] * 3 for _ in range(4)]]
    error = [[0.0, 0.0], [0.0, 0.0]]
    for x_t in X:
        x = [*x_t, *x_t]
        for k in (0, 1):
            for r in range(4):
                for i in range(3):
                    current = sum(w * a for w, a in zip(weights[k][i], x[r], strict=True))
                    if k == 0 and r > 1:  # the error of the step before, on top
                        current += sum(error[r - 2][c] * S[c][i] for c in (0, 1))
                    u[k][r][i] = BETA * u[k][r][i] + current
                for j, a in enumerate(x[r]):
                    q[k][r][j] = BETA * q[k][r][j] + a  # the activity through the time constant
            rate = [[max(v, 0.0) for v in row] for row in u[k]]
            errors = []
            for r, label in enumerate(LABELS):
                y = [
                    sum(v * a for v, a in zip(out[k][c], rate[r], strict=True)) + bias[k][c]
                    for c in (0, 1)
                ]
                total = sum(math.exp(v) for v in y)
                errors.append([(c == label) - math.exp(y[c]) / total for c in (0, 1)])
            for c in (0, 1):  # the delta rule of the outputs: V += lr error h / B
                for i in range(3):
                    out[k][c][i] += RATE * sum(errors[r][c] * rate[r][i] for r in (0, 1)) / 2
                bias[k][c] += RATE * sum(errors[r][c] for r in (0, 1)) / 2
            for i in range(3):  # W += lr (t - h) 1[h > 0] t_{i-1} / B
                for j in range(len(q[k][0])):
                    for r in (0, 1):
                        difference = rate[r + 2][i] - rate[r][i] if rate[r][i] > 0 else 0.0
                        weights[k][i][j] += RATE * difference * q[k][r + 2][j] / 2
            x = rate
        error = errors
    learner = ForwardLearner(network(), Hebbian(2), optimizer=lambda p: torch.optim.SGD(p, lr=RATE))
    learner.bind((2,))
    learner.bound().tensors["S"] = torch.tensor(S, dtype=torch.float64)
    learner.update(torch.tensor(X, dtype=torch.float64), torch.tensor(LABELS))
    for k, place in enumerate((0, 2)):
        found = learner.net[place].weight.detach()  # type: ignore[index]
        assert (found - torch.tensor(W[k])).abs().max() > 1e-4
        wanted = torch.tensor(weights[k], dtype=torch.float64)
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)
        held = learner.bound().tensors[f"output.{k}.weight"].detach()
        torch.testing.assert_close(held, torch.tensor(out[k], dtype=torch.float64))


def test_rate_neurons_learn_and_are_exported() -> None:
    learner = continuous.build(0, lambda p: torch.optim.Adam(p, lr=1e-3))
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 4
    x = 0.2 * torch.rand(40, 1, 28, 28, generator=generator)
    for c in range(4):
        x[labels == c, :, 7 * c : 7 * c + 3] += 0.5
    sequence = x.expand(continuous.STEPS, *x.shape)
    frozen = [p.clone() for p in learner.net.parameters()]
    for _ in range(25):
        learner.update(sequence, labels)
    assert learner.evaluate((sequence, labels)).accuracy > 0.95
    moved = [not torch.equal(a, b) for a, b in zip(frozen, learner.net.parameters(), strict=True)]
    assert all(moved), "the hidden layers learn, too"
    exported = learner.export(time_steps=continuous.STEPS)
    assert torch.equal(exported(sequence).argmax(1), learner.predict(sequence, final=True))


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="num_classes has to be at least 2, got 1"):
        Hebbian(1)
    with pytest.raises(ValueError, match="signal_scale has to be above 0, got 0"):
        Hebbian(2, signal_scale=0.0)
    learner = ForwardLearner(network(), Hebbian(2), engine="chunked")
    with pytest.raises(ValueError, match="sends an error that the step before has made"):
        learner.update(torch.zeros(2, 2, 2, dtype=torch.float64), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="cannot follow a stream"):
        learner.step(torch.zeros(2, 2, dtype=torch.float64))
    assert Hebbian(2).filters(3) == (Instantaneous(),)
    assert Hebbian(2).config() == {"rule": "Hebbian", "num_classes": 2, "signal_scale": 0.1}
