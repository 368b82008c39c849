"""Whole sequences with an update at every time step on a CUDA device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from spikeprop.engines.adam import DeviceAdam, is_plain
from spikeprop.engines.adam_steps import AdamBlock
from spikeprop.engines.buffers import Buffers
from spikeprop.engines.chain import Link, membrane_of
from spikeprop.engines.deferred_steps import PlainBlock
from spikeprop.engines.device_steps import DeviceBlock
from spikeprop.engines.live import plain_steps
from spikeprop.engines.plain_steps import Batch, Engine
from spikeprop.engines.replays import Replays
from spikeprop.engines.triton_scan import TritonScan
from spikeprop.kernels import spans

__all__ = ["can_run_every_step", "run_every_step"]

#: Rows (steps times samples) of a window. More of them make larger products of a plain step with
#: those before it, fewer of them more passes over the weights.
ROWS = 1024


def can_run_every_step(
    links: Sequence[Link], optimizers: Sequence[torch.optim.Optimizer | None], filters: int
) -> bool:
    """Tell whether there is a faster way than step by step: ``Linear`` synapses, known steps."""
    return filters == 1 and all(
        link.flat
        and membrane_of(link.block) is not None
        and (optimizer is None or plain_steps(optimizer) is None or is_plain(optimizer))
        for link, optimizer in zip(links, optimizers, strict=True)
    )


def run_every_step(
    engine: Engine, x: Tensor, batch: Batch, buffers: Buffers, replays: Replays
) -> bool:
    """Learn from whole sequences; return False, and do nothing, if that has to go step by step.

    So it has in the first batch of Adam, whose first step of all is its own.
    """
    optimizers = [stage.optimizer for stage in batch.stages]
    in_triton = all(isinstance(stage.scan, TritonScan) for stage in batch.stages)
    if batch.labels is None or not in_triton:
        return False
    if not can_run_every_step(engine.links, optimizers, len(batch.filters)):
        return False
    if any(is_plain(item) and not DeviceAdam.fits(item) for item in optimizers):
        return False
    labels = buffers.take("labels", tuple(batch.labels.shape), torch.int64, x.device)
    labels.copy_(batch.labels)
    common = (engine, batch, labels, buffers, replays)
    blocks = [_block(stage, *common, steps=len(x)) for stage in batch.stages]
    most = max(1, ROWS // max(stage.scan.n_rows for stage in batch.stages))
    for first, last in spans(len(x), -(-len(x) // most)):
        rows = x[first:last].to(blocks[0].dtype)
        for block in blocks:
            rows = block.learn(rows, first)
    return True


def _block(stage: Any, *common: Any, steps: int) -> DeviceBlock:
    if is_plain(stage.optimizer):
        return AdamBlock(stage, *common, adam=DeviceAdam(stage.optimizer), steps=steps)
    return PlainBlock(stage, *common)
