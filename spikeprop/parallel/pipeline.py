"""The blocks of one network in different processes: spikes travel forward, and nothing back.

::

    process 0    x_1  x_2  x_3  ...  ─►  blocks 1..k, each learns at every time step
                          │ spikes of all rows, recordings and signals
    process 1                  x'_1  x'_2  ...  ─►  blocks k+1.., each learns at every time step

A block's update needs nothing of later blocks, so that a stage goes on with the next time step, and
the next batch, as soon as it has sent its spikes: there is no bubble but the first window of an
epoch, and no staleness, since the spikes of step t were made by the weights of step t, as in one
process. The numbers are those of one process.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from spikeprop import checks
from spikeprop.datasets import EventBatch
from spikeprop.engines import ReferenceEngine, density_of
from spikeprop.engines.rows import Rows
from spikeprop.evidence import as_filters
from spikeprop.metrics import Metrics, measure
from spikeprop.neurons import reset
from spikeprop.norms import following_statistics
from spikeprop.parallel.ranks import Ranks
from spikeprop.parallel.stages import Stage, balanced, check_pipeline, make_stage
from spikeprop.parallel.wire import encode
from spikeprop.surroundings import flushed_denormals, mode
from spikeprop.thresholds import StreamRates, keep_rates

if TYPE_CHECKING:
    from spikeprop.learner import ForwardLearner

__all__ = ["Learned", "Pipeline"]

BATCH, WINDOW, STEP, END = range(4)
"""What a message is."""
AHEAD = 8
"""Messages that may be on the way to the next stage at a time."""


class Learned(NamedTuple):
    """What some batches gave, the same in every process.

    Attributes
    ----------
    samples, right : int
        Recordings, and how many of them were predicted rightly while the network learned.
    loss, accuracy, rate : Tensor
        Means over the recordings, per block ``(n_blocks,)``.
    bytes_sent : int
        By all stages.
    """

    samples: int
    right: int
    loss: Tensor
    accuracy: Tensor
    rate: Tensor
    bytes_sent: int


class _Head(NamedTuple):
    """The numbers before a message: what it is, the kind and bytes of its content, and more."""

    what: float
    kind: float = 0.0
    size: float = 0.0
    rows: float = 0.0
    number: float = 0.0
    share: float = 0.0


class Pipeline:
    """Puts the blocks of a learner's network into the processes of a group, in their order.

    Parameters
    ----------
    learner : ForwardLearner
        Bound to its input's shape (:meth:`ForwardLearner.bind`); the same in every process.
    ranks : Ranks, optional
        The processes; the default group if not given.
    cuts : sequence of int, optional
        Numbers of the blocks that begin the second and later stages. Stages with about as many
        weights as each other if not given.

    Raises
    ------
    ValueError
        If there is no group, or network or rule cannot be cut.
    """

    def __init__(
        self, learner: ForwardLearner, ranks: Ranks | None = None, cuts: Iterable[int] | None = None
    ) -> None:
        found = ranks or Ranks.present()
        if found is None:
            raise ValueError(
                "a pipeline needs several processes: start them by torchrun, and call "
                "spikeprop.parallel.join()"
            )
        self.learner, self.ranks = learner, found
        reference, size = learner.bound(), found.size
        if learner.time == "inside":
            raise ValueError("a pipeline needs a network that maps one time step, time='step'")
        check_pipeline(learner.net, learner.rule, reference, size)
        costs = [float(sum(p.numel() for p in block.parameters)) for block in reference.blocks]
        self.places = balanced(costs, size) if cuts is None else _given(cuts, len(costs), size)
        state = found.state_of_first(learner.state_dict() if found.first else None)
        if not found.first:
            learner.load_state_dict(state)
        learner.shares = True  # evaluate need not spread the state again
        self.bytes_sent = 0
        self._stage: Stage | None = None
        self._sent: deque[tuple[Any, Tensor]] = deque()

    @property
    def first(self) -> bool:
        """Whether the input comes in here."""
        return self.ranks.first

    @property
    def last(self) -> bool:
        """Whether predictions come out here."""
        return self.ranks.rank == self.ranks.size - 1

    # ------------------------------------------------------------------ whole sequences

    def learn(self, batches: Iterable[Any] | None = None) -> Learned:
        """Learn from batches, one forward pass each; all processes have to call.

        Parameters
        ----------
        batches : iterable of (x, label)
            As :meth:`ForwardLearner.update` takes them; only the first process reads them.

        Returns
        -------
        Learned
            The same in every process. Weights stay where they are: see :meth:`gather`.

        Raises
        ------
        ValueError, TypeError, FloatingPointError
            As :meth:`ForwardLearner.update`.
        ConnectionError
            If a process is lost.
        """
        blocks = self.learner.blocks
        sums = torch.zeros(3 * len(blocks) + 3, dtype=torch.float64)
        sent = self.bytes_sent
        for x, label, steps in self._batches(batches):
            metrics = self._batch(x, label, steps)
            n = len(label)
            mine = torch.stack([metrics.loss, metrics.accuracy, metrics.rate]).double().cpu()
            sums[:-3].view(3, -1)[:, self._made.places] += n * mine
            if self.last:
                sums[-3] += n
                if not self.learner.rule.regression:
                    sums[-2] += float((metrics.prediction.cpu() == label.cpu()).sum())
        self._settle()
        sums[-1] = self.bytes_sent - sent
        sums = self.ranks.sum(sums)
        samples = int(sums[-3])
        if not samples:
            raise ValueError("batches gave no batch")
        loss, accuracy, rate = (sums[:-3] / samples).view(3, -1).float()
        return Learned(samples, int(sums[-2]), loss, accuracy, rate, int(sums[-1]))

    def _batches(self, batches: Iterable[Any] | None) -> Iterator[tuple[Any, Tensor, int]]:
        """Give the batches as they come: here, or from the stage before; announce them."""
        learner = self.learner
        if self.first:
            if batches is None:
                raise ValueError("the first process of a pipeline reads the batches: got None")
            for x, label in batches:
                label = self._checked(x, label)
                density = density_of(x) if self._stage is None else 0.0
                self._make(density)
                self._send(_Head(BATCH, number=x.shape[0], share=learner.density or 0.0), label)
                yield x, label, x.shape[0]
            self._send(_Head(END), None)
            return
        while True:
            head, content = self._receive()
            self._send(head, content)
            if head.what == END:
                return
            self._make(head.share)
            yield None, _labels(content), int(head.number)

    def _batch(self, x: Any, label: Tensor, steps: int) -> Metrics:
        learner, stage = self.learner, self._made
        rule, n = learner.rule, len(label)
        label = label.to(learner.device)
        reset(stage.net)
        own = learner.optimizers[stage.places]
        with (
            mode(learner.net, training=True),
            following_statistics(stage.net, n),
            flushed_denormals(),
        ):
            passage = stage.begin(n, rule.filters(steps), label, own, learner.update_every)
            if x is not None:
                x = stage.prepare(x.to(learner.device))
            for span in stage.spans(steps, n, learner.update_every):
                got = None if x is not None else self._window(stage, span.last - span.first)
                out = stage.run(x, span, passage, got)
                if not self.last:
                    self._forward(stage, _Head(WINDOW), out, None)
            stage.end(passage, steps)
        learner.updates += 1
        reset(stage.net)
        metrics = measure(
            passage, label, rule.predict_from, last_step=False, regression=rule.regression
        )
        checks.finite_loss(metrics.loss, stage.blocks, learner.updates)
        if rule.homeostasis is not None:
            keep_rates(rule.homeostasis, passage)
        if learner.schedulers:
            for scheduler in self._own_schedulers():
                scheduler.step()
        return metrics

    # ------------------------------------------------------------------ streams

    def stream(self, steps: Iterable[tuple[Any, Tensor | None]] | None = None) -> Iterator[Metrics]:
        """Follow a stream, one time step after another; learn at each one with a label.

        Parameters
        ----------
        steps : iterable of (x_t, label)
            As :meth:`ForwardLearner.step` takes them; only the first process reads them.

        Yields
        ------
        Metrics
            Of each time step, of this process's blocks; scores and prediction are the network's in
            the last process. A stage is as far behind as spikes are under way.

        Raises
        ------
        ValueError, TypeError, FloatingPointError
            As :meth:`ForwardLearner.step`.
        ConnectionError
            If a process is lost.
        """
        self.begin_stream()
        if self.first:
            if steps is None:
                raise ValueError("the first process of a pipeline reads the stream: got None")
            for x_t, label in steps:
                yield self.step(x_t, label)
        else:
            yield from self.steps_before()
        self.end_stream()

    def begin_stream(self) -> None:
        """Begin a stream anew; all processes have to call. :meth:`stream` does it itself.

        Raises
        ------
        ValueError
            If the rule cannot follow a stream.
        """
        rule = self.learner.rule
        if not rule.streams:
            raise ValueError(f"{type(rule).__name__} cannot follow a stream")
        places = self.places[self.ranks.rank]
        self._streaming = make_stage(_Stepwise(self.learner), places, 1.0)
        self.learner.reset()
        self._passage: Any = None
        control = rule.stream_homeostasis
        self._rates = None if control is None else StreamRates(control)

    def step(self, x_t: Tensor | EventBatch, label: Tensor | None = None) -> Metrics:
        """Give the pipeline a time step, in the first process; :meth:`stream` does it itself."""
        learner, stage = self.learner, self._streaming
        label = checks.single_step(x_t, label, learner.rule.num_classes, learner.net)
        if isinstance(x_t, EventBatch):
            x_t = x_t.to_dense(stage.engine.dtype)[0]
        label = None if label is None else label.to(learner.device)
        return self._step(x_t.to(learner.device), None, label, len(x_t))

    def end_stream(self) -> None:
        """End the stream; all processes have to call. :meth:`stream` does it itself."""
        if self.first:
            self._send(_Head(END), None)
        self._settle()
        reset(self._streaming.net)

    def steps_before(self) -> Iterator[Metrics]:
        """Take the steps of a stream that come from the stage before, to its end."""
        while True:
            head, content = self._receive()
            if head.what == END:
                self._send(head, None)
                return
            n, label = int(head.number), None
            if head.share:
                label = _labels(content[: 8 * n]).to(self.learner.device)
                content = content[8 * n :]
            rows = self._streaming.unpack(int(head.kind), content, 1, int(head.rows))
            assert isinstance(rows, Tensor), "stages of a stream take dense rows"
            yield self._step(None, rows[0], label, n)

    def _step(
        self, x_t: Tensor | None, rows: Tensor | None, label: Tensor | None, n: int
    ) -> Metrics:
        learner, stage, rule = self.learner, self._streaming, self.learner.rule
        engine = stage.engine
        assert isinstance(engine, ReferenceEngine), "made stepwise"
        if self._passage is None:
            own, filters = learner.optimizers[stage.places], as_filters(rule.stream_evidence)
            self._passage = stage.begin(n, filters, None, own, learner.update_every)
        passage = self._passage
        checks.same_stream(n, passage.n_recordings)
        for item in passage.blocks:
            item.begin_step(label)
        with mode(learner.net, training=label is not None), flushed_denormals():
            if rows is None:
                assert x_t is not None, "one of the two has come"
                rows = engine.rows(x_t, passage)
            out = engine.step_rows(rows, passage)
        if not self.last:
            self._forward(stage, _Head(STEP, number=n), out[None], label)
        metrics = measure(passage, label, rule.predict_from, last_step=True)
        if label is not None:
            learner.updates += 1
            checks.finite_loss(metrics.loss, stage.blocks, learner.updates)
            if self._rates is not None:
                self._rates.follow(passage)
        return metrics

    # ------------------------------------------------------------------ the whole network

    def gather(self) -> None:
        """Give every process the whole network with all that was learned; all have to call."""
        learner = self.learner
        learner.flush()
        own = learner.state_dict()
        whole = {**own, "network": dict(own["network"])}
        names = {module: name for name, module in learner.net.named_modules()}
        for rank, places in enumerate(self.places):
            stage = make_stage(_Stepwise(learner), places, learner.density or 1.0)
            prefixes = {names[m] for m in stage.net.modules() if m in names}
            keys = [k for k in own["network"] if k.rpartition(".")[0] in prefixes]
            trained = self._scheduled(places)
            part = self.ranks.state_of(
                rank,
                {
                    "network": {k: own["network"][k] for k in keys},
                    "optimizers": own["optimizers"][places],
                    "schedulers": [own["schedulers"][i] for i in trained],
                },
            )
            whole["network"].update(part["network"])
            whole["optimizers"][places] = part["optimizers"]
            for i, state in zip(trained, part["schedulers"], strict=True):
                whole["schedulers"][i] = state
        engine = learner.engine_choice
        learner.load_state_dict(whole)
        learner.engine_choice = engine
        self._stage = None  # weights may lie elsewhere now

    def _scheduled(self, places: slice) -> list[int]:
        """Which schedulers belong to some blocks: only those that are trained have one."""
        if not self.learner.schedulers:
            return []
        trained = [i for i, item in enumerate(self.learner.optimizers) if item is not None]
        wanted = range(places.start, places.stop)
        return [at for at, block in enumerate(trained) if block in wanted]

    def _own_schedulers(self) -> list[Any]:
        return [self.learner.schedulers[i] for i in self._scheduled(self._made.places)]

    # ------------------------------------------------------------------ parts

    def _make(self, density: float) -> None:
        if self._stage is None:
            # A learner that goes on makes the choice that it made.
            density = self.learner.density if self.learner.density is not None else density
            self._stage = make_stage(self.learner, self.places[self.ranks.rank], density)

    @property
    def _made(self) -> Stage:
        assert self._stage is not None, "a batch has come"
        return self._stage

    def _checked(self, x: Any, label: Any) -> Tensor:
        learner, rule = self.learner, self.learner.rule
        checks.finite_weights(learner.net)
        found = checks.sequence(x, label, rule.num_classes, learner.net)
        checks.same_features(x.shape[2:], learner.input_shape)
        return found

    def _window(self, stage: Stage, steps: int) -> Any:
        head, content = self._receive()
        return stage.unpack(int(head.kind), content, steps, int(head.rows))

    def _forward(self, stage: Stage, head: _Head, out: Any, label: Tensor | None) -> None:
        rows = out.starts.shape[1] if isinstance(out, Rows) else out.shape[1]
        kind, content = encode(out, rows, stage.width_out)
        if label is not None:
            content = np.concatenate([_bytes_of(label), content])
        self._send(head._replace(kind=kind, rows=rows, share=float(label is not None)), content)

    # ------------------------------------------------------------------ messages

    def _send(self, head: _Head, content: Any) -> None:
        """Begin to send a message to the next stage, if there is one."""
        if self.last:
            return
        if isinstance(content, Tensor):
            content = _bytes_of(content)
        parts = [] if content is None else [torch.from_numpy(np.require(content, None, ["C", "W"]))]
        head = head._replace(size=sum(part.numel() for part in parts))
        for part in (torch.tensor(head, dtype=torch.float64), *parts):
            if part.numel():
                part = part.to(self.ranks.device)
                self._sent.append((self.ranks.send(part, self.ranks.rank + 1), part))
                self.bytes_sent += part.numel() * part.element_size()
        while len(self._sent) > 2 * AHEAD:
            self.ranks.wait([self._sent.popleft()[0]])

    def _receive(self) -> tuple[_Head, Any]:
        """Wait for a message of the stage before."""
        numbers = torch.empty(len(_Head._fields), dtype=torch.float64, device=self.ranks.device)
        source = self.ranks.rank - 1
        self.ranks.wait([self.ranks.receive(numbers, source)])
        head = _Head(*numbers.tolist())
        content = torch.empty(int(head.size), dtype=torch.uint8, device=self.ranks.device)
        if len(content):
            self.ranks.wait([self.ranks.receive(content, source)])
        return head, content.cpu().numpy()

    def _settle(self) -> None:
        """Wait until all that was sent has gone."""
        while self._sent:
            self.ranks.wait([self._sent.popleft()[0]])


class _Stepwise:
    """A learner seen as one that steps through time with the network as it is."""

    def __init__(self, learner: ForwardLearner) -> None:
        self.net, self.optimizers = learner.net, learner.optimizers
        self.engine, self.update_every = "reference", learner.update_every
        self.density: float | None = learner.density
        self.engine_choice: Any = None
        self.bound = learner.bound


def _labels(content: Any) -> Tensor:
    return torch.from_numpy(np.frombuffer(content.tobytes(), dtype=np.int64).copy())


def _bytes_of(label: Tensor) -> Any:
    return np.frombuffer(label.cpu().numpy().tobytes(), dtype=np.uint8)


def _given(cuts: Iterable[int], blocks: int, stages: int) -> list[slice]:
    ends = [*cuts, blocks]
    begins = [0, *ends[:-1]]
    if len(ends) != stages or any(a >= b for a, b in zip(begins, ends, strict=True)):
        raise ValueError(
            f"cuts have to be {stages - 1} ascending numbers of blocks within 1 .. {blocks - 1}, "
            f"got {ends[:-1]}"
        )
    return [slice(a, b) for a, b in zip(begins, ends, strict=True)]
