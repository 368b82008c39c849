"""Every neuron as the experiment trains it: parameters, and what of the recipe fits its voltage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from spikeprop import neurons
from spikeprop.neurons import SpikingNeuron

__all__ = ["PRESETS", "Preset"]


@dataclass(frozen=True)
class Preset:
    """A neuron, and what of the recipe fits it.

    Attributes
    ----------
    kind : str
        Name of the class.
    args, options
        What it is made with, besides ``init_hidden=True``.
    rectify : bool
        Whether the evidence of recordings is rectified: not for a voltage that rests below zero.
    low, high : float
        Bounds of the thresholds, in the neuron's own unit.
    """

    kind: str
    args: tuple[float, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    rectify: bool = True
    low: float = 0.05
    high: float = 5.0

    def build(self, width: int) -> SpikingNeuron:
        """Return a neuron for a layer of ``width``, which keeps its state."""
        kind: Any = getattr(neurons, self.kind)
        options = dict(self.options)
        if issubclass(kind, neurons.RecurrentNeuron):
            options["linear_features"] = width
        neuron: SpikingNeuron = kind(*self.args, init_hidden=True, **options)
        return neuron

    def facts(self) -> dict[str, Any]:
        """Return all of it as JSON can write it: what decides a figure."""
        options = {
            name: value.__name__ if callable(value) else value
            for name, value in self.options.items()
        }
        return {**asdict(self), "options": options}


def _of(kind: str, *args: float, **options: Any) -> Preset:
    return Preset(kind, args, options)


#: Time constants of about ten steps, as LIF's ``beta=0.9``; everything else as the classes have it.
PRESETS: dict[str, Preset] = {
    "LIF": _of("LIF", 0.9),
    "IF": _of("IF"),
    "Lapicque": _of("Lapicque", 0.9),
    "PLIF": _of("PLIF", 10.0),
    "Synaptic": _of("Synaptic", 0.5, 0.9),
    "CuBaLIF": _of("CuBaLIF", 2.0, 10.0),
    "CuBaLIF-2": _of("CuBaLIF", 2.0, 10.0, 1.0),
    "Alpha": _of("Alpha", 0.9, 0.5),
    "ALIF": _of("ALIF", 0.9, 0.95),
    "AdLIF": _of("AdLIF", 0.9, 0.95, 0.1, 0.1),
    "RefractoryLIF": _of("RefractoryLIF", 0.9, 2),
    "StochasticLIF": _of("StochasticLIF", 0.9),
    "GradedLIF": _of("GradedLIF", 0.9),
    "SigmaDelta": Preset("SigmaDelta", (0.1, 0.9), {"activation": torch.relu}, low=0.01),
    "TwoCompartmentLIF": _of("TwoCompartmentLIF", 0.5, 0.9),
    "RLIF": _of("RLIF", 0.9),
    "RSynaptic": _of("RSynaptic", 0.5, 0.9),
    "RF": _of("RF", 0.2, 0.1),
    "BRF": _of("BRF", 0.2, 0.1),
    "EIF": _of("EIF", 10.0),
    "AdEx": _of("AdEx", 10.0),
    "QIF": _of("QIF", 10.0, floor=-2.0),
    "Izhikevich": Preset("Izhikevich", (), {"floor": -90.0}, rectify=False, low=10.0, high=60.0),
}
