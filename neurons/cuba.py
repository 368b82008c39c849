"""Current-based LIF (CuBaLIF), integrated exactly: one or two exponential synapses, then a leak.

Between the impulses that the current is made of, with ``rise`` only for order 2,

    tau_rise drise/dt = -rise,    tau_syn dsyn/dt = -syn + rise,    tau_mem dmem/dt = -mem + r syn

is linear, ``dz/dt = M z``, and a step is its exact solution, with R as in ``lif.py``:

    z_t = expm(M dt) (z_{t-1} + (current_t, 0, ...)) - R_t * (0, ..., threshold)   # "subtract"

where "zero" puts the voltage back to 0 before the step instead. (For order 1 the impulse goes to
``syn`` itself.) The model of the CubaLIF primitive of NIR (Pedersen et al., "Neuromorphic
intermediate representation", Nat. Commun. 15, 2024) with no voltage offset; ``r`` is such by
default that without a leak a current of 1 in one step would bring the voltage up by 1.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from spikeprop.neurons import namesakes
from spikeprop.neurons.arguments import Values, as_length, as_parameter, as_positive
from spikeprop.neurons.base import StepFunction
from spikeprop.neurons.eligibility import LinearFilter
from spikeprop.neurons.firing import Firing, FiringNeuron, fire, reset_signal
from spikeprop.neurons.synaptic import SynapticState


class RisingState(NamedTuple):
    """State of a neuron whose synaptic current rises before it falls.

    Attributes
    ----------
    rise, syn, mem : torch.Tensor
        What drives the synaptic current, that current, and voltage, ``(rows, *features)``.
    """

    rise: Tensor
    syn: Tensor
    mem: Tensor


class CuBaParameters(NamedTuple):
    """All that a step needs besides current and state.

    Attributes
    ----------
    propagator : torch.Tensor
        ``expm(M dt)``, ``(n, n)`` or ``(n, n, *features)``.
    firing : Firing
        Threshold, reset and the other options.
    """

    propagator: Tensor
    firing: Firing


def cuba_step(current: Tensor, state: Any, p: CuBaParameters) -> tuple[Tensor, Any]:
    """One step of the difference equation at the top of this file; touches no state.

    Parameters
    ----------
    current : torch.Tensor
        Input current, ``(rows, *features)``.
    state : SynapticState or RisingState
        The previous step's state, of the same shape and dtype; left as it is.
    p : CuBaParameters
        The neuron's parameters, of the same dtype.

    Returns
    -------
    spk : torch.Tensor
        Spikes of this step, of the same shape and dtype.
    state : SynapticState or RisingState
        State of this step.
    """
    f, A = p.firing, p.propagator
    z = [state[0] + current, *state[1:]]
    reset = reset_signal(state.mem, f) if f.reset != "none" else None
    if reset is not None and f.reset == "zero":
        z[-1] = z[-1] * (1 - reset)
    new = []
    for i in range(len(z)):
        # Nothing flows backwards along the chain.
        value = A[i, 0] * z[0]
        for j in range(1, i + 1):
            value = value + A[i, j] * z[j]
        new.append(value)
    if reset is not None and f.reset == "subtract":
        new[-1] = new[-1] - reset * f.threshold
    if f.state_quant is not None:
        new = [f.state_quant(value) for value in new]
    return fire(new[-1], f), type(state)(*new)


class CuBaLIF(FiringNeuron, namesakes.Leaky):
    """Current-based leaky integrate-and-fire neuron, exact in time.

    The equations stand at the top of this file. A step is ``spk, syn, mem = neuron(current, syn,
    mem)``, with ``rise`` in front of ``syn`` for order 2; see ``SpikingNeuron`` for ``unroll`` and
    ``signal``. The eligibility filter is exact, with two or three variables. (``Synaptic`` is
    snnTorch's form, whose voltage takes the whole synaptic current at once.)

    Parameters
    ----------
    tau_syn : float or torch.Tensor
        Time constant of the synaptic current in milliseconds, scalar or per neuron.
    tau_mem : float or torch.Tensor
        Time constant of the voltage in milliseconds.
    tau_rise : float or torch.Tensor, optional
        Time constant of the rise in milliseconds; with it the synapse is of second order.
    dt : float
        Length of a time step in milliseconds.
    r : float or torch.Tensor, optional
        Resistance; by default ``tau_mem`` over the time constant of what the current charges,
        ``tau_syn`` or ``tau_rise``.
    threshold : float or torch.Tensor
        Firing threshold, scalar or per neuron.
    learn_tau_syn, learn_tau_mem, learn_tau_rise : bool
        Make the time constant an ``nn.Parameter`` instead of a buffer.
    **options
        ``spike_grad``, ``init_hidden``, ``reset_mechanism`` and the other options of
        ``FiringNeuron``.

    Raises
    ------
    TypeError
        As in ``LIF``.
    ValueError
        As in ``LIF``, or if a time constant or ``dt`` is not positive.
    """

    tau_syn: Tensor
    tau_mem: Tensor
    tau_rise: Tensor
    r: Tensor

    State: Any = SynapticState
    exact = True
    _per_neuron: tuple[str, ...] = ("tau_syn", "tau_mem", "r", "threshold", "graded_spikes_factor")

    def __init__(
        self,
        tau_syn: Values,
        tau_mem: Values,
        tau_rise: Values | None = None,
        *,
        dt: float = 1.0,
        r: Values | None = None,
        threshold: Values = 1.0,
        learn_tau_syn: bool = False,
        learn_tau_mem: bool = False,
        learn_tau_rise: bool = False,
        **options: Any,
    ) -> None:
        if tau_rise is not None:
            self.State = RisingState
        super().__init__(threshold, **options)
        self.dt = as_length("dt", dt)
        self.order: Literal[1, 2] = 1 if tau_rise is None else 2
        syn, mem = as_positive("tau_syn", tau_syn), as_positive("tau_mem", tau_mem)
        gain = mem / (syn if tau_rise is None else as_positive("tau_rise", tau_rise))
        self._own("tau_mem", mem, learn_tau_mem)
        self._own("tau_syn", syn, learn_tau_syn)
        self._own("r", gain.clone() if r is None else as_parameter("r", r))
        if tau_rise is not None:
            self._own("tau_rise", as_positive("tau_rise", tau_rise), learn_tau_rise)
            self._per_neuron = (*type(self)._per_neuron, "tau_rise")

    def propagator(self) -> Tensor:
        """Give ``expm(M dt)``.

        Returns
        -------
        torch.Tensor
            ``(n, n)``, or ``(n, n, *features)`` with a parameter per neuron; differentiable.
        """
        chain = [self.tau_syn, self.tau_mem]
        if self.order == 2:
            chain = [self.tau_rise, *chain]
        chain = list(torch.broadcast_tensors(*chain, self.r))  # type: ignore[no-untyped-call]
        *taus, r = chain
        n, zero = len(taus), torch.zeros_like(r)
        rows = []
        for i, tau in enumerate(taus):
            row = [zero] * n
            row[i] = -self.dt / tau
            if i > 0:
                row[i - 1] = self.dt / tau * (r if i == n - 1 else 1)
            rows.append(torch.stack(row, dim=-1))
        A: Tensor = torch.linalg.matrix_exp(torch.stack(rows, dim=-2))
        return A.movedim((-2, -1), (0, 1))

    def step_function(self, current: Tensor) -> StepFunction:
        """Bind the parameters to ``cuba_step``; see ``SpikingNeuron.step_function``."""
        for name in self._per_neuron:
            self._fit(name, current)
        p = CuBaParameters(self.propagator().to(current.dtype), self.firing(current))
        return partial(cuba_step, p=p)

    def filter(self) -> LinearFilter:
        """Give the filter of (rise, syn, mem) or (syn, mem); see ``SpikingNeuron.filter``."""
        A = self.propagator()
        C = torch.zeros_like(A[0])
        C[-1] = 1
        return LinearFilter(A, A[:, 0], C)
