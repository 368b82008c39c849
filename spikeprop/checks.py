"""Checks of what users hand in: an error names the argument, what was given and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spikeprop.blocks import Block
from spikeprop.datasets import EventBatch
from spikeprop.kernels import available, sparse
from spikeprop.names import meant

LOSS_ADVICE = "; its weights may be damaged. Lower the learning rate, or load the last checkpoint"
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool)


def one_of(name: str, value: object, allowed: Sequence[str]) -> None:
    """Raise ``ValueError`` unless ``value`` is among ``allowed``."""
    if value not in allowed:
        raise ValueError(
            f"{name} has to be one of {tuple(allowed)}, got {value!r}{meant(value, allowed)}"
        )


def positive_integer(name: str, value: object) -> None:
    """Raise unless ``value`` is an integer of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} has to be an integer, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} has to be at least 1, got {value}")


def sequence(
    x: Tensor | EventBatch, label: Tensor | None, num_classes: int, net: nn.Module
) -> Tensor:
    """Check a batch of sequences ``(T, B, *features)``; return its labels as int64."""
    if isinstance(x, EventBatch):
        _events("x", x)
    else:
        _input("x", x, net)
    if len(x.shape) < 3:
        raise ValueError(
            f"x has to be time-first, (T, B, *features) with at least three dimensions, got shape "
            f"{tuple(x.shape)}"
        )
    if x.shape[0] == 0 or x.shape[1] == 0:
        raise ValueError(f"x needs at least one time step and one sample, got {tuple(x.shape)}")
    if label is None:
        return torch.empty(0)
    return _labels(label, x.shape[1], num_classes, "x", x.shape, x.shape[0])


def labels(x: Tensor | EventBatch, label: Tensor, num_classes: int) -> Tensor:
    """Check the labels of a batch of sequences that is checked elsewhere; return them as int64."""
    return _labels(label, x.shape[1], num_classes, "x", x.shape, x.shape[0])


def vectors(label: Tensor, n: int, size: int, like: Tensor) -> Tensor:
    """Check the vectors that a batch of ``n`` is to be mapped to; return them typed as ``like``."""
    if not isinstance(label, Tensor) or not label.is_floating_point():
        raise TypeError(f"label has to be a floating-point tensor of vectors, got {label!r:.80}")
    if label.shape != (n, size):
        raise ValueError(f"label has to have shape ({n}, {size}), got {tuple(label.shape)}")
    if not torch.isfinite(label).all():
        raise ValueError("label has values that are not finite")
    return label.to(like)


def single_step(
    x_t: Tensor | EventBatch, label: Tensor | None, num_classes: int, net: nn.Module
) -> Tensor | None:
    """Check one time step ``(B, *features)`` and its labels; return the labels as int64."""
    if isinstance(x_t, EventBatch):
        _events("x_t", x_t)
        if x_t.time_steps != 1:
            raise ValueError(f"x_t has to be one time step, got {x_t.time_steps} of them")
        shape = x_t.shape[1:]
        return None if label is None else _labels(label, shape[0], num_classes, "x_t", shape)
    _input("x_t", x_t, net)
    if x_t.dim() < 2 or len(x_t) == 0:
        raise ValueError(
            f"x_t has to be one time step (B, *features) of at least one sample, got shape "
            f"{tuple(x_t.shape)}"
        )
    if label is None:
        return None
    return _labels(label, len(x_t), num_classes, "x_t", x_t.shape)


def _input(name: str, x: Tensor, net: nn.Module) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} has to be a torch.Tensor or an EventBatch, got {type(x).__name__}")
    wanted = next((p.dtype for p in net.parameters() if p.is_floating_point()), torch.float32)
    if x.dtype not in INTEGERS and x.dtype != wanted:
        raise TypeError(
            f"{name} has dtype {x.dtype}, the network computes in {wanted}: give {wanted}, integer "
            f"counts or booleans, for instance {name}.to({wanted})"
        )
    if x.dtype not in INTEGERS and not torch.isfinite(x.sum()) and not torch.isfinite(x).all():
        place = tuple(int(i) for i in (~torch.isfinite(x)).nonzero()[0])
        raise ValueError(f"{name} has a value that is not finite at index {place}")


def _events(name: str, x: EventBatch) -> None:
    """Refuse sparse events that do not fit together: compiled code trusts their indices."""
    if _fit(x):
        return
    offsets, channels, values = x.offsets, x.channels, x.values
    if x.time_steps < 1 or len(offsets) < 2 or (len(offsets) - 1) % x.time_steps:
        raise ValueError(
            f"{name}.offsets has to hold B * T + 1 entries, got {len(offsets)} with T = "
            f"{x.time_steps}"
        )
    if offsets.dtype != torch.int64 or channels.dtype != torch.int32:
        raise TypeError(
            f"{name}.offsets and {name}.channels have to be int64 and int32, got {offsets.dtype} "
            f"and {channels.dtype}"
        )
    if (
        int(offsets[0]) != 0
        or int(offsets[-1]) != len(channels)
        or bool((offsets.diff() < 0).any())
    ):
        raise ValueError(
            f"{name}.offsets have to grow from 0 to the number of channels, {len(channels)}"
        )
    size = math.prod(x.features)
    if len(channels):
        low, high = (int(value) for value in channels.aminmax())
        if low < 0 or high >= size:
            raise ValueError(
                f"{name}.channels have to lie in 0 .. {size - 1} for features of shape "
                f"{tuple(x.features)}, got values from {low} to {high}"
            )
    if values is not None:
        if values.shape != channels.shape:
            raise ValueError(
                f"{name}.values have to be as many as {name}.channels, got {tuple(values.shape)} "
                f"for {tuple(channels.shape)}"
            )
        if not torch.isfinite(values).all():
            raise ValueError(f"{name}.values have an entry that is not finite")


def _fit(x: EventBatch) -> bool:
    """Tell, in one compiled look at them, whether binary events fit together."""
    offsets, channels, steps = x.offsets, x.channels, x.time_steps
    if not available() or x.values is not None or channels.device.type != "cpu":
        return False
    if offsets.dtype != torch.int64 or channels.dtype != torch.int32 or offsets.dim() != 1:
        return False
    count = offsets.shape[0] - 1
    if channels.dim() != 1 or steps < 1 or count < 1 or count % steps:
        return False
    found = channels.numpy().view(np.uint32)
    return bool(sparse.fit(offsets.numpy(), found, math.prod(x.features)))


def _labels(
    label: Tensor,
    n: int,
    num_classes: int,
    name: str,
    shape: torch.Size,
    time_steps: int | None = None,
) -> Tensor:
    if not isinstance(label, Tensor):
        raise TypeError(f"label has to be a torch.Tensor, got {type(label).__name__}")
    if label.dtype not in INTEGERS or label.dtype == torch.bool:
        raise TypeError(f"label has to hold integers, got {label.dtype}")
    if label.dim() != 1 or len(label) != n:
        advice = ""
        if label.dim() == 1 and len(label) == time_steps:
            advice = "; x looks batch-first, and has to be time-first: x.transpose(0, 1)"
        raise ValueError(
            f"label has to have shape ({n},) for {name} of shape {tuple(shape)}, got "
            f"{tuple(label.shape)}{advice}"
        )
    values = label.tolist()
    low, high = min(values), max(values)
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"label has to lie in 0 .. {num_classes - 1} (num_classes={num_classes}), got values "
            f"from {low} to {high}"
        )
    return label.long()


def same_features(shape: torch.Size, wanted: torch.Size | None) -> None:
    """Raise unless one time step of one sample has the shape that the network was bound to."""
    if shape != wanted:
        raise ValueError(
            f"x has features of shape {tuple(shape)}, but this learner was bound to "
            f"{tuple(wanted or ())}; tensors are time-first, (T, B, *features)"
        )


def same_stream(n: int, wanted: int) -> None:
    """Raise unless a stream keeps its number of samples."""
    if n != wanted:
        raise ValueError(
            f"x_t has {n} samples, but this stream began with {wanted}; call reset() before "
            f"another stream"
        )


def finite_weights(net: nn.Module) -> None:
    """Raise ``ValueError`` if a parameter or buffer of the network is NaN or infinite."""
    finite("the network", {**dict(net.named_parameters()), **dict(net.named_buffers())})


def finite(owner: str, tensors: dict[str, Tensor]) -> None:
    """Raise ``ValueError`` naming the first of ``owner``'s tensors that is NaN or infinite."""
    for name, value in tensors.items():
        if not value.is_floating_point():
            continue
        # A sum is a tenth of the work; finite numbers whose sum is not are looked at one by one.
        if not math.isfinite(float(value.detach().sum())) and not torch.isfinite(value).all():
            raise ValueError(f"{owner}'s '{name}' has values that are NaN or infinite")


def finite_loss(loss: Tensor, blocks: Sequence[Block], updates: int) -> None:
    """Raise ``FloatingPointError`` naming the first block whose loss is NaN or infinite."""
    for block, value in zip(blocks, loss.tolist(), strict=True):
        if value != value or value in (float("inf"), float("-inf")):
            raise FloatingPointError(
                f"the local loss of block '{block.name}' became {value} in update {updates}"
                f"{LOSS_ADVICE}"
            )


def same_state(
    state: dict[str, Any], version: int, rule: dict[str, Any], time: str, update_every: int
) -> None:
    """Raise ``ValueError`` unless a saved learner fits this one's version, rule and settings."""
    found = state.get("version")
    if found != version:
        raise ValueError(
            f"this learner's state has version {found!r}, this spikeprop reads version {version}"
        )
    mine = {**rule, "time": time, "update_every": update_every}
    theirs = {**state["rule"], "time": state["time"], "update_every": state["update_every"]}
    for key in sorted(mine.keys() | theirs.keys()):
        if mine.get(key) != theirs.get(key):
            raise ValueError(
                f"the saved learner has {key}={theirs.get(key)!r}, this one {key}={mine.get(key)!r}"
            )


def same_network(saved: dict[str, Tensor], net: nn.Module) -> None:
    """Raise ``ValueError`` unless the saved tensors belong to this network."""
    mine = net.state_dict()
    missing, unknown = sorted(mine.keys() - saved.keys()), sorted(saved.keys() - mine.keys())
    if missing or unknown:
        raise ValueError(
            f"the saved network does not fit: missing {missing or 'nothing'}, unknown "
            f"{unknown or 'nothing'}"
        )
    for name, value in mine.items():
        grown = name.endswith("threshold")  # homeostasis gives each neuron one of its own
        if saved[name].shape != value.shape and not grown:
            raise ValueError(
                f"the saved network's '{name}' has shape {tuple(saved[name].shape)}, this one's "
                f"{tuple(value.shape)}"
            )
