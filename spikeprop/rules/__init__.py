"""Learning rules, one file a rule."""

from __future__ import annotations

from typing import Any

from spikeprop.rules.base import Constraints, LocalRule, Modulation, Rule
from spikeprop.rules.contrast import ContrastRule, Rows, Seen, Wire
from spikeprop.rules.csdp import CSDP
from spikeprop.rules.efp import ErrorForwardPropagation
from spikeprop.rules.forward_forward import (
    ForwardForward,
    ForwardForwardRate,
    ForwardForwardTrace,
)
from spikeprop.rules.pff import PredictiveForwardForward
from spikeprop.rules.sigprop import SigProp, SPSurrogate, SPVoltage

#: The rules by the names that the command line uses.
RULES: dict[str, type[Any]] = {
    "sigprop": SigProp,
    "sp-voltage": SPVoltage,
    "sp-surrogate": SPSurrogate,
    "efp": ErrorForwardPropagation,
    "forward-forward": ForwardForward,
    "forward-forward-trace": ForwardForwardTrace,
    "forward-forward-rate": ForwardForwardRate,
    "csdp": CSDP,
    "pff": PredictiveForwardForward,
}

__all__ = [
    "CSDP",
    "RULES",
    "Constraints",
    "ContrastRule",
    "ErrorForwardPropagation",
    "ForwardForward",
    "ForwardForwardRate",
    "ForwardForwardTrace",
    "LocalRule",
    "Modulation",
    "PredictiveForwardForward",
    "Rows",
    "Rule",
    "SPSurrogate",
    "SPVoltage",
    "Seen",
    "SigProp",
    "Wire",
]
