"""Engines: the same numbers, computed in different ways."""

from __future__ import annotations

from spikeprop.engines.choice import (
    ENGINES,
    Choice,
    StreamChoice,
    choose,
    choose_for_stream,
    density_of,
)
from spikeprop.engines.credit import TRACES
from spikeprop.engines.kinds import stepwise
from spikeprop.engines.passage import Passage
from spikeprop.engines.reference import ReferenceEngine
from spikeprop.engines.stepwise import StepwiseEngine

__all__ = [
    "ENGINES",
    "TRACES",
    "Choice",
    "Passage",
    "ReferenceEngine",
    "StepwiseEngine",
    "StreamChoice",
    "choose",
    "choose_for_stream",
    "density_of",
    "stepwise",
]
