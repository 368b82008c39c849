"""What a learner needs to know of a neuron: its voltage, its decay and its thresholds.

The neurons of :mod:`spikeprop.neurons` and ``snntorch.Leaky`` share one contract, so that an
unchanged snnTorch network trains too. Everything else is refused by name.
"""

from __future__ import annotations

from typing import Any

import snntorch as snn
import torch
from torch import Tensor, nn

from spikeprop.neurons import LI, LIF

__all__ = ["check_neuron", "decay_of", "is_neuron", "output_of", "set_thresholds", "spikes"]


def is_neuron(module: nn.Module) -> bool:
    """Tell whether ``module`` is a spiking (or leaky readout) neuron of either library."""
    return isinstance(module, snn.SpikingNeuron)


def check_neuron(name: str, neuron: nn.Module) -> None:
    """Refuse a neuron whose eligibility trace is not known.

    Raises
    ------
    ValueError
        For another model than a leaky one, for a quantised state, and for a decay that differs
        from neuron to neuron (the trace of a synapse is then no longer one value per input).
    """
    if type(neuron).forward is not snn.Leaky.forward and not isinstance(neuron, (LIF, LI)):
        raise ValueError(
            f"neuron '{name}' is a {type(neuron).__name__}, whose eligibility trace is not known "
            f"here; use spikeprop.neurons.IF, LIF or LI, or snntorch.Leaky"
        )
    if getattr(neuron, "state_quant", False):
        raise ValueError(
            f"neuron '{name}' has state_quant set; its voltage is then not linear in the current, "
            f"and the update would not be exact. Train without it and quantise afterwards"
        )
    beta: Any = neuron.beta
    if beta.numel() != 1:
        raise ValueError(
            f"neuron '{name}' has a beta of shape {tuple(beta.shape)}; forward learning needs one "
            f"decay per layer, since the eligibility trace is one value per input only then"
        )


def decay_of(neuron: nn.Module) -> float:
    """Return the decay factor of the voltage per time step, clamped to [0, 1] as the neurons do."""
    beta: Any = neuron.beta
    return float(beta.detach().clamp(0, 1))


def output_of(neuron: nn.Module, output: Any) -> tuple[Tensor, Tensor]:
    """Return ``(spk, mem)`` of the step that a neuron has just made, whatever it returns."""
    if isinstance(output, tuple):
        return output[0], output[1]
    mem: Any = neuron.mem
    return output, mem


def spikes(neuron: nn.Module) -> bool:
    """Tell whether the neuron spikes; a leaky readout does not."""
    return not isinstance(neuron, LI)


def set_thresholds(neuron: nn.Module, shape: torch.Size) -> Tensor:
    """Give the neuron one threshold per entry of ``shape`` and return them, without gradient.

    The key in ``state_dict`` stays the same; only the shape grows where one number served a layer.
    """
    threshold: Any = neuron.threshold
    if threshold.shape != shape:
        values = threshold.detach().expand(shape).clone()
        if isinstance(threshold, nn.Parameter):
            threshold.data = values
        else:
            neuron.threshold = values
    now: Tensor = neuron.threshold.detach()  # type: ignore[operator]
    return now
