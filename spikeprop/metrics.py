"""What a learner reports of an update or of a step of a stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from spikeprop.engines.passage import Passage, Seen

__all__ = ["Metrics", "final_logits", "mean_logits", "measure", "of_steps", "read_out"]


class Metrics(NamedTuple):
    """What one ``update`` or ``step`` measured, block by block.

    Attributes
    ----------
    loss : Tensor
        Mean local loss over time ``(n_blocks,)``; zeros where no label was given.
    accuracy : Tensor
        Share of recordings that each block classifies rightly ``(n_blocks,)``, before and while it
        learns from them; NaN where no label was given.
    rate : Tensor
        Mean spikes per neuron and time step ``(n_blocks,)``.
    logits : Tensor
        Scores ``(n_blocks, B, C)``: the mean over time of an ``update``, those of the present
        evidence in a ``step``.
    prediction : Tensor
        Predicted classes ``(B,)``; vectors ``(B, C)`` in a regression, whose accuracy is NaN.
    """

    loss: Tensor
    accuracy: Tensor
    rate: Tensor
    logits: Tensor
    prediction: Tensor


def measure(
    passage: Passage[Seen],
    label: Tensor | None,
    predict_from: str,
    *,
    last_step: bool,
    regression: bool = False,
) -> Metrics:
    """Return the metrics of a passage: of all its time steps, or of the last one alone."""
    if last_step:
        steps, logits = 1, final_logits(passage)
        spikes = [torch.as_tensor(item.spikes) for item in passage.blocks]
    else:
        steps, logits = passage.steps, mean_logits(passage)
        spikes = [torch.as_tensor(item.spike_sum) for item in passage.blocks]
    if label is None:
        loss = logits.new_zeros(len(passage.blocks))
    else:
        loss = torch.stack([torch.as_tensor(item.loss_sum) for item in passage.blocks]) / steps
    if label is None or regression:
        accuracy = torch.full_like(loss, float("nan"))
    else:
        accuracy = (logits.argmax(dim=2) == label).mean(dim=1, dtype=logits.dtype)
    rate = torch.stack([item.mean(dtype=logits.dtype) for item in spikes])
    rate /= steps * passage.n_recordings
    return Metrics(loss, accuracy, rate, logits, read_out(logits, predict_from, regression))


def mean_logits(passage: Passage[Seen]) -> Tensor:
    """Return the scores averaged over time ``(n_blocks, B, C)``."""
    return torch.stack([torch.as_tensor(item.logits_sum) / item.t for item in passage.blocks])


def final_logits(passage: Passage[Seen]) -> Tensor:
    """Return the scores of the last time step ``(n_blocks, B, C)``."""
    return torch.stack([torch.as_tensor(item.logits) for item in passage.blocks])


def read_out(logits: Tensor, predict_from: str, regression: bool = False) -> Tensor:
    """Return the predicted classes ``(B,)`` by the last block or by the sum of all blocks.

    In a regression the predicted vectors ``(B, C)``, by the last block or the mean of all.
    """
    if regression:
        return logits[-1] if predict_from == "last" else logits.mean(dim=0)
    chosen = logits[-1] if predict_from == "last" else logits.sum(dim=0)
    return chosen.argmax(dim=1)


def of_steps(found: Sequence[Metrics], *, every_step: bool) -> Metrics:
    """Put the metrics of some steps together, as :meth:`ForwardLearner.steps` returns them."""
    if len(found) == 1 and not every_step:
        return found[0]
    loss, accuracy, rate = (torch.stack([item[k] for item in found]).mean(dim=0) for k in range(3))
    logits, prediction = found[-1].logits, found[-1].prediction
    if every_step:
        logits = torch.stack([item.logits for item in found], dim=1)
        prediction = torch.stack([item.prediction for item in found])
    return Metrics(loss, accuracy, rate, logits, prediction)
