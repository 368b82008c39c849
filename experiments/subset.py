"""The adaptive subset on 1,000 synthetic classes: comparisons saved, accuracy kept.

    python -m spikeprop.experiments.subset

Each class fires its own random quarter of the inputs more often. One layer learns by signal
propagation (signals of the batch's classes alone), with one-hot codes and with codes along a tree;
then each recording's class is read from all 1,000 class signals, and by a tree over them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from spikeprop.evidence import RunningMean
from spikeprop.learner import ForwardLearner
from spikeprop.neurons import LIF
from spikeprop.rules import SigProp
from spikeprop.subset import SignalTree, tree_codes

__all__ = ["Saving", "main", "measure", "recordings"]

INPUTS, STEPS = 400, 8


def recordings(classes: int, per_class: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return events ``(T, N, 400)`` and labels; the classes are the same for every seed."""
    fixed = torch.Generator().manual_seed(12345)
    rates = torch.where(torch.rand(classes, INPUTS, generator=fixed) < 0.25, 0.4, 0.05)
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat(per_class)
    x = torch.rand(STEPS, len(labels), INPUTS, generator=generator) < rates[labels]
    return x.float(), labels


class Saving(tuple[float, float, float]):
    """Accuracy by all classes and by the tree, and comparisons per recording by the tree."""


def measure(
    classes: int, *, codes: Tensor | None, beam: int, epochs: int, hidden: int, per_class: int
) -> Saving:
    """Learn, and compare both ways of predicting on recordings not learned from."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(INPUTS, hidden), LIF(beta=0.9, init_hidden=True))
    rule = SigProp(
        classes, evidence=RunningMean(), labels="batch", codes=codes, potential="membrane",
        homeostasis=None,
    )  # fmt: skip
    learner = ForwardLearner(net, rule, optimizer=lambda p: torch.optim.Adam(p, lr=1e-3))
    learner.fit(recordings(classes, per_class, 1), epochs=epochs, batch_size=100)
    x, labels = recordings(classes, 2, 2)
    exported = learner.export(time_steps=STEPS)
    every = exported(x)
    tree = SignalTree(exported.readout.weight, exported.readout.bias, beam=beam)
    found, _, compared = tree.search(exported.evidence(x))
    right = [(chosen == labels).float().mean().item() for chosen in (every.argmax(1), found)]
    return Saving((*right, compared.float().mean().item()))


def main(arguments: Sequence[str] | None = None) -> list[Saving]:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.HelpFormatter)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 3, 6])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--per-class", type=int, default=8)
    given = parser.parse_args(arguments)
    results = []
    for name, codes in (("one-hot", None), ("tree", tree_codes(given.classes))):
        for beam in given.beams:
            found = measure(
                given.classes,
                codes=codes,
                beam=beam,
                epochs=given.epochs,
                hidden=given.hidden,
                per_class=given.per_class,
            )
            results.append(found)
            print(
                f"{name} codes, beam {beam}: accuracy {100 * found[0]:.1f} % by all "
                f"{given.classes} classes, {100 * found[1]:.1f} % by {found[2]:.0f} comparisons",
                flush=True,
            )
    return results


if __name__ == "__main__":
    main()
