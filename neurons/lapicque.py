"""Lapicque's neuron: a leaky integrate-and-fire circuit of a resistance and a capacitance.

One step, the forward Euler form of ``RC dmem/dt = -mem + R current``, with R_t as in ``lif.py``:

    mem_t = (1 - dt / (R C)) * mem_{t-1} + dt / C * current_t - R_t * threshold    # "subtract"
    mem_t = (1 - R_t) * ((1 - dt / (R C)) * mem_{t-1} + dt / C * current_t)        # "zero"
    spk_t = H(mem_t - threshold)

Lapicque, "Recherches quantitatives sur l'excitation électrique des nerfs traitée comme une
polarisation", J. Physiol. Pathol. Gen. 9, 1907; the convention of snnTorch's ``Lapicque``. There
``beta`` only names the product, ``R C = dt / ln(1 / beta)``: the factor of a step is 1 + ln(beta),
not beta.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from spikeprop.neurons import namesakes
from spikeprop.neurons.arguments import Values, as_decay, as_positive
from spikeprop.neurons.base import StepFunction
from spikeprop.neurons.eligibility import LinearFilter, make_filter
from spikeprop.neurons.firing import Firing, FiringNeuron, after_reset, fire, reset_signal
from spikeprop.neurons.stateful import MemState


class LapicqueParameters(NamedTuple):
    """All that a step needs besides current and state.

    Attributes
    ----------
    decay, gain : torch.Tensor
        ``1 - dt / (R C)`` and ``dt / C``, scalar or per neuron.
    firing : Firing
        Threshold, reset and the other options.
    """

    decay: Tensor
    gain: Tensor
    firing: Firing


def lapicque_step(
    current: Tensor, state: MemState, p: LapicqueParameters
) -> tuple[Tensor, MemState]:
    """One step of the difference equation at the top of this file; touches no state.

    Parameters
    ----------
    current : torch.Tensor
        Input current, ``(rows, *features)``.
    state : MemState
        The previous step's voltage, of the same shape and dtype; left as it is.
    p : LapicqueParameters
        The neuron's parameters, of the same dtype.

    Returns
    -------
    spk : torch.Tensor
        Spikes of this step, of the same shape and dtype.
    state : MemState
        Voltage of this step.
    """
    f = p.firing
    mem = after_reset(current * p.gain + p.decay * state.mem, reset_signal(state.mem, f), f)
    if f.state_quant is not None:
        mem = f.state_quant(mem)
    return fire(mem, f), MemState(mem)


class Lapicque(FiringNeuron, namesakes.Lapicque):
    """Lapicque's integrate-and-fire circuit; a drop-in for ``snntorch.Lapicque``.

    The difference equation stands at the top of this file. Give ``beta``, or two of ``beta``, ``R``
    and ``C``; the third follows. Arguments, numbers and ``state_dict`` keys are those of
    ``snntorch.Lapicque`` 1.0, except that a learned ``beta`` is followed at every step (snnTorch
    computes the circuit from it once). See ``SpikingNeuron`` for state, ``unroll`` and ``signal``.
    The eligibility filter is exact, with one variable and the gain ``time_step / C``.

    Parameters
    ----------
    beta : float or torch.Tensor or False
        ``exp(-time_step / (R C))``, at least 1/e and below 1.
    R : float or torch.Tensor or False
        Resistance in ohms (or any unit that makes ``R C`` milliseconds).
    C : float or torch.Tensor or False
        Capacitance, likewise.
    time_step : float
        Length of a time step, in the unit of ``R C``; at most ``R C``.
    threshold, spike_grad, surrogate_disable, init_hidden, inhibition, learn_beta, learn_threshold
        As in ``LIF``.
    reset_mechanism, state_quant, output
        As in ``LIF``.

    Raises
    ------
    TypeError
        As in ``LIF``.
    ValueError
        As in ``LIF``, if neither ``beta`` nor both of ``R`` and ``C`` are given, or all three, or
        if ``time_step`` exceeds ``R C``, where the Euler step would overshoot.
    """

    R: Tensor
    C: Tensor
    time_step: Tensor

    exact = True
    _per_neuron = ("beta", "R", "C", "threshold", "graded_spikes_factor")

    def __init__(
        self,
        beta: Values | Literal[False] = False,
        R: Values | Literal[False] = False,
        C: Values | Literal[False] = False,
        time_step: float = 1,
        threshold: Values = 1.0,
        spike_grad: Callable[[Tensor], Tensor] | None = None,
        surrogate_disable: bool = False,
        init_hidden: bool = False,
        inhibition: bool = False,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        reset_mechanism: str = "subtract",
        state_quant: Callable[[Tensor], Tensor] | Literal[False] | None = False,
        output: bool = False,
    ) -> None:
        super().__init__(
            threshold, spike_grad, surrogate_disable, init_hidden, inhibition, learn_threshold,
            reset_mechanism, state_quant, output,
        )  # fmt: skip
        dt = as_positive("time_step", time_step)
        given = [name for name, value in zip("bRC", (beta, R, C), strict=True) if _is_given(value)]
        if given not in (["b"], ["b", "R"], ["b", "C"], ["R", "C"]):
            raise ValueError(
                "Lapicque needs beta, or two of beta, R and C, but was given "
                f"beta={beta!r}, R={R!r}, C={C!r}"
            )
        resistance = as_positive("R", R) if "R" in given else torch.tensor(1.0)
        capacity = as_positive("C", C) if "C" in given else torch.tensor(1.0)
        decay = as_decay(beta) if "b" in given else torch.exp(-dt / (resistance * capacity))
        if "b" in given:
            if not ((decay > 0) & (decay < 1)).all():
                raise ValueError(f"beta must lie between 0 and 1, but is {decay.tolist()}")
            product = dt / torch.log(1 / decay)
            if "C" in given:
                resistance = product / capacity
            else:
                capacity = product / resistance
        if not (dt <= resistance * capacity).all():
            raise ValueError(
                f"time_step must be at most R C ({(resistance * capacity).tolist()}; with beta "
                f"alone that is beta >= exp(-1)), but is {dt.tolist()}"
            )
        self._own("beta", decay, learn_beta and "b" in given)
        self._own("time_step", dt)
        for name, value in (("R", resistance), ("C", capacity)):
            self._own(name, value)

    def _circuit(self) -> tuple[Tensor, Tensor]:
        dt, product = self.time_step, self.R * self.C
        capacity = self.C
        if self.beta.requires_grad:
            product = dt / torch.log(1 / self.beta)
            capacity = product / self.R
        return 1 - dt / product, dt / capacity

    def decay(self) -> Tensor:
        """Give the factor by which the voltage decays in a step, ``1 - time_step / (R C)``."""
        return self._circuit()[0]

    def step_function(self, current: Tensor) -> StepFunction:
        """Bind the parameters to ``lapicque_step``; see ``SpikingNeuron.step_function``."""
        for name in ("beta", "R", "C"):
            self._fit(name, current)
        decay, gain = (value.to(current.dtype) for value in self._circuit())
        return partial(lapicque_step, p=LapicqueParameters(decay, gain, self.firing(current)))

    def filter(self) -> LinearFilter:
        """Give the filter of the voltage; see ``SpikingNeuron.filter``."""
        decay, gain = self._circuit()
        return make_filter([[decay]], [gain], [1.0])

    def init_lapicque(self) -> Any:
        """Do as ``reset_mem``; snnTorch's older name of it."""
        return self.reset_mem()


def _is_given(value: Any) -> bool:
    return not (value is False or value is None or (isinstance(value, (int, float)) and value == 0))
