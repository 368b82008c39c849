"""An optimiser whose gradients are first summed over the processes that share a batch.

A block's gradient is complete as soon as the block has it: nothing behind it in the network adds to
it. So its sum over the processes can run while the next block computes. Engines that can use that
call :meth:`SharedOptimizer.start` where they would have called ``step``, go on, and call
:meth:`SharedOptimizer.finish` before the block's weights are used again. To any other engine it is
an optimiser like others, whose ``step`` waits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["SharedOptimizer", "gradients_of"]

#: Begins to sum gradients in place, and returns what waits for the end of that.
Reduction = Callable[[Sequence[Tensor]], Callable[[], None]]


class SharedOptimizer(torch.optim.Optimizer):
    """Steps as another optimiser does, on the sum of the gradients of all processes.

    Parameters
    ----------
    inner : Optimizer
        The optimiser, whose groups and state these are.
    reduce : callable
        Begins to sum gradients in place over the processes.
    """

    def __init__(self, inner: torch.optim.Optimizer, reduce: Reduction) -> None:
        # Not the base's own: groups and state are the inner optimiser's, and so are its hooks.
        self.inner, self._reduce = inner, reduce
        self.param_groups, self.state, self.defaults = (
            inner.param_groups,
            inner.state,
            inner.defaults,
        )
        self._wait: Callable[[], None] | None = None

    def start(self) -> None:
        """Begin to sum the gradients that the parameters hold; they are not to be touched now."""
        self._wait = self._reduce(gradients_of(self.inner))

    def finish(self) -> None:
        """Wait until they are summed."""
        assert self._wait is not None, "start came first"
        wait, self._wait = self._wait, None
        wait()

    def step(self, closure: Any = None) -> Any:
        """Sum, wait, and let the inner optimiser step."""
        self.start()
        self.finish()
        return self.inner.step(closure)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients."""
        self.inner.zero_grad(set_to_none=set_to_none)


def gradients_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Return the gradients that an optimiser's parameters hold."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return [p.grad for p in parameters if p.grad is not None]
