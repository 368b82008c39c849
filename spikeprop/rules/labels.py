"""Labels of the rows that a rule contrasts: codes, wrong ones, and synapses that carry them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spikeprop.rules.contrast import Rows

__all__ = ["candidates", "draw_synapse", "draw_wrong", "label_codes", "scored", "shuffle_wrong"]

#: Odds added to every wrong class, so that one can be drawn however sure the scores are.
LEAST_ODDS = 1e-9


def draw_synapse(outputs: int, inputs: int, generator: torch.Generator) -> Tensor:
    """Draw a weight ``(outputs, inputs)`` as ``nn.Linear`` does: uniform in ±1/sqrt(inputs)."""
    uniform = torch.rand(outputs, inputs, generator=generator) * 2 - 1
    return uniform / math.sqrt(inputs)


def draw_wrong(labels: Tensor, num_classes: int, scores: Tensor | None = None) -> Tensor:
    """Draw a wrong class for each label: any, or by the odds ``exp(scores)``, ``(B, C)``."""
    if scores is None:
        return (labels + torch.randint(1, num_classes, labels.shape).to(labels)) % num_classes
    own = labels[:, None].cpu()
    odds = scores.cpu().double().scatter(1, own, -torch.inf).softmax(dim=1) + LEAST_ODDS
    return torch.multinomial(odds.scatter(1, own, 0.0), 1)[:, 0].to(labels)


def shuffle_wrong(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Shuffle the labels of a batch; return them, and where they are wrong."""
    shuffled = labels[torch.randperm(len(labels)).to(labels.device)]
    return shuffled, shuffled != labels


def label_codes(classes: Tensor, codes: Tensor) -> Tensor:
    """Return the code of every row's class ``(R, D)``; zeros for rows of class -1."""
    padded = torch.cat([codes, codes.new_zeros(1, codes.shape[1])])
    return padded[classes.flatten().to(codes.device)]


def candidates(
    n: int, num_classes: int, labels: Tensor | None = None, scores: Tensor | None = None
) -> Rows:
    """Return a group of rows for every class.

    With labels, the rows of the true classes are positive and one wrong one each, drawn as by
    :func:`draw_wrong`, is negative.
    """
    classes = torch.arange(num_classes)[:, None].expand(num_classes, n)
    signs = torch.zeros(num_classes, n)
    if labels is not None:
        one = torch.arange(n)
        signs[draw_wrong(labels, num_classes, scores).cpu(), one] = -1.0
        signs[labels.cpu(), one] = 1.0
        classes, signs = classes.to(labels.device), signs.to(labels.device)
    return Rows(classes, signs, labels)


def scored(values: Tensor, rows: Rows, num_classes: int) -> Tensor:
    """Return ``(B, C)`` scores: those of the groups by their classes, minus infinity for others."""
    scores = values.new_full((values.shape[1], num_classes), -torch.inf)
    return scores.scatter(1, rows.classes.T.to(values.device), values.T)
