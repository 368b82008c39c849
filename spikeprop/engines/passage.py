"""What every engine reports of a batch on its way along the time axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from torch import Tensor

from spikeprop.blocks import Block

__all__ = ["BlockRecord", "Passage", "Seen"]


class Seen(Protocol):
    """What is known of one block after some time steps; see :class:`BlockRecord`."""

    block: Block
    t: int
    logits: Tensor | None
    logits_sum: Tensor | float
    loss_sum: Tensor | float
    spikes: Tensor | float
    spike_sum: Tensor | float


@dataclass
class BlockRecord:
    """Running values of one block.

    Attributes
    ----------
    t : int
        Time steps seen.
    logits, logits_sum, loss_sum : Tensor
        Scores ``(B, C)`` of the last step and summed over time; local loss summed over time ``()``.
    spikes, spike_sum : Tensor
        Spikes summed over the recordings ``(*features)``, of the last step and over time.
    """

    block: Block
    t: int = 0
    logits: Tensor | None = None
    logits_sum: Tensor | float = 0.0
    loss_sum: Tensor | float = 0.0
    spikes: Tensor | float = 0.0
    spike_sum: Tensor | float = 0.0


S = TypeVar("S", bound=Seen, covariant=True)


@dataclass(frozen=True)
class Passage(Generic[S]):
    """All blocks on their way along the time axis, for one batch or one stream."""

    blocks: Sequence[S]
    n_recordings: int

    @property
    def steps(self) -> int:
        """Time steps made."""
        return self.blocks[0].t

    def settle(self) -> None:
        """Wait for updates that processes still sum, if any, and make them."""
