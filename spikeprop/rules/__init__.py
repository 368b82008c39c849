"""Learning rules, one file a rule."""

from __future__ import annotations

from typing import Any

from spikeprop.rules.base import Constraints, LocalRule, Modulation, Rule
from spikeprop.rules.bptt import BPTT, TBPTT
from spikeprop.rules.contrast import ContrastRule, Rows, Seen, Wire
from spikeprop.rules.csdp import CSDP
from spikeprop.rules.decolle import DECOLLE
from spikeprop.rules.drtp import DRTP, ETLP
from spikeprop.rules.efp import ErrorForwardPropagation
from spikeprop.rules.eprop import EProp, EPropRandom
from spikeprop.rules.feedback_alignment import DFA, FeedbackAlignment
from spikeprop.rules.forward_forward import (
    ForwardForward,
    ForwardForwardRate,
    ForwardForwardTrace,
)
from spikeprop.rules.hebbian import Hebbian
from spikeprop.rules.ostl import OSTL, OSTTP
from spikeprop.rules.ottt import OTTT
from spikeprop.rules.pff import PredictiveForwardForward
from spikeprop.rules.pseudo import ATan, FastSigmoid, Sigmoid, Triangle
from spikeprop.rules.readout_only import ReadoutOnly
from spikeprop.rules.readout_rule import ReadoutRule
from spikeprop.rules.sigprop import SigProp, SPSurrogate, SPVoltage
from spikeprop.rules.sltt import SLTT
from spikeprop.rules.stdp import STDP, RewardSTDP
from spikeprop.rules.stllr import STLLR, TESS
from spikeprop.rules.stsf import STSF
from spikeprop.rules.three_factor import OwnState, ThreeFactorRule, Trace
from spikeprop.rules.traces_propagation import TracesPropagation

#: The rules by the names that the command line uses.
RULES: dict[str, type[Any]] = {
    "sigprop": SigProp,
    "sp-voltage": SPVoltage,
    "sp-surrogate": SPSurrogate,
    "hebbian": Hebbian,
    # Its siblings in the authors' tutorial.
    "efp": ErrorForwardPropagation,
    "forward-forward": ForwardForward,
    "forward-forward-trace": ForwardForwardTrace,
    "forward-forward-rate": ForwardForwardRate,
    "csdp": CSDP,
    "pff": PredictiveForwardForward,
    # What people compare with.
    "traces-propagation": TracesPropagation,
    "decolle": DECOLLE,
    "e-prop": EProp,
    "e-prop-random": EPropRandom,
    "etlp": ETLP,
    "ostl": OSTL,
    "osttp": OSTTP,
    "ottt": OTTT,
    "sltt": SLTT,
    "s-tllr": STLLR,
    "tess": TESS,
    "stsf": STSF,
    "feedback-alignment": FeedbackAlignment,
    "dfa": DFA,
    "drtp": DRTP,
    "r-stdp": RewardSTDP,
    "stdp": STDP,
    "readout-only": ReadoutOnly,
    "bptt": BPTT,
    "tbptt": TBPTT,
}

__all__ = [
    "BPTT",
    "CSDP",
    "DECOLLE",
    "DFA",
    "DRTP",
    "ETLP",
    "OSTL",
    "OSTTP",
    "OTTT",
    "RULES",
    "SLTT",
    "STDP",
    "STLLR",
    "STSF",
    "TBPTT",
    "TESS",
    "ATan",
    "Constraints",
    "ContrastRule",
    "EProp",
    "EPropRandom",
    "ErrorForwardPropagation",
    "FastSigmoid",
    "FeedbackAlignment",
    "ForwardForward",
    "ForwardForwardRate",
    "ForwardForwardTrace",
    "Hebbian",
    "LocalRule",
    "Modulation",
    "OwnState",
    "PredictiveForwardForward",
    "ReadoutOnly",
    "ReadoutRule",
    "RewardSTDP",
    "Rows",
    "Rule",
    "SPSurrogate",
    "SPVoltage",
    "Seen",
    "SigProp",
    "Sigmoid",
    "ThreeFactorRule",
    "Trace",
    "TracesPropagation",
    "Triangle",
    "Wire",
]
