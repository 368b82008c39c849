r"""Predictive Forward-Forward: a contrasted circuit that represents, and one that generates.

*Representation.* Each recording runs with its own label (positive) and a wrong one (negative). The
label's code y enters at the top, each block hears the one above it, and neurons of a group inhibit
each other; all of this arrives as currents along synapses of the learner's own:

.. math::

    \text{current}^\ell_t = W_\ell s^{\ell-1}_t + b_\ell
        + V_\ell s^{\ell+1}_{t-1} - M_\ell s^\ell_{t-1}, \qquad
    \text{at the top:}\; V_L y \text{ in place of } V_\ell s^{\ell+1}_{t-1}

W and V learn by the contrast of goodness (:mod:`.goodness`) on the filtered potential; M is fixed,
:math:`\gamma / (n - 1)` between the n neurons of a group. A class is scored by the goodness that
the recording has with its label, summed over the blocks.

*Generation.* With :math:`\hat a^\ell` the rectified evidence over its root mean square, on positive
rows, and :math:`c_t` the class at a time of the recording,

.. math::

    \tilde a^L = G_{L+1} c_t, \qquad \tilde a^{\ell-1} = G_\ell \hat a^\ell + d_\ell, \qquad
    \tilde x = \sigma(G_1 \hat a^1 + d_1), \qquad
    \Delta G_\ell \propto -(\tilde a^{\ell-1} - \hat a^{\ell-1})\, \hat a^{\ell\top}

so that each layer learns to predict what lies below it, by the error of its own prediction
(:math:`x_t` for :math:`\hat a^0`). A *dream* runs these predictions down from a class alone.

Sources: Ororbia and Mali, "The Predictive Forward-Forward Algorithm", arXiv 2301.01452, and the
authors' code, ago109/predictive-forward-forward: two circuits, lateral competition, the label at
the top and not in the image, one settling per candidate label. Otherwise: positives raise goodness
(in the code they lower it); M stays fixed; the top of the generator is driven by class and time, as
recordings have both; there is no injected noise.

Local in time: yes. Local in space: yes, but for spikes of the block above. Surrogate needed: no.
Feedback path: learned, from block to block. Symmetric weights, layer-wise schedule: none. Change of
the network: the currents above, also in a prediction, and a generator. Memory per block: two traces
for each of the (1 + N) B rows; multiply-adds per step: those of (1 + N) B rows forward, and once
more, and 2 B I F for the generator.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from spikeprop.evidence import Evidence, Leaky, RunningMean
from spikeprop.homeostasis import Homeostasis
from spikeprop.rules.base import Constraints, Modulation
from spikeprop.rules.contrast import ContrastRule, Rows, Seen, Wire, check_rule
from spikeprop.rules.describing import settings
from spikeprop.rules.goodness import check_contrast, contrast, goodness
from spikeprop.rules.labels import candidates, draw_synapse, draw_wrong, label_codes, scored
from spikeprop.rules.local_readout import normalised

__all__ = ["PredictiveForwardForward"]

#: Probability of an event in a dream before anything is learned.
FIRST_ODDS = 0.02


@dataclass(frozen=True)
class PredictiveForwardForward(ContrastRule):
    """Predictive Forward-Forward; :meth:`dream` generates event frames.

    Parameters
    ----------
    num_classes : int
        Number of classes C, at least 2.
    objective, alpha, theta
        The contrast; see :class:`~spikeprop.rules.ForwardForward`.
    strength : float
        Height of the label's code, above 0.
    n_negatives : int
        Number N of negative rows for each recording, at least 1.
    competition : float
        Inhibition that a neuron gets if all others of its group fire, at least 0 [thresholds].
    group : int
        Neurons that compete, at least 2.
    clock : int
        Number of moments in a recording that the generator tells apart.
    clock_steps : int
        Time steps from one to the next.
    evidence, stream_evidence, potential, homeostasis, stream_homeostasis
        As in :class:`~spikeprop.rules.SigProp`.
    predict_from : {"vote", "last"}
        Goodness of all blocks, or of the last.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """

    constraints: ClassVar[Constraints | None] = Constraints(
        local_in_time=True,
        local_in_space=True,
        surrogate=False,
        feedback="learned, block to block",
        layerwise=False,
        changes_network="label, top-down and lateral currents",
        memory="2 (1 + N) B I",
        multiply_adds="2 (2 + N) B I F; C B I F to predict",
        source="Ororbia, Mali, arXiv 2301.01452",
        phases="one, right and wrong labels side by side",
    )
    search: ClassVar[Mapping[str, Sequence[Any]]] = {
        "lr": (4e-4, 2e-4, 1e-3),
        "alpha": (20.0, 5.0, 60.0),
        "strength": (3.0, 1.0),
        "competition": (0.1, 0.0, 0.3),
    }

    num_classes: int
    objective: str = "pair"
    alpha: float = 20.0
    theta: float = 1.0
    strength: float = 3.0
    n_negatives: int = 3
    competition: float = 0.1
    group: int = 8
    clock: int = 10
    clock_steps: int = 2
    evidence: Evidence | tuple[Evidence, ...] = RunningMean()  # noqa: RUF009 - frozen
    stream_evidence: Evidence | tuple[Evidence, ...] = Leaky(0.1)  # noqa: RUF009 - frozen
    potential: str = "free"
    homeostasis: Homeostasis | None = Homeostasis()  # noqa: RUF009 - frozen
    stream_homeostasis: Homeostasis | None = Homeostasis(gain=0.005)  # noqa: RUF009 - frozen
    predict_from: str = "vote"

    def __post_init__(self) -> None:
        check_rule(self)
        check_contrast(self)
        if not self.competition >= 0.0:
            raise ValueError(f"competition has to be at least 0, got {self.competition}")
        for name, low in (("n_negatives", 1), ("group", 2), ("clock", 1), ("clock_steps", 1)):
            if getattr(self, name) < low:
                raise ValueError(f"{name} has to be at least {low}, got {getattr(self, name)}")

    def draw(self, shapes: Sequence[torch.Size], generator: torch.Generator) -> dict[str, Tensor]:
        """Draw the representation's synapses; the generator's begin at zero."""
        C, sizes = self.num_classes, [shape.numel() for shape in shapes]
        tensors = {"codes": torch.eye(C) * self.strength}
        for block, size in enumerate(sizes):
            above = sizes[block + 1] if block + 1 < len(sizes) else C
            tensors[f"above.{block}"] = draw_synapse(size, above, generator)
            if self.competition > 0:
                tensors[f"lateral.{block}"] = self.competition * rivals(size, self.group)
            if block > 0:
                tensors[f"generator.{block}.weight"] = torch.zeros(sizes[block - 1], size)
                tensors[f"generator.{block}.bias"] = torch.zeros(sizes[block - 1])
        tensors["generator.top.weight"] = torch.zeros(sizes[-1], C * self.clock)
        return tensors

    def draw_input(
        self, shape: torch.Size, shapes: Sequence[torch.Size], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return the generator of the input: few events at first."""
        return {
            "generator.0.weight": torch.zeros(shape.numel(), shapes[0].numel()),
            "generator.0.bias": torch.full((shape.numel(),), -math.log(1.0 / FIRST_ODDS - 1.0)),
        }

    def learned(self, tensors: dict[str, Tensor]) -> list[str]:
        """Return top-down synapses and the generator."""
        return [name for name in tensors if name.startswith(("above", "generator"))]

    def wires(self, n_blocks: int) -> list[Wire]:
        """Return the ways of label, top-down and lateral currents."""
        found = []
        for block in range(n_blocks):
            top = block + 1 == n_blocks
            found.append(Wire(f"above.{block}", block, "context" if top else "above"))
            if self.competition > 0:
                found.append(Wire(f"lateral.{block}", block, "own"))
        return found

    @property
    def undivided(self) -> str | None:
        """What needs the whole batch."""
        return "draws wrong labels for the whole batch at once"

    def rows(self, labels: Tensor | None, n: int, scores: Tensor | None) -> Rows:
        """Return positives and negatives, or every candidate to predict."""
        if labels is None:
            return candidates(n, self.num_classes)
        wrong = [draw_wrong(labels, self.num_classes) for _ in range(self.n_negatives)]
        signs = torch.ones(1 + len(wrong), n)
        signs[1:] = -1.0
        return Rows(torch.stack([labels, *wrong]), signs, labels)

    def stream_rows(self, labels: Tensor | None, n: int, scores: Tensor | None) -> Rows:
        """Return every candidate; with labels, one of the wrong ones is the negative."""
        return candidates(n, self.num_classes, labels)

    def context(
        self, rows: Rows, t: int, scores: Tensor | None, tensors: dict[str, Tensor]
    ) -> Tensor:
        """Return the code of every row's label."""
        return label_codes(rows.classes, tensors["codes"])

    def modulate(self, block: int, seen: Seen, tensors: dict[str, Tensor]) -> Modulation:
        """Return the closed-form gradient of the contrast."""
        value, g, delta = contrast(seen.evidence, seen.rows.signs, self)
        return Modulation(value, scored(self.alpha * g, seen.rows, self.num_classes), delta)

    def logits(self, block: int, seen: Seen, tensors: dict[str, Tensor]) -> Tensor:
        """Return the goodness of every candidate, times alpha."""
        return self.alpha * goodness(seen.evidence).reshape(seen.rows.classes.shape).T

    def own_gradients(
        self, block: int, seen: Seen, tensors: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the delta rules of the generator on the positive rows."""
        positive = (seen.rows.signs > 0).flatten()
        a, below = normalised(seen.evidence[positive]), seen.below[positive]
        guess = self._below(block, a, tensors)
        error = guess - (below.clamp(0, 1) if block == 0 else normalised(below))
        error /= len(a)
        found = {
            f"generator.{block}.weight": error.T @ a,
            f"generator.{block}.bias": error.sum(dim=0),
        }
        if f"generator.{block + 1}.weight" not in tensors:
            assert seen.rows.labels is not None, "nothing is learned without"
            code = self._moment(seen.rows.labels, seen.t).to(a)
            top = tensors["generator.top.weight"].detach()
            found["generator.top.weight"] = (code @ top.T - a).T @ code / len(a)
        return found

    def dream(self, tensors: dict[str, Tensor], classes: Tensor, time_steps: int) -> Tensor:
        """Return the probability of an event in every cell, dreamt of classes.

        Parameters
        ----------
        tensors : dict of str to Tensor
            What the rule drew and learned.
        classes : Tensor
            ``(n,)``, int64.
        time_steps : int
            Length T of the dream.

        Returns
        -------
        Tensor
            ``(T, n, inputs)``, from 0 to 1.
        """
        blocks = sum(name.startswith("above") for name in tensors)
        frames = []
        for t in range(1, time_steps + 1):
            top = tensors["generator.top.weight"].detach()
            a = self._moment(classes, t).to(top) @ top.T
            for block in reversed(range(blocks)):
                a = self._below(block, normalised(a), tensors)
            frames.append(a)
        return torch.stack(frames)

    def _below(self, block: int, a: Tensor, tensors: dict[str, Tensor]) -> Tensor:
        weight = tensors[f"generator.{block}.weight"].detach()
        guess = a @ weight.T + tensors[f"generator.{block}.bias"].detach()
        return guess.sigmoid() if block == 0 else guess

    def _moment(self, classes: Tensor, t: int) -> Tensor:
        """Return class and time ``(n, C * clock)``: two neighbouring moments share a step."""
        place = min((t - 1) / self.clock_steps, self.clock - 1)
        early, share = int(place), place - int(place)
        moment = torch.zeros(self.clock)
        moment[early] = 1.0 - share
        if share:
            moment[early + 1] = share
        code = torch.nn.functional.one_hot(classes.cpu(), self.num_classes).to(moment)
        return (code[:, :, None] * moment).flatten(1).to(classes.device)

    def config(self) -> dict[str, Any]:
        """Return the rule's name and hyper-parameters."""
        return settings(self)


def rivals(size: int, group: int) -> Tensor:
    """Return the synapses ``(size, size)`` by which neurons of a group inhibit each other."""
    same = torch.arange(size)[:, None] // group == torch.arange(size) // group
    others = same.float() - torch.eye(size)
    return -others / others.sum(dim=1, keepdim=True).clamp_min(1)
