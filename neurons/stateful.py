"""Where a neuron keeps its state: inside the module, out of ``state_dict``, and not for ever.

Also how a checkpoint's shapes meet a module's: one value may become many, and many may meet one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import snntorch as snn
import torch
from torch import Tensor, nn

from spikeprop.neurons.arguments import as_decay
from spikeprop.neurons.reset import living, register

if TYPE_CHECKING:
    # snnTorch is untyped: to the type checker it would turn every attribute below into Any.
    _SnnTorchNeuron = nn.Module
else:
    _SnnTorchNeuron = snn.SpikingNeuron


class MemState(NamedTuple):
    """State of a neuron that has a voltage and nothing else.

    Attributes
    ----------
    mem : torch.Tensor
        Membrane voltage, ``(rows, *features)``.
    """

    mem: Tensor


class StatefulModule(_SnnTorchNeuron):
    """A module with named state variables that live beside its parameters and buffers.

    It is a subclass of ``snntorch.SpikingNeuron`` because that is what snnTorch's tools
    (``snntorch.utils.reset``, NIR export) look for; no code of it runs in a step.

    Parameters
    ----------
    init_hidden : bool
        Keep the state inside the module from step to step.
    output : bool
        With ``init_hidden``, return spikes and state all the same.
    """

    beta: Tensor
    mem: Tensor
    init_hidden: bool
    output: bool

    #: The state's type: a NamedTuple with a field ``mem``, fields in the order of the arguments.
    State: Any = MemState

    #: Names of the parameters and buffers that may be a scalar or one value a neuron.
    _per_neuron: tuple[str, ...] = ("beta",)

    def __init__(self, *, init_hidden: bool = False, output: bool = False) -> None:
        # Not snnTorch's __init__: it makes state a buffer and keeps every layer alive for ever.
        nn.Module.__init__(self)
        self.init_hidden = init_hidden
        self.output = output
        for name in self.State._fields:
            self.__dict__[name] = torch.zeros(0)
        register(self)

    def _own(self, name: str, value: Tensor, learn: bool = False) -> None:
        if learn:
            self.register_parameter(name, nn.Parameter(value))
        else:
            self.register_buffer(name, value)

    def _own_decay(
        self, name: str, value: Any, tau_name: str, tau: Any, dt: float, learn: bool
    ) -> None:
        """Own a decay per step, given as the factor or as a time constant."""
        self._own(name, as_decay(value, tau, dt, name=name, tau_name=tau_name), learn)

    # State ----------------------------------------------------------------------------------------

    @property
    def state(self) -> Any:
        """The state after the last step, as the family's NamedTuple; empty tensors before it."""
        return self.State(*(self.__dict__[name] for name in self.State._fields))

    def reset_mem(self) -> Any:
        """Forget the state.

        Returns
        -------
        torch.Tensor or tuple of torch.Tensor
            An empty placeholder for each state variable, which a step takes for the fresh value,
            of whatever shape it needs; the bare tensor where there is but one.
        """
        for name in self.State._fields:
            self.__dict__[name] = self.__dict__[name].new_zeros(0)
        state = tuple(self.state)
        return state[0] if len(state) == 1 else state

    @classmethod
    def detach_hidden(cls) -> None:
        """Cut the hidden state of *every* living neuron of this class off its graph.

        For truncated backpropagation through time with ``init_hidden=True``, as in snnTorch.
        """
        for neuron in living():
            if isinstance(neuron, cls):
                for value in neuron.state:
                    value.detach_()

    @classmethod
    def reset_hidden(cls) -> None:
        """Clear the hidden state of *every* living neuron of this class, as in snnTorch."""
        for neuron in living():
            if isinstance(neuron, cls):
                neuron.reset_mem()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> StatefulModule:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name in self.State._fields:
            self.__dict__[name] = fn(self.__dict__[name])
        return self

    def __getstate__(self) -> dict[str, Any]:
        # A copy must not drag an unfinished sequence (or its graph) along.
        fresh = {name: self.__dict__[name].new_zeros(0) for name in self.State._fields}
        return {**self.__dict__, **fresh}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        register(self)

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
