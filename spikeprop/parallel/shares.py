"""A batch split among processes, so that what they learn is what one process learns from it.

Local losses are means over the recordings, and a block's gradient is a sum over rows. With ``B_r``
of a batch's ``B`` recordings in process r, signal rows alike in all of them, and ``g_r`` the
gradient that r finds as if its recordings were the batch,

    g = sum over r of  (B_r / B) g_r

is the gradient of one process on the whole batch; the same holds for loss and accuracy. Spikes are
summed before homeostasis sees them, sums of batch statistics before a norm does, and dropout draws
for the whole batch and keeps the rows that are this process's. A process whose part is empty (the
last batch of an epoch) runs one silent row of weight zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data.distributed import DistributedSampler

from spikeprop.datasets import EventBatch
from spikeprop.engines.chain import DROPOUTS
from spikeprop.engines.passage import BlockRecord, Passage, Seen
from spikeprop.engines.shared import SharedOptimizer
from spikeprop.metrics import Metrics
from spikeprop.neurons import StochasticLIF
from spikeprop.parallel.ranks import Ranks
from spikeprop.rules import ContrastRule, Rule

__all__ = ["RANDOM", "Share", "check_batches", "check_divisible", "split"]

RANDOM = (StochasticLIF, nn.AlphaDropout, nn.FeatureAlphaDropout, nn.RReLU)


class Share:
    """Part of a batch that this process has; all processes have to make theirs.

    How many recordings the others have is waited for where it is first asked for: a block can be
    through its part by then.

    Parameters
    ----------
    ranks : Ranks
        The processes.
    count : int
        Recordings that this process has.
    near : bool
        Whether the processes run on one machine.

    Raises
    ------
    ValueError
        If no process has any.
    """

    def __init__(self, ranks: Ranks, count: int, near: bool = False) -> None:
        self.ranks, self.count, self.near = ranks, count, near
        self._wait = ranks.begin_counts(count)
        if not count and not self.total:
            raise ValueError("x needs at least one time step and one sample in one of the ranks")

    @cached_property
    def _counts(self) -> list[int]:
        return self._wait()

    @property
    def first(self) -> int:
        """Its first recording in the batch, which is in the order of the ranks."""
        return sum(self._counts[: self.ranks.rank])

    @property
    def total(self) -> int:
        """Recordings of the batch."""
        return sum(self._counts)

    @property
    def weight(self) -> float:
        """Its part of a mean over the batch."""
        return self.count / self.total

    def mean(self, value: Tensor) -> Tensor:
        """Return the batch's mean of what is a mean over each process's recordings."""
        return self.ranks.sum(value * self.weight)

    def reduce(self, gradients: Sequence[Tensor]) -> Callable[[], None]:
        """Begin to turn gradients into those of the whole batch, in place; return the wait."""
        return self.ranks.begin_sum(gradients, self.weight)

    def own(self, count: int) -> tuple[int, int]:
        """Return which of ``count`` rows this process works on for all."""
        return self._parts(count)[self.ranks.rank]

    def _parts(self, count: int) -> list[tuple[int, int]]:
        """Divide rows among those that have recordings: others' gradients have no weight."""
        busy = [number > 0 for number in self._counts]
        parts, n = [], sum(busy)
        for rank, works in enumerate(busy):
            before = sum(busy[:rank])
            parts.append((count * before // n, count * (before + works) // n))
        return parts

    def spread(self, rows: Tensor) -> None:
        """Fill the rows that others work on with what they made."""
        self.ranks.spread([rows[a:b] for a, b in self._parts(len(rows))])

    def collect(self, rows: Tensor) -> None:
        """Turn the own rows into sums over the processes, with their weights over the own one's."""
        parts = self._parts(len(rows))
        for (a, b), number in zip(parts, self._counts, strict=True):
            if b > a and number != self.count:
                rows[a:b] *= self.count / number
        self.ranks.collect([rows[a:b] for a, b in parts])

    def optimizers(
        self, given: Sequence[torch.optim.Optimizer | None]
    ) -> list[torch.optim.Optimizer | None]:
        """Return optimisers that step on the gradients of the whole batch."""
        return [None if item is None else SharedOptimizer(item, self) for item in given]

    @contextmanager
    def reducing(self, own: torch.optim.Optimizer | None) -> Iterator[None]:
        """Let the optimiser of a rule's own tensors, if any, step on the whole gradients."""
        if own is None:
            yield
            return
        handle = own.register_step_pre_hook(lambda optimizer, *_: self._reduce_own(optimizer))
        try:
            yield
        finally:
            handle.remove()

    def _reduce_own(self, optimizer: torch.optim.Optimizer) -> None:
        # As many messages in every process, whichever tensors have a gradient yet.
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                elif not parameter.grad.is_contiguous():
                    parameter.grad = parameter.grad.contiguous()
        gradients = [p.grad for g in optimizer.param_groups for p in g["params"]]
        self.reduce(gradients)()

    def begin_whole(
        self, own: Metrics, passage: Passage[Seen]
    ) -> Callable[[], tuple[Metrics, Passage[BlockRecord]]]:
        """Begin to sum what was measured; return what waits for it and returns it.

        That is the metrics of the whole batch, and what the blocks did to it: their spikes. Scores
        and predictions stay this process's.
        """
        sums = [torch.as_tensor(item.spike_sum) for item in passage.blocks]
        means = torch.stack([own.loss, own.accuracy]).nan_to_num(0.0) * self.weight
        bad = ~torch.isfinite(own.loss)
        flat = torch.cat([v.reshape(-1).double() for v in (*sums, means, bad)])
        total = self.ranks.begin_total(flat if self.count else torch.zeros_like(flat))
        sizes = [value.numel() for value in (*sums, own.loss, own.loss, bad)]
        return lambda: self._whole(own, passage, sums, torch.split(total(), sizes))

    def _whole(
        self,
        own: Metrics,
        passage: Passage[Seen],
        sums: Sequence[Tensor],
        found: Sequence[Tensor],
    ) -> tuple[Metrics, Passage[BlockRecord]]:
        *parts, loss, accuracy, bad = found
        records = [
            BlockRecord(item.block, item.t, spike_sum=part.reshape(value.shape).to(value.dtype))
            for item, value, part in zip(passage.blocks, sums, parts, strict=True)
        ]
        whole = Passage(records, self.total)
        # A loss that is not a number in one process is none in all of them.
        loss = torch.where(bad > 0, torch.nan, loss).to(own.loss)
        accuracy = torch.where(own.accuracy.isnan(), torch.nan, accuracy).to(own.loss)
        spikes = torch.stack([part.mean() for part in parts])
        rate = (spikes / (whole.steps * self.total)).to(own.loss)
        logits, prediction = own.logits[:, : self.count], own.prediction[: self.count]
        return Metrics(loss, accuracy, rate, logits, prediction), whole

    @contextmanager
    def dropout(self, net: nn.Module, rule: Rule) -> Iterator[None]:
        """Let dropout draw for the whole batch, as one process would, and keep its own rows."""
        modules = [m for m in net.modules() if isinstance(m, DROPOUTS) and m.p > 0]
        for module in modules:
            module.__dict__["forward"] = self._masked(module, rule)
        try:
            yield
        finally:
            for module in modules:
                del module.__dict__["forward"]

    def _masked(self, module: nn.Module, rule: Rule) -> Callable[[Tensor], Tensor]:
        n, grouped = max(self.count, 1), isinstance(rule, ContrastRule)
        mine = torch.arange(n) + (self.first if self.count else 0)

        def forward(x: Tensor) -> Tensor:
            rows = len(x)
            if rows < n or (grouped and rows % n):
                raise ValueError(
                    f"dropout saw {rows} rows of a batch of {n}: a batch can be split among "
                    f"processes where dropout sees one row a recording"
                )
            if grouped:
                groups = torch.arange(rows // n)
                total = len(groups) * self.total
                index = (groups[:, None] * self.total + mine).reshape(-1)
            else:
                total = self.total + rows - n
                index = torch.cat([mine, torch.arange(self.total, total)])
            drawn: Tensor = type(module).forward(module, x.new_ones(total, *x.shape[1:]))
            return x * drawn[index.to(x.device)]

        return forward


def check_divisible(net: nn.Module, rule: Rule) -> None:
    """Raise unless a batch can be split among processes.

    Raises
    ------
    ValueError
        If the rule, or a module of the network, needs the whole batch; the message says why.
    """
    if rule.undivided is not None:
        raise ValueError(
            f"{type(rule).__name__} cannot learn from a batch that is split among processes: it "
            f"{rule.undivided}. Start one process, or give ForwardLearner group=None"
        )
    for name, module in net.named_modules():
        if isinstance(module, RANDOM):
            raise ValueError(
                f"'{name}' ({type(module).__name__}) draws random numbers for a whole batch, which "
                f"cannot be split among processes; start one process, or give group=None"
            )


def check_batches(loader: Any, ranks: Ranks | None) -> None:
    """Raise unless a loader gives whole batches with a recording for every process.

    Raises
    ------
    ValueError
        If its batches have fewer recordings than there are processes, or are split already.
    """
    if ranks is None:
        return
    size = getattr(loader, "batch_size", None)
    if size is not None and size < ranks.size:
        raise ValueError(
            f"batch_size has to be at least the number of processes, {ranks.size}, so that each "
            f"has a recording to learn from; got {size}"
        )
    if isinstance(getattr(loader, "sampler", None), DistributedSampler):
        raise ValueError(
            "fit and evaluate split the batches among the processes themselves: give a loader of "
            "whole batches, without DistributedSampler, or give your parts to update"
        )


def split(
    x: Tensor | EventBatch, label: Tensor, ranks: Ranks
) -> tuple[Tensor | EventBatch, Tensor]:
    """Return this process's part of a batch that all processes have, perhaps an empty one.

    Parameters
    ----------
    x : Tensor or EventBatch
        ``(T, B, *features)``.
    label : Tensor
        ``(B, ...)``.
    ranks : Ranks
        The processes; parts differ by one recording at most.
    """
    total = x.shape[1]
    low, high = (total * at // ranks.size for at in (ranks.rank, ranks.rank + 1))
    return rows_of(x, low, high), label[low:high]


def rows_of(x: Tensor | EventBatch, low: int, high: int) -> Tensor | EventBatch:
    """Return some recordings of a batch."""
    if isinstance(x, Tensor):
        return x[:, low:high]
    steps = x.time_steps
    offsets = x.offsets[low * steps : high * steps + 1]
    first, last = int(offsets[0]), int(offsets[-1])
    values = None if x.values is None else x.values[first:last]
    return x._replace(offsets=offsets - first, channels=x.channels[first:last], values=values)


def silent_row(x: Tensor | EventBatch, label: Tensor) -> tuple[Tensor | EventBatch, Tensor]:
    """Return one recording without input, and a label, shaped as those of an empty batch."""
    label = label.new_zeros(1, *label.shape[1:])
    if isinstance(x, Tensor):
        return x.new_zeros(x.shape[0], 1, *x.shape[2:]), label
    return x._replace(offsets=x.offsets.new_zeros(x.time_steps + 1)), label


def begin_sharing(learner: Any, ranks: Ranks) -> bool:
    """Give every process the first one's network, signals, optimisers and counters.

    Returns
    -------
    bool
        Whether the processes run on one machine.

    Raises
    ------
    ValueError
        If the rule or the network cannot be split, or differs between the processes.
    """
    check_divisible(learner.net, learner.rule)
    state = ranks.state_of_first(learner.state_dict() if ranks.first else None)
    if not ranks.first:
        learner.load_state_dict(state)
    return ranks.near()
