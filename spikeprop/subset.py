"""Prediction from an adaptive subset of the classes: a tree over class signals.

Comparing a recording with every class takes C dot products. A tree of the class vectors needs
about ``beam * branching * log_branching(C)``: from the root on, the recording is compared with the
children of the ``beam`` best nodes, and a node's vector is the mean of the class vectors below it
(its score is their mean score, the comparison being linear). Classes whose signals are alike lie
together; with codes along a tree (:func:`tree_codes`) they are so from the start.

Source: the adaptive subset is named in the signal propagation tutorial (section 3.2, step 4, A).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from spikeprop import checks

__all__ = ["SignalTree", "tree_codes"]

_ROUNDS = 8  # of k-means


def tree_codes(num_classes: int, branching: int = 10) -> Tensor:
    """Return codes ``(C, D)`` that name each class's path through a tree, for ``SigProp(codes=)``.

    One entry a node, equal on all nodes of the path (the root aside), of length 1 in all; classes
    under one node share the entries down to it, and so a part of their signal.
    """
    checks.positive_integer("num_classes", num_classes)
    if branching < 2:
        raise ValueError(f"branching has to be at least 2, got {branching}")
    depth = max(1, math.ceil(math.log(num_classes, branching) - 1e-9))
    places = torch.arange(num_classes)
    levels = [places // branching**down for down in reversed(range(depth))]
    parts = [nn.functional.one_hot(level, int(level.max()) + 1).float() for level in levels]
    return torch.cat(parts, dim=1) / math.sqrt(depth)


class SignalTree(nn.Module):
    """Finds the class of the highest score without looking at all of them.

    Parameters
    ----------
    weight : Tensor
        Class vectors ``(C, F)``, as :meth:`~spikeprop.ForwardLearner.class_readout` gives them.
    bias : Tensor, optional
        ``(C,)``.
    branching : int
        Most children of a node, at least 2.
    beam : int
        Nodes that are followed on each level, at least 1: more of them compare more, and err less.

    Raises
    ------
    TypeError, ValueError
        If an argument has another type or shape, or is outside its range.
    """

    vectors: Tensor
    offsets: Tensor
    below: Tensor

    def __init__(
        self, weight: Tensor, bias: Tensor | None = None, *, branching: int = 10, beam: int = 3
    ) -> None:
        super().__init__()
        if weight.dim() != 2 or len(weight) < 2:
            raise ValueError(f"weight has to have shape (C, F), C >= 2, got {tuple(weight.shape)}")
        checks.positive_integer("beam", beam)
        checks.positive_integer("branching", branching)
        if branching < 2:
            raise ValueError(f"branching has to be at least 2, got {branching}")
        self.classes, self.beam, self.branching = len(weight), beam, branching
        bias = weight.new_zeros(len(weight)) if bias is None else bias
        both = torch.cat([weight, bias[:, None]], dim=1).detach()
        # The classes are nodes 0 .. C - 1, the inner nodes follow, and the root is the last.
        self._rows: list[Tensor] = list(both)
        self._children: list[list[int]] = [[] for _ in both]
        self.root = self._grow(both, torch.arange(len(both)))
        table = torch.full((len(self._rows), branching), -1)
        for node, below in enumerate(self._children):
            table[node, : len(below)] = torch.tensor(below, dtype=torch.int64)
        rows = torch.stack(self._rows)
        self.register_buffer("vectors", rows[:, :-1].contiguous())
        self.register_buffer("offsets", rows[:, -1].contiguous())
        self.register_buffer("below", table)
        del self._rows, self._children

    def _grow(self, both: Tensor, members: Tensor) -> int:
        if len(members) == 1:
            return int(members)
        below = [self._grow(both, part) for part in self._parts(both[members], members)]
        self._rows.append(both[members].mean(dim=0))
        self._children.append(below)
        return len(self._rows) - 1

    def _parts(self, rows: Tensor, members: Tensor) -> list[Tensor]:
        """Split by k-means on directions, begun at members far from each other."""
        if len(members) <= self.branching:
            return list(members[:, None])
        unit = nn.functional.normalize(rows - rows.mean(dim=0), dim=1)
        first = [0]
        while len(first) < self.branching:
            first.append(int((unit @ unit[first].T).amax(dim=1).argmin()))
        centres = unit[first]
        for _ in range(_ROUNDS):
            nearest = (unit @ centres.T).argmax(dim=1)
            sums = torch.zeros_like(centres).index_add_(0, nearest, unit)
            centres = nn.functional.normalize(sums, dim=1)
        parts = [members[nearest == k] for k in range(self.branching)]
        parts = [part for part in parts if len(part)]
        # Vectors that are all alike cannot be told apart: cut them evenly.
        return parts if len(parts) > 1 else list(members.tensor_split(self.branching))

    def search(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return class ``(B,)``, its score ``(B,)``, and the number of comparisons ``(B,)``.

        Parameters
        ----------
        features : Tensor
            Evidence of the recordings, ``(B, F)``.
        """
        n = len(features)
        nodes = torch.full((n, 1), self.root, device=features.device)
        scores = features.new_zeros(n, 1)
        compared = torch.zeros(n, dtype=torch.int64, device=features.device)
        while bool((nodes >= self.classes).any()):
            inner = (nodes >= self.classes)[:, :, None]
            below = torch.where(inner, self.below[nodes], -1).flatten(1)
            there = below >= 0
            compared += there.sum(dim=1)
            found = torch.einsum("bf,bkf->bk", features, self.vectors[below.clamp_min(0)])
            found = (found + self.offsets[below.clamp_min(0)]).masked_fill(~there, -torch.inf)
            # Classes already found stay in the race.
            kept = scores.masked_fill(nodes >= self.classes, -torch.inf)
            every, places = torch.cat([kept, found], 1), torch.cat([nodes, below], 1)
            scores, order = every.topk(min(self.beam, every.shape[1]), dim=1)
            nodes = places.gather(1, order)
            nodes = torch.where(scores == -torch.inf, 0, nodes)
        best = scores.argmax(dim=1, keepdim=True)
        return nodes.gather(1, best)[:, 0], scores.gather(1, best)[:, 0], compared

    def forward(self, features: Tensor) -> Tensor:
        """Return scores ``(B, C)``: that of the class that was found, and -inf for the others."""
        chosen, score, _ = self.search(features)
        empty = features.new_full((len(features), self.classes), -torch.inf)
        return empty.scatter_(1, chosen[:, None], score[:, None])
