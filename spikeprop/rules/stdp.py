r"""STDP, plain and modulated by reward, under a trained readout.

.. math::

    \Delta w_{ji} \propto A_+\, s_{j,t}\, \bar x_{i,t} - A_-\, \bar s_{j,t-1}\, x_{i,t}

with traces ``x_bar_t = lambda_+ x_bar_{t-1} + x_t`` and ``s_bar_t = lambda_- s_bar_{t-1} + s_t``
(pairs of spikes, all to all). With reward, each recording's change is multiplied by ``r``, 1 for a
right and 0 for a wrong answer of the readout at that step, minus its mean over the batch (the
reward expected). Soft bounds ``|w| <= w_max`` keep the weights in range: what is summed between two
updates is multiplied by ``1 - w / w_max`` where it makes the weight grow, by ``1 + w / w_max``
where it makes it fall.

Sources: pairs, Song, Miller, Abbott, Nat. Neurosci. 3, 919, 2000; traces, Morrison, Diesmann,
Gerstner, Biol. Cybern. 98, 459, 2008, section 4.1; soft bounds, Gutig et al., J. Neurosci. 23,
3697, 2003, equations (1) to (3) with mu = 1; reward, Florian, Neural Comput. 19, 1468, 2007,
equations (18) to (21) ("MSTDP"), the expected reward as in Fremaux, Sprekeler, Gerstner, J.
Neurosci. 30, 13326, 2010. Readings taken: signed weights with symmetric bounds; the network is not
changed, so that what lateral inhibition does for others is done in the rule, where a spike counts
as far as it exceeds the layer's mean, and by homeostasis of the thresholds.

Local in time: yes. Local in space: yes (the reward is one number a recording). Surrogate: no.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from spikeprop.homeostasis import Homeostasis
from spikeprop.rules.base import ONCE, Constraints
from spikeprop.rules.pseudo import PseudoDerivative
from spikeprop.rules.readout_rule import ReadoutRule
from spikeprop.rules.three_factor import Eligibility, Step, Trace, View

__all__ = ["STDP", "RewardSTDP"]


@dataclass(frozen=True)
class STDP(ReadoutRule):
    """Pair-based STDP.

    Parameters
    ----------
    a_plus, a_minus : float
        Size of potentiation and depression.
    lambda_plus, lambda_minus : float
        Decays of the pre- and postsynaptic traces per time step, 0 to below 1.
    w_max : float
        Bound of the weights, in units of ``1 / sqrt(synapses of a neuron)``.
    competition : bool
        Whether a spike counts as far as it exceeds the layer's mean, a stand-in for lateral
        inhibition.
    **options
        Those of ``ReadoutRule``.
    """

    constraints: ClassVar[Constraints | None] = Constraints(
        local_in_time=True,
        local_in_space=True,
        surrogate=False,
        feedback="none",
        layerwise=False,
        changes_network="readout",
        memory="B I + B F",
        multiply_adds="2 B I F",
        source="Song et al., Nat. Neurosci. 3, 919 (2000)",
    )
    search: ClassVar[Mapping[str, Sequence[Any]]] = {
        "lr": (1e-5, 3e-6, 3e-5),
        "dropout": (0.0, 0.2),
        "readout_gain": (3000.0, 1000.0),
        "a_minus": (1.0, 0.5),
        "w_max": (2.0, 4.0),
    }
    biases: ClassVar[bool] = False
    update_every: ClassVar[int] = ONCE  # a small step for hidden weights, which no error holds back

    surrogate: PseudoDerivative | None = None
    homeostasis: Homeostasis | None = Homeostasis()  # noqa: RUF009 - frozen
    readout_gain: float = 3000.0  # with a small step for the hidden weights, a normal one for it
    a_plus: float = 1.0
    a_minus: float = 1.0
    lambda_plus: float = 0.8
    lambda_minus: float = 0.8
    w_max: float = 2.0
    competition: bool = True

    @property
    def undivided(self) -> str | None:
        """What needs the whole batch."""
        return "bounds its weights by the sign of the whole batch's change"

    @property
    def eligibilities(self) -> tuple[Eligibility, ...]:
        """The presynaptic trace (potentiation) and the presynaptic spikes (depression)."""
        return (Trace(self.lambda_plus), Trace(0.0))

    def signals(self, step: Step, error: Tensor) -> list[Tensor]:
        """Return 1 / batch: nothing tells right from wrong."""
        return [torch.ones_like(view.spk) / len(view.spk) for view in step.views]

    def observe(self, view: View) -> None:
        """Move the postsynaptic trace on; depression takes it as it was before."""
        post = view.spk - view.spk.mean(dim=1, keepdim=True) if self.competition else view.spk
        view.carry["spk"] = post
        view.carry["before"] = view.carry.get("post", torch.zeros_like(post))
        view.follow("post", post, self.lambda_minus)

    def modulate(self, view: View, signal: Tensor) -> tuple[Tensor, ...]:
        """Return what meets the presynaptic trace, and what meets the presynaptic spikes."""
        return (
            -self.a_plus * signal * view.carry["spk"],
            self.a_minus * signal * view.carry["before"],
        )

    def combine(self, weight: Tensor, gradients: Sequence[Tensor]) -> Tensor:
        """Return the sum, slowed down where it drives a weight towards its bound."""
        total = super().combine(weight, gradients)
        bound = self.w_max / math.sqrt(weight[0].numel())
        return total * (1.0 + torch.sign(total) * weight / bound).clamp_min(0.0)


@dataclass(frozen=True)
class RewardSTDP(STDP):
    """STDP modulated by reward; parameters as :class:`STDP`."""

    constraints: ClassVar[Constraints | None] = Constraints(
        local_in_time=True,
        local_in_space=True,
        surrogate=False,
        feedback="one reward a recording",
        layerwise=False,
        changes_network="readout",
        memory="B I + B F",
        multiply_adds="2 B I F",
        source="Florian, Neural Comput. 19, 1468 (2007)",
    )
    search: ClassVar[Mapping[str, Sequence[Any]]] = {
        "lr": (1e-6, 3e-7, 3e-6),
        "dropout": (0.0, 0.2),
        "readout_gain": (3000.0, 1000.0),
        "a_minus": (1.0, 0.5),
        "w_max": (2.0, 4.0),
    }
    update_every: ClassVar[int] = 1

    def signals(self, step: Step, error: Tensor) -> list[Tensor]:
        """Return the reward minus its mean, divided by the batch."""
        assert step.labels is not None, "signals are asked for where there are labels"
        # With the one-hot label added, the error is the softmax again: right is where the label is
        # its largest entry.
        onehot = torch.nn.functional.one_hot(step.labels, error.shape[1]).to(error.dtype)
        right = ((error * len(error) + onehot).argmax(dim=1) == step.labels).to(error.dtype)
        reward = (right - right.mean()) / len(right)
        return [reward.unsqueeze(1).expand_as(view.spk) for view in step.views]
