"""Resonate-and-fire neurons: RF, and its balanced form BRF.

RF, with z = mem + i osc, R_t as in ``lif.py``, is the exact solution of dz/dt = (-damping + i
omega) z between impulses, which the current is made of:

    z_t   = exp((-damping + i omega) dt) * z_{t-1} + current_t - R_t * threshold   # "subtract"
    spk_t = H(mem_t - threshold)

("zero" puts the last z to 0 before the step; "none", the default, lets it ring.) Izhikevich,
"Resonate-and-fire neurons", Neural Netw. 14, 2001.

BRF keeps the oscillation from diverging at any frequency, and lets a trace q of the spikes raise
both threshold and damping instead of a reset. One forward Euler step:

    rate  = (sqrt(1 - (dt omega)^2) - 1) / dt - damping - q_{t-1}
    mem_t = mem_{t-1} + dt * (rate * mem_{t-1} - omega * osc_{t-1}) + current_t
    osc_t = osc_{t-1} + dt * (omega * mem_{t-1} + rate * osc_{t-1})
    spk_t = H(mem_t - threshold - q_{t-1})
    q_t   = gamma * q_{t-1} + spk_t

Higuchi et al., "Balanced resonate-and-fire neurons", ICML 2024 (their factor dt of the current is
taken into the weights).
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikeprop.neurons import namesakes
from spikeprop.neurons.arguments import Values, as_decay, as_length, as_parameter
from spikeprop.neurons.base import StepFunction
from spikeprop.neurons.eligibility import LinearFilter, make_filter
from spikeprop.neurons.firing import Firing, FiringNeuron, fire, reset_signal


class ResonatorState(NamedTuple):
    """State of a resonator.

    Attributes
    ----------
    osc, mem : torch.Tensor
        Imaginary and real part of the oscillation, ``(rows, *features)``.
    """

    osc: Tensor
    mem: Tensor


class BalancedState(NamedTuple):
    """State of a balanced resonator.

    Attributes
    ----------
    q, osc, mem : torch.Tensor
        Trace of the spikes, imaginary and real part of the oscillation, ``(rows, *features)``.
    """

    q: Tensor
    osc: Tensor
    mem: Tensor


class RFParameters(NamedTuple):
    """All that a step needs besides current and state.

    Attributes
    ----------
    cos, sin : torch.Tensor
        Real and imaginary part of ``exp((-damping + i omega) dt)``, scalar or per neuron.
    firing : Firing
        Threshold, reset and the other options.
    """

    cos: Tensor
    sin: Tensor
    firing: Firing


class BRFParameters(NamedTuple):
    """All that a step needs besides current and state; tensors are scalar or per neuron.

    Attributes
    ----------
    omega, rate, gamma : torch.Tensor
        Frequency, growth rate without spikes, and decay of the spikes' trace per step.
    dt : float
        Length of a time step.
    firing : Firing
        Threshold and options.
    """

    omega: Tensor
    rate: Tensor
    gamma: Tensor
    dt: float
    firing: Firing


def rf_step(
    current: Tensor, state: ResonatorState, p: RFParameters
) -> tuple[Tensor, ResonatorState]:
    """One step of RF's difference equation at the top of this file; touches no state.

    Parameters
    ----------
    current : torch.Tensor
        Input current, ``(rows, *features)``.
    state : ResonatorState
        The previous step's state, of the same shape and dtype; left as it is.
    p : RFParameters
        The neuron's parameters, of the same dtype.

    Returns
    -------
    spk : torch.Tensor
        Spikes of this step, of the same shape and dtype.
    state : ResonatorState
        State of this step.
    """
    f, (osc, mem) = p.firing, state
    if f.reset != "none":
        reset = reset_signal(mem, f)
        if f.reset == "zero":
            osc, mem = osc * (1 - reset), mem * (1 - reset)
        else:
            current = current - reset * f.threshold
    new_mem = p.cos * mem - p.sin * osc + current
    new_osc = p.sin * mem + p.cos * osc
    if f.state_quant is not None:
        new_osc, new_mem = f.state_quant(new_osc), f.state_quant(new_mem)
    return fire(new_mem, f), ResonatorState(new_osc, new_mem)


def brf_step(
    current: Tensor, state: BalancedState, p: BRFParameters
) -> tuple[Tensor, BalancedState]:
    """One step of BRF's difference equation at the top of this file; touches no state.

    Parameters
    ----------
    current : torch.Tensor
        Input current, ``(rows, *features)``.
    state : BalancedState
        The previous step's state, of the same shape and dtype; left as it is.
    p : BRFParameters
        The neuron's parameters, of the same dtype.

    Returns
    -------
    spk : torch.Tensor
        Spikes of this step, of the same shape and dtype.
    state : BalancedState
        State of this step.
    """
    f, (q, osc, mem) = p.firing, state
    rate = p.rate - q
    new_mem = mem + p.dt * (rate * mem - p.omega * osc) + current
    new_osc = osc + p.dt * (p.omega * mem + rate * osc)
    if f.state_quant is not None:
        new_osc, new_mem = f.state_quant(new_osc), f.state_quant(new_mem)
    spk = fire(new_mem, f._replace(threshold=f.threshold + q))
    return spk, BalancedState(p.gamma * q + spk, new_osc, new_mem)


class RF(FiringNeuron, namesakes.Leaky):
    """Resonate-and-fire neuron: fires at input in step with its own frequency.

    The difference equation stands at the top of this file. A step is ``spk, osc, mem =
    neuron(current, osc, mem)``; see ``SpikingNeuron`` for state, ``unroll`` and ``signal``. The
    eligibility filter is exact, with two variables.

    Parameters
    ----------
    omega : float or torch.Tensor
        Frequency in radians per millisecond, scalar or per neuron.
    damping : float or torch.Tensor
        Rate at which the oscillation dies away in 1 / ms, not negative.
    threshold : float or torch.Tensor
        Firing threshold, scalar or per neuron.
    dt : float
        Length of a time step in milliseconds; ``dt * |omega|`` must be below pi.
    reset_mechanism : {"none", "subtract", "zero"}
        What a spike does to the oscillation.
    learn_omega, learn_damping : bool
        Make the parameter an ``nn.Parameter`` instead of a buffer.
    **options
        ``spike_grad``, ``init_hidden`` and the other options of ``FiringNeuron``.

    Raises
    ------
    TypeError
        As in ``LIF``.
    ValueError
        As in ``LIF``, if ``damping`` is negative, or ``dt`` is not positive or too large for
        ``omega``.
    """

    omega: Tensor
    damping: Tensor
    osc: Tensor

    State = ResonatorState
    exact = True
    _per_neuron = ("omega", "damping", "threshold", "graded_spikes_factor")

    def __init__(
        self,
        omega: Values = 0.3,
        damping: Values = 0.05,
        threshold: Values = 1.0,
        *,
        dt: float = 1.0,
        reset_mechanism: str = "none",
        learn_omega: bool = False,
        learn_damping: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(threshold, reset_mechanism=reset_mechanism, **options)
        self.dt = _resonance(self, omega, damping, dt, torch.pi, learn_omega, learn_damping)

    def _rotation(self) -> tuple[Tensor, Tensor]:
        shrink = torch.exp(-self.damping.clamp_min(0) * self.dt)
        return shrink * torch.cos(self.omega * self.dt), shrink * torch.sin(self.omega * self.dt)

    def step_function(self, current: Tensor) -> StepFunction:
        """Bind the parameters to ``rf_step``; see ``SpikingNeuron.step_function``."""
        self._fit("omega", current)
        self._fit("damping", current)
        cos, sin = (value.to(current.dtype) for value in self._rotation())
        return partial(rf_step, p=RFParameters(cos, sin, self.firing(current)))

    def filter(self) -> LinearFilter:
        """Give the filter of (osc, mem); see ``SpikingNeuron.filter``."""
        cos, sin = self._rotation()
        return make_filter([[cos, sin], [-sin, cos]], [0.0, 1.0], [0.0, 1.0])


class BRF(FiringNeuron, namesakes.Leaky):
    """Balanced resonate-and-fire neuron.

    The difference equation stands at the top of this file. A step is ``spk, q, osc, mem =
    neuron(current, q, osc, mem)``; see ``SpikingNeuron`` for state, ``unroll`` and ``signal``. A
    spike changes the damping, neuron by neuron: eligibility is the local Jacobian with q held as
    an input, one a row and neuron (until the first spike it is RF's, and factors).

    Parameters
    ----------
    omega : float or torch.Tensor
        Frequency in radians per millisecond, scalar or per neuron.
    damping : float or torch.Tensor
        Damping beyond what keeps the oscillation from growing, in 1 / ms, not negative.
    threshold : float or torch.Tensor
        Firing threshold without spikes, scalar or per neuron.
    gamma : float or torch.Tensor
        Decay of the spikes' trace per time step, in [0, 1].
    dt : float
        Length of a time step in milliseconds; ``dt * |omega|`` must be at most 1.
    learn_omega, learn_damping : bool
        Make the parameter an ``nn.Parameter`` instead of a buffer.
    **options
        ``spike_grad``, ``init_hidden`` and the other options of ``FiringNeuron``, but there is no
        reset to choose.

    Raises
    ------
    TypeError
        As in ``LIF``, or if ``reset_mechanism`` is given.
    ValueError
        As in ``RF``.
    """

    omega: Tensor
    damping: Tensor
    gamma: Tensor
    q: Tensor
    osc: Tensor

    State = BalancedState
    _per_neuron = ("omega", "damping", "gamma", "threshold", "graded_spikes_factor")

    def __init__(
        self,
        omega: Values = 0.3,
        damping: Values = 0.05,
        threshold: Values = 1.0,
        gamma: Values = 0.9,
        *,
        dt: float = 1.0,
        learn_omega: bool = False,
        learn_damping: bool = False,
        **options: Any,
    ) -> None:
        if "reset_mechanism" in options:
            raise TypeError("BRF has no reset but its trace of spikes, and no reset_mechanism")
        super().__init__(threshold, reset_mechanism="none", **options)
        self.dt = _resonance(self, omega, damping, dt, 1.0, learn_omega, learn_damping)
        self._own("gamma", as_decay(gamma, name="gamma"))

    def step_function(self, current: Tensor) -> StepFunction:
        """Bind the parameters to ``brf_step``; see ``SpikingNeuron.step_function``."""
        names = ("omega", "damping", "gamma")
        omega, damping, gamma = (self._fit(name, current) for name in names)
        bound = (1 - (self.dt * omega) ** 2).clamp_min(0).sqrt() - 1
        rate = bound / self.dt - damping.clamp_min(0)
        p = BRFParameters(omega, rate, gamma.clamp(0, 1), self.dt, self.firing(current))
        return partial(brf_step, p=p)

    def _jacobian(self, current: Tensor, state: BalancedState) -> LinearFilter:
        # Of (osc, mem): no current reaches q but through spikes.
        step: Any = self.step_function(current)
        p: BRFParameters = step.keywords["p"]
        grows, turns = 1 + p.dt * (p.rate - state.q), p.dt * p.omega
        return make_filter([[grows, turns], [-turns, grows]], [0.0, 1.0], [0.0, 1.0])


def _resonance(
    neuron: FiringNeuron,
    omega: Values,
    damping: Values,
    dt: float,
    limit: float,
    learn_omega: bool,
    learn_damping: bool,
) -> float:
    """Check and register frequency and damping; give ``dt`` as a float."""
    step = as_length("dt", dt)
    frequency, dying = as_parameter("omega", omega), as_parameter("damping", damping)
    if not (dying >= 0).all():
        raise ValueError(f"damping must not be negative, but is {dying.tolist()}")
    if not (step * frequency.abs() <= limit).all():
        raise ValueError(
            f"dt must be at most {limit:.4g} / |omega|, but is {step} ms with omega "
            f"{frequency.tolist()}"
        )
    neuron._own("omega", frequency, learn_omega)
    neuron._own("damping", dying, learn_damping)
    return step
