r"""S-TLLR and TESS: STDP-like eligibilities with causal and non-causal terms.

.. math::

    \Delta W^l \propto -\sum_{t \ge T_l} L^l_t \Big[
      \alpha_{pre}\, \psi(u_t) \sum_{t' \le t} \lambda_{pre}^{t-t'} x_{t'}
    + \alpha_{post}\, x_t \sum_{t' < t} \lambda_{post}^{t-1-t'} \psi(u_{t'}) \Big]

S-TLLR's learning signal ``L`` is the output error, backpropagated through the layers within the
step ("symmetric"), or by direct feedback alignment ("random"). TESS's is made in each layer: fixed
square waves, one a class, read the layer's own spikes, and the cross-entropy's error goes back by
them,

.. math::

    L^l_t = (\text{softmax}(s^l_t M_l^\top) - y^*)\, M_l, \quad
    M_{l,ci} = \text{sign}(\sin(f_c\, i)) / F

Sources: Apolinario and Roy, "S-TLLR: STDP-inspired temporal local learning rule for spiking neural
networks", TMLR 2025 (arXiv 2306.15220), equations (9) to (12); Apolinario, Roy, Frenkel, "TESS: a
scalable temporally and spatially local learning rule for spiking neural networks", 2025 (arXiv
2502.01837), and the authors' code for the exponents, the constants and the waves' frequencies, 50
to 512. Readings taken: the square waves are not divided by ``F`` but by ``sqrt(F)``, so that the
logits of a layer have the spread of a readout's; neurons are counted from 1, since every wave is 0
at 0; convolutional spikes are read without pooling.

Local in time: yes. Local in space: S-TLLR no, TESS yes. Surrogate: yes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from spikeprop.losses import cross_entropy
from spikeprop.rules.base import Constraints
from spikeprop.rules.pseudo import PseudoDerivative, Triangle
from spikeprop.rules.readout_rule import ReadoutRule, random_feedback
from spikeprop.rules.three_factor import Eligibility, Step, Trace, View

__all__ = ["STLLR", "TESS"]


@dataclass(frozen=True)
class STLLR(ReadoutRule):
    """S-TLLR.

    Parameters
    ----------
    lambda_pre, lambda_post : float
        Decays of the causal and of the non-causal trace per time step, 0 to below 1.
    alpha_pre, alpha_post : float
        Weights of the causal and of the non-causal term.
    feedback : {"symmetric", "random"}
        How the error comes to the blocks.
    feedback_scale : float
        Standard deviation of the random feedback.
    **options
        Those of ``ReadoutRule``.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """

    constraints: ClassVar[Constraints | None] = Constraints(
        local_in_time=True,
        local_in_space=False,
        surrogate=True,
        feedback="symmetric, spatial backpropagation",
        layerwise=False,
        changes_network="readout",
        memory="B I + B F",
        multiply_adds="3 B I F",
        source="Apolinario and Roy, TMLR 2025",
        phases="forward and back in every step",
    )
    search: ClassVar[Mapping[str, Sequence[Any]]] = {
        "lr": (1e-3, 3e-4, 3e-3),
        "dropout": (0.0, 0.2),
        "surrogate": ("triangle", "fast-sigmoid:10"),
        "alpha_post": (-0.2, 0.2),
        "homeostasis": (None, 0.1),
    }

    surrogate: PseudoDerivative | None = Triangle()  # noqa: RUF009 - frozen
    lambda_pre: float = 0.8
    lambda_post: float = 0.5
    alpha_pre: float = 1.0
    alpha_post: float = -0.2
    feedback: str = "symmetric"
    feedback_scale: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("lambda_pre", "lambda_post"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(
                    f"{name} has to be at least 0 and below 1, got {getattr(self, name)}"
                )
        if self.feedback not in ("symmetric", "random"):
            raise ValueError(f"feedback has to be symmetric or random, got {self.feedback!r}")

    @property
    def path(self) -> str:  # type: ignore[override]
        """How signals travel: as ``feedback`` says, by the network or past it."""
        return "symmetric" if self.feedback == "symmetric" else "none"

    @property
    def eligibilities(self) -> tuple[Eligibility, ...]:
        """The presynaptic trace (causal) and the present input (non-causal)."""
        return (Trace(self.lambda_pre), Trace(0.0))

    def draw(self, shapes: Sequence[torch.Size], generator: torch.Generator) -> dict[str, Tensor]:
        """Draw the readout, and ``B`` for every block if the feedback is random."""
        own = super().draw(shapes, generator)
        if self.feedback == "symmetric":
            return own
        return own | random_feedback(shapes, self.num_classes, self.feedback_scale, generator)

    def signals(self, step: Step, error: Tensor) -> list[Tensor]:
        """Return the error, carried down or broadcast."""
        if self.feedback == "symmetric":
            return step.transport(self.top(step, error))
        return [error @ step.tensors[f"feedback.{view.index}"] for view in step.views]

    def observe(self, view: View) -> None:
        """Move the postsynaptic trace on; the non-causal term takes it as it was before."""
        psi = view.psi
        view.carry["before"] = view.carry.get("psi", torch.zeros_like(psi))
        view.follow("psi", psi, self.lambda_post)

    def modulate(self, view: View, signal: Tensor) -> tuple[Tensor, ...]:
        """Return the modulators of the causal and of the non-causal term."""
        return self.alpha_pre * signal * view.psi, self.alpha_post * signal * view.carry["before"]


@dataclass(frozen=True)
class TESS(STLLR):
    """TESS: S-TLLR's eligibility with a learning signal made in each layer; parameters as there."""

    constraints: ClassVar[Constraints | None] = Constraints(
        local_in_time=True,
        local_in_space=True,
        surrogate=True,
        feedback="none (fixed waves in the layer)",
        layerwise=False,
        changes_network="readout",
        memory="B I + B F",
        multiply_adds="2 B I F + 2 B C F",
        source="Apolinario, Roy, Frenkel, arXiv 2502.01837",
    )

    feedback: str = "random"

    def draw(self, shapes: Sequence[torch.Size], generator: torch.Generator) -> dict[str, Tensor]:
        """Draw the readout, and make the square waves of every block."""
        own = ReadoutRule.draw(self, shapes, generator)
        return own | {
            f"feedback.{block}": square_waves(self.num_classes, shape.numel())
            for block, shape in enumerate(shapes)
        }

    def signals(self, step: Step, error: Tensor) -> list[Tensor]:
        """Return each layer's own error."""
        assert step.labels is not None, "signals are asked for where there are labels"
        found = []
        for view in step.views:
            waves = step.tensors[f"feedback.{view.index}"]
            _, own = cross_entropy(view.spk @ waves.T, step.labels)
            found.append(own @ waves)
        return found


def square_waves(num_classes: int, features: int) -> Tensor:
    """Return ``sign(sin(f_c i)) / sqrt(F)``, ``(C, F)``, i from 1, f from 50 to 512."""
    frequency = torch.linspace(50.0, 512.0, num_classes, dtype=torch.float64).unsqueeze(1)
    place = torch.arange(1, features + 1, dtype=torch.float64)
    wave = torch.sign(torch.sin(frequency * place))
    return (wave / math.sqrt(features)).float()
