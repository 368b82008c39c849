"""What neurons share whose voltage goes to its peak by itself: EIF, AdEx, QIF and Izhikevich.

The threshold is that peak, and a spike sets the voltage to a reset voltage below it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikeprop.neurons.firing import Firing, reset_signal

__all__ = ["check_below_peak", "hard_reset_only", "restart"]


def restart(mem: Tensor, v_reset: Tensor, p: Firing) -> tuple[Tensor, Tensor]:
    """Set the voltage back where it was above its peak.

    Parameters
    ----------
    mem : torch.Tensor
        Voltage before the step, ``(rows, *features)``.
    v_reset : torch.Tensor
        Voltage after a spike, scalar or per neuron.
    p : Firing
        Peak and options.

    Returns
    -------
    u, reset : torch.Tensor
        The voltage that the step starts from, and R.
    """
    reset = reset_signal(mem, p)
    # Never through the product with 1 - R: what has overshot to infinity must not become NaN.
    return torch.where(reset > 0, v_reset, mem), reset


def check_below_peak(threshold: Tensor, **voltages: Tensor) -> None:
    """Refuse voltages that do not lie below the peak.

    Parameters
    ----------
    threshold : torch.Tensor
        The peak.
    **voltages : torch.Tensor
        Voltages by name, scalar or per neuron.

    Raises
    ------
    ValueError
        If one is not below the peak everywhere.
    """
    for name, value in voltages.items():
        if not (value < threshold).all():
            raise ValueError(
                f"{name} must be below threshold, {threshold.tolist()}, but is {value.tolist()}"
            )


def hard_reset_only(family: str, options: dict[str, Any]) -> dict[str, Any]:
    """Refuse the options that a neuron with a reset voltage and nonlinear dynamics has not.

    Parameters
    ----------
    family : str
        The neuron's name, for the message.
    options : dict
        The options it was given.

    Returns
    -------
    dict
        The same, with the reset that its checkpoints name.

    Raises
    ------
    TypeError
        If ``reset_mechanism`` or ``state_quant`` is among them.
    """
    if refused := sorted({"reset_mechanism", "state_quant"} & set(options)):
        raise TypeError(f"{family} always resets to its reset voltage and takes no {refused[0]}")
    return {**options, "reset_mechanism": "zero"}
