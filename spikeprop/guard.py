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
from spikeprop.datasets import EventBatch
from spikeprop.membranes import has_threshold
from spikeprop.saving import put_back, state_in_place
from spikeprop.whereabouts import extremes, first_not_finite

if TYPE_CHECKING:
    from spikeprop.learner import ForwardLearner, Metrics

__all__ = ["Guard"]

#: Batches that are held at most.
HELD = 7
#: Updates in a row that a layer may be silent or saturated without a word, and what saturated is.
PATIENCE, SATURATED = 5, 0.95


class Guard:
    """Learns by a learner, batch after batch, and looks after it.

    Parameters
    ----------
    learner : ForwardLearner
        The learner. A copy of its state is kept, and renewed after at most 8 updates; the batches
        since are held, where they are no larger than it, to come back to any update in between.
    """

    def __init__(self, learner: ForwardLearner) -> None:
        self.learner = learner
        self._copy: dict[str, Any] | None = None
        self._since: list[tuple[Tensor | EventBatch, Tensor]] = []
        self._room = 0  # bytes of batches that may still be held
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
        if self._copy is None or self._room < 0 or len(self._since) == HELD:
            self._copy = _copied(state_in_place(learner), self._copy)
            self._room, self._since = _bytes(self._copy), []
        try:
            metrics = learner.update(x, label)
            _finite_parameters(learner)
        except FloatingPointError as error:
            self._go_back()
            where = first_not_finite(learner, x, label)
            self._go_back()
            found = f": {where}" if where else ""
            what = str(error).removesuffix(checks.LOSS_ADVICE)
            raise FloatingPointError(
                f"{what}{found}. The update was taken back; lower the learning rate, or look at "
                f"the recording"
            ) from None
        self._room -= _bytes(x) + _bytes(label)
        # Beyond the room the next update begins with a new copy: this batch is not needed.
        self._since = [] if self._room < 0 else [*self._since, (x, label)]
        self._watch(metrics.rate, x)
        return metrics

    def _go_back(self) -> None:
        """Put the learner into the state before the present update, by the way it came."""
        put_back(self.learner, _copied(self._copy, None))
        for x, label in self._since:
            self.learner.update(x, label)

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


def _bytes(value: Any) -> int:
    """Return how much memory tensors in nested state, or events, take."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, EventBatch):
        return sum(_bytes(item) for item in (value.offsets, value.channels, value.values))
    if isinstance(value, dict):
        return sum(_bytes(item) for item in value.values())
    if isinstance(value, list | tuple):
        return sum(_bytes(item) for item in value)
    return 0
