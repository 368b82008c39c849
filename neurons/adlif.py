"""Adaptive LIF with sub-threshold adaptation (adLIF), in its symplectic Euler discretisation.

One step, where u is the voltage after its reset, with R as in ``lif.py``:

    u_{t-1} = (1 - R_t) * mem_{t-1}                                         # "zero", the default
    u_{t-1} = mem_{t-1} - R_t * threshold                                   # "subtract"
    mem_t   = beta * u_{t-1} + current_t - (1 - beta) * w_{t-1}
    spk_t   = H(mem_t - threshold)
    w_t     = rho * w_{t-1} + (1 - rho) * (a * u_t + b * spk_t)

The adaptation sees the voltage of its own step (a forward Euler form would see the last one), which
keeps oscillations stable at any frequency: Baronig et al., "Advancing spatio-temporal processing
through adaptation in spiking neural networks", Nat. Commun. 16, 2025. Their factor (1 - beta) of
the current is taken into the weights.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikeprop.neurons import namesakes
from spikeprop.neurons.arguments import Values, as_parameter
from spikeprop.neurons.base import StepFunction
from spikeprop.neurons.eligibility import LinearFilter, make_filter
from spikeprop.neurons.firing import Firing, FiringNeuron, after_reset, fire, reset_signal


class AdaptationState(NamedTuple):
    """State of a neuron with an adaptation current.

    Attributes
    ----------
    w, mem : torch.Tensor
        Adaptation current and voltage, ``(rows, *features)``.
    """

    w: Tensor
    mem: Tensor


class AdLIFParameters(NamedTuple):
    """All that a step needs besides current and state; tensors are scalar or per neuron.

    Attributes
    ----------
    beta, rho : torch.Tensor
        Decay per step of the voltage and of the adaptation, in [0, 1].
    a, b : torch.Tensor
        What the voltage and what a spike adds to the adaptation.
    firing : Firing
        Threshold, reset and the other options.
    """

    beta: Tensor
    rho: Tensor
    a: Tensor
    b: Tensor
    firing: Firing


def adlif_step(
    current: Tensor, state: AdaptationState, p: AdLIFParameters
) -> tuple[Tensor, AdaptationState]:
    """One step of the difference equation at the top of this file; touches no state.

    Parameters
    ----------
    current : torch.Tensor
        Input current, ``(rows, *features)``.
    state : AdaptationState
        The previous step's state, of the same shape and dtype; left as it is.
    p : AdLIFParameters
        The neuron's parameters, of the same dtype.

    Returns
    -------
    spk : torch.Tensor
        Spikes of this step, of the same shape and dtype.
    state : AdaptationState
        State of this step.
    """
    f = p.firing
    before = after_reset(state.mem, reset_signal(state.mem, f), f)
    mem = (p.beta * before).add_(current) - (1 - p.beta) * state.w
    if f.state_quant is not None:
        mem = f.state_quant(mem)
    spk = fire(mem, f)
    after = after_reset(mem, reset_signal(mem, f), f)
    w = p.rho * state.w + (1 - p.rho) * (p.a * after + p.b * spk)
    return spk, AdaptationState(w, mem)


class AdLIF(FiringNeuron, namesakes.Leaky):
    """Leaky integrate-and-fire neuron whose adaptation follows its voltage and its spikes.

    The difference equation stands at the top of this file. A step is ``spk, w, mem =
    neuron(current, w, mem)``; see ``SpikingNeuron`` for state, ``unroll`` and ``signal``. With
    ``a > 0`` the voltage oscillates. The eligibility filter is exact, with two variables.

    Parameters
    ----------
    beta : float or torch.Tensor
        Decay of the voltage per time step, in [0, 1], scalar or per neuron.
    rho : float or torch.Tensor
        Decay of the adaptation per time step, likewise.
    a : float or torch.Tensor
        Sub-threshold adaptation: what the voltage adds to ``w``.
    b : float or torch.Tensor
        Spike-triggered adaptation: what a spike adds to ``w``, in units of the voltage.
    threshold : float or torch.Tensor
        Firing threshold, scalar or per neuron.
    reset_mechanism : {"zero", "subtract", "none"}
        What a spike does to the voltage.
    learn_beta, learn_rho, learn_a, learn_b : bool
        Make the parameter an ``nn.Parameter`` instead of a buffer.
    tau_mem, tau_adapt : float or torch.Tensor
        In place of ``beta``, ``rho``: the time constants in milliseconds, ``exp(-dt / tau)``.
    dt : float
        With time constants, the length of a time step in milliseconds.
    **options
        ``spike_grad``, ``init_hidden`` and the other options of ``FiringNeuron``.

    Raises
    ------
    TypeError
        As in ``LIF``.
    ValueError
        As in ``LIF``, or if ``a`` is so large (or negative) that the voltage would grow without
        input.
    """

    rho: Tensor
    a: Tensor
    b: Tensor
    w: Tensor

    State = AdaptationState
    exact = True
    _per_neuron = ("beta", "rho", "a", "b", "threshold", "graded_spikes_factor")

    def __init__(
        self,
        beta: Values | None = None,
        rho: Values | None = None,
        a: Values = 1.0,
        b: Values = 1.0,
        threshold: Values = 1.0,
        *,
        reset_mechanism: str = "zero",
        learn_beta: bool = False,
        learn_rho: bool = False,
        learn_a: bool = False,
        learn_b: bool = False,
        tau_mem: Values | None = None,
        tau_adapt: Values | None = None,
        dt: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(threshold, reset_mechanism=reset_mechanism, **options)
        self._own_decay("beta", beta, "tau_mem", tau_mem, dt, learn_beta)
        self._own_decay("rho", rho, "tau_adapt", tau_adapt, dt, learn_rho)
        self._own("a", as_parameter("a", a), learn_a)
        self._own("b", as_parameter("b", b), learn_b)
        # A filter of two variables is stable where |trace| <= 1 + det and det <= 1.
        with torch.no_grad():
            A = self.filter().A
            det, trace = A[0, 0] * A[1, 1] - A[0, 1] * A[1, 0], A[0, 0] + A[1, 1]
            slack = 1e-6
            if not ((trace.abs() <= 1 + det + slack) & (det <= 1 + slack)).all():
                raise ValueError(
                    f"a must keep the voltage from growing without input, but is {self.a.tolist()} "
                    f"with beta {self.beta.tolist()} and rho {self.rho.tolist()}"
                )

    def step_function(self, current: Tensor) -> StepFunction:
        """Bind the parameters to ``adlif_step``; see ``SpikingNeuron.step_function``."""
        beta, rho = (self._fit(name, current).clamp(0, 1) for name in ("beta", "rho"))
        a, b = self._fit("a", current), self._fit("b", current)
        return partial(adlif_step, p=AdLIFParameters(beta, rho, a, b, self.firing(current)))

    def filter(self) -> LinearFilter:
        """Give the filter of (w, mem); see ``SpikingNeuron.filter``."""
        beta, rho = self.decay(), self.rho.clamp(0, 1)
        up = (1 - rho) * self.a
        return make_filter(
            [[rho - up * (1 - beta), up * beta], [beta - 1, beta]], [up, 1.0], [0.0, 1.0]
        )
