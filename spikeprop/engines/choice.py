"""Which engine runs a network, and why.

``"auto"`` takes the fastest engine that gives the reference's numbers for this network and input;
a name takes that engine, or says why it cannot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from spikeprop import kernels
from spikeprop.datasets import EventBatch
from spikeprop.engines.chain import Link, NotAChain, chain_of, membrane_of
from spikeprop.engines.every_step import can_run_every_step
from spikeprop.engines.live import LiveEngine, plain_steps
from spikeprop.engines.stepwise import StepwiseEngine
from spikeprop.engines.windows import WindowedEngine
from spikeprop.evidence import as_filters
from spikeprop.rules import LocalRule

__all__ = ["ENGINES", "Choice", "StreamChoice", "choose", "choose_for_stream", "density_of"]

#: What ``ForwardLearner(engine=...)`` accepts.
ENGINES = ("auto", "reference", "chunked", "event")

#: Share of active inputs up to which a gather over events beats a dense product (measured on
#: 2,312 x 512 in float32, and on convolutions of five shapes; "experiments/benchmarks" has the
#: tables).
CROSSOVER = 0.2


@dataclass(frozen=True)
class Choice:
    """An engine and why it was taken.

    Attributes
    ----------
    name : str
        "reference", "chunked" or "event".
    reason : str
        One sentence for the run's log.
    engine : StepwiseEngine or WindowedEngine
        The engine.
    """

    name: str
    reason: str
    engine: StepwiseEngine | WindowedEngine

    @property
    def in_kernels(self) -> bool:
        """Whether next to everything runs in compiled kernels, and next to nothing in torch."""
        return isinstance(self.engine, WindowedEngine) and self.engine.in_kernels

    def __str__(self) -> str:
        return f"{self.name} engine: {self.reason}"


@dataclass(frozen=True)
class StreamChoice:
    """The same for a stream.

    Attributes
    ----------
    name : str
        "reference" or "event".
    reason : str
        One sentence for the log.
    engine : StepwiseEngine or LiveEngine
        The engine.
    """

    name: str
    reason: str
    engine: StepwiseEngine | LiveEngine

    def __str__(self) -> str:
        return f"{self.name} engine: {self.reason}"


def choose(
    wanted: str,
    reference: StepwiseEngine,
    density: float,
    update_every: int,
    optimizers: Sequence[torch.optim.Optimizer | None],
) -> Choice:
    """Choose the engine for ``reference``'s network and inputs of a density (0 to 1).

    Raises
    ------
    ValueError
        If an engine was named that cannot run this network here.
    """
    if wanted == "reference":
        return Choice("reference", "as asked for", reference)
    try:
        links = _links(reference)
        if wanted == "event":
            return _event(reference, links, density, "as asked for")
        if wanted == "chunked":
            return _chunked(reference, links, "as asked for")
    except NotAChain as error:
        if wanted != "auto":
            raise ValueError(
                f"engine={wanted!r} cannot run this network: {error}; use engine='auto' or "
                f"'reference'"
            ) from error
        return Choice("reference", str(error), reference)
    shown = f"{100 * density:.2g} % of the inputs are active"
    if reference.device.type != "cpu":
        where, fast = f"on {reference.device}", _every_step_is_fast(reference, links, optimizers)
        if update_every == 1 and not fast:
            return Choice("reference", f"{where}, an update at every step", reference)
        return _chunked(reference, links, where)
    if not kernels.available():
        if update_every == 1:
            return Choice("reference", "numba is absent, an update at every step", reference)
        return _chunked(reference, links, "numba is absent")
    if any(link.flat for link in links[1:]) or _takes_events(links[0], density):
        return _event(reference, links, density, shown)
    return _chunked(reference, links, shown)


def choose_for_stream(
    wanted: str,
    reference: StepwiseEngine,
    optimizers: Sequence[torch.optim.Optimizer | None],
    update_every: int,
) -> StreamChoice:
    """Choose the engine for ``reference``'s network step by step.

    That is the event engine's live form (:mod:`spikeprop.engines.live`) for ``"auto"`` and
    ``"event"`` where it can be, and the reference everywhere else; the choice says why.
    """
    if wanted == "reference":
        return StreamChoice("reference", "as asked for", reference)
    try:
        if wanted == "chunked":
            raise NotAChain("a stream is no chunk of time steps")
        links = _links(reference)
        rule = reference.rule
        assert isinstance(rule, LocalRule), "the links were refused else"
        _check_live(reference, links, rule, optimizers, update_every)
    except NotAChain as error:
        return StreamChoice("reference", f"a stream, and {error}", reference)
    engine = LiveEngine(reference.net, links, rule, reference.tensors)
    return StreamChoice(
        "event", "a stream of plain gradient steps, which wait in its windows", engine
    )


def _check_live(
    reference: StepwiseEngine,
    links: list[Link],
    rule: LocalRule,
    optimizers: Sequence[torch.optim.Optimizer | None],
    update_every: int,
) -> None:
    if reference.own_optimizer is not None:
        raise NotAChain(f"{type(rule).__name__} learns its signal")
    if not kernels.available():
        raise NotAChain("numba is absent")
    if reference.device.type != "cpu":
        raise NotAChain(f"the event engine runs on the CPU, not on {reference.device}")
    if update_every != 1:
        raise NotAChain(f"it is to update every {update_every} steps only")
    if len(as_filters(rule.stream_evidence)) != 1:
        raise NotAChain("its evidence has several filters")
    for link, optimizer in zip(links, optimizers, strict=True):
        if not link.flat:
            raise NotAChain(f"'{link.block.name}' is no Linear synapse on plain vectors")
        if membrane_of(link.block) is None:
            raise NotAChain(f"neuron '{link.block.neuron_name}' is not compiled")
        reason = None if optimizer is None else plain_steps(optimizer)
        if reason is not None:
            raise NotAChain(reason)


def density_of(x: Tensor | EventBatch) -> float:
    """Return the share of cells that are not zero, 0 to 1; of a dense batch a sample of steps."""
    if isinstance(x, EventBatch):
        return x.density
    steps = x[:: max(1, len(x) // 8)]
    return float(torch.count_nonzero(steps)) / max(1, steps.numel())


def _links(reference: StepwiseEngine) -> list[Link]:
    if not isinstance(reference.rule, LocalRule):
        raise NotAChain(f"{type(reference.rule).__name__} steps through time with all blocks")
    if reference.rule.unwindowed is not None:
        raise NotAChain(f"{type(reference.rule).__name__} {reference.rule.unwindowed}")
    if reference.learns_outputs:
        raise NotAChain(f"{type(reference.rule).__name__} learns an output layer of its own")
    if reference.time_inside:
        raise NotAChain("the network loops over time itself")
    if reference.dtype not in (torch.float32, torch.float64):
        raise NotAChain(f"the network computes in {reference.dtype}")
    return chain_of(reference.net, reference.blocks)


def _every_step_is_fast(
    reference: StepwiseEngine,
    links: list[Link],
    optimizers: Sequence[torch.optim.Optimizer | None],
) -> bool:
    """Tell whether the windowed engine has a way of its own for them on a CUDA device."""
    rule = reference.rule
    assert isinstance(rule, LocalRule), "the links were refused else"
    return (
        kernels.triton_runs_on(reference.device)
        and reference.own_optimizer is None
        and can_run_every_step(links, optimizers, len(rule.filters(2)))
    )


def _takes_events(first: Link, density: float) -> bool:
    """Tell whether a gather over events is the faster product of the inputs."""
    return (first.flat or first.gathers) and density <= CROSSOVER


def _event(reference: StepwiseEngine, links: list[Link], density: float, reason: str) -> Choice:
    if reference.device.type != "cpu":
        raise NotAChain("the event engine runs on the CPU")
    if not any(link.flat for link in links) and not links[0].gathers:
        raise NotAChain(
            "it has no Linear synapse on plain vectors, nor begins with a Conv2d that events can "
            "run through"
        )
    if not kernels.available():
        # The same numbers by torch's own dense products.
        return _windowed(
            "event", f"{reason}; numba is absent, dense products", reference, links, [], False
        )
    sparse = [_takes_events(links[0], density), *[link.flat for link in links[1:]]]
    if not sparse[0]:
        reason += ", a dense product for them"
    return _windowed("event", reason, reference, links, sparse, True)


def _chunked(reference: StepwiseEngine, links: list[Link], reason: str) -> Choice:
    compiled = kernels.available() and reference.device.type == "cpu"
    return _windowed("chunked", reason, reference, links, [], compiled)


def _windowed(
    name: str,
    reason: str,
    reference: StepwiseEngine,
    links: list[Link],
    sparse: list[bool],
    compiled: bool,
) -> Choice:
    rule = reference.rule
    assert isinstance(rule, LocalRule), "the links were refused else"
    engine = WindowedEngine(
        reference.net,
        links,
        rule,
        reference.tensors,
        sparse or [False] * len(links),
        compiled,
        reference.own_optimizer,
    )
    return Choice(name, reason, engine)
