"""Spiking neurons: pure step functions with explicit state, and thin modules around them.

The modules are drop-ins for snnTorch's (same argument names, same numbers, same ``state_dict``
keys). On top they run whole sequences (``unroll``), carry a learning signal behind the batch
(``signal=``), and know the eligibility filter that forward learning needs.
"""

from __future__ import annotations

from spikeprop.neurons.adlif import AdaptationState, AdLIF, AdLIFParameters, adlif_step
from spikeprop.neurons.alif import ALIF, AdaptiveState, ALIFParameters, alif_step
from spikeprop.neurons.alpha import Alpha, AlphaParameters, AlphaState, alpha_step
from spikeprop.neurons.base import SpikingNeuron
from spikeprop.neurons.compartments import (
    CompartmentParameters,
    CompartmentState,
    TwoCompartmentLIF,
    compartment_step,
)
from spikeprop.neurons.cuba import CuBaLIF, CuBaParameters, RisingState, cuba_step
from spikeprop.neurons.delay import Delay, DelayedLinear, DelayTaps
from spikeprop.neurons.eligibility import LinearFilter, advance, local_jacobian, make_filter, read
from spikeprop.neurons.escape import EscapeParameters, SpikingState, StochasticLIF, escape_step
from spikeprop.neurons.exponential import (
    EIF,
    AdEx,
    AdExParameters,
    EIFParameters,
    adex_step,
    eif_step,
)
from spikeprop.neurons.firing import Firing, FiringNeuron, fire, reset_signal
from spikeprop.neurons.graded import GradedLIF, GradedSpikes, graded_step
from spikeprop.neurons.izhikevich import (
    FIRING_CLASSES,
    Izhikevich,
    IzhikevichParameters,
    IzhikevichState,
    izhikevich_step,
)
from spikeprop.neurons.lapicque import Lapicque, LapicqueParameters, lapicque_step
from spikeprop.neurons.li import LI, li_step
from spikeprop.neurons.lif import IF, LIF, LIFParameters, lif_step
from spikeprop.neurons.plif import PLIF, plif_step
from spikeprop.neurons.quadratic import QIF, QIFParameters, qif_step
from spikeprop.neurons.recurrent import (
    RLIF,
    RecurrentNeuron,
    RSynaptic,
    RSynapticState,
    rlif_step,
    rsynaptic_step,
)
from spikeprop.neurons.refractory import (
    RefractoryLIF,
    RefractoryParameters,
    RefractoryState,
    refractory_step,
)
from spikeprop.neurons.reset import reset
from spikeprop.neurons.resonate import (
    BRF,
    RF,
    BalancedState,
    BRFParameters,
    ResonatorState,
    RFParameters,
    brf_step,
    rf_step,
)
from spikeprop.neurons.sigma_delta import (
    SigmaDelta,
    SigmaDeltaParameters,
    SigmaDeltaState,
    sigma_delta_step,
)
from spikeprop.neurons.stateful import MemState
from spikeprop.neurons.synaptic import Synaptic, SynapticParameters, SynapticState, synaptic_step

#: snnTorch's names of them.
Leaky = LIF
RLeaky = RLIF

__all__ = [
    "ALIF",
    "BRF",
    "EIF",
    "FIRING_CLASSES",
    "IF",
    "LI",
    "LIF",
    "PLIF",
    "QIF",
    "RF",
    "RLIF",
    "ALIFParameters",
    "AdEx",
    "AdExParameters",
    "AdLIF",
    "AdLIFParameters",
    "AdaptationState",
    "AdaptiveState",
    "Alpha",
    "AlphaParameters",
    "AlphaState",
    "BRFParameters",
    "BalancedState",
    "CompartmentParameters",
    "CompartmentState",
    "CuBaLIF",
    "CuBaParameters",
    "Delay",
    "DelayTaps",
    "DelayedLinear",
    "EIFParameters",
    "EscapeParameters",
    "Firing",
    "FiringNeuron",
    "GradedLIF",
    "GradedSpikes",
    "Izhikevich",
    "IzhikevichParameters",
    "IzhikevichState",
    "LIFParameters",
    "Lapicque",
    "LapicqueParameters",
    "Leaky",
    "LinearFilter",
    "MemState",
    "QIFParameters",
    "RFParameters",
    "RLeaky",
    "RSynaptic",
    "RSynapticState",
    "RecurrentNeuron",
    "RefractoryLIF",
    "RefractoryParameters",
    "RefractoryState",
    "ResonatorState",
    "RisingState",
    "SigmaDelta",
    "SigmaDeltaParameters",
    "SigmaDeltaState",
    "SpikingNeuron",
    "SpikingState",
    "StochasticLIF",
    "Synaptic",
    "SynapticParameters",
    "SynapticState",
    "TwoCompartmentLIF",
    "adex_step",
    "adlif_step",
    "advance",
    "alif_step",
    "alpha_step",
    "brf_step",
    "compartment_step",
    "cuba_step",
    "eif_step",
    "escape_step",
    "fire",
    "graded_step",
    "izhikevich_step",
    "lapicque_step",
    "li_step",
    "lif_step",
    "local_jacobian",
    "make_filter",
    "plif_step",
    "qif_step",
    "read",
    "refractory_step",
    "reset",
    "reset_signal",
    "rf_step",
    "rlif_step",
    "rsynaptic_step",
    "sigma_delta_step",
    "synaptic_step",
]
