"""How currents, signal rows, states and parameters have to fit together."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from spikeprop.neurons.arguments import check_floating


def check_signal(current: Tensor, signal: Tensor) -> None:
    """Make sure that one step's signal rows fit behind one step's current.

    Parameters
    ----------
    current : torch.Tensor
        Input current of one time step, ``(B, *features)``.
    signal : torch.Tensor
        Signal current of one time step, ``(C, *features)``.

    Raises
    ------
    TypeError
        If ``signal`` is not a floating tensor.
    ValueError
        If the features differ, or ``current`` has no rows.
    """
    check_floating("signal", signal)
    if current.dim() == 0 or current.dim() != signal.dim() or current.shape[1:] != signal.shape[1:]:
        raise ValueError(
            f"signal must have rows like the current's, (C, *features), but has shape "
            f"{tuple(signal.shape)} for a current of shape {tuple(current.shape)}"
        )


def check_fits(name: str, value: Tensor, shape: torch.Size) -> None:
    """Make sure that a parameter broadcasts with a current of this shape without enlarging it.

    Parameters
    ----------
    name : str
        The parameter's name, for messages.
    value : torch.Tensor
        The parameter, scalar or per neuron.
    shape : torch.Size
        The current's shape, ``(rows, *features)``.

    Raises
    ------
    ValueError
        If it does not fit.
    """
    if value.dim() == 0 or value.shape == shape[-value.dim() :]:
        return
    own = (1,) * (len(shape) - value.dim()) + tuple(value.shape)
    if len(own) != len(shape) or any(n not in (1, m) for n, m in zip(own, shape, strict=True)):
        raise ValueError(
            f"{name} has shape {tuple(value.shape)}, which does not fit a current of shape "
            f"{tuple(shape)}; it has to be a scalar or broadcast with the current's features"
        )


def rows_of(current: Tensor, signal: Tensor | None) -> Callable[[int], Tensor]:
    """Give the rows of each time step, signal behind batch, without copying the whole sequence.

    Parameters
    ----------
    current : torch.Tensor
        Input currents, ``(T, B, *features)``.
    signal : torch.Tensor or None
        ``(T, C, *features)``, or ``(C, *features)`` held constant.

    Returns
    -------
    Callable
        From the step's index to its rows, ``(B, *features)`` or ``(B + C, *features)``.

    Raises
    ------
    TypeError
        If ``signal`` is not a floating tensor.
    ValueError
        If its steps or features differ from the current's.
    """
    if signal is None:
        return lambda t: current[t]
    check_floating("signal", signal)
    held = signal.dim() == current.dim() - 1
    fixed = signal.shape[1:] if held else signal.shape[:1] + signal.shape[2:]
    wanted = current.shape[2:] if held else current.shape[:1] + current.shape[2:]
    if (
        current.dim() < 2
        or signal.dim() not in (current.dim(), current.dim() - 1)
        or fixed != wanted
    ):
        raise ValueError(
            "signal must be (T, C, *features) or (C, *features) with the current's T and features, "
            f"but has shape {tuple(signal.shape)} for a current of shape {tuple(current.shape)}"
        )
    return lambda t: torch.cat((current[t], signal if held else signal[t]))


def fit_state(current: Tensor, mem: Tensor | None, hidden: bool) -> tuple[Tensor, Tensor]:
    """Bring current and state to one shape and one dtype; no state means zeros.

    Parameters
    ----------
    current : torch.Tensor
        One step's current, ``(rows, *features)``, signal rows included.
    mem : torch.Tensor or None
        The voltage before the step; ``None`` or an empty placeholder for a fresh start.
    hidden : bool
        Whether ``mem`` was kept inside the module, which is what the error then speaks of.

    Returns
    -------
    current, mem : torch.Tensor
        Of one shape, and of the wider of the two dtypes.

    Raises
    ------
    TypeError
        If ``mem`` is not a floating tensor.
    ValueError
        If the shapes differ.
    """
    if mem is None:
        return current, torch.zeros_like(current)
    if not isinstance(mem, Tensor):
        check_floating("mem", mem)
    if mem.shape != current.shape:
        if mem.shape == (0,):
            return current, torch.zeros_like(current)
        if hidden:
            raise ValueError(
                f"the hidden voltage has shape {tuple(mem.shape)} from the step before, but this "
                f"step's current has shape {tuple(current.shape)} (signal rows included); call "
                "spikeprop.neurons.reset(net) between sequences"
            )
        raise ValueError(
            f"mem has shape {tuple(mem.shape)}, but must have the current's, "
            f"{tuple(current.shape)} (signal rows included)"
        )
    if mem.dtype != current.dtype:
        check_floating("mem", mem)
        dtype = torch.promote_types(mem.dtype, current.dtype)
        return current.to(dtype), mem.to(dtype)
    return current, mem
