"""Adam between the calls of ``optimizer.step``: the same step without what surrounds it.

An update at every time step calls the optimiser thousands of times a second, and half of the time
of ``torch.optim.Adam.step`` on a layer of some hundred neurons is bookkeeping; and where a gradient
is complete, row by row, in the order in which a step would read it again, the step can be made
there and then. Steps are made here on the optimiser's own state, so that a checkpoint, a scheduler
or a switch of engines sees one and the same optimiser. On a CPU that begins with the first of all:
torch's own step imports its compiler, for more than a second, only to tell it to keep out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikeprop import kernels
from spikeprop.kernels import adam, share, spans
from spikeprop.threads import kernel_threads

__all__ = ["CompiledAdam", "DeviceAdam", "is_plain"]

#: Options of Adam that the compiled step does not have.
_PLAIN: dict[str, Any] = {
    "weight_decay": 0,
    "amsgrad": False,
    "maximize": False,
    "capturable": False,
    "differentiable": False,
}


def is_plain(optimizer: torch.optim.Optimizer | None) -> bool:
    """Tell whether this is Adam without options, hooks or a step of somebody else's."""
    if type(optimizer) is not torch.optim.Adam:
        return False
    own = "step" in vars(optimizer)  # a scheduler's, which counts; or a user's
    if own and not hasattr(optimizer.step, "_wrapped_by_lr_sched"):
        return False
    if optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:
        return False
    return all(
        group.get(name, plain) == plain
        for group in optimizer.param_groups
        for name, plain in _PLAIN.items()
    )


def _count_for_scheduler(optimizer: torch.optim.Optimizer) -> None:
    """Do what the optimiser's own step tells a scheduler.

    That must not depend on whether that step was made in this process: a run that goes on has the
    bits of an undisturbed one.
    """
    optimizer._opt_called = True  # type: ignore[attr-defined]


class _Moments(NamedTuple):
    weights: Any
    first: Any
    second: Any
    made: Tensor
    options: dict[str, Any]

    def begin(self, steps: int = 1) -> tuple[float, ...]:
        """Count further steps, and return their numbers: rate, betas, eps, count of the last."""
        self.made.add_(steps)
        options = self.options
        return (
            float(options["lr"]),
            *map(float, options["betas"]),
            float(options["eps"]),
            float(self.made),
        )


class CompiledAdam:
    """Steps of a ``torch.optim.Adam``.

    Parameters
    ----------
    optimizer : torch.optim.Adam
        As :meth:`fits` approves of.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        _count_for_scheduler(optimizer)
        self._moments: list[tuple[Tensor, _Moments]] = []
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                state = optimizer.state[parameter]
                if not state:  # as the optimiser's own first step makes it
                    state["step"] = torch.zeros((), dtype=torch.float32)
                    state["exp_avg"] = torch.zeros_like(parameter, requires_grad=False)
                    state["exp_avg_sq"] = torch.zeros_like(parameter, requires_grad=False)
                moments = _Moments(
                    _flat(parameter.detach()).numpy(),
                    _flat(state["exp_avg"]).numpy(),
                    _flat(state["exp_avg_sq"]).numpy(),
                    state["step"],
                    group,
                )
                self._moments.append((parameter, moments))

    @staticmethod
    def fits(optimizer: torch.optim.Optimizer) -> bool:
        """Tell whether the compiled step is the optimiser's own, on all of its parameters.

        Gradients have to be laid in memory as their parameters are.
        """
        if not is_plain(optimizer) or not kernels.available():
            return False
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                state = optimizer.state.get(parameter, {})
                same = [state.get("exp_avg"), state.get("exp_avg_sq")]
                if parameter.device.type != "cpu" or parameter.dtype not in _TYPES:
                    return False
                if state and any(s is None or s.stride() != parameter.stride() for s in same):
                    return False
                if not _is_dense(parameter):
                    return False
        return True

    def step(self) -> None:
        """Step on the gradients that the parameters hold."""
        threads = kernel_threads()
        for parameter, moments in self._moments:
            assert parameter.grad is not None, "every parameter of a block has a gradient"
            assert parameter.grad.stride() == parameter.stride(), "gradients lie as parameters do"
            gradient = _flat(parameter.grad).numpy()
            numbers = moments.begin()
            arrays = (gradient, moments.weights, moments.first, moments.second)
            parts = spans(gradient.size, threads, least=1 << 14)
            share(adam.step, [(*arrays, *numbers, a, b) for a, b in parts], threads)

    def several(self, parameter: Tensor, steps: int) -> tuple[Any, ...]:
        """Begin some steps of a parameter; arrays transposed, numbers with the count of the last.

        Returns
        -------
        tuple
            First and second moment, rate, betas, eps, count.
        """
        moments = self._moments_of(parameter)
        shape = parameter.t().shape if parameter.dim() == 2 else parameter.shape
        first, second = moments.first.reshape(shape), moments.second.reshape(shape)
        return (first, second, *moments.begin(steps))

    def arguments(self, parameter: Tensor) -> tuple[Any, ...]:
        """Begin a step of a parameter; return it and its moments, transposed, and its numbers.

        A bias is the weight of one input.
        """
        moments = self._moments_of(parameter)
        shape = parameter.t().shape if parameter.dim() == 2 else (1, parameter.numel())
        arrays = (moments.weights, moments.first, moments.second)
        return (*(array.reshape(shape) for array in arrays), *moments.begin())

    def _moments_of(self, parameter: Tensor) -> _Moments:
        for own, moments in self._moments:
            if own is parameter:
                return moments
        raise ValueError("the optimiser does not have this parameter")


class Steps(NamedTuple):
    """Some steps of one parameter on a device.

    Attributes
    ----------
    state : tuple
        First and second moment, betas, eps: what no step changes the place of.
    sizes : Tensor
        What a step's count makes of the rate, and of the second moment's root, ``(steps, 2)``.
    """

    state: tuple[Any, ...]
    sizes: Tensor


class DeviceAdam:
    """The same for parameters on a device, where steps are launched.

    Parameters
    ----------
    optimizer : torch.optim.Adam
        As :meth:`fits` approves of.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        _count_for_scheduler(optimizer)
        self._optimizer = optimizer

    @staticmethod
    def fits(optimizer: torch.optim.Optimizer | None) -> bool:
        """Tell whether steps can be launched here; the first of all is the optimiser's own."""
        if optimizer is None or not is_plain(optimizer):
            return False
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                state = optimizer.state.get(parameter, {})
                arrays = [parameter, state.get("exp_avg"), state.get("exp_avg_sq")]
                if any(item is None or not item.is_contiguous() for item in arrays):
                    return False
                if parameter.dtype not in _TYPES:
                    return False
        return True

    def several(self, parameter: Tensor, steps: int) -> Steps:
        """Count some steps of a parameter, and return what they are to know."""
        for group in self._optimizer.param_groups:
            if any(own is parameter for own in group["params"]):
                break
        else:
            raise ValueError("the optimiser does not have this parameter")
        state = self._optimizer.state[parameter]
        made = state["step"]  # where the optimiser has it: to ask the device for it would wait
        counts = made.double() + torch.arange(1, steps + 1, device=made.device)
        made.add_(steps)
        lr, (beta1, beta2), eps = float(group["lr"]), map(float, group["betas"]), group["eps"]
        size, root = lr / (1 - beta1**counts), (1 - beta2**counts).rsqrt()
        sizes = torch.stack([size, root], dim=1).to(parameter.device, parameter.dtype)
        moments = (state["exp_avg"], state["exp_avg_sq"])
        return Steps((*moments, beta1, beta2, float(eps)), sizes)


_TYPES = (torch.float32, torch.float64)


def _is_dense(tensor: Tensor) -> bool:
    """Tell whether a tensor fills its memory without gaps, in whatever order."""
    last = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
    return last + 1 == tensor.numel()


def _flat(tensor: Tensor) -> Tensor:
    """Return a dense tensor's memory as one row."""
    return tensor.as_strided((tensor.numel(),), (1,))
