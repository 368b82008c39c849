"""The stages of a pipeline: blocks that follow one another, in a process of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from spikeprop.blocks import Block
from spikeprop.contrast import BatchContrast, RandomMaximum
from spikeprop.datasets import EventBatch
from spikeprop.engines import ReferenceEngine, choose
from spikeprop.engines.chain import DROPOUTS
from spikeprop.engines.passage import Passage
from spikeprop.engines.rows import Rows
from spikeprop.engines.windows import WindowedEngine, spans_of
from spikeprop.losses import Comparison
from spikeprop.norms import batch_norms
from spikeprop.parallel.shares import RANDOM
from spikeprop.parallel.wire import decode, decode_rows, encode

__all__ = ["Stage", "Stepwise", "balanced", "check_pipeline", "make_stage", "pieces_of"]

Window = Any
Receive = Callable[[int], Any]
Optimizers = Sequence[torch.optim.Optimizer | None]


@dataclass(frozen=True)
class Stage:
    """Some blocks of a network that follow one another, and the engine that runs them alone.

    Attributes
    ----------
    net : nn.Sequential
        The part of the network.
    blocks : list of Block
        Its blocks, numbered as in the whole network.
    engine : WindowedEngine or ReferenceEngine
        Runs the part; the same numbers as in the whole network.
    before : Block, optional
        The block whose spikes come in; None for the first stage.
    sparse_behind : bool, optional
        Whether the next stage takes sparse rows; None where there is none.
    whole : WindowedEngine, optional
        The engine of all blocks, if it runs windows.
    """

    net: nn.Sequential
    blocks: list[Block]
    engine: WindowedEngine | ReferenceEngine
    before: Block | None
    sparse_behind: bool | None
    whole: WindowedEngine | None

    @property
    def places(self) -> slice:
        """Where its blocks are among those of the network."""
        return slice(self.blocks[0].index, self.blocks[-1].index + 1)

    def begin(
        self, n: int, filters: Any, labels: Tensor | None, optimizers: Optimizers, update_every: int
    ) -> Passage[Any]:
        """Start a batch, or a stream."""
        return self.engine.begin(n, filters, labels, optimizers, update_every)

    def prepare(self, x: Tensor | EventBatch) -> Tensor | EventBatch:
        """Return a batch as the first stage takes it."""
        if isinstance(self.engine, WindowedEngine):
            return self.engine.input(x)
        return x.to_dense(self.engine.dtype) if isinstance(x, EventBatch) else x

    def run(
        self, x: Tensor | EventBatch | None, steps: int, passage: Passage[Any], receive: Receive
    ) -> Iterator[Window]:
        """Run a batch ``x``, or what is received, window by window; give the last spikes.

        ``receive(count)`` returns the spikes of so many time steps, or of so many rows of a window
        that goes in groups (:mod:`spikeprop.engines.grouped`): class signals first, if they travel.
        """
        engine = self.engine
        if isinstance(engine, ReferenceEngine):
            for t in range(steps):
                rows = receive(1)[0] if x is None else engine.rows(x[t], passage)  # type: ignore[arg-type]
                yield engine.step_rows(rows, passage)[None]
            engine.end(passage)
            return
        batch: Any = passage
        comparisons = self._comparisons(batch, steps)
        if comparisons is not None:
            yield from self._run_groups(x, steps, batch, comparisons, receive)
        else:
            for span in engine.spans(steps, batch.n_recordings, batch.update_every):
                got = receive(span.last - span.first) if x is None else engine.window(x, span)
                yield engine.advance(got, batch, span, self.sparse_behind)
        engine.end(batch, steps)
        batch.settle()

    def _comparisons(self, batch: Any, steps: int) -> list[Comparison] | None:
        """Return the losses in numbers, if the whole network can go in groups of recordings."""
        assert self.whole is not None, "windows are run by a part of it"
        found = self.whole.comparisons(len(batch.filters), min(batch.update_every, steps))
        return None if found is None else found[self.places]

    def _run_groups(
        self,
        x: Any,
        steps: int,
        batch: Any,
        comparisons: list[Comparison],
        receive: Receive,
    ) -> Iterator[Rows]:
        assert isinstance(self.engine, WindowedEngine), "groups are its"
        run = self.engine.in_groups(batch, comparisons)
        for span in spans_of(steps, 1, batch.update_every, run.most_steps):
            run.begin(span)
            if run.signals:
                yield run.send(receive(run.signals) if x is None else None)
            for first, last in run.groups():
                group = (first, last)
                rows = receive(last - first) if x is None else run.input(x, group)
                yield run.learn(rows, group)
        run.report()

    def pack(self, out: Window) -> tuple[int, int, Any]:
        """Return the kind of the message of a window that goes out, its rows, and its bytes."""
        rows = out.starts.shape[1] if isinstance(out, Rows) else out.shape[1]
        kind, content = encode(out, rows, self.blocks[-1].features.numel())
        return kind, rows, content

    def unpack(self, kind: int, content: Any, steps: int, rows: int) -> Tensor | Rows:
        """Return spikes ``(steps, rows)`` off the wire as the first block takes them."""
        assert self.before is not None, "the first stage receives nothing"
        features, dtype = self.before.features, self.engine.dtype
        shape = (steps, rows, features.numel(), dtype)
        if isinstance(self.engine, WindowedEngine) and self.engine.sparse[0]:
            return decode_rows(kind, content, *shape)
        return decode(kind, content, *shape).view(steps, rows, *features).to(self._device)

    @property
    def _device(self) -> torch.device:
        weight: Any = self.blocks[0].synapse.weight
        device: torch.device = weight.device
        return device


def check_pipeline(net: nn.Module, rule: Any, reference: Any, stages: int) -> None:
    """Raise unless the blocks of a network can stand in a pipeline.

    Raises
    ------
    ValueError
        If there are fewer blocks than stages, or network or rule need them together.
    """
    if not isinstance(reference, ReferenceEngine):
        raise ValueError(
            f"blocks in a pipeline need a rule by which each learns from its own evidence, such as "
            f"SigProp, got {type(rule).__name__}: its updates look at other blocks"
        )
    if reference.own_optimizer is not None:
        raise ValueError(
            f"this {type(rule).__name__} learns tensors of its own beside the blocks, which a "
            f"pipeline does not: choose a fixed signal and the nearest readout"
        )
    if rule.regression or getattr(rule, "placement", "parallel") != "parallel":
        raise ValueError(
            "a pipeline carries classes, and signals beside the recordings: no regression, and "
            "placement='parallel'"
        )
    if rule.predict_from != "last":
        raise ValueError(
            "the last stage of a pipeline predicts by the last block: predict_from has to be "
            f"'last', got {rule.predict_from!r}"
        )
    if len(reference.blocks) < stages:
        raise ValueError(
            f"{stages} processes need at least {stages} blocks, one a stage, and the network has "
            f"{len(reference.blocks)}"
        )
    pieces_of(net)
    drawing = isinstance(getattr(rule, "loss", None), BatchContrast) and isinstance(
        rule.loss.targets, RandomMaximum
    )
    if drawing:
        raise ValueError("RandomMaximum draws targets for all blocks in turn: no pipeline does")
    for name, module in net.named_modules():
        if isinstance(module, RANDOM) or (isinstance(module, DROPOUTS) and module.p > 0):
            raise ValueError(
                f"'{name}' ({type(module).__name__}) draws random numbers in turn with others, "
                f"which the stages of a pipeline cannot: leave it out, or split batches instead"
            )


def pieces_of(net: nn.Module) -> list[nn.Module]:
    """Return the modules of a Sequential in their order, those of nested ones in their place.

    Raises
    ------
    ValueError
        If the network is no ``nn.Sequential``.
    """
    if type(net).forward is not nn.Sequential.forward:
        raise ValueError(
            f"blocks in a pipeline need a network that is an nn.Sequential, got "
            f"{type(net).__name__}: what its forward() does between them is not known"
        )
    found: list[nn.Module] = []
    for module in net.children():
        nested = type(module).forward is nn.Sequential.forward
        found += pieces_of(module) if nested else [module]
    return found


def balanced(costs: Sequence[float], stages: int) -> list[slice]:
    """Cut a row of blocks so that the dearest stage is as cheap as can be."""
    best: dict[tuple[int, int], tuple[float, list[int]]] = {(0, 0): (0.0, [])}
    for count in range(1, stages + 1):
        for end in range(count, len(costs) + 1):
            options = [
                (max(best[count - 1, begin][0], sum(costs[begin:end])), best[count - 1, begin][1])
                for begin in range(count - 1, end)
                if (count - 1, begin) in best
            ]
            worst, cuts = min(options, key=lambda option: option[0])
            best[count, end] = (worst, [*cuts, end])
    ends = best[stages, len(costs)][1]
    return [slice(a, b) for a, b in zip([0, *ends[:-1]], ends, strict=True)]


def make_stage(learner: Any, places: slice, density: float) -> Stage:
    """Make the stage of some of a learner's blocks.

    Parameters
    ----------
    learner : ForwardLearner
        The learner of the whole network.
    places : slice
        Which of its blocks.
    density : float
        Density of the first input, by which the engine is chosen.

    Raises
    ------
    ValueError
        If a block shares a module with another stage.
    """
    reference = learner.bound()
    blocks = reference.blocks[places]
    pieces = pieces_of(learner.net)
    holds = [set(piece.modules()) for piece in pieces]

    def place(module: nn.Module) -> int:
        return next(i for i, modules in enumerate(holds) if module in modules)

    ends = [place(block.neuron) + 1 for block in reference.blocks]
    begin = 0 if places.start == 0 else ends[places.start - 1]
    end = len(pieces) if places.stop == len(ends) else ends[places.stop - 1]
    for block in blocks:
        for site in block.sites:
            if not begin <= place(site.module) < end:
                raise ValueError(f"'{site.name}' of neuron '{block.neuron_name}' lies elsewhere")
    net = nn.Sequential(*pieces[begin:end])
    before = None if places.start == 0 else reference.blocks[places.start - 1]
    wanted = learner.engine
    if wanted == "auto" and batch_norms(learner.net):
        wanted = "reference"  # their statistics are followed step by step
    choice = choose(wanted, reference, density, learner.update_every, learner.optimizers)
    learner.density, learner.engine_choice = density, choice
    if isinstance(choice.engine, WindowedEngine):
        choice.engine.lay_out(learner.optimizers)
        sparse = choice.engine.sparse
        engine = replace(
            choice.engine, net=net, links=choice.engine.links[places], sparse=sparse[places]
        )
        behind = sparse[places.stop] if places.stop < len(sparse) else None
        return Stage(net, blocks, engine, before, behind, choice.engine)
    return Stage(net, blocks, replace(reference, net=net, blocks=blocks), before, None, None)


class Stepwise:
    """A learner seen as one that steps through time with the network as it is."""

    def __init__(self, learner: Any) -> None:
        self.net, self.optimizers = learner.net, learner.optimizers
        self.engine, self.update_every = "reference", learner.update_every
        self.density: float | None = learner.density
        self.engine_choice: Any = None
        self.bound = learner.bound
