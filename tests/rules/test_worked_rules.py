"""Golden numbers: three neurons, five steps, each rule against the same worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import hand
import numpy as np
import pytest
import torch
from torch import nn

from spikeprop import ForwardLearner
from spikeprop.neurons import LIF
from spikeprop.rules import RULES, STDP, Triangle
from spikeprop.rules.three_factor import View

RATE = 0.3
WORKED: dict[str, tuple[Callable[[hand.Hand], hand.Gradients], dict[str, Any]]] = {
    "ottt": (hand.ottt, {}),
    "sltt": (hand.sltt, {}),
    "e-prop": (hand.eprop, {}),
    "e-prop-random": (hand.eprop_random, {}),
    "ostl": (hand.ostl, {}),
    "osttp": (hand.osttp, {"homeostasis": None, "readout_gain": 1.0}),
    "etlp": (hand.drtp, {"trigger": 1.0}),
    "drtp": (hand.drtp, {}),
    "dfa": (hand.dfa, {}),
    "feedback-alignment": (hand.feedback_alignment, {"feedback_scale": 1.0}),
    "s-tllr": (hand.stllr, {}),
    "tess": (hand.tess, {}),
    "decolle": (hand.decolle, {}),
    "stsf": (hand.stsf, {"homeostasis": None}),
    "stdp": (hand.stdp, {"homeostasis": None, "a_minus": 0.5, "competition": False}),
    "r-stdp": (hand.reward_stdp, {"homeostasis": None, "a_minus": 0.5, "competition": False}),
    "traces-propagation": (hand.traces_propagation, {"similarity_scale": 1.0}),
}


def network() -> nn.Sequential:
    net = nn.Sequential(
        nn.Linear(2, 2),
        LIF(hand.BETA, threshold=hand.THETA, init_hidden=True),
        nn.Linear(2, 1),
        LIF(hand.BETA, threshold=hand.THETA, init_hidden=True),
    ).double()
    with torch.no_grad():
        for place, (w, b) in {0: (hand.W1, hand.B1), 2: (hand.W2, hand.B2)}.items():
            net[place].weight.copy_(torch.tensor(w))
            net[place].bias.copy_(torch.tensor(b))
    return net


def learned(name: str, options: dict[str, Any], update_every: int) -> ForwardLearner:
    if name in ("stsf", "stdp", "r-stdp"):
        options = {"readout_gain": 1.0, **options}
    else:
        options = {"surrogate": Triangle(), **options}
    learner = ForwardLearner(
        network(),
        RULES[name](2, kappa=hand.KAPPA, **options),
        optimizer=partial(torch.optim.SGD, lr=RATE),
        update_every=update_every,
        seed=1,
    )
    learner.bind((2,))
    return learner


@pytest.mark.parametrize("update_every", [1, 2, 5])
@pytest.mark.parametrize("name", WORKED)
def test_rule_moves_weights_as_worked_out_by_hand(name: str, update_every: int) -> None:
    work, options = WORKED[name]
    learner = learned(name, options, update_every)
    if name != "traces-propagation":  # a readout that is right now and then
        learner.bound().tensors["readout.weight"].data.copy_(torch.tensor([[-1.5], [1.2]]))
    tensors = {k: v.detach().numpy().copy() for k, v in learner.bound().tensors.items()}
    signal = tensors.get("signal")
    h = hand.Hand(
        [hand.W1.copy(), hand.W2.copy()],
        [hand.B1.copy(), hand.B2.copy()],
        tensors,
        rows=2 if signal is None else 4,
    )
    sums: list[Any] | None = None
    fired = np.zeros(3)
    for t, x in enumerate(hand.X, start=1):
        x = x if signal is None else np.vstack([x, np.zeros((2, 2))])
        h.forward(x, tensors.get("signal"))
        fired += np.concatenate([h.s[0][:2].sum(axis=0), h.s[1][:2].sum(axis=0)])
        gW, gb, own = work(h)
        new = [*gW, *gb, *own.values()]
        sums = (
            new
            if sums is None
            else [None if a is None else a + b for a, b in zip(sums, new, strict=True)]
        )
        if t % update_every == 0 or t == len(hand.X):
            gW, gb, rest = sums[:2], sums[2:4], sums[4:]
            if "stdp" in name:
                gW = hand.soft_bounds(h, gW)
            for k in range(2):
                h.W[k] = h.W[k] - RATE * gW[k]
                if gb[k] is not None:
                    h.b[k] = h.b[k] - RATE * gb[k]
            for key, gradient in zip(own, rest, strict=True):
                tensors[key] -= RATE * gradient
            sums = None
    assert (fired > 0).all(), "an example in which a neuron is silent tests little"
    assert (fired < 10).all()

    learner.update(torch.tensor(hand.X), torch.tensor(hand.LABELS))
    for place, k in ((0, 0), (2, 1)):
        np.testing.assert_allclose(learner.net[place].weight.detach(), h.W[k], rtol=0, atol=1e-6)
        np.testing.assert_allclose(learner.net[place].bias.detach(), h.b[k], rtol=0, atol=1e-6)
    for key in ("readout.weight", "readout.bias", "signal"):
        if key in tensors:
            found = learner.bound().tensors[key].detach()
            np.testing.assert_allclose(found, tensors[key], rtol=0, atol=1e-6)
    moved = np.abs(h.W[0] - hand.W1).max(), np.abs(h.W[1] - hand.W2).max()
    assert min(moved) > 1e-4, "nothing was learned in one of the blocks"


def test_every_rule_that_moves_the_network_is_worked_out() -> None:
    elsewhere = {"sigprop", "sp-voltage", "readout-only", "bptt", "tbptt"}
    assert set(WORKED) <= set(RULES)
    three_factor = {n for n, r in RULES.items() if hasattr(r, "eligibilities")}
    assert three_factor - set(WORKED) <= elsewhere


def test_stdp_competes_by_the_mean_of_the_layer() -> None:
    spk = torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, 0.0]])
    view = View(0, spk, spk, spk, {})
    rule: STDP = RULES["stdp"](2, a_plus=2.0, a_minus=0.5)
    for before in (torch.zeros(2, 4), spk - torch.tensor([[0.5], [0.25]])):
        rule.observe(view)
        plus, minus = rule.modulate(view, torch.ones(2, 4))
        torch.testing.assert_close(plus, -2.0 * (spk - torch.tensor([[0.5], [0.25]])))
        torch.testing.assert_close(minus, 0.5 * before)
