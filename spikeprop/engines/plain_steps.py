"""Whole sequences with a plain gradient step at every time step, in the live engine's windows.

An update at every step reads and writes every weight at every step. Plain gradient steps need not:
those of a window of steps wait, low-rank (:mod:`spikeprop.kernels.deferred`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from spikeprop.datasets import EventBatch
from spikeprop.engines.chain import Link, membrane_of
from spikeprop.engines.live import LiveBlock, LiveEngine, LivePassage, plain_steps
from spikeprop.engines.passage import BlockRecord
from spikeprop.engines.scans import CompiledScan, Scan
from spikeprop.evidence import Evidence
from spikeprop.rules import LocalRule

__all__ = ["run_plain_steps"]


class Engine(Protocol):
    """What is asked of :class:`spikeprop.engines.windows.WindowedEngine`."""

    net: nn.Module
    links: list[Link]
    rule: LocalRule
    tensors: dict[str, Tensor]


class Stage(Protocol):
    """What is asked of its blocks."""

    record: BlockRecord
    optimizer: torch.optim.Optimizer | None

    @property
    def scan(self) -> Scan: ...


class Batch(Protocol):
    """What is asked of a batch."""

    @property
    def n_recordings(self) -> int: ...
    @property
    def filters(self) -> tuple[Evidence, ...]: ...
    @property
    def labels(self) -> Tensor | None: ...
    @property
    def stages(self) -> Sequence[Any]: ...


def run_plain_steps(engine: Engine, x: EventBatch, batch: Batch) -> bool:
    """Learn from whole sequences; return False, and do nothing, if steps are not plain ones."""
    stages: Sequence[Stage] = batch.stages
    for stage, link in zip(stages, engine.links, strict=True):
        if link.delays:
            return False
        if stage.optimizer is not None and plain_steps(stage.optimizer) is not None:
            return False
    live, blocks = LiveEngine(engine.net, engine.links, engine.rule, engine.tensors), []
    for stage, link in zip(stages, engine.links, strict=True):
        membrane = membrane_of(link.block)
        assert membrane is not None, "the neurons are compiled"
        signals = stage.scan.n_rows - batch.n_recordings
        blocks.append(
            LiveBlock(
                link, engine.rule, engine.tensors, membrane, batch.n_recordings, signals,
                stage.optimizer, None,
            )
        )  # fmt: skip
    passage = LivePassage(blocks, batch.n_recordings, batch.filters)
    sums: list[Any] = [0.0 for _ in blocks]

    def watch(steps: int) -> None:
        for k, (stage, block) in enumerate(zip(stages, blocks, strict=True)):
            assert isinstance(stage.scan, CompiledScan), "the neurons are compiled"
            sums[k] = sums[k] + block.tally(steps, stage.scan.counts)

    assert batch.labels is not None, "there is something to learn"
    losses, scores = live.run(x, passage, batch.labels.numpy(), watch)
    live.flush(passage)
    for k, stage in enumerate(stages):
        logits = torch.from_numpy(np.ascontiguousarray(scores[k]))
        stage.record.logits, stage.record.logits_sum = logits, torch.from_numpy(sums[k])
        stage.record.loss_sum = logits.new_tensor(losses[0, k])
    return True
