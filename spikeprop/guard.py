"""A guard over learning: no update that leaves NaN behind stays, and dead layers are named.

An update whose loss or weights are not finite is taken back: the learner is then as before it, and
the batch is run again step by step, to name the block, the time step and the recording. A block in
which nothing fires, or everything, for some updates gives a warning that names the same.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from spikeprop import checks
from spikeprop.membranes import has_threshold
from spikeprop.saving import put_back, state_in_place
from spikeprop.whereabouts import extremes, first_not_finite

if TYPE_CHECKING:
    from spikeprop.datasets import EventBatch
    from spikeprop.learner import ForwardLearner, Metrics

__all__ = ["Guard"]

#: Updates in a row that a layer may be silent or saturated without a word, and what saturated is.
PATIENCE, SATURATED = 5, 0.95


class Guard:
    """Learns by a learner, batch after batch, and looks after it.

    Parameters
    ----------
    learner : ForwardLearner
        The learner. A copy of its state is kept, and refreshed before every update.
    """

    def __init__(self, learner: ForwardLearner) -> None:
        self.learner = learner
        self._copy: dict[str, Any] | None = None
        self._odd: dict[int, tuple[str, int]] = {}  # kind, and updates so far

    def update(self, x: Tensor | EventBatch, label: Tensor) -> Metrics:
        """Learn from a batch, as :meth:`ForwardLearner.update` does.

        Raises
        ------
        FloatingPointError
            If the loss or a weight becomes NaN or infinite. The learner is as before the update.
        TypeError, ValueError
            As the learner's own.
        """
        learner = self.learner
        if learner.input_shape is None:
            learner.bind(x.shape[2:], x.shape[0])
        self._copy = _copied(state_in_place(learner), self._copy)
        try:
            metrics = learner.update(x, label)
            _finite_parameters(learner)
        except FloatingPointError as error:
            put_back(learner, _copied(self._copy, None))
            where = first_not_finite(learner, x, label)
            put_back(learner, _copied(self._copy, None))
            found = f": {where}" if where else ""
            what = str(error).removesuffix(checks.LOSS_ADVICE)
            raise FloatingPointError(
                f"{what}{found}. The update was taken back; lower the learning rate, or look at "
                f"the recording"
            ) from None
        self._watch(metrics.rate, x)
        return metrics

    def _watch(self, rates: Tensor, x: Tensor | EventBatch) -> None:
        for block, rate in zip(self.learner.blocks, rates.tolist(), strict=True):
            if not has_threshold(block.neuron) or 0.0 < rate < SATURATED:
                self._odd.pop(block.index, None)
                continue
            kind = "silent" if rate == 0.0 else "saturated"
            before, count = self._odd.get(block.index, (kind, 0))
            count = count + 1 if kind == before else 1
            self._odd[block.index] = kind, count
            if count == PATIENCE:
                since = self.learner.updates - PATIENCE + 1
                where = extremes(self.learner, x, block)
                warnings.warn(
                    f"block '{block.name}' is {kind} since update {since}: {where}", stacklevel=2
                )


def _finite_parameters(learner: ForwardLearner) -> None:
    try:
        checks.finite_weights(learner.net)
    except ValueError as error:
        raise FloatingPointError(f"{error} after update {learner.updates}") from None


def _copied(value: Any, room: Any) -> Any:
    """Copy nested state, into the tensors of an older copy where they fit."""
    if isinstance(value, Tensor):
        if isinstance(room, Tensor) and room.shape == value.shape and room.dtype == value.dtype:
            return room.copy_(value.detach())
        return value.detach().clone(memory_format=torch.preserve_format)
    if isinstance(value, dict):
        rooms = room if isinstance(room, dict) else {}
        return {key: _copied(item, rooms.get(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        places = room if isinstance(room, list | tuple) and len(room) == len(value) else ()
        items = [_copied(item, places[i] if places else None) for i, item in enumerate(value)]
        return items if isinstance(value, list) else tuple(items)
    return value
