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

from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from spikeprop import checks
from spikeprop.engines import density_of
from spikeprop.metrics import Metrics, measure
from spikeprop.neurons import reset
from spikeprop.norms import following_statistics
from spikeprop.parallel.channel import BATCH, END, WINDOW, Channel, Head
from spikeprop.parallel.ranks import Ranks
from spikeprop.parallel.stages import Stage, Stepwise, balanced, check_pipeline, make_stage
from spikeprop.parallel.streaming import StagedStream
from spikeprop.parallel.wire import labels_of, of_labels
from spikeprop.surroundings import flushed_denormals, mode
from spikeprop.thresholds import keep_rates

if TYPE_CHECKING:
    from spikeprop.learner import ForwardLearner

__all__ = ["Learned", "Pipeline"]


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
        self.channel = Channel(found)
        self._stage: Stage | None = None

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
        sent = self.channel.bytes_sent
        for x, label, steps in self._batches(batches):
            metrics = self._batch(x, label, steps)
            n = len(label)
            mine = torch.stack([metrics.loss, metrics.accuracy, metrics.rate]).double().cpu()
            sums[:-3].view(3, -1)[:, self._made.places] += n * mine
            if self.last:
                sums[-3] += n
                if not self.learner.rule.regression:
                    sums[-2] += float((metrics.prediction.cpu() == label.cpu()).sum())
        self.channel.settle()
        sums[-1] = self.channel.bytes_sent - sent
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
                head = Head(BATCH, number=x.shape[0], share=learner.density or 0.0)
                self.channel.send(head, of_labels(label), more=True)
                yield x, label, x.shape[0]
            self.channel.send(Head(END))
            return
        while True:
            head, content = self.channel.receive()
            self.channel.send(head, content, more=head.what == BATCH)
            if head.what == END:
                return
            self._make(head.share)
            yield None, labels_of(content), int(head.number)

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
            for out in stage.run(x, steps, passage, partial(self._window, stage)):
                if not self.last:
                    kind, rows, content = stage.pack(out)
                    self.channel.send(Head(WINDOW, kind=kind, rows=rows), content)
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
        stream = StagedStream(self)
        if self.first:
            if steps is None:
                raise ValueError("the first process of a pipeline reads the stream: got None")
            for x_t, label in steps:
                yield stream.step(x_t, label)
        else:
            yield from stream.steps_before()
        stream.end()

    # ------------------------------------------------------------------ the whole network

    def gather(self) -> None:
        """Give every process the whole network with all that was learned; all have to call."""
        learner = self.learner
        learner.flush()
        own = learner.state_dict()
        whole = {**own, "network": dict(own["network"])}
        names = {module: name for name, module in learner.net.named_modules()}
        for rank, places in enumerate(self.places):
            stage = make_stage(Stepwise(learner), places, learner.density or 1.0)
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
        head, content = self.channel.receive()
        return stage.unpack(int(head.kind), content, steps, int(head.rows))


def _given(cuts: Iterable[int], blocks: int, stages: int) -> list[slice]:
    ends = [*cuts, blocks]
    begins = [0, *ends[:-1]]
    if len(ends) != stages or any(a >= b for a, b in zip(begins, ends, strict=True)):
        raise ValueError(
            f"cuts have to be {stages - 1} ascending numbers of blocks within 1 .. {blocks - 1}, "
            f"got {ends[:-1]}"
        )
    return [slice(a, b) for a, b in zip(begins, ends, strict=True)]
