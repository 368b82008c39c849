"""The experiment on gestures: what it feeds its networks, and that every method runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from spikeprop.datasets import SimulatedGestures
from spikeprop.experiments import gestures
from spikeprop.experiments.gestures import STEPS, BPTTGestures, Frames, build, main


def frames(n: int = 22, train: bool = False, seed: int = 0) -> Frames:
    x = torch.rand(STEPS, n, 2, 32, 32, generator=torch.Generator().manual_seed(0)) < 0.05
    people = np.arange(n) // 2
    return Frames(x.to(torch.uint8), torch.arange(n) % 11, people, train, seed, batch_size=8)


def test_each_step_comes_with_earlier_ones() -> None:
    kept = frames()
    (x, labels), *rest = kept
    assert x.shape == (STEPS, 8, 6, 32, 32)
    assert len(kept) == 1 + len(rest) == 3
    assert torch.equal(x[:, :, :2], kept.x[:, :8].float())
    assert torch.equal(x[4:, :, 4:], kept.x[:-4, :8].float())
    assert not x[:2, :, 2:4].any()
    assert labels.tolist() == list(range(8))


def test_augmentation_mirrors_and_moves_and_is_drawn_anew_each_epoch() -> None:
    kept = frames(train=True)
    drawn = []
    for epoch in (1, 2, 1):
        kept.set_epoch(epoch)
        drawn.append([x for x, _ in kept])
    assert not torch.equal(drawn[0][0], drawn[1][0])
    assert torch.equal(drawn[0][0], drawn[2][0])
    partner = SimulatedGestures.mirrored
    x, labels = gestures._augmented(kept.x, kept.labels, torch.Generator().manual_seed(1))
    for i, label in enumerate(labels.tolist()):
        original = kept.x[:, i]
        as_they_are = [original] if label == i % 11 else []
        mirrored = [original.flip(-1)] if label == partner[i % 11] else []
        moves = [(a, b) for a in range(-2, 3) for b in range(-2, 3)]
        assert any(
            torch.equal(x[:, i], torch.roll(each, move, (-2, -1)))
            for each in as_they_are + mirrored
            for move in moves
        )
    assert (labels != kept.labels).any()


def test_shuffling_keeps_every_step() -> None:
    kept = frames()
    mixed = kept.shuffled(0)
    assert not torch.equal(mixed.x, kept.x)
    assert torch.equal(mixed.x.sum(0), kept.x.sum(0))


def test_both_networks_have_the_same_layers() -> None:
    ours, theirs = build(3).net, BPTTGestures(10.0, phases=False)
    sizes = [p.numel() for p in ours.parameters()]
    assert sum(sizes) == 277_824 <= 300_000
    kept = [*theirs.conv.parameters(), *theirs.dense.parameters()]
    assert [p.numel() for p in kept] == sizes
    assert theirs(torch.zeros(STEPS, 2, 6, 32, 32)).shape == (2, 11)


@pytest.mark.slow
def test_every_method_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Frames, "load", lambda train, data_dir: frames())
    out = tmp_path / "results.json"
    found = main(
        ["--methods", *gestures.METHODS, "--epochs", "1", "--seeds", "0", "1", "--out", str(out)]
    )
    assert json.loads(out.read_text(encoding="utf-8"))["results"] == found
    assert {name: len(values) for name, values in found.items()} == {
        "forward": 2, "shuffled": 2, "linear": 1, "bptt": 2, "bptt-phases": 2,
    }  # fmt: skip
    held_out = main(["--validate", "--methods", "linear", "--limit", "11"])
    assert 0.0 <= held_out["linear"][0] <= 1.0
