"""The windowed engine: block after block over a window of steps in which the weights stand still.

    for each window of up to K steps:
        for each block:
            currents of all its steps at once        (a sparse gather, or one dense product)
            neurons, evidence, modulators            (step by step, or compiled)
            the reverse filter, and the gradient     (a sparse gather, or one dense product)
            an optimiser step where K steps are full
            its spikes are the next block's input

A block's updates depend on nothing behind it, so the order of the two loops changes no number.
Memory holds one window, however long the sequence is. With ``update_every=1`` a window is one step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikeprop import kernels
from spikeprop.datasets import EventBatch
from spikeprop.engines.adam import CompiledAdam
from spikeprop.engines.buffers import Buffers
from spikeprop.engines.chain import Link, check_state, decay_of, is_compiled, membrane_of
from spikeprop.engines.event_convolution import EventConvolution
from spikeprop.engines.every_step import run_every_step
from spikeprop.engines.filters import advance_over, weights_of
from spikeprop.engines.grouped import GroupedRun
from spikeprop.engines.halves import HalvedProduct, in_halves
from spikeprop.engines.layout import input_major
from spikeprop.engines.own import OwnTensors
from spikeprop.engines.passage import BlockRecord, Passage
from spikeprop.engines.plain_steps import run_adam_steps, run_plain_steps
from spikeprop.engines.pools import pool_of
from spikeprop.engines.products import DenseProduct, Product, SparseProduct, constant
from spikeprop.engines.replays import Replays
from spikeprop.engines.rows import Rows, as_events
from spikeprop.engines.scans import CompiledScan, Scan, TorchScan
from spikeprop.engines.shared import SharedOptimizer
from spikeprop.engines.signal_rows import put_signals, signals_of
from spikeprop.engines.triton_scan import TritonScan
from spikeprop.evidence import Evidence
from spikeprop.losses import Comparison
from spikeprop.potentials import free_potential, has_free_potential
from spikeprop.rules import LocalRule
from spikeprop.threads import kernel_threads

__all__ = ["Span", "WindowedEngine", "spans_of"]

#: Rows (steps times samples) of a window; more of them spread the dense terms between windows over
#: more steps, fewer of them stay in the cache.
WINDOW_ROWS = 2048
#: Numbers of a window on a CUDA device, where many rows are to share the time of a launch.
DEVICE_NUMBERS = 1 << 24
#: Rows that neurons and loss work on at a time, so that they stay in the level-2 cache (on a CUDA
#: device all of them: a launch costs more than what a cache would save).
CHUNK_ROWS = 512


class Span(NamedTuple):
    """Time steps ``first`` to ``last`` (exclusive) of a batch.

    ``full`` says that an update ends them, ``goes_on`` that other steps follow.
    """

    first: int
    last: int
    full: bool
    goes_on: bool


def spans_of(steps: int, n_recordings: int, period: int, rows: int = WINDOW_ROWS) -> Iterator[Span]:
    """Cut the steps of a batch into windows, none of which an update every ``period`` parts.

    A window has at most ``rows`` rows, if a step has not more than that.
    """
    period = min(period, steps)
    most = max(1, rows // n_recordings)
    first = 0
    while first < steps:
        whole = min(period - first % period, steps - first)
        parts = -(-whole // most)
        last = first + -(-whole // parts)
        yield Span(first, last, last % period == 0 or last == steps, last < steps)
        first = last


@dataclass
class _Stage:
    """One block with all that runs it."""

    record: BlockRecord
    product: Product
    scan: Scan
    optimizer: torch.optim.Optimizer | None
    beta: float
    compiled: CompiledAdam | None = None
    reducing: bool = False

    def step(self) -> None:
        """Let the optimiser step on the summed gradient, or begin to sum it over processes."""
        self.product.take_gradients()
        if isinstance(self.optimizer, SharedOptimizer):
            self.optimizer.start()
            self.reducing = True
        else:
            assert self.optimizer is not None, "the stage learns"
            self._step(self.optimizer)

    def settle(self) -> None:
        """Wait for the sum over processes, if one has begun, and step on it."""
        if self.reducing:
            assert isinstance(self.optimizer, SharedOptimizer), "step began it"
            self.reducing = False
            self.optimizer.finish()
            self._step(self.optimizer.inner)

    def _step(self, optimizer: torch.optim.Optimizer) -> None:
        compiled = self.compiled_adam()
        if compiled is not None:
            compiled.step()
        else:
            optimizer.step()
        self.product.clear_gradients()

    def compiled_adam(self) -> CompiledAdam | None:
        """Return the optimiser's compiled form, where it has one by now."""
        inner = self.optimizer
        if isinstance(inner, SharedOptimizer):
            inner = inner.inner
        if self.compiled is None and inner is not None and CompiledAdam.fits(inner):
            self.compiled = CompiledAdam(inner)
        return self.compiled


@dataclass(frozen=True)
class _Batch(Passage[BlockRecord]):
    """A passage with what its run needs."""

    stages: list[_Stage] = field(default_factory=list)
    filters: tuple[Evidence, ...] = ()
    labels: Tensor | None = None
    update_every: int = 1
    own: OwnTensors | None = None

    def settle(self) -> None:
        """Make the updates that processes still sum, if any, and clear the gradients."""
        for stage in self.stages:
            stage.settle()
            # Not the optimiser's own way, which asks the profiler and the compiler for leave.
            for group in [] if stage.optimizer is None else stage.optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = None


@dataclass
class WindowedEngine:
    """Runs chains of blocks window by window.

    Parameters
    ----------
    net : nn.Module
        The network that the chain belongs to.
    links : list of Link
        The chain.
    rule : LocalRule
        Gives modulators; any rule.
    tensors : dict of str to Tensor
        What the rule drew.
    sparse : list of bool
        Which synapses take sparse rows (flat ``Linear`` ones and convolutions that gather, and
        compiled kernels).
    compiled : bool
        Whether neurons run in compiled loops, where they can.
    own_optimizer : Optimizer, optional
        Steps on the rule's signal, if that is learned.
    """

    net: torch.nn.Module
    links: list[Link]
    rule: LocalRule
    tensors: dict[str, Tensor]
    sparse: list[bool]
    compiled: bool
    own_optimizer: torch.optim.Optimizer | None = None
    _buffers: Buffers = field(default_factory=Buffers)
    _replays: Replays = field(default_factory=Replays)

    @property
    def dtype(self) -> torch.dtype:
        """Type in which the network computes."""
        weight: Any = self.links[0].block.synapse.weight
        dtype: torch.dtype = weight.dtype
        return dtype

    @property
    def in_kernels(self) -> bool:
        """Whether next to everything runs in compiled kernels, and next to nothing in torch."""
        return self.compiled and all(self.sparse) and all(link.flat for link in self.links)

    def lay_out(self, optimizers: Sequence[torch.optim.Optimizer | None]) -> None:
        """Lay weights in memory as sparse products read them, before anything is computed.

        At once, and not when the first batch comes that this engine itself runs: another order in
        memory is another order of sums, and a run that goes on has to have it from the same place.
        """
        for link, is_sparse, optimizer in zip(self.links, self.sparse, optimizers, strict=True):
            if is_sparse and link.flat:
                module: Any = link.block.synapse
                input_major(module, optimizer)

    @torch.no_grad()
    def begin(
        self,
        n_recordings: int,
        filters: tuple[Evidence, ...],
        labels: Tensor | None = None,
        optimizers: Sequence[torch.optim.Optimizer | None] | None = None,
        update_every: int = 1,
    ) -> _Batch:
        """Start a batch of sequences; blocks with an optimiser learn from labels.

        Raises
        ------
        NotAChain
            If the network is in a state that only the reference engine runs.
        """
        check_state(self.net, self.links, training=self.net.training)
        chosen = list(optimizers) if optimizers is not None else [None] * len(self.links)
        signal = self.rule.current(self.tensors, 1)
        n_rows = n_recordings + (0 if signal is None else len(signal))
        stages: list[_Stage] = []
        for link, is_sparse, optimizer in zip(self.links, self.sparse, chosen, strict=True):
            # The first block's signal current is S c, not W x: its signal rows say nothing of W.
            learning_rows = n_recordings if link.block.index == 0 else n_rows
            learns = optimizer is not None and labels is not None
            k = len(filters)
            product: Product
            if is_sparse and link.flat:
                module: Any = link.block.synapse
                input_major(module, optimizer)
                product = SparseProduct(link, learning_rows, k, self._buffers, learns=learns)
            elif is_sparse:
                product = EventConvolution(link, learning_rows, k, self._buffers, learns=learns)
            elif in_halves(link):
                product = HalvedProduct(link, learning_rows, k, self._buffers, learns=learns)
            else:
                product = DenseProduct(link, learning_rows, k, learns=learns)
                if link.before and stages and isinstance(stages[-1].scan, CompiledScan):
                    features = stages[-1].record.block.features
                    product.pool = pool_of(link.before[0], features)
            stages.append(
                _Stage(
                    BlockRecord(link.block),
                    product,
                    self._scan(link, n_rows, n_recordings, k),
                    optimizer if learns else None,
                    decay_of(link.block),
                )
            )
        own: OwnTensors | None = None
        if self.own_optimizer is not None and optimizers is not None and labels is not None:
            own = OwnTensors(
                self.rule,
                self.tensors,
                self.own_optimizer,
                [link.block for link in self.links],
                filters,
                n_recordings,
                update_every,
            )
        records = [stage.record for stage in stages]
        return _Batch(records, n_recordings, stages, filters, labels, update_every, own)

    def _scan(self, link: Link, n_rows: int, n_recordings: int, filters: int) -> Scan:
        weight: Any = link.block.synapse.weight
        in_triton = kernels.triton_runs_on(weight.device)
        membrane = membrane_of(link.block) if self.compiled or in_triton else None
        wanted = self.rule.potential == "free"
        if membrane is None:
            potential = free_potential(link.block, "synapse") if wanted else None
            return TorchScan(link.block, n_rows, n_recordings, filters, potential)
        free = wanted and has_free_potential(link.block, "synapse")
        if in_triton:
            return TritonScan(
                link.block,
                n_rows,
                n_recordings,
                filters,
                free,
                membrane,
                self._buffers,
                weight.detach(),
            )
        return CompiledScan(
            link.block, n_rows, n_recordings, filters, free, membrane, self._buffers, self.dtype
        )

    def input(self, x: Tensor | EventBatch) -> Tensor | EventBatch:
        """Return a batch as the first block takes it, sparse or dense."""
        if self.sparse[0] and isinstance(x, Tensor):
            return as_events(x)
        if not self.sparse[0] and isinstance(x, EventBatch):
            return x.to_dense(self.dtype)
        return x

    @torch.no_grad()
    def run(self, x: Tensor | EventBatch, passage: Passage[Any]) -> None:
        """Run whole sequences ``(T, B, *features)``, and learn; ``passage.settle()`` is left."""
        assert isinstance(passage, _Batch)
        steps, x = x.shape[0], self.input(x)
        learns = any(stage.optimizer is not None for stage in passage.stages)
        period = passage.update_every if learns else steps
        period = min(period, steps)
        if not self._run_whole(x, passage, period, learns and passage.labels is not None):
            for span in self.spans(steps, passage.n_recordings, period):
                self.advance(self.window(x, span), passage, span)
        self.end(passage, steps)

    def _run_whole(
        self, x: Tensor | EventBatch, passage: _Batch, period: int, learns: bool
    ) -> bool:
        """Run whole sequences where there is a faster way than windows; else return False."""
        if passage.own is not None:
            return False  # the signal is not the same from window to window
        every_step = learns and period == 1 < x.shape[0]
        if isinstance(x, Tensor):
            return every_step and run_every_step(self, x, passage, self._buffers, self._replays)
        numbers = self._in_numbers(len(passage.filters))
        if numbers is None or passage.labels is None:
            return False
        if period > 1:
            grouped = self.in_groups(passage, numbers, kernel_threads())
            grouped.run(x, spans_of(x.time_steps, 1, period, grouped.most_steps))
            return True
        return every_step and (
            run_plain_steps(self, x, passage)
            or run_adam_steps(self, x, passage, numbers, self._buffers)
        )

    def spans(self, steps: int, n_recordings: int, period: int) -> Iterator[Span]:
        """Cut the steps of a batch into windows; see :func:`spans_of`."""
        rows = WINDOW_ROWS
        if self._on_device:
            widest = max(max(self._sizes(link)) for link in self.links)
            rows = max(rows, DEVICE_NUMBERS // widest)
        return spans_of(steps, n_recordings, period, rows)

    @staticmethod
    def _sizes(link: Link) -> tuple[int, int]:
        """Return how many numbers go into one row of a neuron's input, and how many come out."""
        weight: Any = link.block.synapse.weight
        return weight[0].numel(), link.block.features.numel()

    @property
    def _on_device(self) -> bool:
        weight: Any = self.links[0].block.synapse.weight
        return bool(weight.device.type != "cpu")

    def comparisons(self, filters: int, period: int) -> list[Comparison] | None:
        """Return the losses in numbers if recordings can learn in groups; see :mod:`.grouped`."""
        return None if period <= 1 else self._in_numbers(filters)

    def _in_numbers(self, filters: int) -> list[Comparison] | None:
        """Return the losses in numbers if all blocks can run in compiled loops alone."""
        if filters != 1 or not self.in_kernels:
            return None
        signals = self.rule.current(self.tensors, 1) is not None
        found = []
        for link in self.links:
            if not is_compiled(link.block):
                return None
            index, size = link.block.index, link.block.features.numel()
            comparison = self.rule.comparison(index, size, self.tensors)
            if comparison is None or (comparison.vectors is None) != signals:
                return None
            found.append(comparison)
        return found

    def in_groups(
        self, passage: _Batch, comparisons: list[Comparison], workers: int = 1
    ) -> GroupedRun:
        """Return a batch's run in groups."""
        assert passage.labels is not None, "there is something to learn"
        return GroupedRun(
            passage.stages, comparisons, self.rule, self.tensors, passage.filters,
            passage.labels, passage.n_recordings, self._buffers, self.dtype, workers,
        )  # fmt: skip

    @torch.no_grad()
    def advance(
        self, window: Any, passage: _Batch, span: Span, following: bool | None = None
    ) -> Any:
        """Run all blocks over a window, and let them learn; return the last one's spikes.

        ``following`` says whether what comes behind takes sparse rows; None for nothing.
        """
        behind = [*(stage.product for stage in passage.stages[1:]), None]
        for stage, product in zip(passage.stages, behind, strict=True):
            scan, sparse = stage.scan, following if product is None else product.takes_rows
            scan.unread = sparse is None
            self._advance(stage, window, passage, span.first, span.last, goes_on=span.goes_on)
            if sparse is None:
                window = None
            elif isinstance(product, DenseProduct) and product.pool is not None:
                assert isinstance(scan, CompiledScan), "a pool is set behind lists of spikes alone"
                window = scan.pooled(product.pool)
            else:
                window = scan.rows() if sparse else scan.dense()
            if span.full and stage.optimizer is not None:
                stage.step()
        if span.full and passage.own is not None:
            passage.own.flush()
        return window

    def end(self, passage: _Batch, steps: int) -> None:
        """End a batch after all of its time steps; ``passage.settle()`` is left."""
        for stage in passage.stages:
            stage.record.t = steps
            stage.record.spike_sum = stage.scan.spike_sum

    def window(self, x: Tensor | EventBatch, span: Span) -> Any:
        """Return the input of some time steps, as the first block takes it."""
        if isinstance(x, EventBatch):
            return Rows.of_window(x, span.first, span.last, self.dtype)
        x = x[span.first : span.last]
        if constant(x):
            return x[:1].to(self.dtype).expand(x.shape)
        return x.to(self.dtype)

    def _advance(
        self,
        stage: _Stage,
        x: Any,
        passage: _Batch,
        first: int,
        last: int,
        *,
        goes_on: bool,
    ) -> None:
        """Run one block over a window, and let it sum what it learns."""
        stage.settle()
        product, scan, block = stage.product, stage.scan, stage.record.block
        weights = weights_of(passage.filters, first + 1, last - first)
        x = product.arrive(x, first)
        currents = product.currents(x, scan.n_rows)
        if block.index == 0 and scan.n_rows > scan.n_recordings:
            signals = signals_of(self.rule, self.tensors, first, last - first)
            put_signals(signals, currents[:, scan.n_recordings :])
        evidence = scan.begin(currents, weights)
        chunk = max(1, CHUNK_ROWS // scan.n_rows) if currents.device.type == "cpu" else last - first
        for begin in range(0, last - first, chunk):
            end = min(begin + chunk, last - first)
            scan.forward(begin, end)
            self._compare(stage.record, evidence[begin:end], passage)
        if block.index == 0 and passage.own is not None:
            passage.own.learn_window(first, evidence, self.tensors)
        if stage.optimizer is not None:
            advance = advance_over(stage.beta, weights)
            if last - first == 1:
                product.learn_step(x, evidence[0], advance)
            else:
                backward = scan.reverse(evidence, product.n_rows, product.tile)
                product.learn(x, backward, advance, goes_on=goes_on)

    def _compare(self, record: BlockRecord, evidence: Tensor, passage: _Batch) -> None:
        """Compare some steps; the modulators take the evidence's place."""
        index = record.block.index
        if passage.labels is None:
            logits = self.rule.logits_window(index, evidence, passage.n_recordings, self.tensors)
        else:
            value, logits, delta = self.rule.modulate_window(
                index, evidence, passage.labels, self.tensors
            )
            record.loss_sum = record.loss_sum + value.sum()
            if delta.data_ptr() != evidence.data_ptr():
                evidence.copy_(delta)
        record.logits = logits[-1]
        record.logits_sum = record.logits_sum + logits.sum(dim=0)
