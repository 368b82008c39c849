"""Spikes of a voltage: the Heaviside step, and what stands in for its derivative."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from snntorch import surrogate
from torch import Tensor

from spikeprop.neurons.tracing import plain

#: Steepness of the default surrogate, snnTorch's.
ALPHA = 2.0


def atan(shift: Tensor) -> Tensor:
    """Heaviside step forward, snnTorch's default arctangent surrogate (alpha = 2) backward.

    Parameters
    ----------
    shift : torch.Tensor
        Voltage minus threshold.

    Returns
    -------
    torch.Tensor
        1 where ``shift > 0``, else 0.
    """
    # A function of this module's own, since snnTorch's closure cannot be pickled.
    if plain(shift):
        spikes: Tensor = surrogate.ATan.apply(shift, ALPHA)
        return spikes
    # torch.func's transforms refuse autograd functions of that kind.
    stand_in = torch.atan(math.pi / 2 * ALPHA * shift) / math.pi
    return heaviside(shift.detach()) + (stand_in - stand_in.detach())


def heaviside(shift: Tensor) -> Tensor:
    """Heaviside step without a derivative.

    Parameters
    ----------
    shift : torch.Tensor
        Voltage minus threshold.

    Returns
    -------
    torch.Tensor
        1 where ``shift > 0``, else 0.
    """
    return (shift > 0).to(shift.dtype)


def is_step(spike_grad: Callable[[Tensor], Tensor]) -> bool:
    """Say whether a spike function is known to be the Heaviside step in its forward pass.

    Then a plain comparison gives the same spikes wherever no derivative is asked for. All of
    ``snntorch.surrogate`` are; of a user's own function nothing is known, and it is always called.

    Parameters
    ----------
    spike_grad : Callable
        Function of voltage minus threshold.

    Returns
    -------
    bool
        Whether it is known to be.
    """
    own = spike_grad is atan or spike_grad is heaviside
    return own or getattr(spike_grad, "__module__", None) == surrogate.__name__
