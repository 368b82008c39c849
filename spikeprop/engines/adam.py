"""Adam between the calls of ``optimizer.step``: the same step without what surrounds it.

An update at every time step calls the optimiser thousands of times a second, and half of the time
of ``torch.optim.Adam.step`` on a layer of some hundred neurons is bookkeeping. The first step of
all is its own (it makes the state); the others are made here on the same state, so that a
checkpoint, a scheduler or a switch of engines sees one and the same optimiser.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikeprop import kernels
from spikeprop.kernels import adam, share, spans

__all__ = ["CompiledAdam"]

#: Options of Adam that the compiled step does not have.
_PLAIN: dict[str, Any] = {
    "weight_decay": 0,
    "amsgrad": False,
    "maximize": False,
    "capturable": False,
    "differentiable": False,
}


class _Moments(NamedTuple):
    weights: Any
    first: Any
    second: Any
    made: Tensor
    options: dict[str, Any]


class CompiledAdam:
    """Steps of a ``torch.optim.Adam`` that has made at least one by itself.

    Parameters
    ----------
    optimizer : torch.optim.Adam
        As :meth:`fits` approves of.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        # What its own step would say to a scheduler, which warns if it comes first.
        optimizer._opt_called = True  # type: ignore[attr-defined]
        self._moments: list[tuple[Tensor, _Moments]] = []
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                state = optimizer.state[parameter]
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
        """Tell whether the compiled step is the optimiser's own, on all of its parameters."""
        if type(optimizer) is not torch.optim.Adam or not kernels.available():
            return False
        hooks = optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks
        if hooks:
            return False
        for group in optimizer.param_groups:
            if any(group.get(name, plain) != plain for name, plain in _PLAIN.items()):
                return False
            for parameter in group["params"]:
                state = optimizer.state.get(parameter, {})
                same = [state.get("exp_avg"), state.get("exp_avg_sq"), parameter.grad]
                if parameter.device.type != "cpu" or parameter.dtype not in _TYPES:
                    return False
                if any(s is None or s.stride() != parameter.stride() for s in same):
                    return False
                if not _is_dense(parameter):
                    return False
        return True

    def step(self) -> None:
        """Step on the gradients that the parameters hold."""
        threads = torch.get_num_threads()
        for parameter, moments in self._moments:
            assert parameter.grad is not None, "every parameter of a block has a gradient"
            moments.made.add_(1)
            options = moments.options
            gradient = _flat(parameter.grad).numpy()
            numbers = (
                float(options["lr"]),
                *map(float, options["betas"]),
                float(options["eps"]),
                float(moments.made),
            )
            arrays = (moments.weights, moments.first, moments.second, gradient)
            parts = spans(gradient.size, threads, least=1 << 14)
            share(adam.step, [(*arrays, *numbers, a, b) for a, b in parts], threads)


_TYPES = (torch.float32, torch.float64)


def _is_dense(tensor: Tensor) -> bool:
    """Tell whether a tensor fills its memory without gaps, in whatever order."""
    last = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
    return last + 1 == tensor.numel()


def _flat(tensor: Tensor) -> Tensor:
    """Return a dense tensor's memory as one row."""
    return tensor.as_strided((tensor.numel(),), (1,))
