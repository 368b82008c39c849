"""ForwardLearner: a plain network and a rule, put to work."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from spikeprop import checks
from spikeprop.binding import bind_network
from spikeprop.blocks import Block
from spikeprop.checkpoint import load_state, save_state
from spikeprop.classes import add_class
from spikeprop.datasets import EventBatch
from spikeprop.engines import (
    ENGINES,
    TRACES,
    Choice,
    Passage,
    StepwiseEngine,
    StreamChoice,
    choose,
    choose_for_stream,
    density_of,
)
from spikeprop.engines.chain import NotAChain
from spikeprop.engines.passage import Seen
from spikeprop.evidence import Evidence
from spikeprop.metrics import Metrics, final_logits, mean_logits, measure, read_out
from spikeprop.neurons import reset
from spikeprop.norms import following_statistics
from spikeprop.parallel import Ranks, Share
from spikeprop.parallel.shares import begin_sharing, silent_row
from spikeprop.rules import LocalRule, Rule
from spikeprop.saving import restore, state_of
from spikeprop.streams import LiveStream, StepwiseStream, Stream
from spikeprop.surroundings import flushed_denormals, mode, no_compiler, randomness
from spikeprop.threads import for_kernels
from spikeprop.thresholds import keep_rates

if TYPE_CHECKING:
    from spikeprop.fit import Callback, EpochResult, Evaluation, Part
    from spikeprop.readout import ExportedNetwork

__all__ = ["ForwardLearner", "Metrics"]

OptimizerFactory = Callable[[list[nn.Parameter]], torch.optim.Optimizer]
SchedulerFactory = Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler]

_LOG = logging.getLogger("spikeprop")

TIMES = ("step", "inside")


def default_optimizer(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Adam at 1e-4, the step size measured best for an update at every time step."""
    return torch.optim.Adam(parameters, lr=1e-4, fused=True)


class ForwardLearner:
    """Trains a plain network in forward passes only, by a local rule.

    The network stays what it is: learning happens in forward hooks, inside the user's own forward
    pass, or in a faster engine that gives the same numbers; what only learning needs (class
    signals, optimisers) is kept here.

    Parameters
    ----------
    net : nn.Module
        A network with pairs of synapse (``Linear``, ``Conv2d``) and neuron
        (:mod:`spikeprop.neurons` or ``snntorch.Leaky``). By default it maps one time step and its
        neurons keep their state (``init_hidden=True``).
    rule : Rule
        For instance ``SigProp(num_classes=10)``.
    optimizer : callable, optional
        ``parameters -> torch.optim.Optimizer``, called once per block; Adam at 1e-4 if not given.
    scheduler : callable, optional
        ``optimizer -> LRScheduler``, called once per block and stepped after every ``update``.
    update_every : int, optional
        Time steps between two weight updates; 1 learns at every step, and a number of at least T
        once a sequence. Gradients in between are summed. What the rule is meant for if not given:
        1, but for those that would keep a trace a synapse.
    engine : {"auto", "reference", "chunked", "event"}
        How the numbers are computed. "reference" runs the network step by step; "chunked" runs
        block after block with one dense product for all the steps between two updates; "event" does
        so with sparse events. "auto" takes the fastest that can run the network, and leaves the
        others to the reference. :attr:`engine_choice` says which it was, and why.
    traces : {"synapse", "chunk", "layer"}
        What stands for the eligibility traces of a layer whose neurons share no linear filter (a
        ``beta`` per neuron, nonlinear dynamics): one a synapse, exact and ``F_out`` times as
        costly; the reverse filter between two updates, what came before cut; or one mean filter
        for the layer, an approximation. See :mod:`spikeprop.engines.credit`.
    time : {"step", "inside"}
        "inside" for a network whose ``forward`` takes ``(T, B, *features)`` and loops over time.
    seed : int
        Seed of the class signals and of dropout.
    group : {"auto", None}
        With "auto", in one of several processes of an initialised ``torch.distributed`` group, the
        processes learn together: each gives ``update`` its part of a batch, ``fit`` and
        ``evaluate`` split whole ones (:mod:`spikeprop.parallel`). None learns alone.

    Raises
    ------
    TypeError, ValueError
        For arguments of another kind, or outside their range.

    Notes
    -----
    The blocks are found at the first ``update``, ``predict`` or ``step`` (they need the input's
    shape), or by :meth:`bind`. Homeostasis gives every neuron a threshold of its own: the keys of
    ``net.state_dict()`` stay, the shape of ``threshold`` grows.
    """

    def __init__(
        self,
        net: nn.Module,
        rule: Rule,
        *,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        update_every: int | None = None,
        engine: str = "auto",
        traces: str = "synapse",
        time: str = "step",
        seed: int = 0,
        group: str | None = "auto",
    ) -> None:
        if not isinstance(net, nn.Module):
            raise TypeError(f"net has to be a torch.nn.Module, got {type(net).__name__}")
        if not isinstance(rule, Rule):
            raise TypeError(f"rule has to be a Rule such as SigProp(num_classes=10), got {rule!r}")
        checks.one_of("engine", engine, ENGINES)
        checks.one_of("traces", traces, TRACES)
        checks.one_of("time", time, TIMES)
        if group is not None:
            checks.one_of("group", group, ("auto",))
        update_every = rule.update_every if update_every is None else update_every
        checks.positive_integer("update_every", update_every)
        self.net = net
        self.rule = rule
        self.update_every = update_every
        self.engine = engine
        self.traces = traces
        self.time = time
        self.seed = seed
        self.group = group
        self.updates = 0
        self.optimizers: list[torch.optim.Optimizer | None] = []
        self.schedulers: list[torch.optim.lr_scheduler.LRScheduler] = []
        self._make_optimizer = optimizer or default_optimizer
        self._make_scheduler = scheduler
        self.has_scheduler = scheduler is not None  # of the user's own; ``fit`` brings others
        #: Shape of one time step of one sample; None before it is known.
        self.input_shape: torch.Size | None = None
        self.time_steps = 1
        #: The engine of the last ``update`` or prediction, and why; None before the first.
        self.engine_choice: Choice | StreamChoice | None = None
        #: Density of the first input: what "auto" chose by, kept with the state so that a learner
        #: that goes on makes the same choice, to the same bits.
        self.density: float | None = None
        self._reference: StepwiseEngine | None = None
        self._chosen: Choice | None = None
        self._stream: Stream | None = None
        self._waiting_schedules: list[dict[str, Any]] = []
        self.shares, self._near = False, False

    # ------------------------------------------------------------------ the network

    @property
    def blocks(self) -> list[Block]:
        """The blocks of the network, in the order of the forward pass.

        Raises
        ------
        RuntimeError
            Before the input's shape is known.
        """
        return self.bound().blocks

    def bind(self, input_shape: Sequence[int], time_steps: int = 1) -> None:
        """Find the blocks and draw the class signals for an input of the given shape.

        Parameters
        ----------
        input_shape : sequence of int
            Shape of one time step of one sample, without batch.
        time_steps : int
            Length of the trial sequence for a network with ``time="inside"``.

        Raises
        ------
        ValueError
            If the network has no trainable block or does not take such an input.
        """
        self._reference = bind_network(
            self.net,
            self.rule,
            input_shape,
            time_inside=self.time == "inside",
            time_steps=time_steps,
            seed=self.seed,
            traces=self.traces,
            make_optimizer=self._made,
        )
        self.use_density(None)
        self.input_shape, self.time_steps = torch.Size(input_shape), time_steps
        self.optimizers = self._make_optimizers(self._reference.blocks)
        self.set_scheduler(self._make_scheduler)

    def set_optimizer(self, optimizer: OptimizerFactory) -> None:
        """Give every block another optimiser from here on; it ends a stream.

        Raises
        ------
        RuntimeError
            Before the input's shape is known.
        TypeError
            If it makes no ``torch.optim.Optimizer``.
        """
        blocks = self.blocks
        self.reset()
        self._make_optimizer = optimizer
        self.optimizers = self._make_optimizers(blocks)
        self._chosen = self.engine_choice = None
        self.set_scheduler(self._make_scheduler)

    def _make_optimizers(self, blocks: Sequence[Block]) -> list[torch.optim.Optimizer | None]:
        learning = self.rule.trains_blocks
        return [self._made(b.parameters) if learning and b.trained else None for b in blocks]

    def _made(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        with no_compiler():
            optimizer = self._make_optimizer(parameters)
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise TypeError(
                f"optimizer has to return a torch.optim.Optimizer, got {type(optimizer).__name__}; "
                f"give a callable such as lambda p: torch.optim.SGD(p, lr=0.1)"
            )
        return optimizer

    @property
    def all_optimizers(self) -> list[torch.optim.Optimizer | None]:
        """Those of the blocks, then that of the tensors that the rule learns, if any."""
        own = None if self._reference is None else self._reference.own_optimizer
        return self.optimizers if own is None else [*self.optimizers, own]

    def set_scheduler(self, scheduler: SchedulerFactory | None) -> None:
        """Put a new scheduler on every block's optimiser; None for a constant rate."""
        self._make_scheduler = scheduler
        trained = [optimizer for optimizer in self.all_optimizers if optimizer is not None]
        self.schedulers = [] if scheduler is None else [scheduler(item) for item in trained]
        if self.schedulers and self._waiting_schedules:
            for item, state in zip(self.schedulers, self._waiting_schedules, strict=True):
                try:
                    item.load_state_dict(state)
                except (KeyError, TypeError, AttributeError) as error:
                    raise ValueError(f"the saved schedule does not fit: {error!r:.200}") from error
                # Making a scheduler set the first step's rate; this is the one that was saved.
                for group, rate in zip(
                    item.optimizer.param_groups, item.get_last_lr(), strict=True
                ):
                    group["lr"] = rate
            self._waiting_schedules = []

    def resume_schedules(self, states: Sequence[dict[str, Any]]) -> None:
        """Let the schedulers go on from saved states, now or as soon as they are made."""
        self._waiting_schedules = list(states)
        self.set_scheduler(self._make_scheduler)

    def to(self, device: torch.device | str) -> ForwardLearner:
        """Move the network, the class signals and the optimisers' state to ``device``."""
        self.reset()
        self.net.to(device)
        if self._reference is not None:
            self._chosen = None
            for name, value in self._reference.tensors.items():
                if isinstance(value, nn.Parameter):  # the rule's optimiser holds it
                    value.data = value.data.to(device)
                else:
                    self._reference.tensors[name] = value.to(device)
            for optimizer in self.all_optimizers:
                if optimizer is not None:  # loading casts the state to where its parameters are
                    optimizer.load_state_dict(optimizer.state_dict())
        return self

    @property
    def ranks(self) -> Ranks | None:
        """The processes that learn together; None for one alone."""
        return None if self.group is None else Ranks.present()

    def meet(self) -> Ranks | None:
        """Return the processes that learn together, None for one alone; all have to call.

        The first call gives every process the network, signals and optimisers of the first.

        Raises
        ------
        ValueError
            If the rule or the network cannot be split.
        """
        ranks = self.ranks
        if ranks is not None and not self.shares:
            self._near = begin_sharing(self, ranks)
            self.shares = True
        return ranks

    def share(self, n_recordings: int) -> Share | None:
        """Return this process's share of a batch of which it has so many recordings; see `meet`.

        Raises
        ------
        ValueError
            If the rule or the network cannot be split, or there is no recording at all.
        """
        ranks = self.meet()
        return None if ranks is None else Share(ranks, n_recordings, self._near)

    @property
    def device(self) -> torch.device:
        """Where the network's parameters are."""
        return next(self.net.parameters()).device

    def bound(self) -> StepwiseEngine:
        """Return the engine that knows the blocks.

        Raises
        ------
        RuntimeError
            Before the input's shape is known.
        """
        if self._reference is None:
            raise RuntimeError(
                "the network's blocks are not known yet: call update, predict, step, or "
                "bind(input_shape) first"
            )
        return self._reference

    def _ready(self, shape: torch.Size, time_steps: int = 1) -> StepwiseEngine:
        if self._reference is None:
            self.bind(shape, time_steps=time_steps)
        checks.same_features(shape, self.input_shape)
        return self.bound()

    def use_density(self, density: float | None) -> None:
        """Choose the engine anew for inputs of a density (0 to 1); None measures the next one."""
        self.density = density
        self._chosen = self.engine_choice = None

    def _run(
        self,
        x: Tensor | EventBatch,
        filters: tuple[Evidence, ...],
        label: Tensor | None,
        optimizers: Sequence[torch.optim.Optimizer | None] | None,
        share: Share | None = None,
    ) -> Passage[Any]:
        """Run a batch of whole sequences by the engine that suits it."""
        reference = self._ready(x.shape[2:], x.shape[0])
        if self._chosen is None:
            if self.density is None:
                found = torch.tensor(density_of(x), dtype=torch.float64)
                self.density = float(found if share is None else share.mean(found))
            self._chosen = choose(
                self.engine, reference, self.density, self.update_every, self.optimizers
            )
            self._chosen.engine.lay_out(self.optimizers)
            _LOG.info("%s", self._chosen)
        choice = self._chosen
        n, x = x.shape[1], x.to(self.device)
        try:
            passage: Passage[Any] = choice.engine.begin(
                n, filters, label, optimizers, self.update_every
            )
        except NotAChain as error:
            if self.engine not in ("auto", "reference"):
                raise ValueError(
                    f"engine={self.engine!r} cannot run this network now: {error}"
                ) from error
            # For this batch only: the reason may go away, for instance with eval mode.
            choice = Choice("reference", str(error), reference)
            passage = reference.begin(n, filters, label, optimizers, self.update_every)
        self.engine_choice = choice
        choice.engine.run(x, passage)
        return passage

    def adopt(self, rule: Rule, engine: StepwiseEngine) -> None:
        """Go on with another version of the rule, and the engine that has its tensors."""
        self.rule, self._reference, self._chosen = rule, engine, None
        self.reset()

    # ------------------------------------------------------------------ learning

    def update(self, x: Tensor | EventBatch, label: Tensor) -> Metrics:
        """Learn from a batch of sequences in one forward pass.

        Parameters
        ----------
        x : Tensor or EventBatch
            ``(T, B, *features)``, time first; floating-point as the network, or integer counts; or
            the same as sparse events, which never become dense in an event-driven engine.
        label : Tensor
            Classes ``(B,)``, integers from 0 to ``num_classes - 1``; vectors ``(B, num_classes)``
            for a rule of regression.

        Returns
        -------
        Metrics
            Measured while learning.

        Raises
        ------
        TypeError, ValueError
            If shape, type, range or finiteness of an argument (or of a weight) is wrong.
        FloatingPointError
            If a block's loss becomes NaN or infinite; the message names the block.
        """
        share = None
        if self.ranks is not None and isinstance(x, (Tensor, EventBatch)) and len(x.shape) > 2:
            self._ready(x.shape[2:], x.shape[0])
            share = self.share(x.shape[1])
            if not x.shape[1]:
                x, label = silent_row(x, label)
        if self.rule.regression:
            checks.sequence(x, None, self.rule.num_classes, self.net)
            like = next(self.net.parameters())
            label = checks.vectors(label, x.shape[1], self.rule.num_classes, like)
        else:
            label = checks.sequence(x, label, self.rule.num_classes, self.net)
        self._ready(x.shape[2:], x.shape[0])
        with for_kernels(self._chosen is not None and self._chosen.in_kernels):
            return self._update(x, label, share)

    def _update(self, x: Tensor | EventBatch, label: Tensor, share: Share | None) -> Metrics:
        checks.finite_weights(self.net)
        label = label.to(self.device)
        self.reset()
        with (
            mode(self.net, training=True),
            randomness(self.seed, self.updates, self.device),
            flushed_denormals(),
        ):
            passage = self._learn(x, label, share)
            metrics = measure(
                passage,
                label,
                self.rule.predict_from,
                last_step=False,
                regression=self.rule.regression,
            )
            whole = None if share is None else share.begin_whole(metrics, passage)
            passage.settle()  # the last sums of gradients arrive before those of metrics
        self.updates += 1
        reset(self.net)
        if whole is not None:
            metrics, passage = whole()
        checks.finite_loss(metrics.loss, self.blocks, self.updates)
        if self.rule.homeostasis is not None:
            keep_rates(self.rule.homeostasis, passage)
        for scheduler in self.schedulers:
            scheduler.step()
        return metrics

    def _learn(self, x: Tensor | EventBatch, label: Tensor, share: Share | None) -> Passage[Any]:
        filters, n = self.rule.filters(x.shape[0]), x.shape[1]
        if share is None:
            with following_statistics(self.net, n):
                return self._run(x, filters, label, self.optimizers)
        with (
            following_statistics(self.net, n, lambda: share.total, share.mean),
            share.dropout(self.net, self.rule),
            share.reducing(self.bound().own_optimizer),
        ):
            return self._run(x, filters, label, share.optimizers(self.optimizers), share)

    def step(self, x_t: Tensor | EventBatch, label: Tensor | None = None) -> Metrics:
        """Take one time step of a stream that need not end, and learn from it if it has a label.

        Memory does not grow with the number of steps. Evidence and homeostasis are the rule's
        stream versions. The stream begins at the first call, and anew after :meth:`reset` or after
        any ``update``, ``predict`` or ``logits``.

        With plain SGD, an update at every step and a chain of ``Linear`` blocks, the event engine
        (:mod:`spikeprop.engines.live`) learns at every step but writes weights later, when their
        input fires or some steps are over. They are up to date wherever the learner or a module
        of the network is asked for them (``state_dict``, ``save``, ``reset``, ``predict``, calling
        the network); before you read a weight's numbers yourself, call :meth:`flush`.

        Parameters
        ----------
        x_t : Tensor or EventBatch
            ``(B, *features)``, or a batch of events of one time step; B stays the same throughout a
            stream.
        label : Tensor, optional
            ``(B,)``; None predicts without learning.

        Returns
        -------
        Metrics
            Of this time step; ``logits`` are those of the leaky evidence.

        Raises
        ------
        TypeError, ValueError
            If an argument is wrong, if B changes within a stream, or for ``time="inside"``.
        FloatingPointError
            If a block's loss becomes NaN or infinite.
        """
        label = checks.single_step(x_t, label, self.rule.num_classes, self.net)
        return self._steps(x_t if isinstance(x_t, EventBatch) else x_t[None], label)

    def steps(
        self, x: Tensor | EventBatch, label: Tensor | None = None, *, every_step: bool = False
    ) -> Metrics:
        """Take several time steps of a stream at once; the same numbers as :meth:`step` on each.

        Learns at every one of them, if there are labels. Less work surrounds a step, so that this
        is for recordings that are played through a stream, and for one that has fallen behind.

        Parameters
        ----------
        x : Tensor or EventBatch
            ``(T, B, *features)``.
        label : Tensor, optional
            ``(B,)``, for all the steps.
        every_step : bool
            Return the scores of every step.

        Returns
        -------
        Metrics
            Means over the steps; ``logits`` and ``prediction`` are those of the last, or, if
            ``every_step``, of each: ``(n_blocks, T, B, C)`` and ``(T, B)``.

        Raises
        ------
        TypeError, ValueError, FloatingPointError
            As :meth:`step`.
        """
        given = checks.sequence(x, label, self.rule.num_classes, self.net)
        return self._steps(x, None if label is None else given, every_step=every_step)

    def _steps(
        self, x: Tensor | EventBatch, label: Tensor | None, *, every_step: bool = False
    ) -> Metrics:
        if self.ranks is not None:
            raise ValueError(
                "a stream is not split among processes: give ForwardLearner group=None, or put the "
                "blocks into a pipeline (spikeprop.parallel.pipeline)"
            )
        if self.time == "inside":
            raise ValueError(
                "step needs a network that maps one time step and keeps its state "
                "(init_hidden=True); with time='inside' the network runs whole sequences only"
            )
        if not self.rule.streams:
            raise ValueError(
                f"{type(self.rule).__name__} cannot follow a stream: its signals depend on labels "
                f"that are known for a whole sequence, or stand in time steps of their own; use "
                f"update, or class signals with placement='parallel'"
            )
        steps, n, *features = x.shape
        reference = self._ready(torch.Size(features))
        if self._stream is None:
            self._stream = self._begin_stream(reference, n)
        checks.same_stream(n, self._stream.n_recordings)
        metrics = self._stream.steps(x, label, self.updates, every_step=every_step)
        if label is not None:
            self.updates += steps
            checks.finite_loss(metrics.loss, self.blocks, self.updates)
        return metrics

    def _begin_stream(self, reference: StepwiseEngine, n: int) -> Stream:
        checks.finite_weights(self.net)
        reset(self.net)
        choice = choose_for_stream(self.engine, reference, self.optimizers, self.update_every)
        stream: Stream | None = None
        if choice.name != "reference":
            try:
                stream = LiveStream(choice, n, self.optimizers)
            except NotAChain as error:  # a reason that may go away
                choice = StreamChoice("reference", f"a stream, and {error}", reference)
        if stream is None:
            stream = StepwiseStream(choice, n, self.optimizers, self.update_every, self.seed)
        self.engine_choice = choice
        _LOG.info("%s", choice)
        return stream

    def fit(
        self,
        train: Iterable[Any] | tuple[Tensor, Tensor],
        validation: Iterable[Any] | tuple[Tensor, Tensor] | None = None,
        *,
        epochs: int,
        start_epoch: int = 0,
        part: Part | None = None,
        guard: bool = False,
        batch_size: int = 50,
        schedule: str = "cosine",
        callbacks: Sequence[Callback] = (),
    ) -> list[EpochResult]:
        """Learn for several epochs; see :func:`spikeprop.fit.fit`."""
        from spikeprop.fit import fit

        return fit(
            self,
            train,
            validation,
            epochs=epochs,
            start_epoch=start_epoch,
            part=part,
            guard=guard,
            batch_size=batch_size,
            schedule=schedule,
            callbacks=callbacks,
        )

    # ------------------------------------------------------------------ prediction

    def logits(self, x: Tensor | EventBatch, *, final: bool = False) -> Tensor:
        """Return the scores of every block, without learning.

        Parameters
        ----------
        x : Tensor or EventBatch
            ``(T, B, *features)``.
        final : bool
            Scores of the last time step's evidence instead of the mean over time.

        Returns
        -------
        Tensor
            ``(n_blocks, B, C)``.

        Raises
        ------
        TypeError, ValueError
            If shape, type or finiteness of ``x`` (or of a weight) is wrong.
        """
        passage = self._observe(x)
        return final_logits(passage) if final else mean_logits(passage)

    def predict(self, x: Tensor | EventBatch, *, final: bool = False) -> Tensor:
        """Return the class of each recording, ``(B,)``; parameters as :meth:`logits`."""
        logits = self.logits(x, final=final)
        return read_out(logits, self.rule.predict_from, self.rule.regression)

    def add_class(self) -> int:
        """Let the network learn one class more from now on, without a restart; return its number.

        Weights, optimisers, schedules and counters go on. The rule draws a signal for the new class
        (and an output at zero, where one is trained); :meth:`save` keeps all of it, for a learner
        made with a rule of the larger ``num_classes``. A running stream begins anew.

        Raises
        ------
        RuntimeError
            Before the input's shape is known.
        TypeError
            If the rule's number of classes is fixed.
        """
        add_class(self)
        return self.rule.num_classes - 1

    def evaluate(
        self, data: Iterable[Any] | tuple[Tensor, Tensor], *, batch_size: int = 50
    ) -> Evaluation:
        """Measure accuracy on labelled data; see :func:`spikeprop.fit.evaluate`."""
        from spikeprop.fit import evaluate

        return evaluate(self, data, batch_size=batch_size)

    def export(
        self,
        *,
        time_steps: int,
        fold_thresholds: bool = False,
        readout: str = "voltage",
        data: Iterable[Any] | None = None,
    ) -> ExportedNetwork:
        """Return a plain network with its readout; see :func:`spikeprop.readout.export`."""
        from spikeprop.readout import export

        return export(
            self,
            time_steps=time_steps,
            fold_thresholds=fold_thresholds,
            readout=readout,
            data=data,
        )

    def class_readout(self, time_steps: int) -> tuple[Tensor, Tensor, bool]:
        """Return the last block's classes as a linear layer on the evidence after T steps.

        Parameters
        ----------
        time_steps : int
            Length T of the recordings.

        Returns
        -------
        weight : Tensor
            ``(C, F)``.
        bias : Tensor
            ``(C,)``.
        rectify : bool
            Whether the evidence is to be rectified first.

        Raises
        ------
        TypeError
            If the rule predicts by other means.
        """
        engine = self.bound()
        if not isinstance(self.rule, LocalRule):
            raise TypeError(
                f"{type(self.rule).__name__} does not predict from evidence, so that its classes "
                f"are no linear layer on it"
            )
        like: Any = self.blocks[0].synapse.weight
        # One empty recording: the class signals beside it do not depend on it.
        x = like.detach().new_zeros((time_steps, 1, *(self.input_shape or ())))
        self.reset()
        passage = engine.begin(1, self.rule.filters(time_steps))
        with mode(self.net, training=False):
            engine.run(x, passage)
        self.reset()
        last = passage.blocks[-1]
        return self.rule.linear_readout(last.block.index, last.evidence, 1, engine.tensors)

    def flush(self) -> None:
        """Write the weight updates of a stream that still wait (see :meth:`step`)."""
        if self._stream is not None:
            self._stream.flush()

    def reset(self) -> None:
        """Forget the stream: hidden state, traces and evidence; what it has learned stays."""
        if self._stream is not None:
            self._stream.close()
        self._stream = None
        reset(self.net)

    def _observe(self, x: Tensor | EventBatch) -> Passage[Seen]:
        checks.sequence(x, None, self.rule.num_classes, self.net)
        checks.finite_weights(self.net)
        self._ready(x.shape[2:], x.shape[0])
        self.reset()
        with mode(self.net, training=False), flushed_denormals():
            passage = self._run(x, self.rule.filters(x.shape[0]), None, None)
        reset(self.net)
        return passage

    # ------------------------------------------------------------------ state

    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to go on: network, signals, optimisers, schedulers, counters.

        Random state is a function of ``seed`` and ``updates``, and therefore part of it.
        """
        return state_of(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up where ``state`` was left; nothing is changed if it does not fit.

        Raises
        ------
        ValueError
            If it comes from another version, another rule or settings, or another network.
        """
        restore(self, state)

    def save(self, path: str | Path) -> None:
        """Write :meth:`state_dict` to one safetensors file, whole or not at all.

        Raises
        ------
        ValueError
            If a weight is NaN or infinite: such a state is not worth keeping.
        """
        save_state(path, self.state_dict())

    def load(self, path: str | Path) -> ForwardLearner:
        """Read what :meth:`save` wrote into this learner and its network, and return the learner.

        Loading never executes code.

        Raises
        ------
        FileNotFoundError, ValueError
            If there is no such file, it is damaged, or it does not fit.
        """
        self.load_state_dict(load_state(path))
        return self
