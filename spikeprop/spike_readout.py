"""A readout by spikes, for targets on which a voltage cannot be seen.

The class evidence of a learner is a voltage. Where only spikes leave a neuron (NIR, chips), classes
are read from the last layer's firing rates by a linear layer that is fitted once, in closed form:
ridge regression of one-hot labels on rates,

    W = (R^T R + lambda I)^-1 R^T Y,    R (N, F) centred rates, Y (N, C) centred labels

with ``lambda`` chosen on the training data by their leave-one-out error, also in closed form: with
the hat matrix H = R (R^T R + lambda I)^-1 R^T + 1 1^T / N, the residual of a recording that was
left out is its residual over ``1 - H_nn`` (Allen's PRESS statistic, Technometrics 16, 1974).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from spikeprop.neurons import reset
from spikeprop.surroundings import mode

__all__ = ["fit_spike_readout", "spike_rates"]

#: Candidates for lambda, in units of the mean eigenvalue of ``R^T R``.
PENALTIES = tuple(10.0**power for power in range(-4, 3))


def spike_rates(net: nn.Module, x: Tensor) -> Tensor:
    """Return the mean output of ``net`` over the time steps of ``x``, flattened, ``(B, F)``.

    Parameters
    ----------
    net : nn.Module
        A network that maps one time step and gives its last layer's spikes.
    x : Tensor
        ``(T, B, *features)``.
    """
    total: Tensor | None = None
    reset(net)
    with torch.no_grad(), mode(net, training=False):
        for x_t in x:
            given = net(x_t)
            spk = (given[0] if isinstance(given, tuple) else given).flatten(1)
            total = spk if total is None else total + spk
    reset(net)
    assert total is not None, "there is at least one time step"
    return total / len(x)


def fit_spike_readout(
    net: nn.Module, data: Iterable[Any], num_classes: int, like: Tensor
) -> tuple[Tensor, Tensor]:
    """Fit a linear layer from firing rates to classes.

    Parameters
    ----------
    net : nn.Module
        As in :func:`spike_rates`.
    data : iterable of (x, label)
        Training recordings, ``(T, B, *features)`` and ``(B,)``.
    num_classes : int
        Number of classes C.
    like : Tensor
        Says device and type.

    Returns
    -------
    weight : Tensor
        ``(C, F)``.
    bias : Tensor
        ``(C,)``.

    Raises
    ------
    ValueError
        If there is no batch.
    """
    rates, labels = [], []
    for x, label in data:
        rates.append(spike_rates(net, x.to(like)).double())
        labels.append(label.to(like.device).long())
    if not rates:
        raise ValueError("data gave no batch")
    R, targets = torch.cat(rates), torch.cat(labels)
    Y = nn.functional.one_hot(targets, num_classes).double()
    centre, level = R.mean(dim=0), Y.mean(dim=0)
    weight = _ridge(R - centre, Y - level)
    return weight.T.to(like), (level - centre @ weight).to(like)


def _ridge(R: Tensor, Y: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(R.T @ R)
    values = values.clamp_min(0)
    turned = R @ vectors
    best, weight = float("inf"), torch.zeros(R.shape[1], Y.shape[1]).to(R)
    for penalty in PENALTIES:
        shrunk = 1.0 / (values + penalty * values.mean().clamp_min(1e-12))
        candidate = vectors @ (shrunk[:, None] * (turned.T @ Y))
        leverage = (turned.square() * shrunk).sum(dim=1) + 1.0 / len(R)
        residual = (Y - R @ candidate) / (1.0 - leverage).clamp_min(1e-9)[:, None]
        error = float(residual.square().sum())
        if error < best:
            best, weight = error, candidate
    return weight
