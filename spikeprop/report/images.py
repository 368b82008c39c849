"""Images inside the page: weights as PNG, frames and spikes as packed bits."""

from __future__ import annotations

import base64
import io
import math

import matplotlib.image
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["pack", "png", "weight_images"]

MAPS = 24
"""So many neurons' weights are shown."""


def png(values: NDArray[np.float64]) -> str:
    """Return an image as a ``data:`` address: red above zero, blue below, white at zero."""
    limit = max(float(np.abs(values).max(initial=0.0)), 1e-12)
    file = io.BytesIO()
    matplotlib.image.imsave(file, values, cmap="RdBu_r", vmin=-limit, vmax=limit, format="png")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def pack(bits: NDArray[np.bool_]) -> str:
    """Return bits, the first in the highest place of the first byte, as base64."""
    return base64.b64encode(np.packbits(bits.ravel()).tobytes()).decode("ascii")


def weight_images(
    weight: Tensor, input_shape: tuple[int, ...]
) -> tuple[list[tuple[str, str]], str]:
    """Draw a first layer's weights.

    Parameters
    ----------
    weight : Tensor
        ``(F_out, F_in)`` or ``(C_out, C_in, k, k)``.
    input_shape : tuple of int
        One time step of one recording, ``(P, H, W)``.

    Returns
    -------
    list of (name, address)
        One image a neuron, of those with the largest norm: its weights to each polarity side by
        side. Inputs that are no image give one image of all neurons.
    str
        What they show, in words.
    """
    values = weight.double().numpy()
    values = values.reshape(len(values), -1)
    shape = tuple(weight.shape[1:]) if weight.dim() == 4 else tuple(input_shape)
    image = len(shape) == 3 and min(shape[1:]) > 1 and math.prod(shape) == values.shape[1]
    if not image or shape[0] > 4:
        return [("all neurons", png(values))], "a row is a neuron, a column an input"
    chosen = np.sort(np.argsort(-np.linalg.norm(values, axis=1), kind="stable")[:MAPS])
    maps = values.reshape(-1, *shape)
    gap = np.zeros((shape[1], 1))
    found = []
    for neuron in chosen.tolist():
        parts = [part for channel in maps[neuron] for part in (channel, gap)][:-1]
        found.append((f"neuron {neuron}", png(np.hstack(parts))))
    words = f"the {len(chosen)} neurons of {len(values)} whose weights have the largest norm"
    if shape[0] == 2:
        words += ": left the weights to OFF events, right those to ON events"
    return found, words
