"""Sums of currents: parallel branches and residual connections as modules.

Each branch is a block of the same neuron, and the sum is its current:

    current = W_1 x + W_2 y + ...            every W is trained, each with a trace of its own
    current = W x + x                        a skip connection has no weight, and trains nothing

A bare ``+`` between two tensors of one shape in a network's ``forward`` is followed just as well;
these modules are for ``nn.Sequential`` networks, which have no place for one.
"""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["Parallel", "Residual", "Sum"]


class Sum(nn.Module):
    """The sum of its inputs, tensors of one shape: ``Sum()(a, b, ...) = a + b + ...``."""

    def forward(self, *terms: Tensor) -> Tensor:
        """Return the sum.

        Raises
        ------
        ValueError
            If there is no term, or the shapes differ: a sum that broadcasts has other gradients.
        """
        if not terms:
            raise ValueError("Sum needs at least one term")
        shapes = {tuple(term.shape) for term in terms}
        if len(shapes) > 1:
            raise ValueError(f"the terms of a Sum have to be of one shape, got {sorted(shapes)}")
        total = terms[0].clone()
        for term in terms[1:]:
            total += term
        return total


class Parallel(nn.Module):
    """Branches side by side that see the same input: ``branch_1(x) + branch_2(x) + ...``.

    Parameters
    ----------
    *branches : nn.Module
        For instance two convolutions with different kernels; their outputs have one shape.
    """

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.sum = Sum()

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of the branches."""
        total: Tensor = self.sum(*[branch(x) for branch in self.branches])
        return total


class Residual(nn.Module):
    """A branch beside a skip connection: ``body(x) + shortcut(x)``.

    Parameters
    ----------
    body : nn.Module
        One synapse, or several layers with neurons between them.
    shortcut : nn.Module, optional
        The identity unless given; a synapse (to change the number of features, say) is trained.
    """

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.body = body
        self.shortcut = nn.Identity() if shortcut is None else shortcut
        self.sum = Sum()

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of body and shortcut."""
        total: Tensor = self.sum(self.body(x), self.shortcut(x))
        return total
