r"""Error Forward-Propagation: the output's error enters at the front and travels forward.

Each recording runs alone (free, f) and with the error e of its output, projected by a fixed random
:math:`S_1`, joining the current of the first block; once with its sign (+), and with two sides once
against it (-). Every block compares its rows. With v the evidence, :math:`a = \max(v, 0)`, and the
readout y of the last block on the free row:

.. math::

    e = \text{onehot}(c) - \text{softmax}(y), \qquad
    \text{current}^\pm_1 = W_1 x_t + b_1 \pm S_1 e, \\
    \text{gap}_t = a^f_t - a^+_t \quad\text{or}\quad \tfrac12 (a^-_t - a^+_t), \qquad
    \delta_t = \text{gap}_t\, 1[v^f_t > 0], \quad
    \Delta W \propto -\delta_t^\top e_t, \quad e_t = F(\text{trace})_t

and the readout by the delta rule. :math:`\delta` is the gradient of :math:`\frac12 \| \text{gap}
\|^2` with respect to the free row, its target held constant. ``passes=2``: a first pass gives e,
which the second carries at every step. ``passes=1``: the loop is closed along the time axis, so
that step t carries the error of step t - 1.

Sources: Kohan, Rietman and Siegelmann, "Error Forward-Propagation", arXiv 1808.03357 (the output
loops back to the layer that receives the input; free and nudged activities are contrasted); its
place in the framework, :math:`t_1 = S_1\, dL/dy`, is the authors' tutorial on signal propagation,
slide 41. Error and input share a row here, as in the loop of 1808.03357; a small error alone would
drive no neuron over its threshold. Two sides take out the even part of the difference, by which
activity would grow whatever the error (as for equilibrium propagation: Laborieux et al., Frontiers
in Neuroscience 15 (2021) 633674). Evidence in place of rates is this project's.

Local in time: yes. Local in space: yes, but for the loop from the output to the front. Surrogate
needed: no. Feedback path: one, random, into the first block. Symmetric weights, layer-wise
schedule, change of the network: none, but for a readout. Memory per block: two traces for each of
the 3 B rows (2 B with one side); multiply-adds per step: those of 3 B rows forward, and once more;
those of B rows more with two passes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from spikeprop.evidence import Evidence, Leaky, RunningMean
from spikeprop.homeostasis import Homeostasis
from spikeprop.rules.base import Constraints, Modulation
from spikeprop.rules.contrast import NONE, ContrastRule, Rows, Seen, Wire, check_rule
from spikeprop.rules.describing import settings
from spikeprop.rules.local_readout import draw_readouts, readout_gradients, readout_logits

__all__ = ["ErrorForwardPropagation"]


@dataclass(frozen=True)
class ErrorForwardPropagation(ContrastRule):
    """Error Forward-Propagation in one or two passes.

    Parameters
    ----------
    num_classes : int
        Number of classes C, at least 2.
    passes : {2, 1}
        A pass without error first, or the error of the step before in a single pass.
    scale : float
        Standard deviation of the projection ``S_1``, above 0 [current].
    sides : {2, 1}
        Compare the error with its opposite, or with the free row.
    evidence, stream_evidence : Evidence
        Filter of the potential over time, in ``update`` and in ``step``.
    potential : {"free", "membrane"}
        What the evidence is made of; see :mod:`spikeprop.potentials`.
    homeostasis, stream_homeostasis : Homeostasis, optional
        Control of the thresholds, by the free rows; more spikes make a finer measure of the error.
    predict_from : {"last", "vote"}
        Which readouts predict; the error is always that of the last block.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """

    constraints: ClassVar[Constraints | None] = Constraints(
        local_in_time=True,
        local_in_space=True,
        surrogate=False,
        feedback="random, output to front",
        layerwise=False,
        changes_network="readout",
        memory="6 B I",
        multiply_adds="7 B I F",
        source="Kohan, Rietman, Siegelmann, arXiv 1808.03357",
        phases="two passes, answer and correction",
    )
    counted: ClassVar[int | None] = 0
    search: ClassVar[Mapping[str, Sequence[Any]]] = {
        "lr": (4e-4, 2e-4, 1e-3),
        "scale": (0.02, 0.1),
        "passes": (2, 1),
    }

    num_classes: int
    passes: int = 2
    scale: float = 0.02
    sides: int = 2
    evidence: Evidence | tuple[Evidence, ...] = RunningMean()  # noqa: RUF009 - frozen
    stream_evidence: Evidence | tuple[Evidence, ...] = Leaky(0.1)  # noqa: RUF009 - frozen
    potential: str = "free"
    homeostasis: Homeostasis | None = Homeostasis(target=0.3)  # noqa: RUF009 - frozen
    stream_homeostasis: Homeostasis | None = Homeostasis(0.3, gain=0.005)  # noqa: RUF009 - frozen
    predict_from: str = "last"

    def __post_init__(self) -> None:
        check_rule(self)
        if self.passes not in (1, 2):
            raise ValueError(f"passes has to be 1 or 2, got {self.passes}")
        if self.sides not in (1, 2):
            raise ValueError(f"sides has to be 1 or 2, got {self.sides}")
        if not self.scale > 0.0:
            raise ValueError(f"scale has to be above 0, got {self.scale}")

    @property
    def scouts(self) -> bool:  # type: ignore[override]
        """Whether a pass without error goes first."""
        return self.passes == 2

    def draw(self, shapes: Sequence[torch.Size], generator: torch.Generator) -> dict[str, Tensor]:
        """Draw ``S_1``, and a readout a block, zero at first."""
        sizes = [shape.numel() for shape in shapes]
        projection = torch.randn(sizes[0], self.num_classes, generator=generator) * self.scale
        return {"projection": projection, **draw_readouts(sizes, self.num_classes)}

    def learned(self, tensors: dict[str, Tensor]) -> list[str]:
        """Return the readouts."""
        return [name for name in tensors if name != "projection"]

    def wires(self, n_blocks: int) -> list[Wire]:
        """Return the loop's end at the front."""
        return [Wire("projection", 0, "context")]

    def rows(self, labels: Tensor | None, n: int, scores: Tensor | None) -> Rows:
        """Return a free group, and one for each sign of the error if there are labels."""
        return _rows(labels, n, scores, 1 if labels is None else 1 + self.sides)

    def stream_rows(self, labels: Tensor | None, n: int, scores: Tensor | None) -> Rows:
        """Return all groups; without labels they are free."""
        return _rows(labels, n, None, 1 + self.sides)

    def context(
        self, rows: Rows, t: int, scores: Tensor | None, tensors: dict[str, Tensor]
    ) -> Tensor:
        """Return no error for the free rows, the error, and its negative."""
        free = tensors["projection"].new_zeros(rows.classes.shape[1], self.num_classes)
        if rows.labels is None or len(rows.classes) == 1:
            return free.repeat(len(rows.classes), 1)
        scores = scores if rows.scores is None else rows.scores
        if scores is None:  # the loop has not come round yet
            return free.repeat(len(rows.classes), 1)
        error = -scores.softmax(dim=1)
        error[torch.arange(len(error), device=error.device), rows.labels] += 1.0
        return torch.cat([free, error, -error][: len(rows.classes)])

    def modulate(self, block: int, seen: Seen, tensors: dict[str, Tensor]) -> Modulation:
        """Return the closed-form gradient of the contrast for the free rows."""
        free, *nudged = seen.evidence.chunk(1 + self.sides)
        a = [part.clamp_min(0) for part in nudged]
        gap = free.clamp_min(0) - a[0] if self.sides == 1 else 0.5 * (a[1] - a[0])
        value = 0.5 * gap.square().sum(dim=1).mean()
        delta = torch.zeros_like(seen.evidence)
        delta[: len(gap)] = gap * (free > 0) / len(gap)
        return Modulation(value, readout_logits(block, free, tensors), delta)

    def logits(self, block: int, seen: Seen, tensors: dict[str, Tensor]) -> Tensor:
        """Return the readout's scores of the free rows."""
        return readout_logits(block, seen.evidence[: seen.rows.classes.shape[1]], tensors)

    def own_gradients(
        self, block: int, seen: Seen, tensors: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the readout's delta rule on the free rows."""
        assert seen.rows.labels is not None, "nothing is learned without"
        free = seen.evidence.chunk(1 + self.sides)[0]
        return readout_gradients(block, free, seen.rows.labels, tensors)

    def config(self) -> dict[str, Any]:
        """Return the rule's name and hyper-parameters."""
        return settings(self)


def _rows(labels: Tensor | None, n: int, scores: Tensor | None, groups: int) -> Rows:
    classes = torch.full((groups, n), NONE)
    return Rows(classes, torch.zeros(groups, n), labels, scores)
