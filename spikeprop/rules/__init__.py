"""Learning rules, one file a rule."""

from __future__ import annotations

from spikeprop.rules.base import Modulation, Rule
from spikeprop.rules.sigprop import SigProp, SPVoltage

#: The rules by the names that the command line uses.
RULES: dict[str, type[SigProp]] = {"sigprop": SigProp, "sp-voltage": SPVoltage}

__all__ = ["RULES", "Modulation", "Rule", "SPVoltage", "SigProp"]
