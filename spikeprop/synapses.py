"""Synapses: the modules that turn presynaptic spikes into current, and their closed-form gradients.

A synapse is a chain of modules that are linear in their input, of which one is trained:

    current = A_n(... A_1(trained(x)))       trained: Linear, Conv, ConvTranspose, DelayedLinear;
                                             A: pooling, ...

The gradient of a local loss at the current, ``delta``, reaches the trained module through the
transposes of the ``A`` (:func:`pull_back`), and its weight as the vector-Jacobian product at the
eligibility trace (``delta^T trace`` for a ``Linear``). Both are small tables, :data:`SYNAPSES` and
:data:`TRANSPOSES`; a user's own linear module gets an entry of its own there.

A batch norm on its running statistics is both: linear in its input, and (with ``affine=True``) a
trained module of its own, whose presynaptic input is the normalised one, neuron by neuron.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import grad as closed

from spikeprop.neurons import DelayedLinear
from spikeprop.norms import without_mean

__all__ = [
    "NORMS",
    "SYNAPSES",
    "TRANSPOSES",
    "Synapse",
    "check_norm",
    "pull_back",
    "synapse_of",
    "transpose_of",
]

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def _anything(name: str, module: nn.Module) -> None:
    """Accept every setting of the module."""


def _as_it_is(module: nn.Module, x: Tensor) -> Tensor:
    """Take the module's input for the presynaptic one."""
    return x


class Synapse(NamedTuple):
    """Closed-form gradients of a trained module.

    Attributes
    ----------
    add_weight_gradient : callable
        ``(module, gradient, delta, trace)``: add the gradient of the weight to ``gradient`` in
        place. ``delta`` is shaped as the module's output, ``trace`` as its presynaptic input.
    bias_gradient : callable
        ``(module, delta)``: return the gradient of the bias for a bias trace of 1.
    check : callable
        ``(name, module)``: raise ``ValueError`` for a setting that the closed form does not cover.
    presynaptic : callable
        ``(module, x)``: return what the weight multiplies, for an input ``x`` of the module; the
        input itself unless given.
    """

    add_weight_gradient: Callable[[Any, Tensor, Tensor, Tensor], None]
    bias_gradient: Callable[[Any, Tensor], Tensor]
    check: Callable[[str, Any], None] = _anything
    presynaptic: Callable[[Any, Tensor], Tensor] = _as_it_is


def _linear_weight(module: nn.Linear, gradient: Tensor, delta: Tensor, trace: Tensor) -> None:
    gradient.addmm_(delta.reshape(-1, delta.shape[-1]).T, trace.reshape(-1, trace.shape[-1]))


def _linear_bias(module: nn.Linear, delta: Tensor) -> Tensor:
    return delta.reshape(-1, delta.shape[-1]).sum(dim=0)


def _channel_sum(module: nn.Module, delta: Tensor) -> Tensor:
    return delta.sum(dim=(0, *range(2, delta.dim())))


def _conv_weight(
    module: nn.Conv1d | nn.Conv2d, gradient: Tensor, delta: Tensor, trace: Tensor
) -> None:
    one = isinstance(module, nn.Conv1d)
    gradient += (closed.conv1d_weight if one else closed.conv2d_weight)(  # type: ignore[no-untyped-call]
        trace,
        gradient.shape,
        delta.contiguous(),
        module.stride,
        module.padding,
        module.dilation,
        module.groups,
    )


def _conv_transpose_weight(
    module: nn.ConvTranspose1d | nn.ConvTranspose2d, gradient: Tensor, delta: Tensor, trace: Tensor
) -> None:
    # A transposed convolution is the adjoint of the convolution with the same weight, from its
    # output to its input: <delta, convT(trace)> = <conv(delta), trace>.
    one = isinstance(module, nn.ConvTranspose1d)
    gradient += (closed.conv1d_weight if one else closed.conv2d_weight)(  # type: ignore[no-untyped-call]
        delta.contiguous(),
        gradient.shape,
        trace.contiguous(),
        module.stride,
        module.padding,
        module.dilation,
        module.groups,
    )


def _check_conv(name: str, module: nn.Conv1d | nn.Conv2d) -> None:
    if module.padding_mode != "zeros":
        raise ValueError(
            f"synapse '{name}': padding_mode={module.padding_mode!r} is not covered by the closed "
            f"form; use padding_mode='zeros'"
        )
    if isinstance(module.padding, str):
        raise ValueError(
            f"synapse '{name}': padding={module.padding!r} is not covered by the closed form; give "
            f"the padding as numbers"
        )


def _norm_weight(module: nn.Module, gradient: Tensor, delta: Tensor, trace: Tensor) -> None:
    gradient += _channel_sum(module, delta * trace)


def check_norm(name: str, module: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
    """Refuse a batch norm without running statistics.

    Raises
    ------
    ValueError
        If ``track_running_stats`` is off.
    """
    if module.running_var is None:
        raise ValueError(
            f"batch norm '{name}': in a synapse it needs track_running_stats=True, since an update "
            f"at every step is exact for fixed statistics only"
        )


def _normalised(module: nn.BatchNorm1d | nn.BatchNorm2d, x: Tensor) -> Tensor:
    assert module.running_mean is not None, "it comes with the running variance"
    like = (-1, *[1] * (x.dim() - 2))
    return (x - module.running_mean.reshape(like)) * _rsqrt(module).reshape(like)


def _rsqrt(module: nn.BatchNorm1d | nn.BatchNorm2d) -> Tensor:
    assert module.running_var is not None, "find_blocks lets no other norm pass"
    return torch.rsqrt(module.running_var + module.eps)


def _delayed_weight(module: DelayedLinear, gradient: Tensor, delta: Tensor, trace: Tensor) -> None:
    outputs = delta.reshape(-1, delta.shape[-1]).T
    for tap, traced in zip(module.taps, trace.unbind(1), strict=True):
        gradient += module.at(tap) * (outputs @ traced.reshape(-1, traced.shape[-1]))


def _check_delayed(name: str, module: DelayedLinear) -> None:
    if not module.init_hidden:
        raise ValueError(
            f"synapse '{name}': a DelayedLinear has to keep its line inside, where its trace is "
            f"made; give it init_hidden=True"
        )


def _seen(module: DelayedLinear, x: Tensor) -> Tensor:
    return module.seen(x)


_CONV = Synapse(_conv_weight, _channel_sum, _check_conv)
_CONV_TRANSPOSE = Synapse(_conv_transpose_weight, _channel_sum, _check_conv)
_NORM = Synapse(_norm_weight, _channel_sum, check_norm, _normalised)

SYNAPSES: dict[type[nn.Module], Synapse] = {
    nn.Linear: Synapse(_linear_weight, _linear_bias),
    nn.Conv1d: _CONV,
    nn.Conv2d: _CONV,
    nn.ConvTranspose1d: _CONV_TRANSPOSE,
    nn.ConvTranspose2d: _CONV_TRANSPOSE,
    nn.BatchNorm1d: _NORM,
    nn.BatchNorm2d: _NORM,
    DelayedLinear: Synapse(_delayed_weight, _linear_bias, _check_delayed, _seen),
}


def _identity(module: nn.Module, delta: Tensor, shape: torch.Size) -> Tensor:
    return delta


def _reshape(module: nn.Module, delta: Tensor, shape: torch.Size) -> Tensor:
    return delta.reshape(-1, *shape[1:])


def _avg_pool1d(module: nn.AvgPool1d, delta: Tensor, shape: torch.Size) -> Tensor:
    # A row of height 1 under the two-dimensional operator, which has a backward of its own.
    single = torch.nn.modules.utils._single
    stand_in = delta.new_empty((len(delta), shape[1], 1, shape[2]))
    at_input: Tensor = torch.ops.aten.avg_pool2d_backward(
        delta.unsqueeze(2).contiguous(),
        stand_in,
        (1, *single(module.kernel_size)),
        (1, *single(module.stride)),
        (0, *single(module.padding)),
        module.ceil_mode,
        module.count_include_pad,
        None,
    )
    return at_input.squeeze(2)


def _avg_pool(module: nn.AvgPool2d, delta: Tensor, shape: torch.Size) -> Tensor:
    pair = torch.nn.modules.utils._pair
    stand_in = delta.new_empty((len(delta), *shape[1:]))  # the operator reads its shape alone
    at_input: Tensor = torch.ops.aten.avg_pool2d_backward(
        delta.contiguous(),
        stand_in,
        pair(module.kernel_size),
        pair(module.stride),
        pair(module.padding),
        module.ceil_mode,
        module.count_include_pad,
        module.divisor_override,
    )
    return at_input


def _adaptive_avg_pool(module: nn.AdaptiveAvgPool2d, delta: Tensor, shape: torch.Size) -> Tensor:
    stand_in = delta.new_empty((len(delta), *shape[1:]))
    at_input: Tensor = torch.ops.aten._adaptive_avg_pool2d_backward(delta.contiguous(), stand_in)
    return at_input


def _batch_norm(
    module: nn.BatchNorm1d | nn.BatchNorm2d, delta: Tensor, shape: torch.Size
) -> Tensor:
    scale = _rsqrt(module)
    if module.weight is not None:
        scale = scale * module.weight
    return without_mean(module, delta * scale.reshape(-1, *[1] * (delta.dim() - 2)))


#: ``(module, delta at its output, shape of its input) -> delta at its input``
TRANSPOSES: dict[type[nn.Module], Callable[[Any, Tensor, torch.Size], Tensor]] = {
    nn.Identity: _identity,
    nn.Flatten: _reshape,
    nn.Unflatten: _reshape,
    nn.AvgPool1d: _avg_pool1d,
    nn.AvgPool2d: _avg_pool,
    nn.AdaptiveAvgPool2d: _adaptive_avg_pool,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
}


def synapse_of(module: nn.Module) -> Synapse | None:
    """Return the closed-form gradients of ``module``, or None if it is not a known synapse."""
    return next((SYNAPSES[cls] for cls in type(module).__mro__ if cls in SYNAPSES), None)


def transpose_of(module: nn.Module) -> Callable[[Any, Tensor, torch.Size], Tensor] | None:
    """Return the transpose of ``module``, or None if it is not known to be linear."""
    return next((TRANSPOSES[cls] for cls in type(module).__mro__ if cls in TRANSPOSES), None)


def pull_back(chain: list[tuple[nn.Module, torch.Size]], delta: Tensor) -> Tensor:
    """Carry ``delta`` from the current back to the output of the trained module.

    Parameters
    ----------
    chain : list of (module, input shape)
        The modules behind the trained one, in the order of the forward pass.
    delta : Tensor
        Gradient with respect to the current, ``(rows, *features)``.

    Returns
    -------
    Tensor
        Gradient with respect to the trained module's output.
    """
    for module, shape in reversed(chain):
        transpose = transpose_of(module)
        assert transpose is not None, "find_blocks lets no other module into a chain"
        delta = transpose(module, delta, shape)
    return delta
