"""Signals: a context, encoded as an input along the time axis.

The context here is a class, written as a code ``c`` (one-hot unless given). A fixed random
projection ``S`` turns it into the current ``S c`` of the first neuron layer, the same at every time
step; from there on it travels through the network's own synapses (signal propagation: ``t_1 = f(S_1
c + d_1)`` in the authors' tutorial, then the shared weights).
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["class_codes", "random_projection"]


def class_codes(num_classes: int, codes: Tensor | None = None) -> Tensor:
    """Return one code per class, shape ``(C, D)``: ``codes``, or one-hot where none are given.

    Raises
    ------
    ValueError
        If ``codes`` is not a finite floating-point tensor of ``num_classes`` rows.
    """
    if codes is None:
        return torch.eye(num_classes)
    if codes.dim() != 2 or len(codes) != num_classes or not codes.is_floating_point():
        raise ValueError(
            f"codes has to be a floating-point tensor of shape (num_classes={num_classes}, D), got "
            f"{codes.dtype} of shape {tuple(codes.shape)}"
        )
    if not torch.isfinite(codes).all():
        raise ValueError("codes has values that are not finite")
    return codes


def random_projection(
    codes: Tensor, features: torch.Size, scale: float, generator: torch.Generator
) -> Tensor:
    """Project codes onto a layer: ``S c`` with Gaussian ``S`` of standard deviation ``scale``.

    Parameters
    ----------
    codes : Tensor
        One code per class, ``(C, D)``.
    features : torch.Size
        Shape of the layer.
    scale : float
        Standard deviation of the entries of ``S``.
    generator : torch.Generator
        A CPU generator: the draw is the same wherever the network lives.

    Returns
    -------
    Tensor
        One current per class, ``(C, *features)``, float32 on the CPU.
    """
    projection = torch.randn((codes.shape[1], features.numel()), generator=generator) * scale
    return (codes.float() @ projection).reshape(len(codes), *features)
