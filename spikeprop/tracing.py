"""Notes what a network calls in one time step: leaf modules by hooks, additions by torch function.

Only tensors' identities matter: a call is known by what it took and what it gave.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from spikeprop.membranes import is_neuron
from spikeprop.neurons import reset
from spikeprop.sums import Sum
from spikeprop.synapses import synapse_of

__all__ = ["Call", "is_sum", "record", "terms_of"]

_ADDITIONS = (
    torch.add,
    Tensor.add,
    Tensor.add_,
    Tensor.__add__,
    Tensor.__radd__,
    Tensor.__iadd__,
)


class _Input(nn.Module):
    """Stands for the network's own input among the calls."""


class _Output(nn.Module):
    """Stands for what the network gave among the calls."""


class _Addition(nn.Module):
    """Stands for a ``+`` among the calls."""


@dataclass
class Call:
    """A module's call, or a ``+`` between two tensors.

    Attributes
    ----------
    name : str
        Name of the module in the network.
    module : nn.Module
        The module.
    inputs, outputs : tuple
        What it took (tensors only) and gave.
    """

    name: str
    module: nn.Module
    inputs: tuple[Tensor, ...]
    outputs: tuple[Any, ...]

    @property
    def source(self) -> Tensor:
        """Its first input."""
        return self.inputs[0]

    @property
    def is_input(self) -> bool:
        """Whether this is no call, but what the network was given."""
        return isinstance(self.module, _Input)

    @property
    def is_output(self) -> bool:
        """Whether this is no call, but what the network gave."""
        return isinstance(self.module, _Output)


class _Enough(Exception):  # noqa: N818 - a signal, not an error
    """Raised by a hook to end the trial run once a neuron comes round a second time."""


class _Additions(TorchFunctionMode):
    """Notes the sums of two tensors of one shape; others broadcast, and have other gradients."""

    def __init__(self, calls: list[Call]) -> None:
        super().__init__()
        self.calls = calls
        self.within = 0  # leaf modules that are being called: what they add up is their own

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if not self.within and func in _ADDITIONS and not kwargs and len(args) == 2:
            terms = tuple(term for term in args if isinstance(term, Tensor))
            if len(terms) == 2 and terms[0].shape == terms[1].shape:
                self.calls.append(Call("+", _Addition(), terms, (output,)))
        return output


def is_sum(call: Call) -> bool:
    """Tell whether a call adds its inputs up."""
    return isinstance(call.module, (Sum, _Addition))


def terms_of(call: Call) -> tuple[Tensor, ...]:
    """Return what a sum adds up."""
    return call.inputs


def record(net: nn.Module, x: Tensor, *, whole_sequence: bool) -> list[Call]:
    """Run ``net`` on ``x`` and return its calls in order; parameters as ``find_blocks``.

    Leaves are modules without children, neurons and synapses (which may have inner modules).
    """
    calls: list[Call] = [Call("input", _Input(), (x,), (x,))]
    names = {module: name or type(module).__name__ for name, module in net.named_modules()}
    whole = [m for m in names if is_neuron(m) or synapse_of(m) is not None]
    inner = {part for m in whole for part in m.modules() if part is not m}
    leaves = [m for m in names if m not in inner and (m in whole or not list(m.children()))]

    additions = _Additions(calls)

    def before(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if whole_sequence and is_neuron(module) and any(c.module is module for c in calls):
            raise _Enough
        additions.within += 1

    def after(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        additions.within -= 1
        tensors = tuple(value for value in inputs if isinstance(value, Tensor))
        if tensors:
            outputs = output if isinstance(output, tuple) else (output,)
            calls.append(Call(names[module], module, tensors, outputs))

    handles = [m.register_forward_pre_hook(before) for m in leaves]
    handles += [m.register_forward_hook(after) for m in leaves]
    training = net.training
    net.eval()
    reset(net)
    try:
        with torch.no_grad(), additions:
            given = net(x)
            last = given[0] if isinstance(given, tuple) and given else given
            if isinstance(last, Tensor):
                calls.append(Call("output", _Output(), (last,), ()))
    except _Enough:
        # The second step's synapse may have run already: it belongs to no neuron call of the first.
        pass
    finally:
        for handle in handles:
            handle.remove()
        reset(net)
        net.train(training)
    return calls
