"""The tensors that a rule learns itself, on their way through one batch or stream.

Two kinds. A learned projection ``S`` of codes, ``current = S c_t``, is a synapse of the first block
like any other: its eligibility is the code seen through the neuron's filter and the evidence's,
and its gradient the outer product with the signal rows' modulator. Whatever else a rule learns
(an output layer) has a gradient from a block's evidence alone, which the rule gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from spikeprop.blocks import Block, Site
from spikeprop.engines.sites import SharedTraces
from spikeprop.evidence import Evidence
from spikeprop.membranes import filter_of
from spikeprop.rules import LocalRule

__all__ = ["OwnTensors"]


class OwnTensors:
    """Sums gradients of the rule's tensors, and lets their optimiser step.

    Parameters
    ----------
    rule : LocalRule
        The rule.
    tensors : dict of str to Tensor
        Its tensors, the learned ones parameters.
    optimizer : Optimizer
        Steps on those.
    blocks : sequence of Block
        The network's blocks.
    filters : sequence of Evidence
        Filters of the voltage.
    n_recordings : int
        Rows of recordings; signal rows stand behind them.
    update_every : int
        Time steps between two steps of the optimiser.

    Raises
    ------
    ValueError
        If a projection is to be learned into neurons that share no linear filter.
    """

    def __init__(
        self,
        rule: LocalRule,
        tensors: dict[str, Tensor],
        optimizer: torch.optim.Optimizer,
        blocks: Sequence[Block],
        filters: Sequence[Evidence],
        n_recordings: int,
        update_every: int,
    ) -> None:
        self._rule, self._tensors, self._optimizer = rule, tensors, optimizer
        self._last, self._every, self._pending = len(blocks) - 1, update_every, 0
        self._signal: SharedTraces | None = None
        projection = tensors.get("projection")
        if isinstance(projection, nn.Parameter):
            dynamics = filter_of(blocks[0].neuron)
            if dynamics is None or not dynamics.shared:
                raise ValueError(
                    f"a learned signal needs neurons that share one linear filter, and those of "
                    f"'{blocks[0].neuron_name}' do not; use signal='propagated'"
                )
            features = blocks[0].features
            linear = nn.Linear(projection.shape[1], len(projection), bias=False, device="meta")
            linear.weight = projection
            unflatten = nn.Unflatten(1, tuple(features))
            site = Site("signal", linear, [(unflatten, torch.Size((1, features.numel())))])
            rows = slice(n_recordings, None)
            self._signal = SharedTraces(site, filters, rows, dynamics)
            self._before = projection.new_zeros(n_recordings, projection.shape[1])
            self._filters, self._features = len(filters), features

    def enter(self, tensors: dict[str, Tensor], t: int) -> None:
        """Note the codes of a time step as they enter."""
        if self._signal is not None:
            code = self._rule.code(tensors, t)
            assert code is not None, "signal rows have codes"
            self._signal.take(torch.cat([self._before, code]))

    def learn(
        self,
        block: int,
        evidence: Tensor,
        labels: Tensor,
        delta: Tensor,
        tensors: dict[str, Tensor],
    ) -> None:
        """Add what a block's evidence and modulator say, and step if it is time to."""
        if block == 0:
            self._learn_signal(delta)
        found = self._rule.own_gradients(block, evidence, labels, tensors)
        for name, gradient in found.items():
            held: Any = self._tensors[name]
            held.grad = gradient if held.grad is None else held.grad + gradient
        if block == self._last:
            self._pending += 1
            if self._pending == self._every:
                self.flush()

    def learn_window(self, first: int, deltas: Tensor, tensors: dict[str, Tensor]) -> None:
        """Add what the first block's modulators of the steps behind ``first`` say of the signal.

        For a rule that learns nothing but its signal; ``flush`` is left.

        Parameters
        ----------
        first : int
            Time steps before.
        deltas : Tensor
            Modulators, ``(L, R, K F)`` for K evidence filters.
        tensors : dict of str to Tensor
            The rule's tensors.
        """
        for t, delta in enumerate(deltas, start=first + 1):
            self.enter(tensors, t)
            self._learn_signal(delta)
        self._pending += len(deltas)

    def _learn_signal(self, delta: Tensor) -> None:
        if self._signal is not None:
            parts = delta.chunk(self._filters, dim=1)
            self._signal.learn([part.reshape(-1, *self._features) for part in parts])

    def flush(self) -> None:
        """Let the optimiser step on what has been summed."""
        if not self._pending:
            return
        if self._signal is not None:
            self._signal.hand_over()
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        if self._signal is not None:
            self._signal.forget()
        self._pending = 0
