"""A class more while a learner runs, and predictions from an adaptive subset of the classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toy import network, recordings

from spikeprop import ForwardLearner
from spikeprop.contrast import BatchContrast
from spikeprop.experiments import subset as experiment
from spikeprop.rules import SigProp
from spikeprop.subset import SignalTree, tree_codes
from spikeprop.time_codes import Pattern, Phases


def adam(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=3e-3)


X, LABELS = recordings()
KNOWN = LABELS < 2


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"signal": "projection"},
        {"signal": "learned", "coding": Pattern()},
        {"coding": Phases(5, 2)},
        {"signal": "synapse", "signal_scale": 1.0},
        {"signal": "concatenated", "loss": BatchContrast(tau=0.1, cosine=True)},
        {"readout": "trained"},
    ],
    ids=str,
)
def test_a_class_is_added_while_learning(options: dict[str, Any], tmp_path: Path) -> None:
    if options.get("signal") == "concatenated":
        options = {**options, "readout": "trained"}
    learner = ForwardLearner(network(), SigProp(2, **options), optimizer=adam, seed=5)
    for _ in range(10):
        learner.update(X[:, KNOWN], LABELS[KNOWN])
    before = {k: v.clone() for k, v in learner.net.state_dict().items()}
    moments = learner.optimizers[0].state_dict()["state"][0]["exp_avg"].clone()  # type: ignore[union-attr]
    old = {k: v.detach().clone() for k, v in learner.bound().tensors.items()}
    known = learner.logits(X)
    assert learner.add_class() == 2
    # Weights, moments and signals are where they were; the new ones stand behind.
    for name, value in learner.net.state_dict().items():
        assert torch.equal(value, before[name])
    after = learner.optimizers[0].state_dict()["state"][0]["exp_avg"]  # type: ignore[union-attr]
    assert torch.equal(after, moments)
    for name, value in learner.bound().tensors.items():
        kept = value[tuple(slice(size) for size in old[name].shape)]
        assert torch.equal(kept, old[name]), name
    now = learner.logits(X)
    torch.testing.assert_close(now[:, :, :2], known, rtol=1e-4, atol=1e-4)
    assert now.shape[2] == 3
    for _ in range(15):
        learner.update(X, LABELS)
    assert learner.evaluate((X, LABELS)).accuracy > 0.9
    assert learner.updates == 25
    # What was saved is taken up by a learner of the larger rule, to the same bits.
    learner.save(tmp_path / "learner.safetensors")
    twin = ForwardLearner(network(seed=9), SigProp(3, **options), optimizer=adam, seed=5)
    twin.load(tmp_path / "learner.safetensors")
    for item in (learner, twin):
        item.update(X, LABELS)
    for a, b in zip(learner.net.parameters(), twin.net.parameters(), strict=True):
        assert torch.equal(a, b)
    small = ForwardLearner(network(), SigProp(2, **options), optimizer=adam)
    with pytest.raises(ValueError, match="num_classes=3, this one num_classes=2"):
        small.load(tmp_path / "learner.safetensors")


def test_a_drawn_class_is_added() -> None:
    net = nn.Sequential(nn.Flatten(), *network())
    x = X.reshape(len(X), -1, 6, 4)
    learner = ForwardLearner(net, SigProp(2, signal="drawn"), optimizer=adam)
    learner.update(x[:, KNOWN], LABELS[KNOWN])
    learner.add_class()
    for _ in range(15):
        learner.update(x, LABELS)
    assert learner.evaluate((x, LABELS)).accuracy > 0.9


def test_a_stream_learns_a_class_that_came_later() -> None:
    learner = ForwardLearner(network(), SigProp(2), optimizer=adam)
    for x_t in X[:, KNOWN]:
        learner.step(x_t, LABELS[KNOWN])
    learner.add_class()
    for _ in range(6):
        learner.reset()
        for x_t in X:
            found = learner.step(x_t, LABELS)
    assert (found.prediction == LABELS).float().mean() > 0.9


def test_where_classes_are_fixed_none_can_be_added() -> None:
    with pytest.raises(RuntimeError, match="blocks are not known yet"):
        ForwardLearner(network(), SigProp(2)).add_class()
    for rule in (
        SigProp(2, codes=torch.eye(2)),
        SigProp(
            2, labels="vectors", loss=BatchContrast(), readout="trained",
        ),
    ):  # fmt: skip
        learner = ForwardLearner(network(), rule)
        learner.bind((24,))
        with pytest.raises(TypeError, match="a class can be added where codes are one-hot"):
            learner.add_class()


# ------------------------------------------------------------------------- the adaptive subset


def vectors(codes: Tensor | None, classes: int = 1000, size: int = 128) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    code = torch.eye(classes) if codes is None else codes
    return nn.functional.normalize(
        code @ torch.randn(code.shape[1], size, generator=generator), dim=1
    )


def test_a_thousand_classes_take_few_comparisons_and_keep_the_accuracy() -> None:
    V = vectors(tree_codes(1000))
    labels = torch.arange(1000).repeat(3)
    generator = torch.Generator().manual_seed(1)
    h = V[labels] + 0.05 * torch.randn(3000, 128, generator=generator)
    every = ((h @ V.T).argmax(1) == labels).float().mean()
    found, scores, compared = SignalTree(V).search(h)
    accuracy = (found == labels).float().mean()
    assert every > 0.98
    assert accuracy > every - 0.01
    # beam * branching * log_10(1000): 10 below the root, 3 * 10 on each of two levels more
    assert compared.float().mean() < 75
    torch.testing.assert_close(scores, (h * V[found]).sum(1))


def test_signals_without_a_structure_need_a_wider_beam() -> None:
    V = vectors(None)
    labels = torch.arange(1000)
    h = V + 0.03 * torch.randn(1000, 128, generator=torch.Generator().manual_seed(1))
    right, counts = [], []
    for beam in (1, 3, 10):
        found, _, compared = SignalTree(V, beam=beam).search(h)
        right.append((found == labels).float().mean().item())
        counts.append(compared.float().mean().item())
    assert right == sorted(right)
    assert counts == sorted(counts)
    assert right[-1] > 0.95
    assert counts[-1] < 300


def test_a_beam_over_all_is_the_search_over_all() -> None:
    torch.manual_seed(0)
    W, b, h = torch.randn(30, 6), torch.randn(30), torch.randn(50, 6)
    tree = SignalTree(W, b, branching=3, beam=30)
    assert torch.equal(tree(h).argmax(1), (h @ W.T + b).argmax(1))
    assert (torch.isfinite(tree(h)).sum(1) == 1).all()
    same = SignalTree(torch.ones(7, 6), branching=2)  # vectors that cannot be told apart
    assert same.search(h)[0].max() < 7


def test_codes_name_paths() -> None:
    codes = tree_codes(12, 3)  # three levels: 9s, 3s, ones
    assert codes.shape == (12, 2 + 4 + 12)
    torch.testing.assert_close(codes.norm(dim=1), torch.ones(12))
    shared = (codes @ codes.T * 3).round()
    assert shared[0].tolist() == [3, 2, 2, 1, 1, 1, 1, 1, 1, 0, 0, 0]


def test_bad_trees_are_refused() -> None:
    with pytest.raises(ValueError, match=r"weight has to have shape \(C, F\), C >= 2"):
        SignalTree(torch.ones(1, 3))
    with pytest.raises(ValueError, match="branching has to be at least 2, got 1"):
        SignalTree(torch.ones(4, 3), branching=1)
    with pytest.raises(ValueError, match="beam has to be at least 1, got 0"):
        SignalTree(torch.ones(4, 3), beam=0)
    with pytest.raises(ValueError, match="branching has to be at least 2, got 1"):
        tree_codes(5, 1)


def test_the_command_shows_the_saving(capsys: pytest.CaptureFixture[str]) -> None:
    options = "--classes 40 --beams 2 --epochs 5 --hidden 128 --per-class 8"
    found = experiment.main(options.split())
    assert len(found) == 2
    by_all, by_tree, compared = found[1]
    assert by_all > 0.9
    assert by_tree > by_all - 0.1
    assert compared < 40
    assert "tree codes, beam 2: accuracy" in capsys.readouterr().out
