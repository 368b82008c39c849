"""ForwardLearner: a plain network and a rule, put to work."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from spikeprop import checks
from spikeprop.blocks import Block, find_blocks
from spikeprop.checkpoint import load_state, save_state
from spikeprop.engines import ENGINES, TRACES, Passage, ReferenceEngine
from spikeprop.evidence import as_filters
from spikeprop.metrics import Metrics, final_logits, mean_logits, measure, read_out
from spikeprop.neurons import reset
from spikeprop.norms import following_statistics
from spikeprop.rules import Rule
from spikeprop.surroundings import mode, randomness
from spikeprop.thresholds import StreamRates, give_thresholds, keep_rates

if TYPE_CHECKING:
    from spikeprop.fit import Callback, EpochResult, Evaluation
    from spikeprop.readout import ExportedNetwork

__all__ = ["ForwardLearner", "Metrics"]

OptimizerFactory = Callable[[list[nn.Parameter]], torch.optim.Optimizer]
SchedulerFactory = Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler]

#: Version of what ``state_dict`` holds; raised when an older file could be misread.
STATE_VERSION = 1
TIMES = ("step", "inside")


def default_optimizer(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Adam at 1e-4, the step size measured best for an update at every time step."""
    return torch.optim.Adam(parameters, lr=1e-4, fused=True)


class ForwardLearner:
    """Trains a plain network in forward passes only, by a local rule.

    The network stays what it is: learning happens in forward hooks, inside the user's own forward
    pass, and what only learning needs (class signals, optimisers) is kept here.

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
    update_every : int
        Time steps between two weight updates; 1 learns at every step, and a number of at least T
        once a sequence. Gradients in between are summed.
    engine : {"auto", "reference"}
        How the numbers are computed.
    traces : {"synapse", "chunk", "layer"}
        What stands for the eligibility traces of a layer whose neurons share no linear filter (a
        ``beta`` per neuron, nonlinear dynamics): one a synapse, exact and ``F_out`` times as
        costly; the reverse filter between two updates, what came before cut; or one mean filter
        for the layer, an approximation. See :mod:`spikeprop.engines.credit`.
    time : {"step", "inside"}
        "inside" for a network whose ``forward`` takes ``(T, B, *features)`` and loops over time.
    seed : int
        Seed of the class signals and of dropout.

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
        update_every: int = 1,
        engine: str = "auto",
        traces: str = "synapse",
        time: str = "step",
        seed: int = 0,
    ) -> None:
        if not isinstance(net, nn.Module):
            raise TypeError(f"net has to be a torch.nn.Module, got {type(net).__name__}")
        if not isinstance(rule, Rule):
            raise TypeError(f"rule has to be a Rule such as SigProp(num_classes=10), got {rule!r}")
        checks.one_of("engine", engine, ENGINES)
        checks.one_of("traces", traces, TRACES)
        checks.one_of("time", time, TIMES)
        checks.positive_integer("update_every", update_every)
        self.net = net
        self.rule = rule
        self.update_every = update_every
        self.engine = engine
        self.traces = traces
        self.time = time
        self.seed = seed
        self.updates = 0
        self.optimizers: list[torch.optim.Optimizer | None] = []
        self.schedulers: list[torch.optim.lr_scheduler.LRScheduler] = []
        self._make_optimizer = optimizer or default_optimizer
        self._make_scheduler = scheduler
        self.has_scheduler = scheduler is not None  # of the user's own; ``fit`` brings others
        self._engine: ReferenceEngine | None = None
        self._input_shape: torch.Size | None = None
        self._time_steps = 1
        self._stream: Passage | None = None
        self._stream_rates: StreamRates | None = None
        self._waiting_schedules: list[dict[str, Any]] = []

    # ------------------------------------------------------------------ the network

    @property
    def blocks(self) -> list[Block]:
        """The blocks of the network, in the order of the forward pass.

        Raises
        ------
        RuntimeError
            Before the input's shape is known.
        """
        return self._bound().blocks

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
        shape = torch.Size(input_shape)
        parameter = next(self.net.parameters(), None)
        like = parameter.detach() if parameter is not None else torch.zeros(())
        rows = (2, *shape) if self.time == "step" else (time_steps, 2, *shape)
        checks.finite_weights(self.net)
        try:
            blocks = find_blocks(
                self.net, like.new_zeros(rows), whole_sequence=self.time == "inside"
            )
        except (RuntimeError, TypeError) as error:
            raise ValueError(
                f"the network does not take an input of shape {tuple(rows)} "
                f"({'B' if self.time == 'step' else 'T, B'}, *features): {error}"
            ) from error
        generator = torch.Generator().manual_seed(self.seed)
        drawn = self.rule.draw([block.features for block in blocks], generator)
        tensors = {name: value.to(like) for name, value in drawn.items()}
        if self.rule.homeostasis is not None or self.rule.stream_homeostasis is not None:
            give_thresholds(blocks)
        self._engine = ReferenceEngine(
            self.net,
            blocks,
            self.rule,
            tensors,
            time_inside=self.time == "inside",
            traces=self.traces,
        )
        self._input_shape, self._time_steps = shape, time_steps
        self.optimizers = [self._optimizer(block) for block in blocks]
        self.set_scheduler(self._make_scheduler)
        _warn_of_untrained(self.net, blocks)

    def _optimizer(self, block: Block) -> torch.optim.Optimizer | None:
        if not block.trained:
            return None
        optimizer = self._make_optimizer(block.parameters)
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise TypeError(
                f"optimizer has to return a torch.optim.Optimizer, got {type(optimizer).__name__}; "
                f"give a callable such as lambda p: torch.optim.SGD(p, lr=0.1)"
            )
        return optimizer

    def set_scheduler(self, scheduler: SchedulerFactory | None) -> None:
        """Put a new scheduler on every block's optimiser; None for a constant rate."""
        self._make_scheduler = scheduler
        trained = [optimizer for optimizer in self.optimizers if optimizer is not None]
        self.schedulers = [] if scheduler is None else [scheduler(item) for item in trained]
        if self.schedulers and self._waiting_schedules:
            for item, state in zip(self.schedulers, self._waiting_schedules, strict=True):
                item.load_state_dict(state)
                # Making a scheduler set the first step's rate; this is the one that was saved.
                for group, rate in zip(
                    item.optimizer.param_groups, item.get_last_lr(), strict=True
                ):
                    group["lr"] = rate
            self._waiting_schedules = []

    def to(self, device: torch.device | str) -> ForwardLearner:
        """Move the network, the class signals and the optimisers' state to ``device``."""
        self.net.to(device)
        self.reset()
        if self._engine is not None:
            for name, value in self._engine.tensors.items():
                self._engine.tensors[name] = value.to(device)
            for optimizer in self.optimizers:
                if optimizer is not None:  # loading casts the state to where its parameters are
                    optimizer.load_state_dict(optimizer.state_dict())
        return self

    @property
    def device(self) -> torch.device:
        """Where the network's parameters are."""
        return next(self.net.parameters()).device

    def _bound(self) -> ReferenceEngine:
        if self._engine is None:
            raise RuntimeError(
                "the network's blocks are not known yet: call update, predict, step, or "
                "bind(input_shape) first"
            )
        return self._engine

    def _ready(self, x: Tensor, features_from: int) -> ReferenceEngine:
        shape = x.shape[features_from:]
        if self._engine is None:
            self.bind(shape, time_steps=len(x))
        checks.same_features(shape, self._input_shape)
        return self._bound()

    # ------------------------------------------------------------------ learning

    def update(self, x: Tensor, label: Tensor) -> Metrics:
        """Learn from a batch of sequences in one forward pass.

        Parameters
        ----------
        x : Tensor
            ``(T, B, *features)``, time first; floating-point as the network, or integer counts.
        label : Tensor
            Classes ``(B,)``, integers from 0 to ``num_classes - 1``.

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
        label = checks.sequence(x, label, self.rule.num_classes, self.net)
        checks.finite_weights(self.net)
        engine = self._ready(x, features_from=2)
        x, label = x.to(self.device), label.to(self.device)
        self.reset()
        n = x.shape[1]
        passage = engine.begin(
            n, as_filters(self.rule.evidence), label, self.optimizers, self.update_every
        )
        with (
            mode(self.net, training=True),
            following_statistics(self.net, n),
            randomness(self.seed, self.updates, self.device),
        ):
            engine.run(x, passage)
        self.updates += 1
        reset(self.net)
        metrics = measure(passage, label, self.rule.predict_from, last_step=False)
        checks.finite_loss(metrics.loss, self.blocks, self.updates)
        if self.rule.homeostasis is not None:
            keep_rates(self.rule.homeostasis, passage)
        for scheduler in self.schedulers:
            scheduler.step()
        return metrics

    def step(self, x_t: Tensor, label: Tensor | None = None) -> Metrics:
        """Take one time step of a stream that need not end, and learn from it if it has a label.

        Memory does not grow with the number of steps. Evidence and homeostasis are the rule's
        stream versions. The stream begins at the first call, and anew after :meth:`reset` or after
        any ``update``, ``predict`` or ``logits``.

        Parameters
        ----------
        x_t : Tensor
            ``(B, *features)``; B stays the same throughout a stream.
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
        if self.time == "inside":
            raise ValueError(
                "step needs a network that maps one time step and keeps its state "
                "(init_hidden=True); with time='inside' the network runs whole sequences only"
            )
        label = checks.single_step(x_t, label, self.rule.num_classes, self.net)
        engine = self._ready(x_t, features_from=1)
        x_t = x_t.to(self.device)
        if self._stream is None:
            reset(self.net)
            self._stream = engine.begin(
                len(x_t),
                as_filters(self.rule.stream_evidence),
                None,
                self.optimizers,
                self.update_every,
            )
            control = self.rule.stream_homeostasis
            self._stream_rates = None if control is None else StreamRates(control)
        checks.same_stream(len(x_t), self._stream.n_recordings)
        label = None if label is None else label.to(self.device)
        for item in self._stream.blocks:
            item.begin_step(label)
        with (
            mode(self.net, training=label is not None),
            randomness(self.seed, self.updates, self.device),
        ):
            engine.step(x_t, self._stream)
        metrics = measure(self._stream, label, self.rule.predict_from, last_step=True)
        if label is not None:
            self.updates += 1
            checks.finite_loss(metrics.loss, self.blocks, self.updates)
            if self._stream_rates is not None:
                self._stream_rates.follow(self._stream)
        return metrics

    def fit(
        self,
        train: Iterable[Any] | tuple[Tensor, Tensor],
        validation: Iterable[Any] | tuple[Tensor, Tensor] | None = None,
        *,
        epochs: int,
        start_epoch: int = 0,
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
            batch_size=batch_size,
            schedule=schedule,
            callbacks=callbacks,
        )

    # ------------------------------------------------------------------ prediction

    def logits(self, x: Tensor, *, final: bool = False) -> Tensor:
        """Return the scores of every block, without learning.

        Parameters
        ----------
        x : Tensor
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

    def predict(self, x: Tensor, *, final: bool = False) -> Tensor:
        """Return the class of each recording, ``(B,)``; parameters as :meth:`logits`."""
        return read_out(self.logits(x, final=final), self.rule.predict_from)

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
        """
        engine = self._bound()
        like: Any = self.blocks[0].synapse.weight
        # One empty recording: the class signals beside it do not depend on it.
        x = like.detach().new_zeros((time_steps, 1, *(self._input_shape or ())))
        last = self._observe(x).blocks[-1]
        return self.rule.linear_readout(last.block.index, last.evidence, 1, engine.tensors)

    def reset(self) -> None:
        """Forget the stream: hidden state, traces and evidence."""
        self._stream = None
        reset(self.net)

    def _observe(self, x: Tensor) -> Passage:
        checks.sequence(x, None, self.rule.num_classes, self.net)
        checks.finite_weights(self.net)
        engine = self._ready(x, features_from=2)
        self.reset()
        passage = engine.begin(x.shape[1], as_filters(self.rule.evidence))
        with mode(self.net, training=False):
            engine.run(x.to(self.device), passage)
        reset(self.net)
        return passage

    # ------------------------------------------------------------------ state

    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to go on: network, signals, optimisers, schedulers, counters.

        Random state is a function of ``seed`` and ``updates``, and therefore part of it.
        """
        engine = self._bound()
        checks.finite_weights(self.net)
        return {
            "version": STATE_VERSION,
            "rule": self.rule.config(),
            "time": self.time,
            "update_every": self.update_every,
            "seed": self.seed,
            "updates": self.updates,
            "input_shape": list(self._input_shape or ()),
            "time_steps": self._time_steps,
            "network": dict(self.net.state_dict()),
            "signals": dict(engine.tensors),
            "optimizers": [None if o is None else o.state_dict() for o in self.optimizers],
            "schedulers": [s.state_dict() for s in self.schedulers],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up where ``state`` was left; nothing is changed if it does not fit.

        Raises
        ------
        ValueError
            If it comes from another version, another rule or settings, or another network.
        """
        checks.same_state(state, STATE_VERSION, self.rule.config(), self.time, self.update_every)
        checks.same_network(state["network"], self.net)
        checks.finite("the saved network", state["network"])
        if self._engine is None:
            self.bind(state["input_shape"], state["time_steps"])
        engine = self._bound()
        if len(state["optimizers"]) != len(self.optimizers):
            raise ValueError(
                f"the state has {len(state['optimizers'])} blocks, the network "
                f"{len(self.optimizers)}"
            )
        self.net.load_state_dict(state["network"])
        for name, value in state["signals"].items():
            engine.tensors[name] = value.to(engine.tensors[name])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            if optimizer is not None and saved is not None:
                optimizer.load_state_dict(saved)
        self._waiting_schedules = list(state["schedulers"])
        self.seed = state["seed"]
        self.updates = state["updates"]
        self.set_scheduler(self._make_scheduler)
        self.reset()

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


def _warn_of_untrained(net: nn.Module, blocks: list[Block]) -> None:
    trained = {id(p) for block in blocks for p in block.parameters}
    rest = [n for n, p in net.named_parameters() if p.requires_grad and id(p) not in trained]
    if rest:
        warnings.warn(
            f"not trained, since they belong to no (synapse, neuron) pair or have no influence on "
            f"a voltage: {', '.join(rest)}. "
            f"Set requires_grad_(False) on them if that is meant",
            stacklevel=4,
        )
