"""The event engine's way through a live stream: an update at every step, written when it matters.

A step touches the weights of the inputs that fired and nothing else of them; the updates of a
window of some steps wait, low-rank, and are taken into account by every current meanwhile
(:mod:`spikeprop.kernels.deferred` derives it). Class signals ride along as rows: what waits has
the rank of all rows, so that a window is the shorter the more of them there are. It runs

- chains of ``Linear`` synapses and leaky neurons (:mod:`.chain`), on the CPU, compiled;
- delays in front of them: events are listed for the step in which they arrive;
- one evidence filter, of any weights: no filter, leaky of any ``alpha``, running mean;
- any decay ``beta`` from 0 to 1, one a layer;
- any rule that gives modulators; the cosine loss within the compiled loop, others between two;
- plain SGD at any rate, also one that changes from step to step, with an update at every step: what
  moves weights whose input is silent (momentum, weight decay, Adam) is left to other engines.

While a window is open ``Linear.weight`` lags behind by up to a window. :meth:`LiveEngine.flush`
writes what is owed; the learner does it before anything of its own looks, and
:class:`Lagging` before ``state_dict``, ``load_state_dict`` and ``forward`` of the module.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spikeprop.datasets import EventBatch
from spikeprop.engines.chain import Link, Membrane, NotAChain, check_state, membrane_of
from spikeprop.engines.delays import StreamDelay, delays_of
from spikeprop.engines.filters import weights_of
from spikeprop.engines.layout import input_major
from spikeprop.engines.rows import Rows
from spikeprop.evidence import Evidence
from spikeprop.homeostasis import Homeostasis
from spikeprop.kernels import cosine, live, neuron, table
from spikeprop.kernels.vector import LANES, TILE
from spikeprop.losses import Comparison
from spikeprop.potentials import has_free_potential
from spikeprop.rules import LocalRule
from spikeprop.thresholds import thresholds_of

__all__ = ["LiveBlock", "LiveEngine", "LivePassage", "plain_steps", "steps_at_once"]

Array = NDArray[Any]

#: Steps that go through a block before the next one sees them, at most; and rows (steps times
#: recordings and signals), which say how much memory that takes.
CHUNK, CHUNK_ROWS = 64, 1024
#: Steps of a window, at least and at most, and events, from which on it is full.
SHORTEST, LONGEST, EVENTS = 8, 128, 16_384


def plain_steps(optimizer: torch.optim.Optimizer) -> str | None:
    """Return None for plain gradient steps, else what makes the optimiser something else."""
    if type(optimizer) is not torch.optim.SGD:
        return f"{type(optimizer).__name__} moves weights whose input is silent"
    for group in optimizer.param_groups:
        for name in ("momentum", "weight_decay"):
            if group[name] != 0:
                return f"SGD with {name}={group[name]:g} moves weights whose input is silent"
        if group["maximize"]:
            return "SGD maximizes"
    if optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:
        return "the optimiser has hooks, which expect every step"
    return None


def step_sizes(
    optimizer: torch.optim.Optimizer | None, weight: Tensor, bias: Tensor | None
) -> tuple[float, float]:
    """Return the step sizes of a synapse's weight and bias, 0 for what is not trained."""
    found = [0.0, 0.0]
    for group in [] if optimizer is None else optimizer.param_groups:
        for parameter in group["params"]:
            if parameter is weight:
                found[0] = float(group["lr"])
            elif parameter is bias:
                found[1] = float(group["lr"])
    return found[0], found[1]


def steps_at_once(rows: int) -> int:
    """Return how many steps of so many rows go through a block before the next one sees them."""
    return max(1, min(CHUNK, CHUNK_ROWS // rows))


class LiveBlock:
    """One block of a stream.

    Parameters
    ----------
    link : Link
        The block.
    rule : LocalRule
        Gives modulators.
    tensors : dict of str to Tensor
        What the rule drew.
    membrane : Membrane
        The neurons.
    n_recordings : int
        Recordings B.
    signals : int
        Signal rows C behind them.
    optimizer : Optimizer, optional
        Plain SGD; None for a block that does not learn.
    control : Homeostasis, optional
        Control of the thresholds.
    """

    def __init__(
        self,
        link: Link,
        rule: LocalRule,
        tensors: dict[str, Tensor],
        membrane: Membrane,
        n_recordings: int,
        signals: int,
        optimizer: torch.optim.Optimizer | None,
        control: Homeostasis | None,
    ) -> None:
        module: Any = link.block.synapse
        self.block, self.module, self.optimizer = link.block, module, optimizer
        self._rule, self._tensors = rule, tensors
        self._membrane, self._reset = membrane, neuron.RESETS[membrane.reset]
        self._n_recordings = n_recordings
        input_major(module, optimizer)
        self._weight, self._bias_parameter = module.weight, module.bias
        self._place = module.weight.data_ptr()
        weights = module.weight.detach().t().numpy()
        self.kind = weights.dtype
        inputs, size = weights.shape
        rows = n_recordings + signals
        # The first block's signal current is S c, not W x: its signal rows say nothing of W.
        self._driven = n_recordings if link.block.index == 0 else rows
        learning = 0 if optimizer is None else self._driven
        self._bias = np.empty(0, self.kind)
        if module.bias is not None:
            self._bias = module.bias.detach().numpy()
        self._threshold = np.ascontiguousarray(membrane.threshold.numpy())
        self._control, self._rates = np.empty(0), np.empty(0, self.kind)
        if control is not None:
            self._control = np.array(
                [control.target, control.gain, control.low, control.high, control.smoothing]
            )
            self._rates = np.full(size, control.target, self.kind)
        # A neuron that never resets has its free potential for a voltage.
        free = rule.potential == "free" and has_free_potential(link.block, "synapse")
        apart = free and membrane.reset != "none"
        self._state = (
            np.zeros((rows, size), self.kind),
            np.zeros((rows if apart else 0, size), self.kind),
            np.zeros((1, rows, size), self.kind),
        )
        # The window: what is owed costs K / 2, and writing it 1 / K.
        steps = round(2.0 * math.sqrt(inputs / max(1, learning)))
        steps = min(max(SHORTEST, steps), LONGEST)
        places = max(EVENTS, learning * inputs) if learning else 0
        lanes = -(-learning // LANES) * LANES
        self._ledger = (
            np.zeros((2, inputs, learning), self.kind),
            np.zeros(steps * learning + 1, np.int64),
            np.empty(places, np.int32),
            np.empty(places, self.kind),
            np.empty(steps, np.float64),
            np.zeros((-(-size // TILE), (steps + 2) * learning, TILE), self.kind),
        )
        self._scratch = (
            np.zeros((inputs, lanes), self.kind),
            np.zeros((steps * learning, lanes), self.kind),
        )
        self._at, self._constant = np.zeros(4, np.int64), np.zeros(2)
        self._weights, self._learning = weights, learning
        self.compare = rule.comparison(link.block.index, size, tensors)
        self._vectors = np.zeros((rule.num_classes, size), self.kind)
        if self.compare is not None and self.compare.vectors is not None:
            fixed = self.compare.vectors.numpy().astype(self.kind)
            cosine.directions(fixed, self._vectors, self.compare.smallest)
        self._shape, self.rows, self.size = (rows, size), rows, size
        self._delay = StreamDelay(delays_of(link.before, inputs), self._driven, inputs, self.kind)
        self._room(1)

    def _room(self, steps: int) -> None:
        rows, size = self._shape
        self._currents = np.zeros((steps, rows, size), self.kind)
        self._spikes = np.empty((steps, rows, size + 1), np.int32)
        self._spans = np.zeros((2, steps, rows), np.int64)
        self._fired = np.zeros(steps, np.int64)
        self._logits = np.zeros((steps, self._n_recordings, self._rule.num_classes), self.kind)
        self._losses = np.zeros(steps)
        self._delay.make_room(steps)
        #: As :func:`spikeprop.kernels.live.advance_blocks` wants it.
        self.entries = table.entries(
            (
                self._weights,
                self._bias,
                self._threshold,
                *self._state,
                self._currents,
                *self._ledger,
                *self._scratch,
                self._at,
                self._constant,
                self._rates,
                self._control,
                self._vectors,
                self._logits,
                self._losses,
                self._spikes,
                self._spans,
                self._fired,
                *self._delay.arrays,
            )
        )

    def make_room(self, steps: int, *, valued: bool = False) -> bool:
        """See to it that so many steps can be taken at once; return whether arrays were made.

        ``valued`` says that what comes in holds other numbers than 1.
        """
        behind = valued and self._delay.hold_values()
        if len(self._currents) >= steps and not behind:
            return False
        self._room(max(steps, len(self._currents)))
        return True

    def numbers(self) -> list[float]:
        """Return what belongs into :func:`spikeprop.kernels.live.advance_blocks`'s numbers."""
        found = self.compare or Comparison(None, 1.0, False, 0.0)
        return [
            self._membrane.beta, self._reset, 0.0, 0.0, found.vectors is None, found.tau,
            found.rectify, found.smallest,
        ]  # fmt: skip

    def check(self) -> None:
        """Refuse to go on if the weights are not where they were.

        Raises
        ------
        RuntimeError
            If they are not.
        """
        same = self.module._parameters["weight"] is self._weight
        if not same or self._weight.data_ptr() != self._place:
            raise RuntimeError(
                f"the weights of '{self.block.name}' were moved or replaced during a stream; call "
                f"learner.reset() before that"
            )

    def sizes(self) -> tuple[float, float]:
        """Return the step sizes of weight and bias, 0 for what is not trained."""
        return step_sizes(self.optimizer, self._weight, self._bias_parameter)

    def run(
        self,
        rows: Rows,
        steps: int,
        signal: Array,
        passing: Array,
        labels: Array,
        labelled: bool,
        sums: Array,
    ) -> Rows:
        """Take steps with the rule's own modulators between two compiled halves.

        Arguments as of :func:`spikeprop.kernels.live.advance_blocks`; returns the spikes.
        """
        beta, nobody = self._membrane.beta, np.empty((0, 0, 0), self.kind)
        index, n = self.block.index, self._n_recordings
        sizes = self.sizes()
        rows = self._delay.arrive(rows, steps)
        for step in range(steps):
            live.enter(
                step, *rows, signal, self._weights, self._bias, beta, passing, self._currents,
                *self._ledger, *self._scratch, self._at, step,
            )  # fmt: skip
            counts = np.zeros(self.size, np.int64)
            neuron.integrate(
                self._currents, *self._state[:2], self._threshold, beta, self._reset, passing,
                self._state[2], nobody, self._spikes, self._spans[0], self._spans[1], counts, n,
                step, step + 1, 0, self._shape[0],
            )  # fmt: skip
            sums[2] += counts.sum()
            evidence = torch.from_numpy(self._state[2][0])
            if labelled:
                target = torch.from_numpy(labels)
                value, logits, delta = self._rule.modulate(index, evidence, target, self._tensors)
                sums[0] += float(value)
                sums[1] += int((logits.argmax(dim=1) == target).sum())
                self._currents[step] = 0
                self._currents[step, : len(delta)] = delta.numpy()
            else:
                logits = self._rule.logits(index, evidence, n, self._tensors)
            self._logits[step] = logits.numpy()
            live.leave(
                step, self._learning, labelled, *sizes, self._bias, beta, passing, self._currents,
                self._ledger[5], self._at, self._constant,
            )  # fmt: skip
            if labelled and self._control.size:
                live.regulate(self._threshold, self._rates, counts, n, self._control)
        self._delay.pass_on(steps)
        nothing = np.empty(0, self.kind)
        return Rows(self._spans[0], self._spans[1], self._spikes.reshape(-1), nothing)

    def scores(self, steps: int) -> Array:
        """Return the last steps' scores, ``(steps, B, C)``; the next steps write over them."""
        found: Array = self._logits[:steps]
        return found

    def tally(self, steps: int, counts: Array) -> Array:
        """Add the last steps' spikes to ``counts`` ``(N,)``; return the sum of their scores."""
        live.tally(self._spikes.reshape(-1), self._spans, self._n_recordings, steps, counts)
        scores: Array = self.scores(steps).sum(axis=0)
        return scores

    def flush(self) -> None:
        """Write the updates that wait."""
        if self._at[live.STEPS]:
            live.flush(self._weights, *self._ledger, self._at, self._membrane.beta)


class LivePassage:
    """A stream on its way.

    Parameters
    ----------
    stages : list of LiveBlock
        The blocks.
    n_recordings : int
        Recordings B.
    filters : tuple of Evidence
        The evidence filter.
    """

    def __init__(
        self, stages: list[LiveBlock], n_recordings: int, filters: tuple[Evidence, ...]
    ) -> None:
        self.stages, self.n_recordings, self.filters = stages, n_recordings, filters
        self.dtype = torch.from_numpy(np.empty(0, stages[0].kind)).dtype
        #: Whether all blocks run in one compiled loop.
        self.compared = all(stage.compare is not None for stage in stages)
        self.steps = 0
        self.signal: tuple[Tensor, Array] | None = None
        self.table = np.stack([stage.entries for stage in stages])
        self.numbers = np.array([stage.numbers() for stage in stages])

    def make_room(self, steps: int, *, valued: bool) -> None:
        """Make room for some steps; ``valued`` as in :meth:`LiveBlock.make_room`, for the first."""
        made = [
            stage.make_room(steps, valued=valued and not k) for k, stage in enumerate(self.stages)
        ]
        if any(made):
            self.table = np.stack([stage.entries for stage in self.stages])

    def look_up_sizes(self) -> None:
        """Take over the optimisers' step sizes."""
        for k, stage in enumerate(self.stages):
            self.numbers[k, 2], self.numbers[k, 3] = stage.sizes()


class Lagging:
    """Writes what is owed before anybody asks a module of the stream for its weights.

    Parameters
    ----------
    modules : iterable of nn.Module
        The synapses.
    flush : callable
        Writes it.
    """

    def __init__(self, modules: Sequence[Any], flush: Callable[[], None]) -> None:
        def before(*_: Any, **__: Any) -> None:
            flush()

        self._handles = [
            handle
            for module in modules
            for handle in (
                module.register_forward_pre_hook(before),
                module.register_state_dict_pre_hook(before),
                module.register_load_state_dict_pre_hook(before),
            )
        ]

    def remove(self) -> None:
        """Let the modules alone."""
        for handle in self._handles:
            handle.remove()


@dataclass(frozen=True)
class LiveEngine:
    """Runs streams through chains of ``Linear`` blocks.

    Parameters
    ----------
    net : nn.Module
        The network.
    links : list of Link
        The chain.
    rule : LocalRule
        Gives modulators.
    tensors : dict of str to Tensor
        What the rule drew.
    """

    net: nn.Module
    links: list[Link]
    rule: LocalRule
    tensors: dict[str, Tensor]

    def begin(
        self,
        n_recordings: int,
        filters: tuple[Evidence, ...],
        optimizers: Sequence[torch.optim.Optimizer | None],
    ) -> LivePassage:
        """Start a stream.

        Raises
        ------
        NotAChain
            If the network is in a state that only the reference engine runs.
        """
        check_state(self.net, self.links, training=True)
        signal = self.rule.current(self.tensors, 1)
        signals = 0 if signal is None else len(signal)
        control = self.rule.stream_homeostasis
        stages = []
        for link, optimizer in zip(self.links, optimizers, strict=True):
            if control is not None:
                thresholds_of(link.block)
            membrane = membrane_of(link.block)
            if membrane is None:
                raise NotAChain(f"neuron '{link.block.neuron_name}' is not compiled")
            stages.append(
                LiveBlock(
                    link,
                    self.rule,
                    self.tensors,
                    membrane,
                    n_recordings,
                    signals,
                    optimizer,
                    control,
                )
            )
        return LivePassage(stages, n_recordings, filters)

    def run(
        self,
        x: EventBatch,
        passage: LivePassage,
        labels: Array | None,
        watch: Callable[[int], None] | None = None,
        *,
        every_step: bool = False,
    ) -> tuple[Array, Array]:
        """Take the time steps of ``x``, with an update at every one if there are labels.

        ``watch`` is told after every few steps how many they were.

        Returns
        -------
        sums : ndarray, shape (3, blocks)
            Losses, right recordings, and spikes of the recordings.
        scores : ndarray, shape (blocks, T, B, C)
            Those of each step; of the last one alone, T = 1, unless ``every_step``.
        """
        stages, n = passage.stages, passage.n_recordings
        sums = np.zeros((3, len(stages)))
        kept = x.time_steps if every_step else 1
        scores = np.empty((len(stages), kept, n, self.rule.num_classes), stages[0].kind)
        known: Array = labels if labels is not None else np.zeros(n, np.int64)
        for stage in stages:
            stage.check()
        most = steps_at_once(stages[0].rows)
        for first in range(0, x.time_steps, most):
            steps = min(most, x.time_steps - first)
            rows = Rows.of_window(x, first, first + steps, passage.dtype)
            passing = weights_of(passage.filters, passage.steps + 1, steps)
            signal = self._signal(passage.steps + 1, steps, passage)
            given = (steps, *rows, signal, passing, known, labels is not None)
            passage.make_room(steps, valued=bool(rows.values.size))
            if passage.compared:
                passage.look_up_sizes()
                live.advance_blocks(passage.table, passage.numbers, *given, sums)
            else:
                for k, stage in enumerate(stages):
                    rows = stage.run(
                        rows, steps, signal, passing, known, labels is not None, sums[:, k]
                    )
            for k, stage in enumerate(stages):
                found = stage.scores(steps)
                if every_step:
                    scores[k, first : first + steps] = found
                else:
                    scores[k, 0] = found[-1]
            passage.steps += steps
            if watch is not None:
                watch(steps)
        return sums, scores

    def _signal(self, first: int, steps: int, passage: LivePassage) -> Array:
        """Return the first block's signal currents, once if they stay the same."""
        found = [self.rule.current(self.tensors, first + step) for step in range(steps)]
        if found[0] is None:
            return np.empty((1, 0, 0), passage.stages[0].kind)
        if any(item is not found[0] for item in found):
            return np.stack([item.flatten(1).numpy() for item in found if item is not None])
        if passage.signal is None or passage.signal[0] is not found[0]:
            passage.signal = (found[0], found[0].flatten(1).numpy()[None].copy())
        return passage.signal[1]

    @staticmethod
    def flush(passage: LivePassage) -> None:
        """Write all updates that wait."""
        for stage in passage.stages:
            stage.flush()
