"""How currents, signal rows, states and parameters have to fit together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

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


def signals_of(current: Tensor, signal: Tensor | None) -> Callable[[int], Tensor | None]:
    """Make sure that a sequence's signal fits its current, and give that of each time step.

    Parameters
    ----------
    current : torch.Tensor
        Input currents, ``(T, B, *features)``.
    signal : torch.Tensor or None
        ``(T, C, *features)``, or ``(C, *features)`` held constant.

    Returns
    -------
    Callable
        From the step's index to the signal's rows, ``(C, *features)``, or None.

    Raises
    ------
    TypeError
        If ``signal`` is not a floating tensor.
    ValueError
        If its steps or features differ from the current's.
    """
    if signal is None:
        return lambda t: None
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
    return lambda t: signal if held else signal[t]


def fit_state(
    current: Tensor,
    given: Sequence[Tensor | None] | None,
    hidden: bool,
    kind: Any,
    fresh: Callable[[Tensor], Any],
) -> tuple[Tensor, Any]:
    """Bring current and state to one shape and one dtype; no state means a fresh one.

    Parameters
    ----------
    current : torch.Tensor
        One step's current, ``(rows, *features)``, signal rows included.
    given : sequence of torch.Tensor or None
        The state variables before the step; ``None`` or an empty placeholder for a fresh start.
    hidden : bool
        Whether they were kept inside the module, which is what the error then speaks of.
    kind : type
        The state's NamedTuple.
    fresh : Callable
        From a current to the state before the first step.

    Returns
    -------
    current : torch.Tensor
        The current.
    state : NamedTuple
        The state, of the current's shape; both of the widest dtype among them.

    Raises
    ------
    TypeError
        If a variable is not a floating tensor.
    ValueError
        If the shapes or the number of variables differ.
    """
    if given is None:
        return current, fresh(current)
    names, shape, dtype = kind._fields, current.shape, current.dtype
    if len(given) != len(names):
        raise ValueError(f"state must have the variables {', '.join(names)}, not {len(given)}")
    values: list[Tensor] = []
    start: Any = None
    for i, value in enumerate(given):
        if value is None or (isinstance(value, Tensor) and value.shape == (0,) != shape):
            start = fresh(current) if start is None else start
            value = start[i]
        if not isinstance(value, Tensor):
            check_floating(names[i], value)
        if value.shape != shape:
            if hidden:
                raise ValueError(
                    f"the hidden voltage has shape {tuple(value.shape)} from the step before, but "
                    f"this step's current has shape {tuple(shape)} (signal rows included); call "
                    "spikeprop.neurons.reset(net) between sequences"
                )
            raise ValueError(
                f"{names[i]} has shape {tuple(value.shape)}, but must have the current's, "
                f"{tuple(shape)} (signal rows included)"
            )
        if value.dtype != dtype:
            check_floating(names[i], value)
            dtype = torch.promote_types(dtype, value.dtype)
        values.append(value)
    if dtype != current.dtype or any(value.dtype != dtype for value in values):
        return current.to(dtype), kind(*(value.to(dtype) for value in values))
    return current, kind(*values)
