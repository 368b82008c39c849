"""Networks by a short word: ``256-256``, or ``conv:8-16:128`` with convolutions in front."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from spikeprop.neurons import Delay

__all__ = ["build_shape", "check_shape", "drawn_delays"]

_SIZES = r"[1-9]\d*(?:-[1-9]\d*)*"
_SHAPE = re.compile(rf"(?:conv:({_SIZES}):)?({_SIZES})")


def check_shape(word: str) -> tuple[list[int], list[int]]:
    """Return the channels of the convolutions and the sizes of the layers behind them.

    Raises
    ------
    ValueError
        If the word cannot be read.
    """
    found = _SHAPE.fullmatch(word)
    if found is None:
        raise ValueError(
            f"network must be sizes of layers such as 256-256, or conv:8-16:128, got {word!r}"
        )
    channels, sizes = ([int(n) for n in (part or "").split("-") if n] for part in found.groups())
    return channels, sizes


def build_shape(
    word: str,
    input_shape: tuple[int, ...],
    *,
    beta: float,
    dropout: float,
    seed: int,
    lags: Sequence[int] = (),
) -> nn.Sequential:
    """Build the network, which maps one time step, from the seed alone.

    A convolution is 3 x 3 with its LIF neurons, then 2 x 2 average pooling; dropout stands before
    every layer but the first. With ``lags``, every input of a layer arrives later by one of these
    numbers of time steps, drawn at random: neurons then see what was at one place beside what is at
    another, and with it motion.

    Raises
    ------
    ValueError
        If the pictures are too small for the convolutions.
    """
    import torch
    from torch import nn

    from spikeprop.neurons import LIF

    channels, sizes = check_shape(word)
    layers: list[nn.Module] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        shape = tuple(input_shape)
        if channels:
            inputs, *side = shape
            for outputs in channels:
                if len(side) != 2 or min(side) < 2:
                    raise ValueError(
                        f"network {word!r} pools pictures more often than inputs of shape "
                        f"{tuple(input_shape)} allow"
                    )
                layers += _dropout(dropout, layers)
                layers += drawn_delays(lags, (inputs, *side))
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1), LIF(beta, init_hidden=True)]
                layers.append(nn.AvgPool2d(2))
                inputs, side = outputs, [n // 2 for n in side]
            shape = (inputs, *side)
        layers.append(nn.Flatten())
        inputs = 1
        for n in shape:
            inputs *= n
        for outputs in sizes:
            layers += _dropout(dropout, layers[1:])
            layers += drawn_delays(lags, (inputs,))
            layers += [nn.Linear(inputs, outputs), LIF(beta, init_hidden=True)]
            inputs = outputs
    return nn.Sequential(*layers)


def _dropout(share: float, before: list[nn.Module]) -> list[nn.Module]:
    from torch import nn

    return [nn.Dropout(share)] if share > 0.0 and before else []


def drawn_delays(lags: Sequence[int], features: tuple[int, ...]) -> list[Delay]:
    """Return the delay in front of a layer, each input's drawn from ``lags``; none if all are 0.

    Parameters
    ----------
    lags : sequence of int
        Delays in time steps.
    features : tuple of int
        Shape of the layer's input in one time step.
    """
    import torch

    from spikeprop.neurons import Delay

    if not any(lags):
        return []
    drawn = torch.tensor(lags)[torch.randint(len(lags), features)]
    return [Delay(drawn, init_hidden=True)]
