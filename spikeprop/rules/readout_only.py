"""The control: a random network that stays as it was drawn, and the readout of the other rules.

What a rule gains over it is what its hidden layers learned. (Homeostasis still sets thresholds.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from spikeprop.homeostasis import Homeostasis
from spikeprop.rules.base import Constraints, Rule
from spikeprop.rules.pseudo import PseudoDerivative
from spikeprop.rules.readout_rule import ReadoutRule
from spikeprop.rules.three_factor import Eligibility, Step, View

__all__ = ["ReadoutOnly", "frozen_twin"]


@dataclass(frozen=True)
class ReadoutOnly(ReadoutRule):
    """Train nothing but the readout; parameters as ``ReadoutRule``."""

    constraints: ClassVar[Constraints | None] = Constraints(
        local_in_time=True,
        local_in_space=True,
        surrogate=False,
        feedback="none",
        layerwise=False,
        changes_network="readout",
        memory="0",
        multiply_adds="0",
        source="control",
    )
    search: ClassVar[Mapping[str, Sequence[Any]]] = {
        "lr": (3e-3, 1e-3, 1e-2),
        "dropout": (0.0, 0.2),
        "kappa": (0.9, 0.7),
    }

    trains_blocks: ClassVar[bool] = False

    surrogate: PseudoDerivative | None = None
    homeostasis: Homeostasis | None = Homeostasis()  # noqa: RUF009 - frozen

    @property
    def eligibilities(self) -> tuple[Eligibility, ...]:
        """None."""
        return ()

    def signals(self, step: Step, error: Tensor) -> list[Tensor]:
        """Return what is not looked at."""
        return [view.spk for view in step.views]

    def modulate(self, view: View, signal: Tensor) -> tuple[Tensor, ...]:
        """Return nothing."""
        return ()


def frozen_twin(rule: Rule) -> Rule:
    """Return the rule that trains a network's readout as ``rule`` does, over frozen layers.

    Without the work for hidden weights where the readout learns by itself, as it does in all rules
    that leave ``ReadoutRule.learn`` as it is: same numbers, less time. Other rules are returned as
    they are; freeze their blocks.
    """
    if not isinstance(rule, ReadoutRule) or type(rule).learn is not ReadoutRule.learn:
        return rule
    return ReadoutOnly(
        rule.num_classes,
        kappa=rule.kappa,
        homeostasis=rule.homeostasis,
        stream_homeostasis=rule.stream_homeostasis,
        first_step=rule.first_step,
        readout_gain=rule.readout_gain,
    )
