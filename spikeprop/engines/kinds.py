"""Which engine steps through time for which kind of rule."""

from __future__ import annotations

from spikeprop.engines.backprop import BackpropEngine
from spikeprop.engines.contrast import ContrastEngine
from spikeprop.engines.reference import ReferenceEngine
from spikeprop.engines.stepwise import StepwiseEngine
from spikeprop.engines.three_factor import ThreeFactorEngine
from spikeprop.rules import BPTT, ContrastRule, LocalRule, Rule, ThreeFactorRule

__all__ = ["KINDS", "stepwise"]

#: Kinds of rules and the engines that serve them; the first that fits is taken.
KINDS: tuple[tuple[type[Rule], type[StepwiseEngine]], ...] = (
    (LocalRule, ReferenceEngine),
    (ThreeFactorRule, ThreeFactorEngine),
    (ContrastRule, ContrastEngine),
    (BPTT, BackpropEngine),
)


def stepwise(rule: Rule) -> type[StepwiseEngine]:
    """Return the engine that serves a rule's kind.

    Raises
    ------
    TypeError
        If the rule is of no kind that an engine knows.
    """
    for kind, engine in KINDS:
        if isinstance(rule, kind):
            return engine
    kinds = ", ".join(kind.__name__ for kind, _ in KINDS)
    raise TypeError(
        f"rule has to derive from a kind that an engine serves ({kinds}), got {type(rule).__name__}"
    )
