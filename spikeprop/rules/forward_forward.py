r"""Forward-Forward: a recording with its own label shall do a block good, with a wrong one not.

Each recording runs with its own label (positive) and with N wrong ones (negative). With a the
rectified evidence of a row, F its neurons, :math:`\sigma` the logistic function and
:math:`\zeta(x) = \log(1 + e^x)`,

.. math::

    g = \frac1F \sum_j a_j^2, \qquad
    L = \begin{cases}
        \zeta(-\alpha (g^+ - g^-)) & \text{pair} \\
        \zeta(-\alpha (g^+ - \theta)) + \zeta(\alpha (g^- - \theta)) & \text{threshold}
    \end{cases}, \qquad
    \delta = \frac{\partial L}{\partial g} \frac{2 a}{F}, \quad
    \Delta W \propto -\delta^\top e_t

with :math:`e_t = F(\text{trace})_t` the eligibility trace seen through the evidence's filter. A
class c scores :math:`\alpha g` of the recording run with c.

*Goodness* is on voltage (``potential="free"`` or ``"membrane"``), on the spike trace
(``"spikes"`` with a leaky filter: :class:`ForwardForwardTrace`) or on the rate (``"spikes"`` with
the running mean: :class:`ForwardForwardRate`). *The label* overlays the first cells of the input at
every step, or arrives as a random spike pattern in cells appended to the input; as the network's
first synapse has no weights for those, the learner keeps and trains them. *Negatives* are any wrong
label, hard ones (drawn by the network's own scores, in a first pass without labels), or the labels
of the batch, shuffled.

Sources: Hinton, "The Forward-Forward Algorithm", arXiv 2212.13345 (goodness and threshold,
equation 1 and section 2; labels in the input, hard negatives, prediction by goodness or by a
softmax readout, section 3.3). The paired contrast is SymBa's, Lee and Song, arXiv 2303.08418.
Voltage as the goodness of spiking neurons is snnTorch's tutorial's. What a layer passes on is
spikes: no length is normalised, as homeostasis holds the rates. The mean in place of the sum, the
evidence's filter and the eligibility trace are this project's.

Local in time: yes. Local in space: yes. Surrogate needed: no. Feedback path, symmetric weights,
layer-wise schedule, change of the network: none, but for a readout. Memory per block: two traces
for each of the (2 + N) B rows; multiply-adds per step: those of (2 + N) B rows forward, and once
more. Without the readout (1 + N) B rows learn, and C B predict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from spikeprop import checks
from spikeprop.evidence import Evidence, Leaky, RunningMean
from spikeprop.homeostasis import Homeostasis
from spikeprop.rules.base import Constraints, Modulation
from spikeprop.rules.contrast import (
    NONE,
    ContrastRule,
    Rows,
    Seen,
    Wire,
    check_rule,
)
from spikeprop.rules.describing import settings
from spikeprop.rules.goodness import check_contrast, contrast, goodness
from spikeprop.rules.labels import (
    candidates,
    draw_synapse,
    draw_wrong,
    label_codes,
    scored,
    shuffle_wrong,
)
from spikeprop.rules.local_readout import draw_readouts, readout_gradients, readout_logits

__all__ = ["ForwardForward", "ForwardForwardRate", "ForwardForwardTrace"]

LABELS = ("overlay", "appended")
NEGATIVES = ("wrong", "hard", "shuffled")
PREDICTIONS = ("goodness", "readout")


@dataclass(frozen=True)
class ForwardForward(ContrastRule):
    """Forward-Forward with goodness on voltage.

    Parameters
    ----------
    num_classes : int
        Number of classes C, at least 2.
    objective : {"pair", "threshold"}
        Contrast of a recording's rows with each other, or of each with ``theta``.
    alpha : float
        Slope of the contrast, above 0.
    theta : float
        Threshold of goodness.
    label : {"overlay", "appended"}
        Label over the input's first cells, or in cells appended to it.
    cells : int
        Cells for each class, at least 1.
    strength : float
        Height of the label's spikes, above 0.
    density : float
        Share of the appended cells that spike for a class, above 0 and below 1.
    negatives : {"wrong", "hard", "shuffled"}
        Which wrong labels.
    n_negatives : int
        Number N of negative rows for each recording, at least 1.
    prediction : {"readout", "goodness"}
        Readouts on rows without a label, in a single pass, or goodness of every candidate.
    evidence, stream_evidence : Evidence
        Filter of the potential (or of the spikes) over time, in ``update`` and in ``step``.
    potential : {"free", "membrane", "spikes"}
        What the evidence is made of.
    homeostasis, stream_homeostasis : Homeostasis, optional
        Control of the thresholds.
    predict_from : {"vote", "last"}
        Scores of all blocks, or of the last.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """

    constraints: ClassVar[Constraints | None] = Constraints(
        local_in_time=True,
        local_in_space=True,
        surrogate=False,
        feedback="none",
        layerwise=False,
        changes_network="readout",
        memory="2 (2 + N) B I",
        multiply_adds="2 (2 + N) B I F",
        source="Hinton, arXiv 2212.13345",
        phases="one, right and wrong labels side by side",
    )
    search: ClassVar[Mapping[str, Sequence[Any]]] = {
        "lr": (4e-4, 2e-4, 1e-3),
        "alpha": (20.0, 5.0, 60.0),
        "strength": (3.0, 1.0, 10.0),
        "negatives": ("wrong", "hard"),
    }

    num_classes: int
    objective: str = "pair"
    alpha: float = 20.0
    theta: float = 1.0
    label: str = "overlay"
    cells: int = 1
    strength: float = 3.0
    density: float = 0.2
    negatives: str = "wrong"
    n_negatives: int = 1
    prediction: str = "readout"
    evidence: Evidence | tuple[Evidence, ...] = RunningMean()  # noqa: RUF009 - frozen
    stream_evidence: Evidence | tuple[Evidence, ...] = Leaky(0.1)  # noqa: RUF009 - frozen
    potential: str = "free"
    homeostasis: Homeostasis | None = Homeostasis()  # noqa: RUF009 - frozen
    stream_homeostasis: Homeostasis | None = Homeostasis(gain=0.005)  # noqa: RUF009 - frozen
    predict_from: str = "vote"

    def __post_init__(self) -> None:
        check_rule(self)
        check_contrast(self)
        checks.one_of("label", self.label, LABELS)
        checks.one_of("negatives", self.negatives, NEGATIVES)
        checks.one_of("prediction", self.prediction, PREDICTIONS)
        for name in ("cells", "n_negatives"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} has to be at least 1, got {getattr(self, name)}")
        if not 0.0 < self.density < 1.0:
            raise ValueError(f"density has to be above 0 and below 1, got {self.density}")

    @property
    def scouts(self) -> bool:  # type: ignore[override]
        """Whether a pass without labels says which negatives are hard."""
        return self.negatives == "hard"

    def draw(self, shapes: Sequence[torch.Size], generator: torch.Generator) -> dict[str, Tensor]:
        """Draw codes, synapses of appended cells, and readouts, zero at first."""
        C, n = self.num_classes, self.num_classes * self.cells
        sizes = [shape.numel() for shape in shapes]
        tensors = {"codes": torch.eye(C).repeat_interleave(self.cells, dim=1) * self.strength}
        if self.label == "appended":
            pattern = torch.rand(C, n, generator=generator).argsort(dim=1) < self.density * n
            tensors["codes"] = pattern.float() * self.strength
            tensors["label.weight"] = draw_synapse(sizes[0], n, generator)
        if self.prediction == "readout":
            tensors |= draw_readouts(sizes, C)
        return tensors

    def draw_input(
        self, shape: torch.Size, shapes: Sequence[torch.Size], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Make sure that the input has room for an overlay.

        Raises
        ------
        ValueError
            If it has not.
        """
        needed = self.num_classes * self.cells
        if self.label == "overlay" and shape.numel() <= needed:
            raise ValueError(
                f"label='overlay' takes {needed} cells of the input (num_classes * cells), which "
                f"has {shape.numel()}: use label='appended' or a larger input"
            )
        return {}

    def learned(self, tensors: dict[str, Tensor]) -> list[str]:
        """Return the synapses of appended cells, and the readouts."""
        return [name for name in tensors if name != "codes"]

    def wires(self, n_blocks: int) -> list[Wire]:
        """Return the way of appended cells into the first block."""
        return [Wire("label.weight", 0, "context")] if self.label == "appended" else []

    @property
    def undivided(self) -> str | None:
        """What needs the whole batch."""
        return "draws wrong labels for the whole batch at once"

    def rows(self, labels: Tensor | None, n: int, scores: Tensor | None) -> Rows:
        """Return positives, then negatives, then rows without a label if there is a readout."""
        none = torch.full((n,), NONE)
        if labels is None:
            if self.prediction == "goodness":
                return candidates(n, self.num_classes)
            return Rows(none[None], torch.zeros(1, n), None)
        groups, signs = [labels], [torch.ones(n)]
        for _ in range(self.n_negatives):
            if self.negatives == "shuffled":
                wrong, is_wrong = shuffle_wrong(labels)
                signs.append(-is_wrong.cpu().float())
            else:
                wrong = draw_wrong(labels, self.num_classes, scores)
                signs.append(-torch.ones(n))
            groups.append(wrong)
        if self.prediction == "readout":
            groups.append(none.to(labels))
            signs.append(torch.zeros(n))
        return Rows(torch.stack(groups), torch.stack(signs), labels)

    def stream_rows(self, labels: Tensor | None, n: int, scores: Tensor | None) -> Rows:
        """Return every candidate, or the groups of :meth:`rows` if there is a readout."""
        if self.prediction == "goodness":
            drawn_by = scores if self.negatives == "hard" else None
            return candidates(n, self.num_classes, labels, drawn_by)
        if labels is None:
            groups = 2 + self.n_negatives
            return Rows(torch.full((groups, n), NONE), torch.zeros(groups, n), None)
        return self.rows(labels, n, scores if self.negatives == "hard" else None)

    def imprint(self, x: Tensor, rows: Rows, tensors: dict[str, Tensor]) -> Tensor:
        """Write the label's code over the first cells of a time step."""
        if self.label != "overlay":
            return x
        codes = label_codes(rows.classes, tensors["codes"])
        return torch.cat([codes, x.flatten(1)[:, codes.shape[1] :]], dim=1).reshape(x.shape)

    def context(
        self, rows: Rows, t: int, scores: Tensor | None, tensors: dict[str, Tensor]
    ) -> Tensor:
        """Return the spikes of the appended cells."""
        return label_codes(rows.classes, tensors["codes"])

    def modulate(self, block: int, seen: Seen, tensors: dict[str, Tensor]) -> Modulation:
        """Return the closed-form gradient of the contrast."""
        value, g, delta = contrast(seen.evidence, seen.rows.signs, self)
        if self.prediction == "readout":
            return Modulation(value, self.logits(block, seen, tensors), delta)
        return Modulation(value, scored(self.alpha * g, seen.rows, self.num_classes), delta)

    def logits(self, block: int, seen: Seen, tensors: dict[str, Tensor]) -> Tensor:
        """Return the goodness of every candidate times alpha, or the readout's scores."""
        if self.prediction == "readout":
            return readout_logits(block, _unlabelled(seen), tensors)
        return self.alpha * goodness(seen.evidence).reshape(seen.rows.classes.shape).T

    def own_gradients(
        self, block: int, seen: Seen, tensors: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the readout's delta rule on the rows without a label."""
        if self.prediction != "readout":
            return {}
        assert seen.rows.labels is not None, "nothing is learned without"
        return readout_gradients(block, _unlabelled(seen), seen.rows.labels, tensors)

    def config(self) -> dict[str, Any]:
        """Return the rule's name and hyper-parameters."""
        return settings(self)


def _unlabelled(seen: Seen) -> Tensor:
    return seen.evidence[-seen.rows.classes.shape[1] :]


@dataclass(frozen=True)
class ForwardForwardTrace(ForwardForward):
    """Goodness on the trace of the neurons' own spikes; parameters as :class:`ForwardForward`."""

    alpha: float = 300.0
    theta: float = 0.02
    evidence: Evidence | tuple[Evidence, ...] = Leaky(0.1)  # noqa: RUF009 - frozen
    potential: str = "spikes"
    search: ClassVar[Mapping[str, Sequence[Any]]] = {
        **ForwardForward.search,
        "alpha": (300.0, 100.0, 1000.0),
    }


@dataclass(frozen=True)
class ForwardForwardRate(ForwardForwardTrace):
    """Goodness on the neurons' spike rates; parameters as :class:`ForwardForward`."""

    evidence: Evidence | tuple[Evidence, ...] = RunningMean()  # noqa: RUF009 - frozen
