"""Where in a batch something goes wrong: block, time step and sample, by running it again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from spikeprop.blocks import Block
from spikeprop.datasets import EventBatch
from spikeprop.neurons import reset
from spikeprop.norms import following_statistics
from spikeprop.surroundings import flushed_denormals, mode, randomness

if TYPE_CHECKING:
    from spikeprop.learner import ForwardLearner

__all__ = ["extremes", "first_not_finite"]


class _Found(Exception):  # noqa: N818
    """Ends a run at the place that was looked for; its text says where."""


@contextmanager
def _before_neurons(
    blocks: list[Block], look: Callable[[Block, int, Tensor], None]
) -> Iterator[None]:
    """Let ``look`` see each block's current, and the number of the time step from 1."""
    steps = [0] * len(blocks)

    def hook_of(block: Block) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            steps[block.index] += 1
            look(block, steps[block.index], inputs[0].detach().flatten(1))

        return hook

    handles = [block.neuron.register_forward_pre_hook(hook_of(block)) for block in blocks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def first_not_finite(learner: ForwardLearner, x: Tensor | EventBatch, label: Tensor) -> str:
    """Learn from a batch again, step by step, and say where numbers stop being finite.

    The learner is in the state before that batch, and has to be put back into it afterwards.

    Returns
    -------
    str
        The place; empty if it does not happen again.
    """
    engine, n = learner.bound(), x.shape[1]
    if n == 0:  # another process has the batch
        return ""
    largest: dict[int, int] = {}

    def look(block: Block, t: int, current: Tensor) -> None:
        weights = all(bool(torch.isfinite(p).all()) for p in block.parameters)
        rows = (~torch.isfinite(current)).any(dim=1).nonzero().flatten().tolist()
        if not weights:
            sample = largest.get(block.index)
            named = "" if sample is None else f", where sample {sample} had the largest current"
            raise _Found(
                f"the weights of block '{block.name}' stop being finite in time step "
                f"{max(t - 1, 1)}{named}"
            )
        if rows:
            raise _Found(
                f"the current of block '{block.name}' in time step {t}, {_row(rows[0], n)}"
            )
        largest[block.index] = int(current[:n].abs().amax(dim=1).argmax())

    learner.reset()
    filters = learner.rule.filters(x.shape[0])
    label = label.to(learner.device)
    try:
        with (
            mode(learner.net, training=True),
            following_statistics(learner.net, n),
            randomness(learner.seed, learner.updates, learner.device),
            flushed_denormals(),
            _before_neurons(learner.blocks, look),
        ):
            passage = engine.begin(n, filters, label, learner.optimizers, learner.update_every)
            engine.run(x.to(learner.device), passage)
            for block in learner.blocks:
                if not all(bool(torch.isfinite(p).all()) for p in block.parameters):
                    look(block, x.shape[0] + 1, torch.zeros(n, 1))
    except _Found as found:
        return str(found)
    except (ValueError, FloatingPointError, RuntimeError) as error:
        return str(error)
    finally:
        reset(learner.net)
    return ""


def _row(row: int, n: int) -> str:
    return f"sample {row}" if row < n else f"row {row} (a signal's, behind the {n} samples)"


def extremes(learner: ForwardLearner, x: Tensor | EventBatch, block: Block) -> str:
    """Run a batch without learning, and say where a block is closest to firing, or fires most.

    Returns
    -------
    str
        The samples, and the time step.
    """
    if isinstance(x, EventBatch):
        x = x.to_dense(next(learner.net.parameters()).dtype)
    n = x.shape[1]
    if n == 0:
        return "another process has the batch"
    best = (-float("inf"), 0, 0)
    fired = torch.zeros(n)
    first = torch.zeros(n, dtype=torch.int64)

    def look(other: Block, t: int, current: Tensor) -> None:
        nonlocal best
        if other is block:
            value, sample = current[:n].amax(dim=1).max(dim=0)
            best = max(best, (float(value), int(sample), t))

    def fires(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        spk = output[0] if isinstance(output, tuple) else output
        share = (spk[:n].detach().flatten(1) != 0).float().mean(dim=1).cpu()
        first.copy_(torch.where((first == 0) & (share > 0), steps[0] + 1, first))
        steps[0] += 1
        fired.add_(share)

    steps = [0]
    handle = block.neuron.register_forward_hook(fires)
    learner.reset()
    try:
        with (
            torch.no_grad(),
            mode(learner.net, training=False),
            _before_neurons(learner.blocks, look),
        ):
            x = x.to(learner.device, next(learner.net.parameters()).dtype)
            if learner.time == "inside":
                learner.net(x)
            else:
                for x_t in x:
                    learner.net(x_t)
    finally:
        handle.remove()
        reset(learner.net)
    most = int(fired.argmax())
    if float(fired[most]) == 0.0:
        return (
            f"no neuron fires for any of the {n} samples; the largest current is {best[0]:.3g}, of "
            f"sample {best[1]} in time step {best[2]}"
        )
    share = float(fired[most]) / max(steps[0], 1)
    return (
        f"{100 * float(fired.mean()) / max(steps[0], 1):.0f} % of its neurons fire in a time step; "
        f"most for sample {most} ({100 * share:.0f} %), from time step {int(first[most])} on"
    )
