"""Learning rules, one file a rule."""

from __future__ import annotations

from typing import Any

from spikeprop.rules.base import Constraints, LocalRule, Modulation, Rule
from spikeprop.rules.sigprop import SigProp, SPSurrogate, SPVoltage

#: The rules by the names that the command line uses.
RULES: dict[str, type[Any]] = {
    "sigprop": SigProp,
    "sp-voltage": SPVoltage,
    "sp-surrogate": SPSurrogate,
}

__all__ = [
    "RULES",
    "Constraints",
    "LocalRule",
    "Modulation",
    "Rule",
    "SPSurrogate",
    "SPVoltage",
    "SigProp",
]
