"""An optimiser whose gradients are first summed over the processes that share a batch.

A block's gradient is complete as soon as the block has it: nothing behind it in the network adds to
it. So its sum over the processes can run while the next block computes. Engines that can use that
call :meth:`SharedOptimizer.start` where they would have called ``step``, go on, and call
:meth:`SharedOptimizer.finish` before the block's weights are used again. To any other engine it is
an optimiser like others, whose ``step`` waits.

Class signals are the same in all processes, and so is what they cost. Where that is much, each
makes the currents of some signals for all (:meth:`Sharing.spread`), and turns what all recordings
say to these into a gradient (:meth:`Sharing.collect`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

__all__ = ["SharedOptimizer", "Sharing", "gradients_of"]


class Sharing(Protocol):
    """What processes that share a batch do for each other."""

    #: Whether a message costs little: all run on one machine.
    near: bool

    def reduce(self, gradients: Sequence[Tensor]) -> Callable[[], None]:
        """Begin to turn gradients into those of the whole batch, in place; return the wait."""

    def own(self, count: int) -> tuple[int, int]:
        """Return which of ``count`` rows, alike in all processes, this one works on for all."""

    def spread(self, rows: Tensor) -> None:
        """Fill the rows ``(count, ...)`` that others work on with what they made."""

    def collect(self, rows: Tensor) -> None:
        """Turn the own rows into the batch's, of what each process found for ``(count, ...)``.

        In the measure of this process's own gradients: :meth:`reduce` gives them its weight.
        """


class SharedOptimizer(torch.optim.Optimizer):
    """Steps as another optimiser does, on the sum of the gradients of all processes.

    Parameters
    ----------
    inner : Optimizer
        The optimiser, whose groups and state these are.
    sharing : Sharing
        The processes.
    """

    def __init__(self, inner: torch.optim.Optimizer, sharing: Sharing) -> None:
        # Not the base's own: groups and state are the inner optimiser's, and so are its hooks.
        self.inner, self.sharing = inner, sharing
        self.param_groups, self.state, self.defaults = (
            inner.param_groups,
            inner.state,
            inner.defaults,
        )
        self._wait: Callable[[], None] | None = None

    def start(self) -> None:
        """Begin to sum the gradients that the parameters hold; they are not to be touched now."""
        self._wait = self.sharing.reduce(gradients_of(self.inner))

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
