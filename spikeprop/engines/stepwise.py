"""What the learner asks of an engine that steps through time with the network as it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from spikeprop.blocks import Block
from spikeprop.datasets import EventBatch
from spikeprop.engines.passage import Passage
from spikeprop.evidence import Evidence
from spikeprop.rules import Rule

__all__ = ["StepwiseEngine"]


@dataclass(frozen=True)
class StepwiseEngine(ABC):
    """Runs a network as it is; the base of one engine for each kind of rule.

    Parameters
    ----------
    net : nn.Module
        The user's network.
    blocks : list of Block
        Its blocks.
    rule : Rule
        The rule, of the kind that the engine serves.
    tensors : dict of str to Tensor
        What the rule drew. Those that it learns are stepped on by ``own_optimizer``.
    time_inside : bool
        Whether the network loops over time itself.
    traces : {"synapse", "chunk", "layer"}
        What stands for the traces of neurons that share no filter; see
        :class:`spikeprop.engines.credit.Credit`.
    own_optimizer : Optimizer, optional
        Steps on the tensors that the rule learns, where it learns any.
    """

    net: nn.Module
    blocks: list[Block]
    rule: Rule
    tensors: dict[str, Tensor]
    time_inside: bool
    traces: str = "synapse"
    own_optimizer: torch.optim.Optimizer | None = None

    @property
    def dtype(self) -> torch.dtype:
        """Type in which the network computes."""
        weight: Any = self.blocks[0].synapse.weight
        dtype: torch.dtype = weight.dtype
        return dtype

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        weight: Any = self.blocks[0].synapse.weight
        device: torch.device = weight.device
        return device

    @property
    def learns_outputs(self) -> bool:
        """Whether the rule learns more of its own than the signal: output layers."""
        return any(name != "projection" for name in self.rule.learned(self.tensors))

    def lay_out(self, optimizers: Sequence[torch.optim.Optimizer | None]) -> None:
        """Leave weights in memory as they are."""
        return

    @abstractmethod
    def begin(
        self,
        n_recordings: int,
        filters: tuple[Evidence, ...],
        labels: Tensor | None = None,
        optimizers: Sequence[torch.optim.Optimizer | None] | None = None,
        update_every: int = 1,
    ) -> Passage[Any]:
        """Start a batch of sequences, or a stream; blocks with an optimiser learn from labels."""

    @abstractmethod
    def run(self, x: Tensor | EventBatch, passage: Passage[Any]) -> None:
        """Run whole sequences ``(T, B, *features)``, then let what is left over be learned."""

    @abstractmethod
    def step(self, x_t: Tensor, passage: Passage[Any]) -> None:
        """Run one time step ``(B, *features)`` of a stream."""

    def check_steps(self, passage: Passage[Any], steps: int) -> None:
        """Raise unless every neuron has made all the steps of a sequence.

        Raises
        ------
        ValueError
            If one has not: the network did not run over all of them.
        """
        for item in passage.blocks:
            if item.t != steps:
                raise ValueError(
                    f"x has {steps} time steps, but neuron '{item.block.neuron_name}' made "
                    f"{item.t}; with time='inside' the network has to run over all of dimension 0"
                )
