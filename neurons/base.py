"""What every neuron is: a pure step with explicit state, and a thin module around it.

A neuron family states one function ``(current, mem) -> (spk, mem)`` (``step_function``). This base
adds what all of them share: hidden state, whole sequences, signal rows, the eligibility filter and
checkpoints. It is a subclass of ``snntorch.Leaky`` because that is what snnTorch's tools
(``snntorch.utils.reset``, NIR export) look for; no code of it runs in a step.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import snntorch as snn
import torch
from torch import Tensor, nn

from spikeprop.neurons.arguments import check_floating
from spikeprop.neurons.reset import register
from spikeprop.neurons.shapes import check_signal, fit_state, rows_of

if TYPE_CHECKING:
    # snnTorch is untyped: to the type checker it would turn every attribute below into Any.
    _Leaky = nn.Module
else:
    _Leaky = snn.Leaky

StepFunction = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class SpikingNeuron(_Leaky):
    """Base of all neurons; the contract that a learner and a user may rely on.

    One step, ``neuron(current, mem=None, signal=None)``, gives ``(spk, mem)``; with
    ``init_hidden=True`` the voltage is kept inside and ``spk`` alone comes back (both with
    ``output=True``). After each step ``neuron.mem`` is that step's voltage, in every mode.

    State has its rules: it is never in ``state_dict``, copies (``copy.deepcopy``, pickle) start
    without it, and it never survives into the next sequence unasked. With ``init_hidden=False``
    and no ``mem`` a step starts from zeros. That differs from snnTorch on purpose, which silently
    goes on from the last voltage it saw. With ``init_hidden=True`` state is kept between steps
    until ``spikeprop.neurons.reset(net)`` or ``snntorch.utils.reset(net)``; a batch of another size
    before that is an error. ``.to(device)`` moves it along.

    A family registers ``beta`` and whatever else it has with ``_own``, names what may be a scalar
    or per neuron in ``_per_neuron``, and binds its pure step in ``step_function``.

    Parameters
    ----------
    init_hidden : bool
        Keep the voltage inside the module.
    output : bool
        With ``init_hidden``, return ``(spk, mem)`` all the same.
    """

    beta: Tensor
    mem: Tensor
    init_hidden: bool
    output: bool

    #: Names of the parameters and buffers that may be a scalar or one value a neuron.
    _per_neuron: tuple[str, ...] = ("beta",)

    def __init__(self, *, init_hidden: bool = False, output: bool = False) -> None:
        # Not snn.Leaky.__init__: it makes state a buffer and keeps every layer alive for ever.
        nn.Module.__init__(self)
        self.init_hidden = init_hidden
        self.output = output
        self.__dict__["mem"] = torch.zeros(0)
        register(self)

    def _own(self, name: str, value: Tensor, learn: bool) -> None:
        if learn:
            self.register_parameter(name, nn.Parameter(value))
        else:
            self.register_buffer(name, value)

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
            ``(current, mem) -> (spk, mem)``, which touches no state.

        Raises
        ------
        ValueError
            If a parameter does not fit the shape.
        """

    def forward(
        self, current: Tensor, mem: Tensor | None = None, signal: Tensor | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        """One time step.

        Parameters
        ----------
        current : torch.Tensor
            Input current, ``(B, *features)``.
        mem : torch.Tensor, optional
            The previous step's voltage, of the outputs' shape. ``None``, or the placeholder that
            ``init_leaky()`` gives, means zeros. Not allowed with ``init_hidden=True``.
        signal : torch.Tensor, optional
            Learning signal as a current of its own, ``(C, *features)``. Its rows join the batch
            behind the recording's, and outputs have ``B + C`` rows.

        Returns
        -------
        spk, mem : torch.Tensor
            Spikes and voltage, ``(B, *features)`` or ``(B + C, *features)``; ``spk`` alone with
            ``init_hidden=True`` and ``output=False``.

        Raises
        ------
        TypeError
            If an argument is not a floating tensor, or ``mem`` is given with ``init_hidden=True``.
        ValueError
            If shapes do not fit.
        """
        check_floating("current", current)
        hidden = self.init_hidden
        if hidden:
            if mem is not None:
                raise TypeError(
                    "mem must not be given to a neuron with init_hidden=True, which keeps it inside"
                )
            mem = self.mem
        if signal is not None:
            check_signal(current, signal)
            current = torch.cat((current, signal))
        current, mem = fit_state(current, mem, hidden)
        spk, mem = self.step_function(current)(current, mem)
        # Straight into __dict__: nn.Module's own attribute machinery would cost as much as the step
        # of a small layer.
        self.__dict__["mem"] = mem
        return spk if hidden and not self.output else (spk, mem)

    def unroll(
        self, current: Tensor, mem: Tensor | None = None, signal: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Run a whole sequence along dimension 0; the same numbers as stepping.

        A pure function: it starts fresh unless ``mem`` is given, and neither reads nor writes the
        state inside the module, whatever ``init_hidden`` says.

        Parameters
        ----------
        current : torch.Tensor
            Input currents, ``(T, B, *features)``.
        mem : torch.Tensor, optional
            The voltage before the first step, of one step's output shape.
        signal : torch.Tensor, optional
            Learning signal, ``(T, C, *features)``, or ``(C, *features)`` held constant; its rows
            join the batch behind the recording's.

        Returns
        -------
        spk, mem : torch.Tensor
            ``(T, R, *features)`` each, where ``R`` is ``B``, or ``B + C`` with a signal. Give
            ``mem[-1]`` back to go on.

        Raises
        ------
        TypeError
            If an argument is not a floating tensor.
        ValueError
            If shapes do not fit, or there is no time step.
        """
        check_floating("current", current)
        if current.dim() == 0 or current.shape[0] == 0:
            raise ValueError(
                "current must be (T, B, *features) with at least one time step, but has shape "
                f"{tuple(current.shape)}"
            )
        rows = rows_of(current, signal)
        first, mem = fit_state(rows(0), mem, hidden=False)
        step = self.step_function(first)
        if torch.is_grad_enabled():
            pairs = []
            for t in range(current.shape[0]):
                spk, mem = step(first if t == 0 else rows(t).to(first.dtype), mem)
                pairs.append((spk, mem))
            spks, mems = zip(*pairs, strict=True)
            return torch.stack(spks), torch.stack(mems)
        # Without a graph the outputs can be filled as they come, at half the peak memory.
        all_spk = first.new_empty((current.shape[0], *first.shape))
        all_mem = torch.empty_like(all_spk)
        for t in range(current.shape[0]):
            spk, mem = step(first if t == 0 else rows(t).to(first.dtype), mem)
            all_spk[t], all_mem[t] = spk, mem
        return all_spk, all_mem

    # State ----------------------------------------------------------------------------------------

    def reset_mem(self) -> Tensor:
        """Forget the voltage.

        Returns
        -------
        torch.Tensor
            An empty placeholder, which a step takes for zeros of whatever shape it needs.
        """
        self.__dict__["mem"] = self.mem.new_zeros(0)
        return self.mem

    def init_leaky(self) -> Tensor:
        """Do as ``reset_mem``; snnTorch's older name of it."""
        return self.reset_mem()

    @classmethod
    def detach_hidden(cls) -> None:
        """Cut the hidden voltage of *every* living neuron off its graph, as snnTorch does it.

        For truncated backpropagation through time with ``init_hidden=True``.
        """
        snn.Leaky.detach_hidden()

    @classmethod
    def reset_hidden(cls) -> None:
        """Clear the hidden voltage of *every* living neuron, as snnTorch does it."""
        snn.Leaky.reset_hidden()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> SpikingNeuron:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.__dict__["mem"] = fn(self.mem)
        return self

    def __getstate__(self) -> dict[str, Any]:
        # A copy must not drag an unfinished sequence (or its graph) along.
        return {**self.__dict__, "mem": self.mem.new_zeros(0)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        register(self)

    # The eligibility filter -----------------------------------------------------------------------

    def decay(self) -> Tensor:
        """Give the factor by which the voltage decays in a step.

        Returns
        -------
        torch.Tensor
            ``beta`` clamped to [0, 1]: a scalar, or one value a neuron.
        """
        return self.beta.clamp(0, 1)

    def eligibility(self, trace: Tensor | None, x: Tensor) -> Tensor:
        """Advance the eligibility trace: a synapse's input seen through this neuron's filter.

            trace_t = beta * trace_{t-1} + x_t

        is ``d mem_t / d W``, neuron by neuron, where ``current_t = W x_t`` and the *whole* reset
        term counts as an input. That is the term ``threshold * 1[mem > threshold]`` for
        ``"subtract"``, and for ``"zero"`` all of ``beta * mem * 1[mem > threshold]``; an autograd
        reference has to detach it whole.

        One filter serves all neurons of a layer only while they share one ``beta``. With a decay a
        neuron the trace no longer factors into one input-sized tensor: it would be a trace a
        synapse, ``(B, F_out, F_in)``, which costs ``F_out`` times the memory and the arithmetic.
        What still factors is the reverse filter, ``sum_{t>=t'} beta^(t-t') delta_t`` with ``beta``
        per neuron, which is exact within a chunk of steps; between chunks the carried trace has to
        be kept per synapse, or be cut.

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
        ValueError
            If the neurons differ in ``beta``, or the shapes differ.
        """
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

    # Checkpoints ----------------------------------------------------------------------------------

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        # One value may become many and many may meet one: homeostasis gives each neuron a threshold
        # of its own, while the module that loads it was usually built with a number. Everything
        # else about shapes stays torch's business, its refusals included.
        # ``state_dict`` is load_state_dict's own shallow copy, made to be adapted like this.
        adapted: dict[str, Any] = state_dict  # type: ignore[assignment]
        for name in self._per_neuron:
            own, given = getattr(self, name), adapted.get(prefix + name)
            if not isinstance(given, Tensor) or given.shape == own.shape:
                continue
            if given.numel() == 1:
                adapted[prefix + name] = given.detach().reshape(()).expand(own.shape).clone()
            elif own.numel() == 1 and given.numel() > 1:
                # Swapping .data keeps a learnable one the same Parameter to its optimiser.
                own.data = own.detach().reshape(()).expand(given.shape).clone()
        super()._load_from_state_dict(adapted, prefix, *args, **kwargs)
