"""Error Forward-Propagation, Forward-Forward and its kin: five steps by plain NumPy, to 1e-6.

Two blocks of three neurons, two recordings, two classes, an update at every time step. The loops
(``lif_loop``) know nothing of the library; each test writes its rule's arithmetic out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from lif_loop import (
    BETA,
    BIASES,
    LABELS,
    RATE,
    THRESHOLD,
    WEIGHTS,
    Block,
    Floats,
    Readout,
    X,
    mean,
    normalised,
    sigmoid,
    softmax,
)
from torch import nn

from spikeprop import ForwardLearner
from spikeprop.evidence import Leaky, RunningMean
from spikeprop.neurons import LIF
from spikeprop.rules import (
    CSDP,
    ErrorForwardPropagation,
    ForwardForward,
    ForwardForwardTrace,
    PredictiveForwardForward,
)

FIXED = {"homeostasis": None, "stream_homeostasis": None}


def learner_of(rule: Any) -> ForwardLearner:
    layers: list[nn.Module] = []
    for W, b in zip(WEIGHTS, BIASES, strict=True):
        synapse = nn.Linear(W.shape[1], W.shape[0]).double()
        synapse.weight.data, synapse.bias.data = torch.tensor(W), torch.tensor(b)
        layers += [synapse, LIF(beta=BETA, threshold=THRESHOLD, init_hidden=True).double()]
    learner = ForwardLearner(
        nn.Sequential(*layers), rule, optimizer=lambda p: torch.optim.SGD(p, lr=RATE)
    )
    learner.bind((6,))
    return learner


def tensor(learner: ForwardLearner, name: str) -> Floats:
    found: Floats = learner.bound().tensors[name].detach().numpy()
    return found.copy()


def check(learner: ForwardLearner, blocks: list[Block], **tensors: Floats) -> None:
    """Update once, and compare every weight with the loop's."""
    before = [p.detach().clone() for p in learner.net.parameters()]
    learner.update(torch.tensor(X), torch.tensor(LABELS))
    for index, block in enumerate(blocks):
        synapse: Any = learner.net[2 * index]
        np.testing.assert_allclose(synapse.weight.detach().numpy(), block.W, atol=1e-6)
        np.testing.assert_allclose(synapse.bias.detach().numpy(), block.b, atol=1e-6)
    for name, value in tensors.items():
        np.testing.assert_allclose(tensor(learner, name.replace("__", ".")), value, atol=1e-6)
    weights = zip(before, learner.net.parameters(), strict=True)
    assert all((a - b).abs().max() > 1e-4 for a, b in weights if a.dim() == 2)


def pair(v: Floats, alpha: float) -> Floats:
    """dL/dv of L = mean over recordings of log(1 + exp(-alpha (g+ - g-))), g = mean_j a_j^2.

    Rows 0, 1 are positive, rows 2, 3 negative:
        dL/dg- = alpha sigmoid(-alpha (g+ - g-)) / 2 = -dL/dg+,     dg/dv_j = 2 a_j / 3
    """
    a = np.maximum(v, 0)
    g = (a * a).mean(axis=1)
    slope = alpha * sigmoid(-alpha * (g[:2] - g[2:4])) / 2
    slope = np.concatenate([-slope, slope, np.zeros(len(v) - 4)])
    return slope[:, None] * 2 * a / 3


@pytest.mark.parametrize("potential", ["free", "spikes"])
def test_forward_forward(potential: str) -> None:
    alpha = 4.0
    options: dict[str, Any] = {"alpha": alpha, "strength": 2.0, "prediction": "goodness", **FIXED}
    rule: ForwardForward = ForwardForward(2, evidence=RunningMean(), **options)
    weight = mean
    if potential == "spikes":
        rule = ForwardForwardTrace(2, evidence=Leaky(0.3), **options)
        weight = lambda t: 0.3  # noqa: E731 - a constant
    blocks = [Block(W, b, [], weight, potential) for W, b in zip(WEIGHTS, BIASES, strict=True)]
    for x in X:
        rows = np.concatenate([x, x])
        # The label's spike, 2 high, stands in cell 0 or 1: own classes 0, 1, then wrong ones 1, 0.
        rows[:, :2] = 2.0 * np.eye(2)[[0, 1, 1, 0]]
        for block in blocks:
            block.learn(pair(block.step(rows, []), alpha))
            assert block.spk is not None
            rows = block.spk
    check(learner_of(rule), blocks)


def test_forward_forward_with_a_threshold_appended_labels_and_a_readout() -> None:
    alpha, theta = 3.0, 0.4
    rule = ForwardForward(
        2,
        objective="threshold",
        alpha=alpha,
        theta=theta,
        label="appended",
        cells=2,
        density=0.5,
        strength=1.5,
        prediction="readout",
        **FIXED,
    )
    learner = learner_of(rule)
    codes, V = tensor(learner, "codes"), tensor(learner, "label.weight")
    assert sorted(codes[0]) == [0.0, 0.0, 1.5, 1.5]  # half of four cells spike
    blocks = [Block(WEIGHTS[0], BIASES[0], [V]), Block(WEIGHTS[1], BIASES[1], [])]
    readouts = [Readout(), Readout()]
    # Two positive rows, two negative ones, two without a label.
    appended = np.concatenate([codes[[0, 1, 1, 0]], np.zeros((2, 4))])
    for x in X:
        rows = np.concatenate([x, x, x])
        for index, block in enumerate(blocks):
            v = block.step(rows, [appended] if index == 0 else [])
            a = np.maximum(v, 0)
            g = (a * a).mean(axis=1)
            # L = mean over four rows of log(1 + exp(-s alpha (g - theta))), s = 1, 1, -1, -1:
            # dL/dg = -s alpha sigmoid(-s alpha (g - theta)) / 4
            s = np.array([1.0, 1.0, -1.0, -1.0])
            slope = -s * alpha * sigmoid(-s * alpha * (g[:4] - theta)) / 4
            slope = np.concatenate([slope, [0.0, 0.0]])
            block.learn(slope[:, None] * 2 * a / 3)
            readouts[index].learn(v[4:])
            assert block.spk is not None
            rows = block.spk
    check(
        learner,
        blocks,
        label__weight=blocks[0].wires[0],
        readout__0__weight=readouts[0].R,
        readout__1__weight=readouts[1].R,
        readout__1__bias=readouts[1].r,
    )


def test_csdp() -> None:
    alpha = 30.0
    rule = CSDP(2, alpha=alpha, strength=1.5, evidence=Leaky(0.3), **FIXED)
    learner = learner_of(rule)
    blocks = [
        Block(W, b, [tensor(learner, f"context.{index}")], lambda t: 0.3, "spikes")
        for index, (W, b) in enumerate(zip(WEIGHTS, BIASES, strict=True))
    ]
    readouts = [Readout(), Readout()]
    y = np.concatenate([1.5 * np.eye(2)[[0, 1, 1, 0]], np.zeros((2, 2))])
    for x in X:
        rows = np.concatenate([x, x, x])
        for block, readout in zip(blocks, readouts, strict=True):
            z = block.step(rows, [y])
            block.learn(pair(z, alpha))
            readout.learn(z[4:])
            assert block.spk is not None
            rows = block.spk
    check(
        learner,
        blocks,
        context__0=blocks[0].wires[0],
        context__1=blocks[1].wires[0],
        readout__0__weight=readouts[0].R,
        readout__1__bias=readouts[1].r,
    )


@pytest.mark.parametrize(("passes", "sides"), [(1, 1), (1, 2), (2, 1), (2, 2)])
def test_error_forward_propagation(passes: int, sides: int) -> None:
    rule = ErrorForwardPropagation(2, passes=passes, sides=sides, scale=0.8, **FIXED)
    learner = learner_of(rule)
    S = tensor(learner, "projection")
    readouts = [Readout(), Readout()]
    onehot = np.eye(2)[LABELS]
    scores: Floats | None = None
    if passes == 2:
        # The first pass: readouts are zero still, so that y = 0 in every block and step.
        scores = np.zeros((2, 2))
    blocks = [Block(WEIGHTS[0], BIASES[0], [S]), Block(WEIGHTS[1], BIASES[1], [])]
    for x in X:
        # e = onehot - softmax(y), y of the pass before, or of the last block a step before.
        e = np.zeros((2, 2)) if scores is None else onehot - softmax(scores)
        rows, now = np.concatenate([x] * (1 + sides)), np.zeros((2, 2))
        for index, block in enumerate(blocks):
            carried = [np.concatenate([0 * e, e, -e][: 1 + sides])]  # free, then with e, with -e
            v = block.step(rows, carried if index == 0 else [])
            a = np.maximum(v, 0)
            gap = a[:2] - a[2:4] if sides == 1 else (a[4:] - a[2:4]) / 2
            delta = gap * (v[:2] > 0) / 2  # mean over two recordings
            now = readouts[index].scores(v[:2])
            block.learn(np.concatenate([delta, 0 * v[2:]]), fixed=(0,))
            readouts[index].learn(v[:2])
            assert block.spk is not None
            rows = block.spk
        if passes == 1:
            scores = now
    check(
        learner,
        blocks,
        projection=S,
        readout__0__weight=readouts[0].R,
        readout__1__weight=readouts[1].R,
    )


def test_predictive_forward_forward() -> None:
    alpha = 4.0
    rule = PredictiveForwardForward(
        2,
        alpha=alpha,
        strength=1.5,
        n_negatives=1,
        competition=0.4,
        group=2,
        clock=3,
        clock_steps=2,
        **FIXED,
    )
    learner = learner_of(rule)
    # Neurons 0 and 1 inhibit each other; neuron 2 is alone in its group.
    M = -0.4 * np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(tensor(learner, "lateral.1"), M)
    blocks = [
        Block(W, b, [tensor(learner, f"above.{index}"), M])
        for index, (W, b) in enumerate(zip(WEIGHTS, BIASES, strict=True))
    ]
    y = 1.5 * np.eye(2)[[0, 1, 1, 0]]
    G1, d1 = np.zeros((6, 3)), tensor(learner, "generator.0.bias")  # block 0 predicts the input
    G2, d2 = np.zeros((3, 3)), np.zeros(3)  # block 1 predicts block 0
    top = np.zeros((3, 6))  # class and time predict block 1
    own = [np.zeros((4, 3)), np.zeros((4, 3))]  # spikes of the step before
    for t, x in enumerate(X, start=1):
        low = blocks[0].step(np.concatenate([x, x]), [own[1], own[0]])
        a0 = normalised(low[:2])
        # Delta rules, for the mean over the two positive rows.
        error = (sigmoid(a0 @ G1.T + d1) - x) / 2
        G1, d1 = G1 - RATE * error.T @ a0, d1 - RATE * error.sum(axis=0)
        blocks[0].learn(pair(low, alpha), fixed=(1,))
        assert blocks[0].spk is not None
        high = blocks[1].step(blocks[0].spk, [y, own[1]])
        a1 = normalised(high[:2])
        error = (a1 @ G2.T + d2 - a0) / 2
        G2, d2 = G2 - RATE * error.T @ a1, d2 - RATE * error.sum(axis=0)
        # Moments lie at steps 1, 3 and 5; steps 2 and 4 share theirs between two.
        moment = np.array([[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 0.5, 0.5], [0, 0, 1]])[t - 1]
        code = np.stack(
            [np.concatenate([moment, 0 * moment]), np.concatenate([0 * moment, moment])]
        )
        top = top - RATE * ((code @ top.T - a1) / 2).T @ code
        blocks[1].learn(pair(high, alpha), fixed=(1,))
        assert blocks[1].spk is not None
        own = [blocks[0].spk, blocks[1].spk]
    check(
        learner,
        blocks,
        above__0=blocks[0].wires[0],
        above__1=blocks[1].wires[0],
        lateral__0=M,
        generator__0__weight=G1,
        generator__0__bias=d1,
        generator__1__weight=G2,
        generator__1__bias=d2,
        generator__top__weight=top,
    )
