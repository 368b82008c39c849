"""Presynaptic inputs written out neuron by neuron, for traces that do not factor.

Where neurons of a layer differ in their filter, a weight's trace is one value a synapse and row.
Each kind of synapse says which input stands behind which weight of which neuron,

    current_j = sum over p of  weight[j, p] x[j, p]        j: neurons of the layer, p: its synapses

by ``expand`` (``x`` as ``(R, J or 1, P)``), and how the gradients of weights that neurons share
come together again by ``collect`` (from ``(J, P)`` to the parameter's shape).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from spikeprop.neurons import DelayedLinear
from spikeprop.synapses import NORMS

__all__ = ["check_expansion", "collect", "expand"]

_SAME_SHAPE = (nn.Identity, nn.Flatten, nn.Unflatten, *NORMS)


def check_expansion(
    name: str, neuron: str, module: nn.Module, chain: list[tuple[nn.Module, torch.Size]]
) -> None:
    """Refuse a synapse whose inputs are not written out here.

    Raises
    ------
    ValueError
        For another module than ``Linear``, ``DelayedLinear``, ``Conv1d``, ``Conv2d`` and batch
        norms, and for a chain that mixes neurons.
    """
    mixing = [m for m, _ in chain if not isinstance(m, _SAME_SHAPE)]
    if isinstance(module, (nn.Linear, DelayedLinear, nn.Conv1d, nn.Conv2d, *NORMS)) and not mixing:
        return
    what = type(mixing[0] if mixing else module).__name__
    raise ValueError(
        f"synapse '{name}': the neurons of '{neuron}' have a filter each, and a trace per synapse "
        f"through a {what} is not known. Use traces='chunk' or traces='layer', or move pooling "
        f"behind the neuron"
    )


def expand(module: nn.Module, x: Tensor) -> Tensor:
    """Return the inputs behind each weight of each neuron, ``(R, J or 1, P)``.

    Parameters
    ----------
    module : nn.Module
        The synapse.
    x : Tensor
        Its presynaptic input, ``(R, *inputs)``.
    """
    if isinstance(module, nn.Linear):
        flat = x.reshape(len(x), -1, x.shape[-1])
        copies = flat.shape[1]
        return flat if copies == 1 else flat.repeat_interleave(module.out_features, dim=1)
    if isinstance(module, DelayedLinear):
        flat = x.reshape(*x.shape[:2], -1, x.shape[-1])  # rows, taps, copies, inputs
        own = sum(module.at(tap) * flat[:, k, :, None] for k, tap in enumerate(module.taps))
        assert isinstance(own, Tensor), "there is at least one tap"
        return own.flatten(1, 2)
    if isinstance(module, NORMS):
        return x.reshape(len(x), -1, 1)
    return _patches(module, x)


def _patches(module: Any, x: Tensor) -> Tensor:
    """Return ``(R, C_out * positions, C_in / groups * kernel)``."""
    one = isinstance(module, nn.Conv1d)
    grow = (lambda pair: (0, *pair)) if one else tuple
    columns = nn.functional.unfold(
        x.unsqueeze(2) if one else x,
        (1, *module.kernel_size) if one else module.kernel_size,
        dilation=(1, *module.dilation) if one else module.dilation,
        padding=grow(module.padding),
        stride=(1, *module.stride) if one else module.stride,
    )
    groups, outputs = module.groups, module.out_channels
    rows, _, positions = columns.shape
    grouped = columns.reshape(rows, groups, 1, -1, positions).transpose(3, 4)
    whole = grouped.expand(-1, -1, outputs // groups, -1, -1)
    return whole.reshape(rows, outputs * positions, -1)


def collect(module: nn.Module, name: str, gradient: Tensor) -> Tensor:
    """Return the gradient of a parameter from that of each neuron's synapses, ``(J, P)``."""
    shape = getattr(module, name).shape
    channels = shape[0]
    if (
        isinstance(module, (nn.Linear, DelayedLinear)) and len(gradient) != channels
    ):  # copies share the weight
        return gradient.reshape(-1, channels, gradient.shape[1]).sum(dim=0).reshape(shape)
    return gradient.reshape(channels, -1, gradient.shape[1]).sum(dim=1).reshape(shape)
