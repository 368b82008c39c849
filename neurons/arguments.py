"""Checks of what users hand to a neuron; the messages are part of the API."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

Values = float | Sequence[float] | np.ndarray | Tensor


def as_parameter(name: str, value: Values) -> Tensor:
    """Give a constructor argument as a floating tensor of its own, scalar or per neuron.

    Parameters
    ----------
    name : str
        The argument's name, for messages.
    value : float or array_like or torch.Tensor
        One value, or one a neuron (any shape that broadcasts with the features).

    Returns
    -------
    torch.Tensor
        A copy, so that a tensor shared by two layers does not couple what they learn. Floating
        tensors keep their dtype, everything else takes the default one.

    Raises
    ------
    TypeError
        If ``value`` is not numeric.
    ValueError
        If ``value`` is empty, or NaN or infinite anywhere.
    """
    try:
        tensor = torch.as_tensor(value).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"{name} must be a number or a tensor of numbers, not {type(value).__name__}: {value!r}"
        ) from error
    if tensor.is_complex():
        raise TypeError(f"{name} must be real, not {tensor.dtype}")
    keep = isinstance(value, Tensor) and value.is_floating_point()
    tensor = tensor.to(tensor.dtype if keep else torch.get_default_dtype(), copy=True)
    if tensor.numel() == 0:
        raise ValueError(f"{name} must not be empty, but has shape {tuple(tensor.shape)}")
    if not tensor.isfinite().all():
        raise ValueError(f"{name} must be finite, but is {_brief(tensor)}")
    return tensor


def as_decay(value: Values) -> Tensor:
    """Give ``beta`` as a tensor; a plain number has to lie in [0, 1].

    A tensor may hold anything finite: like snnTorch, the step clamps it to [0, 1].

    Parameters
    ----------
    value : float or array_like or torch.Tensor
        Decay of the voltage per time step, scalar or per neuron.

    Returns
    -------
    torch.Tensor
        A floating copy.

    Raises
    ------
    TypeError
        If ``value`` is not numeric.
    ValueError
        If it is not finite, or a plain number outside [0, 1].
    """
    tensor = as_parameter("beta", value)
    if not isinstance(value, Tensor) and not ((tensor >= 0) & (tensor <= 1)).all():
        raise ValueError(f"beta must lie in [0, 1], but is {_brief(tensor)}")
    return tensor


def check_floating(name: str, value: Tensor) -> None:
    """Refuse what is not a tensor of floating-point numbers.

    Parameters
    ----------
    name : str
        The argument's name, for messages.
    value : torch.Tensor
        What was given.

    Raises
    ------
    TypeError
        If ``value`` is not a tensor, or not of a floating dtype.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, not {type(value).__name__}")
    if not value.is_floating_point():
        raise TypeError(
            f"{name} must be of a floating-point dtype, not {value.dtype}; "
            f"convert it first, for instance with {name}.float()"
        )


def _brief(tensor: Tensor) -> str:
    return str(tensor.item()) if tensor.dim() == 0 else f"a tensor with {tensor.flatten().tolist()}"
