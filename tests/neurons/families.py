"""One or more examples of every neuron family, for the tests of what all of them share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from spikeprop.neurons import ALIF, IF, LI, LIF, SpikingNeuron, Synaptic

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
}

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
