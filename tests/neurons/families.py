"""One or more examples of every neuron family, for the tests of what all of them share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from spikeprop.neurons import (
    ALIF,
    BRF,
    EIF,
    IF,
    LI,
    LIF,
    PLIF,
    QIF,
    RF,
    RLIF,
    AdEx,
    AdLIF,
    Alpha,
    CuBaLIF,
    GradedLIF,
    Izhikevich,
    Lapicque,
    RefractoryLIF,
    RSynaptic,
    SigmaDelta,
    SpikingNeuron,
    StochasticLIF,
    Synaptic,
    TwoCompartmentLIF,
)

Build = Callable[..., SpikingNeuron]

#: Name to constructor; options are those that every neuron has (init_hidden, output).
FAMILIES: dict[str, Build] = {
    "IF": lambda **options: IF(0.5, **options),
    "LIF": lambda **options: LIF(0.9, 0.5, **options),
    "LIF-zero": lambda **options: LIF(0.9, 0.5, reset_mechanism="zero", **options),
    "LI": lambda **options: LI(0.9, **options),
    "Synaptic": lambda **options: Synaptic(0.7, 0.9, 0.5, **options),
    "Synaptic-zero": lambda **options: Synaptic(0.7, 0.9, 0.5, reset_mechanism="zero", **options),
    "ALIF": lambda **options: ALIF(0.9, 0.95, 0.2, 0.1, 0.5, **options),
    "ALIF-zero": lambda **options: ALIF(0.9, 0.95, 0.2, 0.1, reset_mechanism="zero", **options),
    "Lapicque": lambda **options: Lapicque(0.8, threshold=0.5, **options),
    "PLIF": lambda **options: PLIF(3.0, threshold=0.3, **options),
    "PLIF-subtract": lambda **options: PLIF(3.0, False, 0.5, reset_mechanism="subtract", **options),
    "CuBaLIF": lambda **options: CuBaLIF(5.0, 10.0, threshold=0.5, **options),
    "CuBaLIF-2": lambda **options: CuBaLIF(
        2.0, 5.0, 2.0, threshold=0.5, reset_mechanism="zero", **options
    ),
    "Alpha": lambda **options: Alpha(0.8, 0.7, 0.5, **options),
    "AdLIF": lambda **options: AdLIF(0.9, 0.95, 1.0, 0.5, 0.5, **options),
    "EIF": lambda **options: EIF(**options),
    "AdEx": lambda **options: AdEx(**options),
    "QIF": lambda **options: QIF(floor=-2.0, **options),
    "Izhikevich": lambda **options: Izhikevich(gain=30.0, **options),
    "RF": lambda **options: RF(**options),
    "RF-subtract": lambda **options: RF(reset_mechanism="subtract", **options),
    "BRF": lambda **options: BRF(**options),
    "RefractoryLIF": lambda **options: RefractoryLIF(0.9, 2, 0.5, **options),
    "SigmaDelta": lambda **options: SigmaDelta(0.5, activation=torch.relu, **options),
    "GradedLIF": lambda **options: GradedLIF(0.9, 0.5, **options),
    "TwoCompartmentLIF": lambda **options: TwoCompartmentLIF(0.8, 0.9, 0.5, 0.5, **options),
    "RLIF": lambda **options: seeded(
        lambda: RLIF(0.9, linear_features=5, threshold=0.5, **options)
    ),
    "RLIF-self": lambda **options: RLIF(0.9, -0.3, all_to_all=False, threshold=0.5, **options),
    "RSynaptic": lambda **options: seeded(
        lambda: RSynaptic(0.7, 0.9, linear_features=5, threshold=0.5, **options)
    ),
    "StochasticLIF": lambda **options: StochasticLIF(0.9, 0.5, **options),
}


def seeded(build: Callable[[], SpikingNeuron]) -> SpikingNeuron:
    """Give the same random weights each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build()


every = pytest.mark.parametrize("build", FAMILIES.values(), ids=FAMILIES.keys())


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Currents that make most neurons fire now and then."""
    return 1.5 * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def stepped(neuron: SpikingNeuron, current: Tensor, state: Any = None) -> tuple[Tensor, ...]:
    """Every step's outputs, stacked as ``unroll`` stacks them."""
    seen = []
    for row in current:
        spk, state = neuron.step(row, state)
        seen.append(tuple(state) if "spk" in state._fields else (spk, *state))
    return tuple(torch.stack(values) for values in zip(*seen, strict=True))
