"""Alpha neuron: the voltage is the difference of two exponential filters, with no leak of its own.

One step, with R as in ``lif.py`` and tau = ln(alpha) / (ln(beta) - ln(alpha)) + 1:

    exc_t = alpha * exc_{t-1} + current_t                           # "zero" (default): all times
    inh_t = beta * inh_{t-1} - current_t                            # 1 - R_t
    mem_t = tau * (exc_t + inh_t)
    spk_t = H(mem_t - threshold)

"subtract" takes R_t * threshold from exc, R_t * (beta * inh_{t-1} - current_t) from inh (which is
all of it) and adds R_t * inh_{t-1} to mem. The convention of Eshraghian et al., "Training spiking
neural networks using lessons from deep learning", Proc. IEEE 111(9), 2023 (snnTorch's ``Alpha``).
The voltage is not fed back: what "subtract" and "zero" do to it lasts one step, what they do to the
two filters lasts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

from torch import Tensor

from spikeprop.neurons import namesakes
from spikeprop.neurons.arguments import Values, as_decay
from spikeprop.neurons.base import StepFunction
from spikeprop.neurons.eligibility import LinearFilter, make_filter
from spikeprop.neurons.firing import Firing, FiringNeuron, fire, reset_signal


class AlphaState(NamedTuple):
    """State of an alpha neuron.

    Attributes
    ----------
    syn_exc, syn_inh, mem : torch.Tensor
        Rising and falling part of the synaptic current, and voltage, ``(rows, *features)``.
    """

    syn_exc: Tensor
    syn_inh: Tensor
    mem: Tensor


class AlphaParameters(NamedTuple):
    """All that a step needs besides current and state.

    Attributes
    ----------
    alpha, beta, tau : torch.Tensor
        Decay per step of the two parts, in [0, 1], and the voltage's gain; scalar or per neuron.
    firing : Firing
        Threshold, reset and the other options.
    """

    alpha: Tensor
    beta: Tensor
    tau: Tensor
    firing: Firing


def alpha_step(current: Tensor, state: AlphaState, p: AlphaParameters) -> tuple[Tensor, AlphaState]:
    """One step of the difference equation at the top of this file; touches no state.

    Parameters
    ----------
    current : torch.Tensor
        Input current, ``(rows, *features)``.
    state : AlphaState
        The previous step's state, of the same shape and dtype; left as it is.
    p : AlphaParameters
        The neuron's parameters, of the same dtype.

    Returns
    -------
    spk : torch.Tensor
        Spikes of this step, of the same shape and dtype.
    state : AlphaState
        State of this step.
    """
    f = p.firing
    exc = (p.alpha * state.syn_exc).add_(current)
    inh = (p.beta * state.syn_inh).sub_(current)
    mem = p.tau * (exc + inh)
    if f.reset != "none":
        reset = reset_signal(state.mem, f)
        if f.reset == "subtract":
            mem = mem + state.syn_inh * reset
            exc = exc - f.threshold * reset
        else:
            mem = mem - mem * reset
            exc = exc - exc * reset
        inh = inh - inh * reset
    if f.state_quant is not None:
        exc, inh, mem = f.state_quant(exc), f.state_quant(inh), f.state_quant(mem)
    return fire(mem, f), AlphaState(exc, inh, mem)


class Alpha(FiringNeuron, namesakes.Alpha):
    """Neuron whose voltage follows an alpha function; a drop-in for ``snntorch.Alpha``.

    The difference equation stands at the top of this file. A step is ``spk, syn_exc, syn_inh, mem =
    neuron(current, syn_exc, syn_inh, mem)``. Arguments, numbers and ``state_dict`` keys are those
    of ``snntorch.Alpha`` 1.0 (whose ``learn_alpha`` fails; ours works); see ``SpikingNeuron`` for
    state, ``unroll`` and ``signal``. The eligibility filter is exact, with two variables.

    Parameters
    ----------
    alpha : float or torch.Tensor
        Decay per time step of the rising part, in [0, 1) and above ``beta``, scalar or per neuron.
    beta : float or torch.Tensor
        Decay per time step of the falling part, above 0.
    learn_alpha, learn_beta : bool
        Make ``alpha``, ``beta`` an ``nn.Parameter`` instead of a buffer.
    tau_exc, tau_inh : float or torch.Tensor
        In place of ``alpha``, ``beta``: the time constants in milliseconds, ``exp(-dt / tau)``.
    dt : float
        With time constants, the length of a time step in milliseconds.
    threshold, spike_grad, surrogate_disable, init_hidden, inhibition, learn_threshold
        As in ``LIF``.
    reset_mechanism, state_quant, output
        As in ``LIF``.

    Raises
    ------
    TypeError
        As in ``LIF``.
    ValueError
        As in ``LIF``, and unless ``0 < beta < alpha``, everywhere.
    """

    alpha: Tensor
    syn_exc: Tensor
    syn_inh: Tensor

    State = AlphaState
    exact = True
    _per_neuron = ("alpha", "beta", "threshold", "graded_spikes_factor")

    def __init__(
        self,
        alpha: Values | None = None,
        beta: Values | None = None,
        threshold: Values = 1.0,
        spike_grad: Callable[[Tensor], Tensor] | None = None,
        surrogate_disable: bool = False,
        init_hidden: bool = False,
        inhibition: bool = False,
        learn_alpha: bool = False,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        reset_mechanism: str = "zero",
        state_quant: Callable[[Tensor], Tensor] | Literal[False] | None = False,
        output: bool = False,
        *,
        tau_exc: Values | None = None,
        tau_inh: Values | None = None,
        dt: float = 1.0,
    ) -> None:
        super().__init__(
            threshold, spike_grad, surrogate_disable, init_hidden, inhibition, learn_threshold,
            reset_mechanism, state_quant, output,
        )  # fmt: skip
        falling = as_decay(beta, tau_inh, dt, tau_name="tau_inh")
        rising = as_decay(alpha, tau_exc, dt, name="alpha", tau_name="tau_exc").clamp(0, 1)
        if not ((rising > falling) & (falling > 0)).all():
            raise ValueError(
                "alpha must be greater than beta, and beta above 0, but alpha is "
                f"{rising.tolist()} and beta is {falling.tolist()}"
            )
        self._own("beta", falling, learn_beta)
        self._own("alpha", rising, learn_alpha)

    def _gains(self, alpha: Tensor, beta: Tensor) -> Tensor:
        return alpha.log() / (beta.log() - alpha.log()) + 1

    def step_function(self, current: Tensor) -> StepFunction:
        """Bind the parameters to ``alpha_step``; see ``SpikingNeuron.step_function``."""
        alpha, beta = (self._fit(name, current).clamp(0, 1) for name in ("alpha", "beta"))
        p = AlphaParameters(alpha, beta, self._gains(alpha, beta), self.firing(current))
        return partial(alpha_step, p=p)

    def filter(self) -> LinearFilter:
        """Give the filter of (syn_exc, syn_inh); see ``SpikingNeuron.filter``."""
        alpha, beta = self.alpha.clamp(0, 1), self.decay()
        tau = self._gains(alpha, beta)
        return make_filter([[alpha, 0.0], [0.0, beta]], [1.0, -1.0], [tau, tau])

    def init_alpha(self) -> Any:
        """Do as ``reset_mem``; snnTorch's older name of it."""
        return self.reset_mem()
