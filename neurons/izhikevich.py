"""Izhikevich's neuron: two equations that fire like most cells of the cortex.

One forward Euler step in the original units (millivolts, milliseconds), where v and u are the state
after its reset, with R_t as in ``lif.py``:

    v     = mem_{t-1} + R_t * (c - mem_{t-1})
    u'    = u_{t-1} + R_t * d
    mem_t = v + dt * (0.04 v^2 + 5 v + 140 - u' + gain * current_t)
    u_t   = u' + dt * a * (b v - u')
    spk_t = H(mem_t - threshold)

with the threshold, 30 mV, at the peak of a spike. Izhikevich, "Simple model of spiking neurons",
IEEE Trans. Neural Netw. 14, 2003. A forward step of more than about 1 ms misses the shape of a
spike, and far below rest the parabola throws the voltage back so hard that it may overshoot;
``floor`` bounds it from below.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikeprop.neurons import namesakes
from spikeprop.neurons.arguments import Values, as_length, as_parameter, as_positive
from spikeprop.neurons.base import StepFunction
from spikeprop.neurons.eligibility import LinearFilter, make_filter
from spikeprop.neurons.firing import Firing, FiringNeuron, fire, reset_signal
from spikeprop.neurons.upswing import check_below_peak, hard_reset_only, restart

#: (a, b, c, d) of the firing classes in figure 2 of the source.
FIRING_CLASSES: dict[str, tuple[float, float, float, float]] = {
    "regular spiking": (0.02, 0.2, -65.0, 8.0),
    "intrinsically bursting": (0.02, 0.2, -55.0, 4.0),
    "chattering": (0.02, 0.2, -50.0, 2.0),
    "fast spiking": (0.1, 0.2, -65.0, 2.0),
    "low-threshold spiking": (0.02, 0.25, -65.0, 2.0),
    "thalamo-cortical": (0.02, 0.25, -65.0, 0.05),
    "resonator": (0.1, 0.26, -65.0, 2.0),
}


class IzhikevichState(NamedTuple):
    """State of Izhikevich's neuron.

    Attributes
    ----------
    u, mem : torch.Tensor
        Recovery variable and membrane voltage [mV], ``(rows, *features)``.
    """

    u: Tensor
    mem: Tensor


class IzhikevichParameters(NamedTuple):
    """All that a step needs besides current and state; tensors are scalar or per neuron.

    Attributes
    ----------
    a, b, c, d : torch.Tensor
        The source's parameters.
    gain : torch.Tensor
        What the current is multiplied with.
    dt : float
        Length of a time step [ms].
    floor : float or None
        Lowest voltage [mV].
    firing : Firing
        Peak and options.
    """

    a: Tensor
    b: Tensor
    c: Tensor
    d: Tensor
    gain: Tensor
    dt: float
    floor: float | None
    firing: Firing


def izhikevich_step(
    current: Tensor, state: IzhikevichState, p: IzhikevichParameters
) -> tuple[Tensor, IzhikevichState]:
    """One step of the difference equation at the top of this file; touches no state.

    Parameters
    ----------
    current : torch.Tensor
        Input current, ``(rows, *features)``.
    state : IzhikevichState
        The previous step's state, of the same shape and dtype; left as it is.
    p : IzhikevichParameters
        The neuron's parameters, of the same dtype.

    Returns
    -------
    spk : torch.Tensor
        Spikes of this step, of the same shape and dtype.
    state : IzhikevichState
        State of this step.
    """
    v, reset = restart(state.mem, p.c, p.firing)
    u = state.u + reset * p.d
    mem = v + p.dt * ((0.04 * v + 5) * v + 140 - u + p.gain * current)
    u = u + p.dt * p.a * (p.b * v - u)
    if p.floor is not None:
        mem = mem.clamp_min(p.floor)
    return fire(mem, p.firing), IzhikevichState(u, mem)


class Izhikevich(FiringNeuron, namesakes.Leaky):
    """Izhikevich's simple model of a spiking neuron.

    The difference equation stands at the top of this file. A step is ``spk, u, mem =
    neuron(current, u, mem)``; see ``SpikingNeuron`` for state, ``unroll`` and ``signal``. It starts
    at its resting point (or at v = -65 mV where there is none). Eligibility is the truncated local
    Jacobian of (u, mem), one a row and neuron; a spike clears what it knew of the voltage.

    Parameters
    ----------
    a : float or torch.Tensor
        Rate of recovery in 1 / ms, scalar or per neuron.
    b : float or torch.Tensor
        Sensitivity of the recovery to the voltage.
    c : float or torch.Tensor
        Voltage after a spike [mV], below ``threshold``.
    d : float or torch.Tensor
        What a spike adds to the recovery.
    threshold : float or torch.Tensor
        Peak of a spike [mV].
    gain : float or torch.Tensor
        What the current is multiplied with; the source's currents are of the order of 10.
    floor : float, optional
        Lowest voltage [mV]; none by default.
    dt : float
        Length of a time step in milliseconds, at most 1.
    **options
        ``spike_grad``, ``init_hidden`` and other options of ``FiringNeuron``; the reset is always
        to ``c``, and state is not quantised.

    Raises
    ------
    TypeError
        As in ``LIF``.
    ValueError
        As in ``LIF``, or if ``a``, ``gain`` or ``dt`` is not positive, ``dt`` exceeds 1 ms or
        ``1 / a``, or ``c`` is not below ``threshold``.
    """

    a: Tensor
    b: Tensor
    c: Tensor
    d: Tensor
    gain: Tensor
    u: Tensor

    State = IzhikevichState
    _per_neuron = ("a", "b", "c", "d", "gain", "threshold", "graded_spikes_factor")

    def __init__(
        self,
        a: Values = 0.02,
        b: Values = 0.2,
        c: Values = -65.0,
        d: Values = 8.0,
        threshold: Values = 30.0,
        *,
        gain: Values = 1.0,
        floor: float | None = None,
        dt: float = 0.5,
        **options: Any,
    ) -> None:
        super().__init__(threshold, **hard_reset_only("Izhikevich", options))
        rate = as_positive("a", a)
        step = as_length("dt", dt)
        if not (step <= 1 and (step * rate <= 1).all()):
            raise ValueError(f"dt must be at most 1 ms and 1 / a, but is {dt} ms with a {a}")
        after = as_parameter("c", c)
        check_below_peak(self.threshold, c=after)
        self.dt = step
        self.floor = None if floor is None else float(floor)
        self._own("a", rate)
        self._own("b", as_parameter("b", b))
        self._own("c", after)
        self._own("d", as_parameter("d", d))
        self._own("gain", as_positive("gain", gain))

    @classmethod
    def preset(cls, firing_class: str, **options: Any) -> Izhikevich:
        """Give a neuron of one of the usual firing classes.

        Parameters
        ----------
        firing_class : str
            A key of ``FIRING_CLASSES``, such as ``"chattering"``.
        **options
            Further arguments of the class.

        Returns
        -------
        Izhikevich
            The neuron.

        Raises
        ------
        ValueError
            If there is no such class.
        """
        if firing_class not in FIRING_CLASSES:
            raise ValueError(
                f"firing_class must be one of {', '.join(FIRING_CLASSES)}, not {firing_class!r}"
            )
        return cls(*FIRING_CLASSES[firing_class], **options)

    def initial_state(self, current: Tensor) -> IzhikevichState:
        """Give the resting point; see ``SpikingNeuron.initial_state``."""
        b = self._fit("b", current)
        root = (5 - b) ** 2 - 4 * 0.04 * 140
        rest = torch.where(root >= 0, (b - 5 - root.clamp_min(0).sqrt()) / 0.08, -65.0)
        mem = rest.expand_as(current)
        return IzhikevichState((b * mem).clone(), mem.clone())

    def step_function(self, current: Tensor) -> StepFunction:
        """Bind the parameters to ``izhikevich_step``; see ``SpikingNeuron.step_function``."""
        a, b, c, d, gain = (self._fit(name, current) for name in ("a", "b", "c", "d", "gain"))
        p = IzhikevichParameters(a, b, c, d, gain, self.dt, self.floor, self.firing(current))
        return partial(izhikevich_step, p=p)

    def _jacobian(self, current: Tensor, state: IzhikevichState) -> LinearFilter:
        step: Any = self.step_function(current)
        p: IzhikevichParameters = step.keywords["p"]
        kept = 1 - reset_signal(state.mem, p.firing)
        above: Tensor | float = 1.0
        if self.floor is not None:
            above = (step(current, state)[1].mem > self.floor).to(current.dtype)
        slope = kept * above * (1 + p.dt * (0.08 * state.mem + 5))
        rate = p.dt * p.a
        return make_filter(
            [[1 - rate, kept * rate * p.b], [-p.dt * above, slope]],
            [0.0, p.dt * p.gain * above],
            [0.0, 1.0],
        )
