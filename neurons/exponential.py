"""Exponential integrate-and-fire neurons: EIF, and AdEx with an adaptation current.

One forward Euler step, where u is the voltage after its reset (R_t as in ``lif.py``, v_r the reset
voltage) and k = dt / tau_mem:

    u     = mem_{t-1} + R_t * (v_reset - mem_{t-1})
    w'    = w_{t-1} + b * R_t                                               # AdEx only
    mem_t = u + k * (v_rest - u + delta * exp((u - v_rheo) / delta) - w') + current_t
    w_t   = w' + dt / tau_adapt * (a * (u - v_rest) - w')                   # AdEx only
    spk_t = H(mem_t - threshold)

The threshold is the peak at which the upswing is cut: above ``v_rheo`` the exponential takes the
voltage there by itself. Fourcaud-Trocmé et al., "How spike generation mechanisms determine the
neuronal response to fluctuating inputs", J. Neurosci. 23, 2003; Brette and Gerstner, "Adaptive
exponential integrate-and-fire model as an effective description of neuronal activity",
J. Neurophysiol. 94, 2005. Voltages and w are in one unit (by default the peak is 1 and rest 0), and
``current`` is what a step's input adds to the voltage: ``dt R I / tau_mem`` in theirs.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikeprop.neurons import namesakes
from spikeprop.neurons.adlif import AdaptationState
from spikeprop.neurons.arguments import Values, as_parameter, as_positive, as_step
from spikeprop.neurons.base import StepFunction
from spikeprop.neurons.eligibility import LinearFilter, make_filter
from spikeprop.neurons.firing import Firing, FiringNeuron, fire
from spikeprop.neurons.stateful import MemState
from spikeprop.neurons.upswing import check_below_peak, hard_reset_only, restart


class EIFParameters(NamedTuple):
    """All that a step of the voltage needs; tensors are scalar or per neuron.

    Attributes
    ----------
    k : torch.Tensor
        ``dt / tau_mem``.
    delta, v_rheo, v_rest, v_reset : torch.Tensor
        Sharpness of the upswing, where it starts, and voltages at rest and after a spike.
    firing : Firing
        Peak and options.
    """

    k: Tensor
    delta: Tensor
    v_rheo: Tensor
    v_rest: Tensor
    v_reset: Tensor
    firing: Firing


class AdExParameters(NamedTuple):
    """All that a step needs besides current and state; tensors are scalar or per neuron.

    Attributes
    ----------
    voltage : EIFParameters
        Those of the voltage.
    k_adapt : torch.Tensor
        ``dt / tau_adapt``.
    a, b : torch.Tensor
        What the voltage and what a spike adds to the adaptation.
    """

    voltage: EIFParameters
    k_adapt: Tensor
    a: Tensor
    b: Tensor


def eif_step(current: Tensor, state: MemState, p: EIFParameters) -> tuple[Tensor, MemState]:
    """One step of the difference equation at the top of this file, without adaptation.

    Parameters
    ----------
    current : torch.Tensor
        Input current, ``(rows, *features)``.
    state : MemState
        The previous step's voltage, of the same shape and dtype; left as it is.
    p : EIFParameters
        The neuron's parameters, of the same dtype.

    Returns
    -------
    spk : torch.Tensor
        Spikes of this step, of the same shape and dtype.
    state : MemState
        Voltage of this step.
    """
    u, _ = restart(state.mem, p.v_reset, p.firing)
    mem = u + p.k * _drift(u, p) + current
    return fire(mem, p.firing), MemState(mem)


def adex_step(
    current: Tensor, state: AdaptationState, p: AdExParameters
) -> tuple[Tensor, AdaptationState]:
    """One step of the difference equation at the top of this file; touches no state.

    Parameters
    ----------
    current : torch.Tensor
        Input current, ``(rows, *features)``.
    state : AdaptationState
        The previous step's state, of the same shape and dtype; left as it is.
    p : AdExParameters
        The neuron's parameters, of the same dtype.

    Returns
    -------
    spk : torch.Tensor
        Spikes of this step, of the same shape and dtype.
    state : AdaptationState
        State of this step.
    """
    v = p.voltage
    u, reset = restart(state.mem, v.v_reset, v.firing)
    w = state.w + p.b * reset
    mem = u + v.k * (_drift(u, v) - w) + current
    w = w + p.k_adapt * (p.a * (u - v.v_rest) - w)
    return fire(mem, v.firing), AdaptationState(w, mem)


def eif_slope(mem: Tensor, p: EIFParameters) -> tuple[Tensor, Tensor]:
    """Differentiate ``eif_step`` with respect to the voltage before the step.

    Parameters
    ----------
    mem : torch.Tensor
        Voltage before the step, ``(rows, *features)``.
    p : EIFParameters
        The neuron's parameters.

    Returns
    -------
    slope, kept : torch.Tensor
        ``(1 - R) (1 - k + k exp((u - v_rheo) / delta))``, and 1 - R.
    """
    u, reset = restart(mem, p.v_reset, p.firing)
    kept = 1 - reset
    return kept * (1 - p.k + p.k * torch.exp((u - p.v_rheo) / p.delta)), kept


def _drift(u: Tensor, p: EIFParameters) -> Tensor:
    return p.v_rest - u + p.delta * torch.exp((u - p.v_rheo) / p.delta)


class EIF(FiringNeuron, namesakes.Leaky):
    """Exponential integrate-and-fire neuron.

    The difference equation stands at the top of this file; see ``SpikingNeuron`` for state,
    ``unroll`` and ``signal``. The state before the first step is rest (``v_rest``, which for
    the exponential's tail is nearly the fixed point). Eligibility is the truncated local Jacobian,
    ``A_t = (1 - R_t) (1 - k + k exp((u - v_rheo) / delta))``, one value a row and neuron: the trace
    does not factor, the reverse filter does.

    Parameters
    ----------
    tau_mem : float or torch.Tensor
        Time constant of the voltage in milliseconds, scalar or per neuron.
    delta : float or torch.Tensor
        Sharpness of the upswing, above 0.
    v_rheo : float or torch.Tensor
        Voltage at which the upswing starts.
    threshold : float or torch.Tensor
        Peak voltage, where a spike is said to be; above ``v_rheo``.
    v_rest, v_reset : float or torch.Tensor
        Voltage at rest and after a spike, below ``threshold``.
    dt : float
        Length of a time step in milliseconds, at most ``tau_mem``.
    **options
        ``spike_grad``, ``init_hidden`` and other options of ``FiringNeuron``; the reset is always
        to ``v_reset``, and state is not quantised.

    Raises
    ------
    TypeError
        As in ``LIF``.
    ValueError
        As in ``LIF``, if ``tau_mem``, ``delta`` or ``dt`` is not positive, ``dt`` exceeds
        ``tau_mem``, or the voltages are not in order.
    """

    tau_mem: Tensor
    delta: Tensor
    v_rheo: Tensor
    v_rest: Tensor
    v_reset: Tensor

    _per_neuron: tuple[str, ...] = (
        "tau_mem",
        "delta",
        "v_rheo",
        "threshold",
        "v_rest",
        "v_reset",
        "graded_spikes_factor",
    )

    def __init__(
        self,
        tau_mem: Values = 20.0,
        delta: Values = 0.1,
        v_rheo: Values = 0.7,
        threshold: Values = 1.0,
        *,
        v_rest: Values = 0.0,
        v_reset: Values = 0.0,
        dt: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(threshold, **hard_reset_only(type(self).__name__, options))
        self.dt = as_step(dt, tau_mem=tau_mem)
        self._own("tau_mem", as_positive("tau_mem", tau_mem))
        self._own("delta", as_positive("delta", delta))
        values = {"v_rheo": v_rheo, "v_rest": v_rest, "v_reset": v_reset}
        voltages = {name: as_parameter(name, value) for name, value in values.items()}
        check_below_peak(self.threshold, **voltages)
        for name, voltage in voltages.items():
            self._own(name, voltage)

    def initial_state(self, current: Tensor) -> Any:
        """Give the state at rest; see ``SpikingNeuron.initial_state``."""
        rest = self._fit("v_rest", current).expand_as(current).clone()
        zeros = (torch.zeros_like(current) for _ in self.State._fields[:-1])
        return self.State(*zeros, rest)

    def _voltage(self, current: Tensor) -> EIFParameters:
        delta, v_rheo = self._fit("delta", current), self._fit("v_rheo", current)
        v_rest, v_reset = self._fit("v_rest", current), self._fit("v_reset", current)
        k = self.dt / self._fit("tau_mem", current)
        return EIFParameters(k, delta, v_rheo, v_rest, v_reset, self.firing(current))

    def step_function(self, current: Tensor) -> StepFunction:
        """Bind the parameters to ``eif_step``; see ``SpikingNeuron.step_function``."""
        return partial(eif_step, p=self._voltage(current))

    def _jacobian(self, current: Tensor, state: Any) -> LinearFilter:
        slope, _ = eif_slope(state.mem, self._voltage(current))
        return make_filter([[slope]], [1.0], [1.0])


class AdEx(EIF):
    """Adaptive exponential integrate-and-fire neuron.

    The difference equation stands at the top of this file. A step is ``spk, w, mem =
    neuron(current, w, mem)``; otherwise as ``EIF``, with the truncated local Jacobian of (w, mem)
    for its eligibility.

    Parameters
    ----------
    tau_mem, delta, v_rheo, threshold
        As in ``EIF``.
    tau_adapt : float or torch.Tensor
        Time constant of the adaptation in milliseconds, scalar or per neuron.
    a : float or torch.Tensor
        Sub-threshold adaptation: what the voltage adds to ``w``.
    b : float or torch.Tensor
        Spike-triggered adaptation: what a spike adds to ``w``, in units of the voltage.
    v_rest, v_reset, dt, **options
        As in ``EIF``; ``dt`` is at most ``tau_adapt``, too.

    Raises
    ------
    TypeError
        As in ``EIF``.
    ValueError
        As in ``EIF``.
    """

    tau_adapt: Tensor
    a: Tensor
    b: Tensor
    w: Tensor

    State = AdaptationState
    _per_neuron = (*EIF._per_neuron, "tau_adapt", "a", "b")

    def __init__(
        self,
        tau_mem: Values = 20.0,
        delta: Values = 0.1,
        v_rheo: Values = 0.7,
        threshold: Values = 1.0,
        *,
        tau_adapt: Values = 100.0,
        a: Values = 0.2,
        b: Values = 0.5,
        v_rest: Values = 0.0,
        v_reset: Values = 0.0,
        dt: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(
            tau_mem, delta, v_rheo, threshold, v_rest=v_rest, v_reset=v_reset, dt=dt, **options
        )
        as_step(dt, tau_adapt=tau_adapt)
        self._own("tau_adapt", as_positive("tau_adapt", tau_adapt))
        self._own("a", as_parameter("a", a))
        self._own("b", as_parameter("b", b))

    def step_function(self, current: Tensor) -> StepFunction:
        """Bind the parameters to ``adex_step``; see ``SpikingNeuron.step_function``."""
        k = self.dt / self._fit("tau_adapt", current)
        a, b = self._fit("a", current), self._fit("b", current)
        return partial(adex_step, p=AdExParameters(self._voltage(current), k, a, b))

    def _jacobian(self, current: Tensor, state: Any) -> LinearFilter:
        p = self._voltage(current)
        slope, kept = eif_slope(state.mem, p)
        k, a = self.dt / self._fit("tau_adapt", current), self._fit("a", current)
        return make_filter([[1 - k, k * a * kept], [-p.k, slope]], [0.0, 1.0], [0.0, 1.0])
