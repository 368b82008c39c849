r"""A plain gradient step at every time step on a CUDA device, without touching every weight in it.

The identity of :mod:`spikeprop.kernels.deferred`, with dense rows: steps of size ``lr`` leave

    W_t = W_0 - lr sum_{s<t} sum_k delta_s^k (x) e_s^k

so that the currents of a window of K steps are one product with the weights at its beginning, less
what the window's earlier modulators make of inputs,

    x_t^r W_t^T = x_t^r W_0^T - sum_{s<t} sum_k kappa_{ts}^{rk} delta_s^k,
    kappa_{ts}^{rk} = lr x_t^r . e_s^k

The filtered traces ``e`` depend on inputs alone: those of all steps, and ``kappa``, are made before
the first. A step is then one small product, the neuron and the loss; the window's end one product
``W_K = W_0 - lr sum_s delta_s (x) e_s``. Weights are read and written once a window.

Steps are short on a fast device, and launching their kernels one by one takes longer than they do:
a window's steps are recorded once, and played again for every window of its length.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spikeprop.engines.buffers import Buffers
from spikeprop.engines.chain import Link, membrane_of
from spikeprop.engines.filters import as_tensor, weights_of
from spikeprop.engines.halves import add_product, halves_of, in_halves, pays
from spikeprop.engines.live import plain_steps, step_sizes
from spikeprop.engines.plain_steps import Batch, Engine
from spikeprop.engines.signal_rows import put_signals
from spikeprop.engines.triton_scan import TritonScan
from spikeprop.kernels import spans
from spikeprop.losses import directions

__all__ = ["Replays", "can_wait", "run_deferred_steps"]

#: Rows (steps times samples) of a window: more of them make larger products of a step with those
#: before it, fewer of them more passes over the weights.
ROWS = 1024
#: Recorded windows that are kept.
KEPT = 16
#: Devices on which launches can be recorded.
RECORDED_ON = ("cuda",)


class Replays:
    """Sequences of launches, recorded once and played again (CUDA graphs)."""

    def __init__(self) -> None:
        self._graphs: dict[Hashable, Any] = {}

    def play(self, key: Hashable, work: Callable[[], None]) -> None:
        """Do ``work()``, which waits for nothing and works on tensors that stay where they are.

        Parameters
        ----------
        key : hashable
            All that the launches depend on: numbers, and where tensors lie.
        work : callable
            Launches kernels; run as it is for the first time, recorded for the second.
        """
        known = key in self._graphs
        if known and self._graphs[key] is None:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                work()
            self._graphs[key] = graph
        if known:
            self._graphs[key].replay()
            return
        if len(self._graphs) >= KEPT:
            self._graphs.clear()
        self._graphs[key] = None  # compiled and allocated for by now
        work()


def can_wait(
    links: Sequence[Link], optimizers: Sequence[torch.optim.Optimizer | None], filters: int
) -> bool:
    """Tell whether steps can wait: plain ones, of ``Linear`` synapses on plain vectors."""
    return filters == 1 and all(
        link.flat
        and not link.delays
        and membrane_of(link.block) is not None
        and (optimizer is None or plain_steps(optimizer) is None)
        for link, optimizer in zip(links, optimizers, strict=True)
    )


def run_deferred_steps(
    engine: Engine, x: Tensor, batch: Batch, buffers: Buffers, replays: Replays
) -> bool:
    """Learn from whole sequences; return False, and do nothing, if steps cannot wait."""
    optimizers = [stage.optimizer for stage in batch.stages]
    in_triton = all(isinstance(stage.scan, TritonScan) for stage in batch.stages)
    if batch.labels is None or not in_triton:
        return False
    if not can_wait(engine.links, optimizers, len(batch.filters)):
        return False
    labels = buffers.take("labels", tuple(batch.labels.shape), torch.int64, x.device)
    labels.copy_(batch.labels)
    blocks = [_Block(stage, engine, batch, labels, buffers, replays) for stage in batch.stages]
    steps = len(x)
    most = max(1, ROWS // max(stage.scan.n_rows for stage in batch.stages))
    for first, last in spans(steps, -(-steps // most)):
        rows = x[first:last].to(blocks[0].dtype)
        for block in blocks:
            rows = block.learn(rows, first)
    return True


class _Block:
    """One block of a batch."""

    def __init__(
        self,
        stage: Any,
        engine: Engine,
        batch: Batch,
        labels: Tensor,
        buffers: Buffers,
        replays: Replays,
    ) -> None:
        self._product, self._record, self._optimizer = stage.product, stage.record, stage.optimizer
        self._scan: TritonScan = stage.scan
        self._scan.unread = stage is batch.stages[-1]
        self._engine, self._filters, self._labels = engine, batch.filters, labels
        self._buffers, self._replays, self._beta = buffers, replays, stage.beta
        module = stage.product.module
        self._weight, self._bias = module.weight, module.bias
        self._halved = in_halves(stage.product.link)
        self._index, size = stage.record.block.index, stage.scan.size
        self._sizes = step_sizes(stage.optimizer, module.weight, module.bias)
        # The losses that have a form in numbers are ours, and wait for nothing.
        self._compare = engine.rule.comparison(self._index, size, engine.tensors)
        self._vectors: Tensor | None = None
        if self._compare is not None and self._compare.vectors is not None:
            found = directions(self._compare.vectors)[0]
            self._vectors = self._take("vectors", tuple(found.shape)).copy_(found)
        like = module.weight.detach()
        self.dtype, self._rows = like.dtype, stage.product.n_rows
        self._trace = like.new_zeros(self._rows, like.shape[1])
        self._filtered = like.new_zeros(1, self._rows, like.shape[1])
        self._constant = [0.0, 0.0]  # trace and filtered trace of the bias's input, which is 1

    def learn(self, x: Tensor, first: int) -> Tensor:
        """Learn from a window; return its spikes, if anybody reads them."""
        scan, rule = self._scan, self._engine.rule
        x = self._product.arrive(x, first)
        steps, count = len(x), scan.n_recordings
        made = self._product.currents(x, scan.n_rows)
        currents = self._take("currents", tuple(made.shape))
        currents.copy_(made)
        if self._index == 0:
            put_signals(rule, self._engine.tensors, first, currents[:, count:])
        weights = weights_of(self._filters, first + 1, steps)
        passing = self._take("passing", weights.shape)
        passing.copy_(as_tensor(weights, passing))
        evidence = scan.begin(currents, weights, passing)
        learns = self._optimizer is not None
        owed = self._owed(x.flatten(2), weights) if learns else None
        values = self._take("values", (steps, count))
        scores = self._take("scores", (steps, count, rule.num_classes))

        def work() -> None:
            for step in range(steps):
                if owed is not None and step:
                    kappa = owed[step, :, :step].flatten(1)
                    before = evidence[:step, : self._rows].reshape(-1, evidence.shape[2])
                    currents[step, : len(kappa)].addmm_(kappa, before, alpha=-1.0)
                scan.forward(step, step + 1)
                here = slice(step, step + 1)
                self._modulate(evidence[here], values[here], scores[here])

        if self._compare is not None and x.device.type in RECORDED_ON:
            tensors = (
                currents, self._labels, values, scores, passing, owed, self._vectors, *scan.tensors
            )  # fmt: skip
            places = [None if item is None else (item.data_ptr(), item.shape) for item in tensors]
            numbers = (scan.beta, scan.reset, *self._compare[1:])
            self._replays.play((self._index, *numbers, *places), work)
        else:
            work()
        record = self._record
        record.loss_sum = record.loss_sum + values.mean(dim=1).sum()
        record.logits_sum = record.logits_sum + scores.sum(dim=0)
        record.logits = scores[-1].clone()
        if learns:
            self._step(evidence)
        return x if scan.unread else scan.dense()

    def _modulate(self, evidence: Tensor, value: Tensor, scores: Tensor) -> None:
        """Put a step's modulators in the place of its evidence ``(1, R, N)``."""
        from spikeprop.kernels import triton_neuron

        compare = self._compare
        if compare is not None and self._vectors is not None:
            triton_neuron.compare(
                evidence, self._vectors, self._labels, compare.tau, compare.rectify,
                compare.smallest, value, scores,
            )  # fmt: skip
            return
        rule, tensors = self._engine.rule, self._engine.tensors
        found = rule.modulate_window(self._index, evidence, self._labels, tensors)
        if found.delta.data_ptr() != evidence.data_ptr():
            evidence.copy_(found.delta)
        value.copy_(found.value.unsqueeze(1).expand_as(value))
        scores.copy_(found.logits)

    def _owed(self, x: Tensor, weights: Any) -> Tensor:
        """Return ``kappa`` ``(L, rows, L, learning rows)`` of a window's input ``(L, rows, M)``."""
        from spikeprop.kernels import triton_neuron

        steps, rows, size = x.shape
        self._traces = self._take("traces", (steps, self._rows, size))
        none, endless = x.new_empty(0), x.new_full((size,), torch.inf)
        counts = torch.empty(size, dtype=torch.int32, device=x.device)
        triton_neuron.integrate(  # a neuron that never spikes
            x[:, : self._rows].contiguous(), self._trace, none, endless, self._beta, "none",
            as_tensor(weights, x), self._filtered, self._traces, none, counts, 0, 0, steps,
        )  # fmt: skip
        constants = []
        for w in weights[0].tolist():
            self._constant[0] = self._beta * self._constant[0] + 1.0
            self._constant[1] += w * (self._constant[0] - self._constant[1])
            constants.append(self._constant[1])
        self._constants = as_tensor(np.repeat(constants, self._rows), x)
        of_weight, of_bias = self._sizes
        found = self._take("kappa", (steps * rows, steps * self._rows))
        torch.mm(x.reshape(steps * rows, -1), self._traces.flatten(0, 1).t(), out=found)
        found *= of_weight
        if of_bias:
            found += of_bias * self._constants
        return found.view(steps, rows, steps, self._rows)

    def _step(self, deltas: Tensor) -> None:
        """Make all of a window's steps."""
        of_weight, of_bias = self._sizes
        rows = deltas[:, : self._rows].reshape(-1, deltas.shape[2])
        if of_weight:
            weight, traces = self._weight.detach(), self._traces.flatten(0, 1)
            if self._halved and pays(len(rows), weight):
                found = halves_of(rows.contiguous(), self._buffers, "halves.g")
                trace = halves_of(traces, self._buffers, "halves.e")
                add_product(weight, found.t, trace, -of_weight)
            else:
                weight.addmm_(rows.t(), traces, alpha=-of_weight)
        if of_bias:
            self._bias.detach().sub_(of_bias * (self._constants @ rows))
        self._product.clear_gradients()

    def _take(self, name: str, shape: tuple[int, ...]) -> Tensor:
        like = self._weight
        name = f"deferred {name}.{self._index}"
        return self._buffers.take(name, shape, like.dtype, like.device)
