"""Adaptive LIF (ALIF): every spike makes the next one harder, for a while.

One step, with a trace ``adapt`` of the neuron's own spikes:

    s_{t-1} = H(mem_{t-1} - threshold - kappa * adapt_{t-1})        # the last step's spikes
    adapt_t = rho * adapt_{t-1} + s_{t-1}
    mem_t   = beta * mem_{t-1} + current_t - gamma * adapt_t - R_t * threshold     # "subtract"
    mem_t   = beta * (1 - R_t) * mem_{t-1} + current_t - gamma * adapt_t           # "zero"
    spk_t   = H(mem_t - threshold - kappa * adapt_t)

``kappa`` raises the threshold (Bellec et al., "Long short-term memory and learning-to-learn in
networks of spiking neurons", NeurIPS 2018), ``gamma`` draws a current (spike-frequency adaptation
as in AdEx, without its sub-threshold part). R is s_{t-1} outside of any graph, while the adaptation
keeps its derivative under backpropagation through time.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from torch import Tensor

from spikeprop.neurons import namesakes
from spikeprop.neurons.arguments import Values, as_parameter
from spikeprop.neurons.base import StepFunction
from spikeprop.neurons.firing import Firing, FiringNeuron, after_reset, fire, reset_signal, ungraded


class AdaptiveState(NamedTuple):
    """State of an adaptive neuron.

    Attributes
    ----------
    adapt, mem : torch.Tensor
        Adaptation and membrane voltage, ``(rows, *features)``.
    """

    adapt: Tensor
    mem: Tensor


class ALIFParameters(NamedTuple):
    """All that a step needs besides current and state; tensors are scalar or per neuron.

    Attributes
    ----------
    beta, rho : torch.Tensor
        Decay per step of the voltage and of the adaptation, in [0, 1].
    kappa, gamma : torch.Tensor
        What the adaptation adds to the threshold, and takes from the current.
    firing : Firing
        Threshold, reset and the other options.
    """

    beta: Tensor
    rho: Tensor
    kappa: Tensor
    gamma: Tensor
    firing: Firing


def alif_step(
    current: Tensor, state: AdaptiveState, p: ALIFParameters
) -> tuple[Tensor, AdaptiveState]:
    """One step of the difference equation at the top of this file; touches no state.

    Parameters
    ----------
    current : torch.Tensor
        Input current, ``(rows, *features)``.
    state : AdaptiveState
        The previous step's state, of the same shape and dtype; left as it is.
    p : ALIFParameters
        The neuron's parameters, of the same dtype.

    Returns
    -------
    spk : torch.Tensor
        Spikes of this step, of the same shape and dtype.
    state : AdaptiveState
        State of this step.
    """
    f = p.firing
    before = f._replace(threshold=f.threshold + p.kappa * state.adapt)
    adapt = (p.rho * state.adapt).add_(ungraded(state.mem, before))
    mem = after_reset(p.beta * state.mem, reset_signal(state.mem, before), f)
    mem = mem + current - p.gamma * adapt
    if f.state_quant is not None:
        mem, adapt = f.state_quant(mem), f.state_quant(adapt)
    spk = fire(mem, f._replace(threshold=f.threshold + p.kappa * adapt))
    return spk, AdaptiveState(adapt, mem)


class ALIF(FiringNeuron, namesakes.Leaky):
    """Adaptive leaky integrate-and-fire neuron.

    The difference equation stands at the top of this file. A step is ``spk, adapt, mem =
    alif(current, adapt, mem)``; see ``SpikingNeuron`` for state, ``unroll`` and ``signal``. The
    adaptation is driven by spikes alone, which count as inputs: the eligibility filter is LIF's,
    ``beta``, and exact.

    Parameters
    ----------
    beta : float or torch.Tensor
        Decay of the voltage per time step, in [0, 1], scalar or per neuron.
    rho : float or torch.Tensor
        Decay of the adaptation per time step, likewise.
    kappa : float or torch.Tensor
        What one spike adds to the threshold, in units of the voltage.
    gamma : float or torch.Tensor
        What one spike takes from the current, in units of the current.
    threshold : float or torch.Tensor
        Firing threshold at rest, scalar or per neuron.
    learn_beta, learn_rho, learn_kappa, learn_gamma : bool
        Make the parameter an ``nn.Parameter`` instead of a buffer.
    tau_mem, tau_adapt : float or torch.Tensor
        In place of ``beta``, ``rho``: the time constants in milliseconds, ``exp(-dt / tau)``.
    dt : float
        With time constants, the length of a time step in milliseconds.
    **options
        ``spike_grad``, ``init_hidden``, ``reset_mechanism`` and the other options of
        ``FiringNeuron``.

    Raises
    ------
    TypeError
        As in ``LIF``.
    ValueError
        As in ``LIF``.
    """

    rho: Tensor
    kappa: Tensor
    gamma: Tensor
    adapt: Tensor

    State = AdaptiveState
    exact = True
    _per_neuron = ("beta", "rho", "kappa", "gamma", "threshold", "graded_spikes_factor")

    def __init__(
        self,
        beta: Values | None = None,
        rho: Values | None = None,
        kappa: Values = 0.1,
        gamma: Values = 0.0,
        threshold: Values = 1.0,
        *,
        learn_beta: bool = False,
        learn_rho: bool = False,
        learn_kappa: bool = False,
        learn_gamma: bool = False,
        tau_mem: Values | None = None,
        tau_adapt: Values | None = None,
        dt: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(threshold, **options)
        self._own_decay("beta", beta, "tau_mem", tau_mem, dt, learn_beta)
        self._own_decay("rho", rho, "tau_adapt", tau_adapt, dt, learn_rho)
        self._own("kappa", as_parameter("kappa", kappa), learn_kappa)
        self._own("gamma", as_parameter("gamma", gamma), learn_gamma)

    def step_function(self, current: Tensor) -> StepFunction:
        """Bind the parameters to ``alif_step``; see ``SpikingNeuron.step_function``."""
        beta, rho = (self._fit(name, current).clamp(0, 1) for name in ("beta", "rho"))
        kappa, gamma = self._fit("kappa", current), self._fit("gamma", current)
        return partial(alif_step, p=ALIFParameters(beta, rho, kappa, gamma, self.firing(current)))
