"""Everything that is measured, by name: our engines, the rule written naively, and the peers.

A case of ours is ``engine/recipe/updates``, for instance ``auto/plain/batch``: recipe ``plain`` is
the loss on the voltage of the present time step against one fixed class vector per layer;
``default`` is the library's own (leaky evidence, rectified, class signals through the shared
weights, homeostasis). Updates are made once a ``batch``, at every ``step``, or every N steps.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spikeprop.engines import ENGINES
from spikeprop.evidence import Instantaneous
from spikeprop.experiments.benchmarks.bptt_peers import (
    LEARNING_RATE,
    PEERS,
    Learner,
    load_weights,
)
from spikeprop.experiments.benchmarks.workload import BETA, RATE, Batch
from spikeprop.homeostasis import Homeostasis
from spikeprop.learner import ForwardLearner
from spikeprop.losses import Cosine
from spikeprop.neurons import LIF
from spikeprop.rules import Rule, SigProp
from spikeprop.signals import class_codes, random_projection

__all__ = ["RECIPES", "Naive", "Ours", "available", "make", "parse", "rule"]

RECIPES = ("plain", "default")
#: Engines that take events; the others get the dense tensor.
SPARSE = ("auto", "event")


def rule(recipe: str, classes: int) -> Rule:
    """Return the learning rule of a recipe.

    Raises
    ------
    ValueError
        For another name.
    """
    if recipe == "plain":
        return SigProp(
            classes,
            evidence=Instantaneous(),
            rectify=False,
            potential="membrane",
            signal="projection",
            homeostasis=None,
            stream_evidence=Instantaneous(),
            stream_homeostasis=None,
        )
    if recipe == "default":  # aimed at the rate that all sides begin with, so that it stays
        return SigProp(classes, homeostasis=Homeostasis(target=RATE))
    raise ValueError(f"recipe has to be one of {RECIPES}, got {recipe!r}")


@dataclass(frozen=True)
class Spec:
    """A case of ours, taken apart."""

    engine: str
    recipe: str
    updates: str

    def every(self, steps: int) -> int:
        """Return ``update_every`` for sequences of ``steps`` time steps."""
        if self.updates == "batch":
            return steps
        return 1 if self.updates == "step" else min(steps, int(self.updates))


def parse(name: str) -> Spec | None:
    """Take ``engine/recipe/updates`` apart; None for a name that is not of this form.

    Raises
    ------
    ValueError
        If a part is not known.
    """
    if "/" not in name:
        return None
    parts = name.split("/")
    if len(parts) != 3:
        raise ValueError(f"a case of ours is engine/recipe/updates, got {name!r}")
    engine, recipe, updates = parts
    if engine not in (*ENGINES, "naive"):
        raise ValueError(f"engine has to be one of {(*ENGINES, 'naive')}, got {engine!r}")
    if recipe not in RECIPES or (engine == "naive" and recipe != "plain"):
        raise ValueError(f"recipe has to be one of {RECIPES} (naive: plain), got {recipe!r}")
    if updates not in ("batch", "step") and not (updates.isdigit() and int(updates) > 0):
        raise ValueError(f"updates has to be batch, step, or a number of steps, got {updates!r}")
    return Spec(engine, recipe, updates)


def available(name: str) -> bool:
    """Tell whether a case can run here: peers of the ``bench`` extra may not be installed."""
    return name not in ("spikingjelly", "norse") or importlib.util.find_spec(name) is not None


def make(name: str, matrices: Sequence[Tensor], classes: int, steps: int) -> Learner:
    """Make a learner that starts from the given hidden weights.

    Raises
    ------
    ValueError
        For an unknown name.
    """
    spec = parse(name)
    if spec is not None and spec.engine == "naive":
        return Naive(matrices, classes, spec.every(steps))
    if spec is not None:
        return Ours(spec, matrices, classes, steps)
    if name not in PEERS:
        raise ValueError(f"method has to be engine/recipe/updates or one of {tuple(PEERS)}, "
                         f"got {name!r}")  # fmt: skip
    return PEERS[name](matrices, classes)


def adam(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Fused Adam, as all peers have it."""
    return torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=True)


class Ours:
    """A :class:`~spikeprop.ForwardLearner` on the hidden layers.

    Parameters
    ----------
    spec : Spec
        Engine, recipe, updates.
    matrices : sequence of Tensor
        Hidden weights.
    classes, steps : int
        Classes C, and time steps T of a batch.
    optimizer : callable
        Makes the optimiser of a block.
    """

    def __init__(
        self,
        spec: Spec,
        matrices: Sequence[Tensor],
        classes: int,
        steps: int,
        optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer] = adam,
    ) -> None:
        layers: list[nn.Module] = []
        for matrix in matrices:
            layers += [
                nn.Linear(matrix.shape[1], len(matrix)),
                LIF(beta=BETA, init_hidden=True),
            ]
        load_weights(layers[::2], matrices, 1.0)
        self.learner = ForwardLearner(
            nn.Sequential(*layers),
            rule(spec.recipe, classes),
            optimizer=optimizer,
            update_every=spec.every(steps),
            engine=spec.engine,
        )
        self.learner.bind((matrices[0].shape[1],))
        self.takes_events = spec.engine in SPARSE and "event" in ENGINES

    def update(self, batch: Batch) -> None:
        """Make one training step."""
        x = batch.events if self.takes_events else batch.dense
        self.learner.update(x, batch.label)


class Naive:
    """The plain rule as one would first write it: a loop over time, dense matrices, no library.

    Parameters
    ----------
    matrices : sequence of Tensor
        Hidden weights.
    classes : int
        Classes C.
    every : int
        Time steps between updates.
    """

    def __init__(self, matrices: Sequence[Tensor], classes: int, every: int) -> None:
        generator = torch.Generator().manual_seed(0)
        codes = class_codes(classes, None)
        self.weights = [nn.Parameter(matrix.clone()) for matrix in matrices]
        self.biases = [nn.Parameter(matrix.new_zeros(len(matrix))) for matrix in matrices]
        self.vectors = [
            random_projection(codes, torch.Size((len(matrix),)), 0.3, generator)
            for matrix in matrices
        ]
        self.optimizer = torch.optim.Adam(
            [*self.weights, *self.biases], lr=LEARNING_RATE, fused=True
        )
        self.every = every

    takes_events = False

    @torch.no_grad()
    def update(self, batch: Batch) -> None:
        """Make one training step."""
        x, label, loss = batch.dense, batch.label, Cosine()
        mems = [x.new_zeros(x.shape[1], len(weight)) for weight in self.weights]
        traces = [x.new_zeros(x.shape[1], weight.shape[1]) for weight in self.weights]
        parameters = [*self.weights, *self.biases]
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        bias_trace = 0.0
        for t, spikes in enumerate(x, start=1):
            bias_trace = BETA * bias_trace + 1.0
            for weight, bias, mem, trace, vectors in zip(
                self.weights, self.biases, mems, traces, self.vectors, strict=True
            ):
                trace.mul_(BETA).add_(spikes)
                reset = (mem > 1.0).to(mem.dtype)
                mem.mul_(BETA).add_(torch.addmm(bias, spikes, weight.T)).sub_(reset)
                delta = loss(mem, vectors, label).delta_h
                assert weight.grad is not None
                assert bias.grad is not None
                weight.grad.addmm_(delta.T, trace)
                bias.grad.add_(delta.sum(0), alpha=bias_trace)
                spikes = (mem > 1.0).to(mem.dtype)
            if t % self.every == 0 or t == len(x):
                self.optimizer.step()
                if t < len(x):
                    self.optimizer.zero_grad(set_to_none=False)
