"""Networks by a short word: ``256-256``, or with convolutions in front.

``conv:8-16:128`` has two of 3 x 3, each pooled; ``conv:16k5s2:40`` one of 5 x 5 in steps of two,
and ``conv:16k5s2p:160`` the same pooled.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import nn

    from spikeprop.neurons import Delay

__all__ = ["Convolution", "build_shape", "check_shape", "drawn_delays"]

_N = r"[1-9]\d*"
_CONVOLUTION = rf"{_N}(?:k{_N}s{_N}p?)?"
_SHAPE = re.compile(rf"(?:conv:({_CONVOLUTION}(?:-{_CONVOLUTION})*):)?({_N}(?:-{_N})*)")


class Convolution(NamedTuple):
    """A convolution of a network's word, pooled by 2 x 2 or not."""

    channels: int
    kernel: int = 3
    stride: int = 1
    pooled: bool = True


def check_shape(word: str) -> tuple[list[Convolution], list[int]]:
    """Return the convolutions and the sizes of the layers behind them.

    Raises
    ------
    ValueError
        If the word cannot be read.
    """
    found = _SHAPE.fullmatch(word)
    if found is None:
        raise ValueError(
            f"network must be sizes of layers such as 256-256, or conv:8-16:128, or with kernels "
            f"and strides conv:16k5s2:40, got {word!r}"
        )
    parts = (found[1] or "").split("-")
    return [_convolution(part) for part in parts if part], [int(n) for n in found[2].split("-")]


def _convolution(part: str) -> Convolution:
    numbers = [int(n) for n in re.findall(_N, part)]
    if len(numbers) == 1:
        return Convolution(numbers[0])
    channels, kernel, stride = numbers
    return Convolution(channels, kernel, stride, pooled=part.endswith("p"))


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

    A convolution is 3 x 3 with its LIF neurons, then 2 x 2 average pooling; or of the kernel and
    stride that its word says, with half a kernel of zeros around, and pooled if the word ends with
    ``p``. Dropout stands before every layer but the first. With ``lags``, every input of a layer
    arrives later by one of these numbers of time steps, drawn at random: neurons then see what was
    at one place beside what is at another, and with it motion.

    Raises
    ------
    ValueError
        If the pictures are too small for the convolutions.
    """
    import torch
    from torch import nn

    from spikeprop.neurons import LIF

    convolutions, sizes = check_shape(word)
    layers: list[nn.Module] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        shape = tuple(input_shape)
        if convolutions:
            inputs, *side = shape
            for outputs, kernel, stride, pooled in convolutions:
                layers += _dropout(dropout, layers)
                layers += drawn_delays(lags, (inputs, *side))
                margin = kernel // 2
                layers.append(nn.Conv2d(inputs, outputs, kernel, stride, padding=margin))
                layers.append(LIF(beta, init_hidden=True))
                side = [(n + 2 * margin - kernel) // stride + 1 for n in side]
                if pooled:
                    layers.append(nn.AvgPool2d(2))
                    side = [n // 2 for n in side]
                if len(side) != 2 or min(side) < 1:
                    raise ValueError(
                        f"network {word!r} needs larger pictures than inputs of shape "
                        f"{tuple(input_shape)}"
                    )
                inputs = outputs
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
