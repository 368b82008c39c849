"""What a rule is: a function from what a block saw to the modulator of its synapse.

A rule never computes a weight's gradient and never knows how the network is run; an engine does
both, and never knows which rule it runs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikeprop.evidence import Evidence
from spikeprop.homeostasis import Homeostasis

__all__ = ["Modulation", "Rule"]


class Modulation(NamedTuple):
    """What a rule says of one block at one time step.

    Attributes
    ----------
    value : Tensor
        Local loss, shape ``()``.
    logits : Tensor
        Score of each class for each recording, ``(B, C)``.
    delta : Tensor
        The modulator: gradient of ``value`` with respect to the evidence of all rows, ``(R, F)``.

    All of them with a leading dimension of time steps where a rule modulates a window.
    """

    value: Tensor
    logits: Tensor
    delta: Tensor


class Rule(ABC):
    """A learning rule, put to work by :class:`spikeprop.ForwardLearner`.

    A rule is a frozen set of hyper-parameters. What it draws at random for a network (class
    signals, say) is a dictionary of tensors that the learner keeps and hands back at each call.
    """

    num_classes: int
    evidence: Evidence | tuple[Evidence, ...]
    stream_evidence: Evidence | tuple[Evidence, ...]
    homeostasis: Homeostasis | None
    stream_homeostasis: Homeostasis | None
    predict_from: str
    #: What the evidence is made of: the "membrane" voltage, or the "free" potential (see
    #: :mod:`spikeprop.potentials`).
    potential: str = "membrane"

    @abstractmethod
    def draw(self, shapes: Sequence[torch.Size], generator: torch.Generator) -> dict[str, Tensor]:
        """Draw the rule's tensors for blocks whose voltages are shaped as ``shapes``."""

    @abstractmethod
    def current(self, tensors: dict[str, Tensor], t: int) -> Tensor | None:
        """Return the current of the signal rows in the first block at step ``t`` (from 1).

        Shape ``(C, *features)``; None for a rule that sends no signal through the network.
        """

    @abstractmethod
    def modulate(
        self, block: int, evidence: Tensor, labels: Tensor, tensors: dict[str, Tensor]
    ) -> Modulation:
        """Return the modulator of a block.

        Parameters
        ----------
        block : int
            Index of the block.
        evidence : Tensor
            ``(R, F)``: B recordings, then the signal rows; features flattened, filters side by
            side.
        labels : Tensor
            ``(B,)``, int64.
        tensors : dict of str to Tensor
            What :meth:`draw` gave.
        """

    @abstractmethod
    def logits(
        self, block: int, evidence: Tensor, n_recordings: int, tensors: dict[str, Tensor]
    ) -> Tensor:
        """Return the scores ``(B, C)`` of a block without a label."""

    def modulate_window(
        self, block: int, evidence: Tensor, labels: Tensor, tensors: dict[str, Tensor]
    ) -> Modulation:
        """Return the modulators of several time steps at once.

        As :meth:`modulate`, with ``evidence`` of shape ``(L, R, F)``, and a leading ``L`` in all
        that comes back. ``evidence`` is used up: the modulators may be written in its place, and
        come back as it. A rule whose steps are independent, given the evidence, overrides this with
        a batched form; as it stands it calls :meth:`modulate` step by step.
        """
        steps = [self.modulate(block, item, labels, tensors) for item in evidence]
        values, logits, deltas = zip(*steps, strict=True)
        return Modulation(torch.stack(values), torch.stack(logits), torch.stack(deltas))

    def logits_window(
        self, block: int, evidence: Tensor, n_recordings: int, tensors: dict[str, Tensor]
    ) -> Tensor:
        """Return the scores ``(L, B, C)`` of several time steps, ``evidence`` ``(L, R, F)``."""
        return torch.stack([self.logits(block, item, n_recordings, tensors) for item in evidence])

    @abstractmethod
    def linear_readout(
        self, block: int, evidence: Tensor, n_recordings: int, tensors: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, bool]:
        """Return weight ``(C, F)``, bias ``(C,)`` and "rectify first" of an equivalent readout."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Return the hyper-parameters as JSON can write them, the rule's name among them."""
