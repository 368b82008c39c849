"""Engines: the same numbers, computed in different ways."""

from __future__ import annotations

from spikeprop.engines.credit import TRACES
from spikeprop.engines.reference import Passage, ReferenceEngine

#: What ``ForwardLearner(engine=...)`` accepts; "auto" is the reference engine so far.
ENGINES = ("auto", "reference")

__all__ = ["ENGINES", "TRACES", "Passage", "ReferenceEngine"]
