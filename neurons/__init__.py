"""Spiking neurons: pure step functions with explicit state, and thin modules around them.

The modules are drop-ins for snnTorch's (same argument names, same numbers, same ``state_dict``
keys). On top they run whole sequences (``unroll``), carry a learning signal behind the batch
(``signal=``), and know the eligibility filter that forward learning needs.
"""

from __future__ import annotations

from spikeprop.neurons.alif import ALIF, AdaptiveState, ALIFParameters, alif_step
from spikeprop.neurons.base import SpikingNeuron
from spikeprop.neurons.eligibility import LinearFilter, advance, local_jacobian, make_filter, read
from spikeprop.neurons.firing import Firing, FiringNeuron, fire, reset_signal
from spikeprop.neurons.li import LI, li_step
from spikeprop.neurons.lif import IF, LIF, LIFParameters, lif_step
from spikeprop.neurons.reset import reset
from spikeprop.neurons.stateful import MemState
from spikeprop.neurons.synaptic import (
    Synaptic,
    SynapticParameters,
    SynapticState,
    synaptic_step,
)

__all__ = [
    "ALIF",
    "IF",
    "LI",
    "LIF",
    "ALIFParameters",
    "AdaptiveState",
    "Firing",
    "FiringNeuron",
    "LIFParameters",
    "LinearFilter",
    "MemState",
    "SpikingNeuron",
    "Synaptic",
    "SynapticParameters",
    "SynapticState",
    "advance",
    "alif_step",
    "fire",
    "li_step",
    "lif_step",
    "local_jacobian",
    "make_filter",
    "read",
    "reset",
    "reset_signal",
    "synaptic_step",
]
