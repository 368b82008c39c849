"""The kind of rules that contrast rows: a recording runs beside copies of itself.

Each recording of a batch stands in several rows, in groups of B: with its own label and with wrong
ones (Forward-Forward and its kin), with and without its error (Error Forward-Propagation), or
without any label. What tells the rows of a recording apart enters by *imprinting* the input, or as
a *context* along wires of the learner's own into some of the blocks, added to the current of their
neurons. Each block then compares its rows, learns from the contrast, and passes spikes on. The
network stays what it is.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Literal, NamedTuple

from torch import Tensor

from spikeprop import checks
from spikeprop.evidence import as_filters
from spikeprop.rules.base import Modulation, Rule

__all__ = ["NONE", "ContrastRule", "Rows", "Seen", "Wire", "check_rule"]

#: The class of a row that runs without one.
NONE = -1

READOUTS = ("last", "vote")
POTENTIALS = ("free", "membrane", "spikes")


class Rows(NamedTuple):
    """What stands in the rows of a batch, ``G`` groups of the same B recordings.

    Attributes
    ----------
    classes : Tensor
        Class that each row is run with ``(G, B)``, int64; -1 for none.
    signs : Tensor
        1 for a positive row, -1 for a negative one, 0 for one that is not contrasted, ``(G, B)``.
    labels : Tensor, optional
        The true classes ``(B,)``; None in a prediction.
    scores : Tensor, optional
        What a first pass without labels thought of the recordings, ``(B, C)``.
    """

    classes: Tensor
    signs: Tensor
    labels: Tensor | None
    scores: Tensor | None = None


class Seen(NamedTuple):
    """What a block has seen up to a time step.

    Attributes
    ----------
    rows : Rows
        What stands in its rows.
    t : int
        The time step, from 1.
    evidence : Tensor
        ``(R, F)`` for ``R = G B`` rows.
    below : Tensor
        What lies below, ``(R, I)``: the step's input for the first block, else the evidence of the
        block before.
    """

    rows: Rows
    t: int
    evidence: Tensor
    below: Tensor


class Wire(NamedTuple):
    """A synapse of the learner's own into a block.

    Attributes
    ----------
    name : str
        Its weight ``(neurons, inputs)`` among the rule's tensors.
    block : int
        The block whose neurons it feeds.
    source : {"context", "own", "above"}
        What it carries: the rows' context, the block's own spikes of the step before, or those of
        the next block.
    """

    name: str
    block: int
    source: Literal["context", "own", "above"]


class ContrastRule(Rule):
    """A rule by which each block contrasts its rows; engines compute the gradients."""

    #: Whether recordings are run without a label first, so that rows can depend on their scores.
    scouts: bool = False
    #: The group of rows whose spikes are counted, and held steady by homeostasis; None for all.
    counted: ClassVar[int | None] = None
    #: There are no signal rows, neither to be shown to a block nor to enter its synapse.
    needs_context: ClassVar[bool] = False
    enters_synapse: ClassVar[bool] = False

    @abstractmethod
    def rows(self, labels: Tensor | None, n: int, scores: Tensor | None) -> Rows:
        """Say what runs for ``n`` recordings: to learn from ``labels``, or to predict without.

        ``scores`` ``(B, C)`` are those of a first pass if :attr:`scouts`, None else. Random numbers
        are drawn from torch's global generator on the CPU, which the learner has seeded.
        """

    @abstractmethod
    def stream_rows(self, labels: Tensor | None, n: int, scores: Tensor | None) -> Rows:
        """As :meth:`rows` for a step of a stream: G is the same with and without labels.

        ``scores`` are those of the step before, None at the first.
        """

    def wires(self, n_blocks: int) -> list[Wire]:
        """Return the synapses of the learner's own; of one block, in the order of their names."""
        return []

    def imprint(self, x: Tensor, rows: Rows, tensors: dict[str, Tensor]) -> Tensor:
        """Return a time step of all rows ``(R, *features)``, marked by what runs in them."""
        return x

    def context(
        self, rows: Rows, t: int, scores: Tensor | None, tensors: dict[str, Tensor]
    ) -> Tensor:
        """Return the context of all rows at step ``t`` (from 1), ``(R, D)``.

        ``scores`` ``(B, C)`` are those that the last block gave a step before, None at the first.
        """
        raise NotImplementedError(f"{type(self).__name__} has a wire but no context")

    @abstractmethod
    def modulate(self, block: int, seen: Seen, tensors: dict[str, Tensor]) -> Modulation:
        """Return local loss, scores ``(B, C)`` and the modulator of all rows ``(R, F)``."""

    @abstractmethod
    def logits(self, block: int, seen: Seen, tensors: dict[str, Tensor]) -> Tensor:
        """Return the scores ``(B, C)`` of a block without labels."""

    def own_gradients(
        self, block: int, seen: Seen, tensors: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the gradients of learned tensors that are no wires, such as a readout's."""
        return {}


def check_rule(rule: Any) -> None:
    """Raise for parameters, shared by the rules of this kind, that are outside their range.

    Raises
    ------
    TypeError, ValueError
        The message names the parameter, what was given and what is allowed.
    """
    if rule.num_classes < 2:
        raise ValueError(f"num_classes has to be at least 2, got {rule.num_classes}")
    checks.one_of("predict_from", rule.predict_from, READOUTS)
    checks.one_of("potential", rule.potential, POTENTIALS)
    as_filters(rule.evidence)
    as_filters(rule.stream_evidence)
