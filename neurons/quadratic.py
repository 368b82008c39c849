"""Quadratic integrate-and-fire (QIF): the normal form of a neuron that starts firing at any rate.

One forward Euler step, where u is the voltage after its reset (R_t as in ``lif.py``) and
k = dt / tau_mem:

    u     = mem_{t-1} + R_t * (v_reset - mem_{t-1})
    mem_t = u + k * gain * (u - v_rest) * (u - v_crit) + current_t
    spk_t = H(mem_t - threshold)

Below ``v_crit`` the voltage falls back to ``v_rest``, above it grows to the threshold (the peak) by
itself. Ermentrout and Kopell, "Parabolic bursting in an excitable system coupled with a slow
oscillation", SIAM J. Appl. Math. 46, 1986; Gerstner et al., "Neuronal Dynamics", 2014, section 5.3.
``current`` is what a step's input adds to the voltage. Far below rest the parabola drives the
voltage up so hard that a forward step overshoots; ``floor`` bounds the voltage from below.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from torch import Tensor

from spikeprop.neurons import namesakes
from spikeprop.neurons.arguments import Values, as_parameter, as_positive, as_step
from spikeprop.neurons.base import StepFunction
from spikeprop.neurons.eligibility import LinearFilter, make_filter
from spikeprop.neurons.firing import Firing, FiringNeuron, fire, reset_signal
from spikeprop.neurons.stateful import MemState
from spikeprop.neurons.upswing import check_below_peak, hard_reset_only, restart


class QIFParameters(NamedTuple):
    """All that a step needs besides current and state; tensors are scalar or per neuron.

    Attributes
    ----------
    k : torch.Tensor
        ``dt * gain / tau_mem``.
    v_crit, v_rest, v_reset : torch.Tensor
        Where the voltage escapes, rests, and goes after a spike.
    floor : float or None
        Lowest voltage.
    firing : Firing
        Peak and options.
    """

    k: Tensor
    v_crit: Tensor
    v_rest: Tensor
    v_reset: Tensor
    floor: float | None
    firing: Firing


def qif_step(current: Tensor, state: MemState, p: QIFParameters) -> tuple[Tensor, MemState]:
    """One step of the difference equation at the top of this file; touches no state.

    Parameters
    ----------
    current : torch.Tensor
        Input current, ``(rows, *features)``.
    state : MemState
        The previous step's voltage, of the same shape and dtype; left as it is.
    p : QIFParameters
        The neuron's parameters, of the same dtype.

    Returns
    -------
    spk : torch.Tensor
        Spikes of this step, of the same shape and dtype.
    state : MemState
        Voltage of this step.
    """
    u, _ = restart(state.mem, p.v_reset, p.firing)
    mem = u + p.k * (u - p.v_rest) * (u - p.v_crit) + current
    if p.floor is not None:
        mem = mem.clamp_min(p.floor)
    return fire(mem, p.firing), MemState(mem)


class QIF(FiringNeuron, namesakes.Leaky):
    """Quadratic integrate-and-fire neuron.

    The difference equation stands at the top of this file; see ``SpikingNeuron`` for state,
    ``unroll`` and ``signal``. It starts at ``v_rest``. Eligibility is the truncated local Jacobian,
    ``A_t = (1 - R_t) (1 + k gain (2 u - v_rest - v_crit))``, one value a row and neuron.

    Parameters
    ----------
    tau_mem : float or torch.Tensor
        Time constant in milliseconds, scalar or per neuron.
    gain : float or torch.Tensor
        Curvature of the parabola, above 0, in 1 / voltage.
    v_crit : float or torch.Tensor
        Voltage beyond which the neuron fires by itself; above ``v_rest``.
    threshold : float or torch.Tensor
        Peak voltage, where a spike is said to be; above ``v_crit``.
    v_rest, v_reset : float or torch.Tensor
        Voltage at rest and after a spike.
    floor : float, optional
        Lowest voltage; none by default.
    dt : float
        Length of a time step in milliseconds, at most ``tau_mem / (gain (v_crit - v_rest))``, the
        time constant at rest.
    **options
        ``spike_grad``, ``init_hidden`` and other options of ``FiringNeuron``; the reset is always
        to ``v_reset``, and state is not quantised.

    Raises
    ------
    TypeError
        As in ``LIF``.
    ValueError
        As in ``LIF``, if a parameter is not positive, the voltages are not in order, or ``dt`` is
        too large.
    """

    tau_mem: Tensor
    gain: Tensor
    v_crit: Tensor
    v_rest: Tensor
    v_reset: Tensor

    _per_neuron = (
        "tau_mem",
        "gain",
        "v_crit",
        "threshold",
        "v_rest",
        "v_reset",
        "graded_spikes_factor",
    )

    def __init__(
        self,
        tau_mem: Values = 20.0,
        gain: Values = 1.25,
        v_crit: Values = 0.8,
        threshold: Values = 1.0,
        *,
        v_rest: Values = 0.0,
        v_reset: Values = 0.0,
        floor: float | None = None,
        dt: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(threshold, **hard_reset_only("QIF", options))
        tau, curve = as_positive("tau_mem", tau_mem), as_positive("gain", gain)
        crit, rest = as_parameter("v_crit", v_crit), as_parameter("v_rest", v_rest)
        reset = as_parameter("v_reset", v_reset)
        if not (rest < crit).all():
            raise ValueError(
                f"v_crit must be above v_rest, {rest.tolist()}, but is {crit.tolist()}"
            )
        check_below_peak(self.threshold, v_crit=crit, v_reset=reset)
        if floor is not None and not (floor <= rest).all():
            raise ValueError(f"floor must be at most v_rest, {rest.tolist()}, but is {floor}")
        resting = tau / (curve * (crit - rest))
        self.dt = as_step(dt, **{"tau_mem / (gain (v_crit - v_rest))": resting})
        self.floor = None if floor is None else float(floor)
        self._own("tau_mem", tau)
        self._own("gain", curve)
        self._own("v_crit", crit)
        self._own("v_rest", rest)
        self._own("v_reset", reset)

    def initial_state(self, current: Tensor) -> MemState:
        """Give the state at rest; see ``SpikingNeuron.initial_state``."""
        return MemState(self._fit("v_rest", current).expand_as(current).clone())

    def step_function(self, current: Tensor) -> StepFunction:
        """Bind the parameters to ``qif_step``; see ``SpikingNeuron.step_function``."""
        k = self.dt * self._fit("gain", current) / self._fit("tau_mem", current)
        crit, rest, reset = (self._fit(name, current) for name in ("v_crit", "v_rest", "v_reset"))
        p = QIFParameters(k, crit, rest, reset, self.floor, self.firing(current))
        return partial(qif_step, p=p)

    def _jacobian(self, current: Tensor, state: MemState) -> LinearFilter:
        step: Any = self.step_function(current)
        p: QIFParameters = step.keywords["p"]
        kept = 1 - reset_signal(state.mem, p.firing)
        above: Tensor | float = 1.0
        if self.floor is not None:
            above = (step(current, state)[1].mem > self.floor).to(current.dtype)
        slope = kept * above * (1 + p.k * (2 * state.mem - p.v_rest - p.v_crit))
        return make_filter([[slope]], [above], [1.0])
