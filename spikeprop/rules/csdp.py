r"""Contrastive-signal-dependent plasticity: labels as context currents, contrast of spike traces.

Each recording runs with its own label (positive, :math:`r = 1`), with a wrong one (negative,
:math:`r = 0`) and, for the readout, with none. The label's code y is a context that reaches every
block at every time step through synapses :math:`B_\ell` of the learner's own:

.. math::

    \text{current}^\ell_t &= W_\ell s^{\ell-1}_t + b_\ell + B_\ell y, \qquad
    z^\ell_t = z^\ell_{t-1} + \lambda (s^\ell_t - z^\ell_{t-1}) \\
    g &= \tfrac1F \sum_j z_j^2, \qquad p = \sigma(\alpha (g - \theta)), \qquad
    L = -r \log p - (1 - r) \log(1 - p) \\
    \delta &= \frac{\partial L}{\partial z} = \alpha (p - r)\, \frac{2 z}{F}, \qquad
    \Delta W_\ell \propto -\delta^\top e_t, \quad
    \Delta B_\ell \propto -\delta^\top e^y_t

with e the presynaptic spikes (and the context) through the neuron's own sub-threshold filter and
the filter of the trace. The spike is not differentiated: its trace stands for the voltage.

Sources: Ororbia, "Contrastive signal-dependent plasticity", Science Advances 10 (2024) eadn6076,
arXiv 2303.18187, and the author's code, ago109/contrastive-signal-dependent-plasticity. As there:
context at every step into every block, goodness of traces, batch of positives and negatives,
labels at zero in a prediction, which a readout makes in a single pass. Otherwise: the presynaptic
factor is the eligibility trace and not the last spike alone; the trace of a recording that ends is
the mean since it began (:math:`\lambda = 1/t`), and leaky in a stream; goodness is a mean and not a
sum; :math:`\theta` may be replaced by the paired contrast (:mod:`.goodness`); the readout learns
from rows without a label, as it will be used; and there is no lateral inhibition, which a network
that stays unchanged has no synapses for (:class:`~spikeprop.rules.PredictiveForwardForward` adds
some).

Local in time: yes. Local in space: yes. Surrogate needed: no. Feedback path, symmetric weights,
layer-wise schedule: none. Change of the network: label synapses while it learns, a readout. Memory
per block: two traces for each of the 3 B rows; multiply-adds per step: those of 3 B rows forward,
and once more.
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
from spikeprop.rules.goodness import check_contrast, contrast
from spikeprop.rules.labels import draw_synapse, draw_wrong, label_codes
from spikeprop.rules.local_readout import draw_readouts, readout_gradients, readout_logits

__all__ = ["CSDP"]


@dataclass(frozen=True)
class CSDP(ContrastRule):
    """Contrastive-signal-dependent plasticity.

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
    strength : float
        Height of the label's code, above 0.
    evidence, stream_evidence : Evidence
        The filter that makes a trace of spikes; ``Leaky(alpha)`` for one of constant memory.
    homeostasis, stream_homeostasis : Homeostasis, optional
        Control of the thresholds.
    predict_from : {"last", "vote"}
        Which readouts predict.

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
        changes_network="label currents in learning, readout",
        memory="6 B I",
        multiply_adds="6 B I F",
        source="Ororbia, Science Advances 10 (2024) eadn6076, arXiv 2303.18187",
        phases="one, right and wrong labels side by side",
    )
    search: ClassVar[Mapping[str, Sequence[Any]]] = {
        "lr": (4e-4, 2e-4, 1e-3),
        "alpha": (300.0, 100.0, 1000.0),
        "strength": (1.0, 3.0),
    }

    num_classes: int
    objective: str = "pair"
    alpha: float = 300.0
    theta: float = 0.02
    strength: float = 1.0
    evidence: Evidence | tuple[Evidence, ...] = RunningMean()  # noqa: RUF009 - frozen
    stream_evidence: Evidence | tuple[Evidence, ...] = Leaky(0.1)  # noqa: RUF009 - frozen
    homeostasis: Homeostasis | None = Homeostasis()  # noqa: RUF009 - frozen
    stream_homeostasis: Homeostasis | None = Homeostasis(gain=0.005)  # noqa: RUF009 - frozen
    predict_from: str = "vote"
    potential: str = "spikes"

    def __post_init__(self) -> None:
        check_rule(self)
        check_contrast(self)

    def draw(self, shapes: Sequence[torch.Size], generator: torch.Generator) -> dict[str, Tensor]:
        """Draw the label's synapses ``B`` of every block, and readouts, zero at first."""
        sizes = [shape.numel() for shape in shapes]
        tensors = {"codes": torch.eye(self.num_classes) * self.strength}
        for block, size in enumerate(sizes):
            tensors[f"context.{block}"] = draw_synapse(size, self.num_classes, generator)
        return {**tensors, **draw_readouts(sizes, self.num_classes)}

    def learned(self, tensors: dict[str, Tensor]) -> list[str]:
        """Return the label's synapses and the readouts."""
        return [name for name in tensors if name != "codes"]

    def wires(self, n_blocks: int) -> list[Wire]:
        """Return the label's way into every block."""
        return [Wire(f"context.{block}", block, "context") for block in range(n_blocks)]

    @property
    def undivided(self) -> str | None:
        """What needs the whole batch."""
        return "draws wrong labels for the whole batch at once"

    def rows(self, labels: Tensor | None, n: int, scores: Tensor | None) -> Rows:
        """Return positives, negatives and rows without a label; the last alone to predict."""
        none = torch.full((n,), NONE)
        if labels is None:
            return Rows(none[None], torch.zeros(1, n), None)
        wrong = draw_wrong(labels, self.num_classes)
        classes = torch.stack([labels, wrong, none.to(labels)])
        return Rows(classes, torch.tensor([1.0, -1.0, 0.0]).expand(n, 3).T, labels)

    def stream_rows(self, labels: Tensor | None, n: int, scores: Tensor | None) -> Rows:
        """Return all three groups; without labels none of them has one."""
        if labels is None:
            return Rows(torch.full((3, n), NONE), torch.zeros(3, n), None)
        return self.rows(labels, n, None)

    def context(
        self, rows: Rows, t: int, scores: Tensor | None, tensors: dict[str, Tensor]
    ) -> Tensor:
        """Return the code of every row's label."""
        return label_codes(rows.classes, tensors["codes"])

    def modulate(self, block: int, seen: Seen, tensors: dict[str, Tensor]) -> Modulation:
        """Return the closed-form gradient of the contrast."""
        value, _, delta = contrast(seen.evidence, seen.rows.signs, self)
        return Modulation(value, self.logits(block, seen, tensors), delta)

    def logits(self, block: int, seen: Seen, tensors: dict[str, Tensor]) -> Tensor:
        """Return the readout's scores of the rows without a label, the last group."""
        return readout_logits(block, _unlabelled(seen), tensors)

    def own_gradients(
        self, block: int, seen: Seen, tensors: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the readout's delta rule on the rows without a label."""
        assert seen.rows.labels is not None, "nothing is learned without"
        return readout_gradients(block, _unlabelled(seen), seen.rows.labels, tensors)

    def config(self) -> dict[str, Any]:
        """Return the rule's name and hyper-parameters."""
        return settings(self)


def _unlabelled(seen: Seen) -> Tensor:
    return seen.evidence[-seen.rows.classes.shape[1] :]
