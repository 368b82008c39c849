"""The delay task of ``spikeprop compare --delays``: which rule carries credit over which delay.

A cue of a few spikes, silence, a question. The cue is five steps of spikes on the channels of one
of two classes, the question five steps of spikes on channels that both classes share, when the cue
is long gone. Learning and judging happen at the question alone. Neurons: LIF, which forgets within
tens of steps; ALIF, whose threshold remembers its own spikes (``rho = exp(-1 / 200)``); RLIF, a
recurrent layer. Cue synapses start so weak that an untrained network hardly tells one class from
the other at the end.

Two figures a cell:

    accuracy    of fresh sequences after training, mean and standard deviation over seeds
    alignment   before training: cosine between the rule's gradient for the cue's synapses and that
                of backpropagation through time. Accuracy may rise by memory alone (a readout finds
                what lasts by itself); alignment shows whether credit reaches back to the cue.

Signal propagation has no error at a distance to carry: its evidence may remember the cue itself, as
that of the variant ``sigprop[evidence=running-mean]`` does.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikeprop.comparison.kept import file_word
from spikeprop.learner import ForwardLearner
from spikeprop.neurons import ALIF, LIF, RLIF
from spikeprop.rules import RULES, Rule
from spikeprop.rules.names import make_rule, split_variant

__all__ = ["DelayCell", "DelayResult", "recordings", "run_cell"]

CUE, QUESTION, CHANNELS, RATE = 5, 5, 8, 0.5
TESTED = 400

NEURONS: dict[str, Callable[[int], nn.Module]] = {
    "lif": lambda width: LIF(0.9, init_hidden=True),
    "alif": lambda width: ALIF(0.9, rho=math.exp(-1 / 200), kappa=0.3, init_hidden=True),
    "rlif": lambda width: RLIF(0.9, linear_features=width, init_hidden=True),
}


@dataclass(frozen=True)
class DelayCell:
    """One training run on the delay task, and all that determines it.

    Attributes
    ----------
    rule, neuron : str
        Names; the neuron is a key of ``NEURONS``.
    delay : int
        Silent steps between cue and question.
    seed : int
        Seed of weights and sequences.
    hidden : int
        Neurons of the one layer.
    updates, batch_size : int
        Batches to learn from, and sequences in each.
    lr : float
        Step size of Adam, for every rule alike: the task asks what can be learned at all.
    """

    rule: str
    neuron: str
    delay: int
    seed: int
    hidden: int = 32
    updates: int = 150
    batch_size: int = 32
    lr: float = 5e-3

    @property
    def key(self) -> str:
        """Name of the cell's file, with a digest of all that determines the result."""
        identity = {**self.as_dict(), "rule": rule_of(self.rule, self.delay).config()}
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
        return f"delay{self.delay}_{self.neuron}_{file_word(self.rule)}_seed{self.seed}_{digest}"

    def as_dict(self) -> dict[str, Any]:
        """Return all fields as JSON can write them."""
        return asdict(self)


class DelayResult(NamedTuple):
    """What a cell gave: accuracy from 0 to 1, and alignment from -1 to 1."""

    accuracy: float
    alignment: float


def recordings(delay: int, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw sequences ``(T, count, 3 * CHANNELS)`` and their classes, 0 or 1."""
    labels = torch.randint(2, (count,), generator=generator)
    x = torch.zeros(CUE + delay + QUESTION, count, 3 * CHANNELS)
    cue = torch.rand(CUE, count, CHANNELS, generator=generator) < RATE
    question = torch.rand(QUESTION, count, CHANNELS, generator=generator) < RATE
    for label in (0, 1):
        channels = slice(label * CHANNELS, (label + 1) * CHANNELS)
        x[:CUE, labels == label, channels] = cue[:, labels == label].float()
    x[-QUESTION:, :, 2 * CHANNELS :] = question.float()
    return x, labels


def build(cell: DelayCell, rule: Rule) -> ForwardLearner:
    """Return a learner before its first update."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(cell.seed)
        synapse = nn.Linear(3 * CHANNELS, cell.hidden)
        with torch.no_grad():
            synapse.weight[:, : 2 * CHANNELS] *= 0.5  # the cue alone makes few neurons fire
            synapse.weight[:, 2 * CHANNELS :].abs_().mul_(1.5)  # and the question many
        net = nn.Sequential(synapse, NEURONS[cell.neuron](cell.hidden))
    return ForwardLearner(
        net, rule, optimizer=partial(torch.optim.Adam, lr=cell.lr), seed=cell.seed
    )


def rule_of(name: str, delay: int) -> Rule:
    """Return a rule that learns at the question alone, where it has such a choice."""
    name, options = split_variant(name)
    has = "first_step" in getattr(RULES.get(name), "__dataclass_fields__", {})
    if has:
        options["first_step"] = CUE + delay + 1
    if has and "homeostasis" in RULES[name].__dataclass_fields__:
        options["homeostasis"] = None  # its rates are those of the question, mostly
    return make_rule(name, 2, **options)


def run_cell(cell: DelayCell) -> DelayResult:
    """Train and judge one learner."""
    generator = torch.Generator().manual_seed(1000 + cell.seed)
    aligned = alignment(cell)
    learner = build(cell, rule_of(cell.rule, cell.delay))
    for _ in range(cell.updates):
        learner.update(*recordings(cell.delay, cell.batch_size, generator))
    x, labels = recordings(cell.delay, TESTED, torch.Generator().manual_seed(2000 + cell.seed))
    right = (learner.predict(x, final=True) == labels).float().mean()
    return DelayResult(float(right), aligned)


def alignment(cell: DelayCell) -> float:
    """Return the cosine of the rule's and of BPTT's first gradient for the cue's synapses."""
    x, labels = recordings(cell.delay, 256, torch.Generator().manual_seed(3000 + cell.seed))
    found = []
    for name in (cell.rule, "bptt"):
        made = build(cell, rule_of(name, cell.delay))
        whole = ForwardLearner(  # one update for all steps, whose size is the gradient
            made.net,
            made.rule,
            optimizer=partial(torch.optim.SGD, lr=1.0),
            update_every=len(x),
            traces="chunk",
            seed=cell.seed,
        )
        weight: Any = whole.net[0].weight  # type: ignore[index]
        before = weight.detach().clone()
        whole.bind(x.shape[2:])
        share_readout(whole, cell.seed)
        whole.update(x, labels)
        found.append((before - weight.detach())[:, : 2 * CHANNELS].flatten())
    if not found[0].any() or not found[1].any():
        return 0.0
    return float(nn.functional.cosine_similarity(found[0], found[1], dim=0))


def share_readout(learner: ForwardLearner, seed: int) -> None:
    """Give every rule with a readout the same one, large enough for an error to come back by."""
    weight = learner.bound().tensors.get("readout.weight")
    if weight is not None:
        generator = torch.Generator().manual_seed(4000 + seed)
        weight.data.copy_(torch.randn(weight.shape, generator=generator))
