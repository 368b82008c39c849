"""Spiking neurons: pure step functions with explicit state, and thin modules around them.

The modules are drop-ins for snnTorch's (same argument names, same numbers, same ``state_dict``
keys). On top they run whole sequences (``unroll``), carry a learning signal behind the batch
(``signal=``), and know the eligibility filter that forward learning needs.
"""

from __future__ import annotations

from spikeprop.neurons.base import SpikingNeuron
from spikeprop.neurons.li import LI, li_step
from spikeprop.neurons.lif import IF, LIF, LIFParameters, lif_step
from spikeprop.neurons.reset import reset

__all__ = ["IF", "LI", "LIF", "LIFParameters", "SpikingNeuron", "li_step", "lif_step", "reset"]
