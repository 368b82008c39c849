"""What every neuron is: a pure step with explicit state, and a thin module around it.

A neuron family states its ``State`` (a NamedTuple) and one function ``(current, state) -> (spk,
state)`` (``step_function``). This base adds what all of them share: hidden state, whole sequences,
signal rows and the eligibility filter.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from spikeprop.neurons.arguments import check_floating
from spikeprop.neurons.eligibility import LinearFilter, local_jacobian, make_filter
from spikeprop.neurons.shapes import check_fits, check_signal, fit_state, signals_of
from spikeprop.neurons.stateful import StatefulModule
from spikeprop.neurons.tracing import keeps_attributes

StepFunction = Callable[[Tensor, Any], tuple[Tensor, Any]]


class SpikingNeuron(StatefulModule):
    """Base of all neurons; the contract that a learner and a user may rely on.

    One step, ``neuron(current, *state, signal=None)``, gives ``(spk, *state)``, as in snnTorch; for
    a family whose only state variable is the voltage that is ``spk, mem = neuron(current, mem)``.
    With ``init_hidden=True`` the state is kept inside and ``spk`` alone comes back (all of it with
    ``output=True``). After each step ``neuron.mem`` is that step's voltage and ``neuron.state`` its
    whole state, in every mode. ``neuron.step(current, state)`` is the same step as a pure function
    of the NamedTuple. A family that keeps its spikes in the state (recurrent ones do, for instance)
    has them as the state variable ``spk``; they are then returned once.

    State has its rules: it is never in ``state_dict``, copies (``copy.deepcopy``, pickle) start
    without it, and it never survives into the next sequence unasked. With ``init_hidden=False``
    and no state given a step starts fresh. That differs from snnTorch on purpose, which silently
    goes on from the last state it saw. With ``init_hidden=True`` state is kept between steps
    until ``spikeprop.neurons.reset(net)`` or ``snntorch.utils.reset(net)``; a batch of another size
    before that is an error. ``.to(device)`` moves it along. Under autocast, state is float32.

    A family registers what parameters it has with ``_own``, names those that may be a scalar or per
    neuron in ``_per_neuron``, sets ``State`` unless the voltage is all, and binds its pure step in
    ``step_function``. If its sub-threshold dynamics are linear it gives its ``filter`` and sets
    ``exact``; otherwise the local Jacobian is taken from the step itself.

    Parameters
    ----------
    init_hidden : bool
        Keep the state inside the module.
    output : bool
        With ``init_hidden``, return ``(spk, *state)`` all the same.
    """

    #: Whether the eligibility filter is exact, and ``filter()`` gives it; else ``linearize`` does.
    exact: ClassVar[bool] = False

    # The step -------------------------------------------------------------------------------------

    @abstractmethod
    def step_function(self, current: Tensor) -> StepFunction:
        """Bind the neuron's parameters to its pure step, for currents of this shape and dtype.

        Parameters
        ----------
        current : torch.Tensor
            One time step's current, ``(rows, *features)``; only its shape and dtype matter.

        Returns
        -------
        Callable
            ``(current, state) -> (spk, state)`` on the family's NamedTuple; touches no state.

        Raises
        ------
        ValueError
            If a parameter does not fit the shape.
        """

    def initial_state(self, current: Tensor) -> Any:
        """Give the state before the first step: zeros, unless a family rests elsewhere.

        Parameters
        ----------
        current : torch.Tensor
            One time step's current, ``(rows, *features)``; only its shape and dtype matter.

        Returns
        -------
        NamedTuple
            The family's ``State``, every variable of the current's shape.
        """
        return self.State(*(torch.zeros_like(current) for _ in self.State._fields))

    def step(self, current: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """One time step as a pure function of the NamedTuple; reads and writes no hidden state.

        Parameters
        ----------
        current : torch.Tensor
            Input current, ``(rows, *features)``.
        state : NamedTuple, optional
            The family's ``State`` before the step; None for a fresh start.

        Returns
        -------
        spk : torch.Tensor
            Spikes, ``(rows, *features)``.
        state : NamedTuple
            The state after the step.

        Raises
        ------
        TypeError
            If an argument is not a floating tensor.
        ValueError
            If shapes do not fit.
        """
        current, state = self._fitted(current, state, None, hidden=False)
        return self.step_function(current)(current, state)

    def forward(
        self, current: Tensor, *state: Tensor | None, signal: Tensor | None = None, **named: Tensor
    ) -> Tensor | tuple[Tensor, ...]:
        """One time step.

        Parameters
        ----------
        current : torch.Tensor
            Input current, ``(B, *features)``.
        *state, **named : torch.Tensor, optional
            The previous step's state variables, by place or by name, of the outputs' shape. None,
            or the placeholder that ``reset_mem()`` gives, means a fresh one. Not allowed with
            ``init_hidden=True``. One argument more than there are variables is the signal.
        signal : torch.Tensor, optional
            Learning signal as a current of its own, ``(C, *features)``. Its rows join the batch
            behind the recording's, and outputs have ``B + C`` rows.

        Returns
        -------
        spk, *state : torch.Tensor
            Spikes and state variables, ``(B, *features)`` or ``(B + C, *features)`` each; ``spk``
            alone with ``init_hidden=True`` and ``output=False``.

        Raises
        ------
        TypeError
            If an argument is not a floating tensor, or state is given with ``init_hidden=True``.
        ValueError
            If shapes do not fit.
        """
        hidden, given = self.init_hidden, None
        if state or named:
            given, signal = self._given(state, named, signal)
            if hidden and given is not None:
                raise TypeError(
                    f"{', '.join(self.State._fields)} must not be given to a neuron with "
                    "init_hidden=True, which keeps its state inside"
                )
        if hidden:
            given = self.state
        current, before = self._fitted(current, given, signal, hidden)
        spk, after = self.step_function(current)(current, before)
        # Straight into __dict__: nn.Module's own attribute machinery would cost as much as the step
        # of a small layer.
        if hidden or keeps_attributes(after.mem):
            self.__dict__.update(zip(after._fields, after, strict=True))
        return spk if hidden and not self.output else self._outputs(spk, after)

    def unroll(
        self, current: Tensor, *state: Tensor | None, signal: Tensor | None = None, **named: Tensor
    ) -> tuple[Tensor, ...]:
        """Run a whole sequence along dimension 0; the same numbers as stepping.

        A pure function: it starts fresh unless state is given, and neither reads nor writes the
        state inside the module, whatever ``init_hidden`` says.

        Parameters
        ----------
        current : torch.Tensor
            Input currents, ``(T, B, *features)``.
        *state, **named : torch.Tensor, optional
            The state before the first step, as in ``forward``.
        signal : torch.Tensor, optional
            Learning signal, ``(T, C, *features)``, or ``(C, *features)`` held constant; its rows
            join the batch behind the recording's.

        Returns
        -------
        spk, *state : torch.Tensor
            ``(T, R, *features)`` each, where ``R`` is ``B``, or ``B + C`` with a signal. Give the
            last step's state, ``mem[-1]``, back to go on.

        Raises
        ------
        TypeError
            If an argument is not a floating tensor.
        ValueError
            If shapes do not fit, or there is no time step.
        """
        check_floating("current", current)
        given, signal = self._given(state, named, signal)
        if current.dim() == 0 or current.shape[0] == 0:
            raise ValueError(
                "current must be (T, B, *features) with at least one time step, but has shape "
                f"{tuple(current.shape)}"
            )
        signal_at = signals_of(current, signal)
        first, now = self._fitted(current[0], given, signal_at(0), hidden=False)
        step = self.step_function(first)

        def outputs(t: int) -> tuple[Tensor, ...]:
            nonlocal now
            row, also = first, signal_at(t)
            if t > 0:
                row = current[t].to(first.dtype)
                if also is not None:
                    also = also.to(first.dtype)
                    row, now = self._join(row, also), self._admit(now, also)
            spk, now = step(row, now)
            return self._outputs(spk, now)

        steps = range(current.shape[0])
        if torch.is_grad_enabled():
            seen = [outputs(t) for t in steps]
            return tuple(torch.stack(values) for values in zip(*seen, strict=True))
        # Without a graph the outputs can be filled as they come, at half the peak memory.
        filled: tuple[Tensor, ...] = ()
        for t in steps:
            values = outputs(t)
            if t == 0:
                filled = tuple(v.new_empty((current.shape[0], *v.shape)) for v in values)
            for whole, value in zip(filled, values, strict=True):
                whole[t] = value
        return filled

    def _given(
        self, state: tuple[Tensor | None, ...], named: dict[str, Tensor], signal: Tensor | None
    ) -> tuple[list[Tensor | None] | None, Tensor | None]:
        """Sort positional and named state, and a signal behind the positional ones."""
        fields = self.State._fields
        if len(state) > len(fields):
            if len(state) > len(fields) + 1 or signal is not None:
                raise TypeError(
                    f"{type(self).__name__} takes a current, at most {len(fields)} state variables "
                    f"({', '.join(fields)}) and a signal, not {len(state)} tensors behind a current"
                )
            signal = state[-1]
        given = dict(zip(fields, state, strict=False))
        for name, value in named.items():
            if name not in fields or name in given:
                raise TypeError(
                    f"{type(self).__name__} has the state variables {', '.join(fields)}, each to "
                    f"be given once; {name!r} is unknown or given twice"
                )
            given[name] = value
        if all(value is None for value in given.values()):
            return None, signal
        return [given.get(name) for name in fields], signal

    def _fitted(
        self, current: Tensor, state: Any, signal: Tensor | None, hidden: bool
    ) -> tuple[Tensor, Any]:
        check_floating("current", current)
        if torch.is_autocast_enabled(current.device.type):
            current = current.float()
        if signal is None:
            return fit_state(current, state, hidden, self.State, self.initial_state)
        check_signal(current, signal)
        signal = signal.to(current.dtype)
        current, before = fit_state(
            self._join(current, signal), state, hidden, self.State, self.initial_state
        )
        return current, self._admit(before, signal)

    def _join(self, current: Tensor, signal: Tensor) -> Tensor:
        """Put the signal's rows behind the current's."""
        return torch.cat((current, signal))

    def _admit(self, state: Any, signal: Tensor) -> Any:
        """Let the signal act on the state before the step, for a family that wants it so."""
        return state

    def _outputs(self, spk: Tensor, state: Any) -> tuple[Tensor, ...]:
        return tuple(state) if "spk" in state._fields else (spk, *state)

    def _fit(self, name: str, current: Tensor) -> Tensor:
        """Give a parameter in the current's dtype, once it is sure to fit its shape."""
        value: Tensor = getattr(self, name)
        check_fits(name, value, current.shape)
        return value.to(current.dtype)

    # The eligibility filter -----------------------------------------------------------------------

    def decay(self) -> Tensor:
        """Give the factor by which the voltage decays in a step.

        Returns
        -------
        torch.Tensor
            ``beta`` clamped to [0, 1]: a scalar, or one value a neuron.
        """
        return self.beta.clamp(0, 1)

    def filter(self) -> LinearFilter:
        """Give the sub-threshold dynamics as a linear filter; see ``eligibility.py``.

        Returns
        -------
        LinearFilter
            Scalar entries, or one a neuron; differentiable in the parameters.

        Raises
        ------
        TypeError
            If the dynamics are not linear (``exact`` is False): ``linearize`` has them.
        """
        if not self.exact:
            raise TypeError(
                f"{type(self).__name__} has no linear sub-threshold dynamics and so no filter; "
                "use linearize(current, state), the local Jacobian at a step"
            )
        return make_filter([[self.decay()]], [1.0], [1.0])

    def linearize(self, current: Tensor, state: Any) -> LinearFilter:
        """Give the eligibility filter of the step from ``state`` with ``current``.

        Parameters
        ----------
        current : torch.Tensor
            This step's current, ``(rows, *features)``, signal rows included.
        state : NamedTuple
            The state before the step.

        Returns
        -------
        LinearFilter
            Where ``exact``, ``filter()``, which is the same at every step; else the local Jacobian
            there, ``(n, n, rows, *features)``, spikes held as inputs. Its variables are those of
            the state, or the last of them where no current reaches the others.
        """
        if self.exact:
            return self.filter()
        current, state = self._fitted(current, state, None, hidden=False)
        with torch.no_grad():
            return self._jacobian(current, state)

    def _jacobian(self, current: Tensor, state: Any) -> LinearFilter:
        """Take the local Jacobian from the step itself; a family may know it in closed form."""
        return local_jacobian(self.step_function(current), current, state)

    def eligibility(self, trace: Tensor | None, x: Tensor) -> Tensor:
        """Advance the eligibility trace of a filter with one variable and a gain of 1.

            trace_t = beta * trace_{t-1} + x_t

        is ``d mem_t / d W``, neuron by neuron, where ``current_t = W x_t`` and the *whole* reset
        term counts as an input. That is the term ``threshold * 1[mem > threshold]`` for
        ``"subtract"``, and for ``"zero"`` all of ``beta * mem * 1[mem > threshold]``; an autograd
        reference has to detach it whole. (``advance`` does the same for any ``filter``.)

        One filter serves all neurons of a layer only while they share one ``beta``; see the notes
        in ``eligibility.py`` for what a decay a neuron costs.

        Parameters
        ----------
        trace : torch.Tensor or None
            The previous trace, of ``x``'s shape; ``None`` at the start of a sequence. It is used
            up: where no gradient is recorded it is overwritten with the new one.
        x : torch.Tensor
            The synapse's input of this step, ``(rows, *input features)``; left as it is.

        Returns
        -------
        torch.Tensor
            The new trace.

        Raises
        ------
        TypeError
            If the neuron's filter has more than one variable.
        ValueError
            If the neurons differ in ``beta``, or the shapes differ.
        """
        if type(self).filter is not SpikingNeuron.filter or not self.exact:
            raise TypeError(
                f"{type(self).__name__} has no trace of one variable: use filter() with "
                "eligibility.advance, or linearize()"
            )
        beta = self.decay()
        if beta.numel() > 1:
            raise ValueError(
                f"neurons with a beta of their own (shape {tuple(beta.shape)}) have no common "
                "eligibility trace; use a scalar beta, or the reverse filter with decay()"
            )
        if trace is None:
            return x.clone() if x.is_floating_point() else x.to(beta.dtype)
        if trace.shape != x.shape:
            raise ValueError(
                f"trace has shape {tuple(trace.shape)} and x has shape {tuple(x.shape)}; they must "
                "be equal, and a new sequence starts with trace=None"
            )
        beta = beta.reshape(()).to(trace.dtype)
        if torch.is_grad_enabled() and (
            trace.requires_grad or x.requires_grad or beta.requires_grad
        ):
            return beta * trace + x
        return trace.mul_(beta).add_(x)
