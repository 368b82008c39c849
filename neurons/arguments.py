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


def as_decay(
    value: Values | None,
    tau: Values | None = None,
    dt: float = 1.0,
    *,
    name: str = "beta",
    tau_name: str = "tau_mem",
) -> Tensor:
    """Give a decay factor per time step as a tensor, from the factor or from a time constant.

        decay = exp(-dt / tau)

    which is exact for ``tau dz/dt = -z``. A plain number has to lie in [0, 1]; a tensor may hold
    anything finite: like snnTorch, the step clamps it to [0, 1].

    Parameters
    ----------
    value : float or array_like or torch.Tensor, optional
        The factor, scalar or per neuron.
    tau : float or array_like or torch.Tensor, optional
        The time constant in milliseconds, in the factor's place.
    dt : float
        Length of a time step in milliseconds.
    name, tau_name : str
        The arguments' names, for messages.

    Returns
    -------
    torch.Tensor
        A floating copy.

    Raises
    ------
    TypeError
        If an argument is not numeric, or not exactly one of factor and time constant is given.
    ValueError
        If one is not finite, the factor is a plain number outside [0, 1], or ``tau`` or ``dt`` is
        not positive.
    """
    if (value is None) == (tau is None):
        given = "neither" if value is None else "both"
        raise TypeError(f"give either {name} or {tau_name} (with dt), not {given}")
    if tau is not None:
        return torch.exp(-as_length("dt", dt) / as_positive(tau_name, tau))
    assert value is not None
    tensor = as_parameter(name, value)
    if not isinstance(value, Tensor) and not ((tensor >= 0) & (tensor <= 1)).all():
        raise ValueError(f"{name} must lie in [0, 1], but is {_brief(tensor)}")
    return tensor


def as_positive(name: str, value: Values) -> Tensor:
    """Give a constructor argument that has to be above 0 as a tensor.

    Parameters
    ----------
    name : str
        The argument's name, for messages.
    value : float or array_like or torch.Tensor
        One value, or one a neuron.

    Returns
    -------
    torch.Tensor
        A floating copy.

    Raises
    ------
    TypeError
        If ``value`` is not numeric.
    ValueError
        If it is not finite, or not positive.
    """
    tensor = as_parameter(name, value)
    if not (tensor > 0).all():
        raise ValueError(f"{name} must be positive, but is {_brief(tensor)}")
    return tensor


def as_length(name: str, value: Values) -> float:
    """Give a positive number as it is, in double precision.

    Parameters
    ----------
    name : str
        The argument's name, for messages.
    value : float
        One number.

    Returns
    -------
    float
        The number.

    Raises
    ------
    TypeError
        If ``value`` is not numeric.
    ValueError
        If it is more than one, not finite, or not positive.
    """
    tensor = as_positive(name, value)
    if tensor.numel() != 1:
        raise ValueError(f"{name} must be one number, but is {_brief(tensor)}")
    return float(value)  # type: ignore[arg-type]


def as_step(dt: Values, **taus: Values) -> float:
    """Give the time step of a forward Euler form, which may not exceed its time constants.

    Parameters
    ----------
    dt : float
        Length of a time step in milliseconds.
    **taus : float or array_like or torch.Tensor
        The time constants in milliseconds, by their names.

    Returns
    -------
    float
        ``dt``.

    Raises
    ------
    TypeError
        If an argument is not numeric.
    ValueError
        If one is not positive and finite, or ``dt`` exceeds a time constant.
    """
    step = as_length("dt", dt)
    for name, value in taus.items():
        tau = as_positive(name, value)
        if not (step <= tau).all():
            raise ValueError(f"dt must be at most {name}, {_brief(tau)} ms, but is {step:g} ms")
    return step


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
    if tensor.dim() == 0:
        return str(tensor.item())
    values = ", ".join(str(value) for value in tensor.flatten()[:5].tolist())
    return f"a tensor with [{values}{', ...' if tensor.numel() > 5 else ''}]"
