"""What a learner needs to know of a neuron: its voltage, its eligibility filter, its parameters.

The neurons of :mod:`spikeprop.neurons` (and a user's own subclasses of
:class:`~spikeprop.neurons.SpikingNeuron`) and ``snntorch.Leaky`` share one contract, so that an
unchanged snnTorch network trains too. Everything else is refused by name.
"""

from __future__ import annotations

from typing import Any

import snntorch as snn
import torch
from torch import Tensor, nn

from spikeprop.neurons import (
    EIF,
    LI,
    QIF,
    AdEx,
    Izhikevich,
    LinearFilter,
    SpikingNeuron,
    make_filter,
)

__all__ = [
    "check_neuron",
    "filter_of",
    "has_threshold",
    "is_activation",
    "is_neuron",
    "layer_filter",
    "learnable",
    "output_of",
    "set_thresholds",
    "spikes",
    "state_before",
    "visible",
]

#: Neurons whose voltage goes to its peak by itself once it is past a point of no return.
_UPSWING = (EIF, AdEx, QIF, Izhikevich)

#: Parameters that act on spikes alone, never on the voltage that the local loss looks at.
_ON_SPIKES_ALONE = ("graded_spikes_factor", "kappa")


def is_neuron(module: nn.Module) -> bool:
    """Tell whether ``module`` is a spiking (or leaky readout) neuron of either library."""
    return isinstance(module, snn.SpikingNeuron)


def is_activation(module: nn.Module) -> bool:
    """Tell whether ``module`` takes a neuron's place in a network without spikes.

    A ReLU is a neuron without memory that sends its voltage on: ``mem_t = current_t``, and
    ``max(mem_t, 0)`` where a LIF has its spikes.
    """
    return isinstance(module, nn.ReLU)


def check_neuron(name: str, neuron: nn.Module) -> None:
    """Refuse a neuron whose eligibility trace is not known.

    Raises
    ------
    ValueError
        For a neuron of another library but ``snntorch.Leaky``, for a quantised state, and for a
        ReLU that overwrites what it is given.
    """
    if isinstance(neuron, nn.ReLU):
        if neuron.inplace:
            raise ValueError(
                f"'{name}' is a ReLU with inplace=True, which overwrites the voltage that the "
                f"local loss looks at; use inplace=False"
            )
        return
    if type(neuron).forward is not snn.Leaky.forward and not isinstance(neuron, SpikingNeuron):
        raise ValueError(
            f"neuron '{name}' is a {type(neuron).__module__.partition('.')[0]} "
            f"{type(neuron).__name__}, whose eligibility trace is not known here; use its namesake "
            f"of spikeprop.neurons, a subclass of spikeprop.neurons.SpikingNeuron, or "
            f"snntorch.Leaky"
        )
    if getattr(neuron, "state_quant", False):
        raise ValueError(
            f"neuron '{name}' has state_quant set; its voltage is then not linear in the current, "
            f"and the update would not be exact. Train without it and quantise afterwards"
        )


def filter_of(neuron: nn.Module) -> LinearFilter | None:
    """Return the filter of linear sub-threshold dynamics; None where they are not linear."""
    if is_activation(neuron):
        return make_filter([[torch.zeros(())]], [1.0], [1.0])
    if not isinstance(neuron, SpikingNeuron):
        beta: Any = neuron.beta
        return make_filter([[beta.detach().clamp(0, 1)]], [1.0], [1.0])
    with torch.no_grad():
        return neuron.filter() if neuron.exact else None


def layer_filter(neuron: nn.Module, features: torch.Size, like: Tensor) -> LinearFilter:
    """Return one filter that stands for all neurons of a layer: the mean of theirs.

    Nonlinear dynamics are linearised at the state that a sequence starts from, without a current.
    """
    own = filter_of(neuron)
    if own is None:
        assert isinstance(neuron, SpikingNeuron), "all others are linear"
        current = like.new_zeros((1, *features))
        own = neuron.linearize(current, neuron.initial_state(current))
    n = own.order
    return LinearFilter(
        own.A.reshape(n, n, -1).mean(-1),
        own.B.reshape(n, -1).mean(-1),
        own.C.reshape(n, -1).mean(-1),
    )


def learnable(neuron: nn.Module) -> dict[str, nn.Parameter]:
    """Return the neuron parameters that a local loss on the voltage can train, by name.

    A threshold acts on the voltage through what a reset takes away, in ``"subtract"`` alone.
    """
    if not isinstance(neuron, SpikingNeuron):
        return {}
    found = {n: p for n, p in neuron.named_parameters(recurse=False) if p.requires_grad}
    silent = set(_ON_SPIKES_ALONE)
    if getattr(neuron, "reset_mechanism", "subtract") != "subtract":
        silent.add("threshold")
    return {name: p for name, p in found.items() if name not in silent}


def state_before(neuron: SpikingNeuron, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the state from which a step is about to start, given what ``forward`` was called with.

    A NamedTuple of the family; before a first step its tensors are empty, or it is None.
    """
    if neuron.init_hidden:
        return neuron.state
    fields = neuron.State._fields
    given = {**dict(zip(fields, args[1:], strict=False)), **kwargs}
    values = [given.get(name) for name in fields]
    if all(value is None for value in values):
        return None
    fresh = neuron.initial_state(args[0])
    return neuron.State(*[f if v is None else v for f, v in zip(fresh, values, strict=True)])


def output_of(
    neuron: nn.Module, output: Any, current: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return ``(spk, mem)`` of the step that a neuron has just made, whatever it returns."""
    if is_activation(neuron):
        return output, output if current is None else current
    if isinstance(output, tuple) and not isinstance(neuron, SpikingNeuron):
        return output[0], output[1]
    mem: Any = neuron.mem
    return output[0] if isinstance(output, tuple) else output, mem


def visible(neuron: nn.Module, mem: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return the voltage that a loss looks at, and where it still follows the state.

    Where an upswing takes the voltage to its spike by itself, what lies above the peak (the
    threshold) is a number of the integration step and no voltage: it is cut there. The second value
    is 1 where nothing is cut, and None for neurons without an upswing.
    """
    if not isinstance(neuron, _UPSWING):
        return mem, None
    peak = neuron.threshold.detach().to(mem.dtype)
    return torch.minimum(mem, peak), (mem <= peak).to(mem.dtype)


def spikes(neuron: nn.Module) -> bool:
    """Tell whether the neuron spikes; a leaky readout does not."""
    return not isinstance(neuron, LI)


def has_threshold(neuron: nn.Module) -> bool:
    """Tell whether the neuron has a threshold that homeostasis can move."""
    return spikes(neuron) and isinstance(getattr(neuron, "threshold", None), Tensor)


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
