"""Synapses, pooling and reshaping between torch modules and NIR nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spikeprop.neurons import Delay
from spikeprop.nir.dialects import Dialect
from spikeprop.nir.network import Scale, as_tensor
from spikeprop.nir.package import nir_package

__all__ = ["fold_norm", "layer_node", "layer_of"]


def layer_node(
    name: str, module: nn.Module, before: tuple[int, ...], after: tuple[int, ...], dialect: Dialect
) -> Any:
    """Return the NIR node of a module that is no neuron.

    Parameters
    ----------
    name : str
        Its name, for messages.
    module : nn.Module
        The module.
    before, after : tuple of int
        Shapes of its input and output, without batch.
    dialect : Dialect
        What to write for.

    Raises
    ------
    ValueError
        If NIR has no such module, or the reader does not know it.
    """
    node = _node(name, module, before, dialect)
    if type(node).__name__ in dialect.unknown:
        raise ValueError(f"module '{name}': this reader does not know NIR's {type(node).__name__}")
    # NIR infers shapes for itself, for square kernels and without rounding up alone.
    node.input_type = {"input": np.array(before)}
    node.output_type = {"output": np.array(after)}
    return node


def _node(name: str, module: nn.Module, before: tuple[int, ...], dialect: Dialect) -> Any:
    nir = nir_package()
    if isinstance(module, nn.Linear):
        weight = _array(module.weight)
        if module.bias is None and not dialect.needs_bias:
            return nir.Linear(weight)
        return nir.Affine(weight, _bias(module))
    if isinstance(module, (nn.Conv1d, nn.Conv2d)):
        if module.padding_mode != "zeros":
            raise ValueError(f"module '{name}': NIR pads with zeros, not {module.padding_mode!r}")
        if module.groups > 1 and not dialect.grouped:
            raise ValueError(f"module '{name}': this reader gets convolutions in groups wrong")
        common = (module.groups, _bias(module))
        weight = _array(module.weight)
        if isinstance(module, nn.Conv1d):
            padding = module.padding if isinstance(module.padding, str) else module.padding[0]
            return nir.Conv1d(
                before[1], weight, module.stride[0], padding, module.dilation[0], *common
            )
        return nir.Conv2d(
            before[1:], weight, module.stride, module.padding, module.dilation, *common
        )
    if isinstance(module, nn.AvgPool2d):
        return _pool(name, module)
    if isinstance(module, nn.Flatten):
        if module.start_dim < 1:
            raise ValueError(f"module '{name}' flattens the batch dimension")
        stop = module.end_dim if module.end_dim < 0 else module.end_dim - 1
        return nir.Flatten({"input": np.array(before)}, module.start_dim - 1, stop)
    if isinstance(module, Delay):
        seconds = module.delay.double().cpu().numpy() * dialect.dt
        return nir.Delay(np.broadcast_to(seconds, before).copy())
    if isinstance(module, Scale) and module.shift is None:
        return nir.Scale(np.broadcast_to(_array(module.scale), before).copy())
    if isinstance(getattr(module, "V", None), Tensor):  # one-to-one recurrence
        return nir.Linear(np.diag(np.broadcast_to(_array(module.V), before)))  # type: ignore[arg-type]
    raise ValueError(
        f"module '{name}' is a {type(module).__name__}, for which NIR has no node (it has Linear, "
        f"Conv1d, Conv2d, AvgPool2d, Flatten, Delay, and neurons)"
    )


def _pool(name: str, module: nn.AvgPool2d) -> Any:
    nir = nir_package()
    pair = torch.nn.modules.utils._pair
    kernel, stride, padding = (
        np.array(pair(value)) for value in (module.kernel_size, module.stride, module.padding)
    )
    if module.ceil_mode or (padding.any() and not module.count_include_pad):
        raise ValueError(
            f"module '{name}': NIR cannot say ceil_mode=True or count_include_pad=False"
        )
    if module.divisor_override == 1:
        return nir.SumPool2d(kernel, stride, padding)
    if module.divisor_override not in (None, int(np.prod(kernel))):
        raise ValueError(f"module '{name}': NIR cannot say divisor_override")
    return nir.AvgPool2d(kernel, stride, padding)


def fold_norm(name: str, node: Any, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
    """Fold a batch norm on its running statistics into the node of the synapse before it.

    Raises
    ------
    ValueError
        If the node is no synapse with a bias, or the norm has no running statistics.
    """
    if type(node).__name__ not in ("Affine", "Conv1d", "Conv2d") or norm.running_var is None:
        raise ValueError(
            f"batch norm '{name}' can be folded into a Linear or Conv with a bias, alone, and with "
            f"running statistics"
        )
    assert norm.running_mean is not None, "it comes with the running variance"
    scale = torch.rsqrt(norm.running_var.double() + norm.eps)
    if norm.weight is not None:
        scale = scale * norm.weight.detach().double()
    shift = -norm.running_mean.double() * scale
    if norm.bias is not None:
        shift = shift + norm.bias.detach().double()
    factor = scale.cpu().numpy()
    like = node.weight.dtype
    shape = (-1, *[1] * (node.weight.ndim - 1))
    node.weight = (node.weight * factor.reshape(shape)).astype(like)
    node.bias = (node.bias * factor + shift.cpu().numpy()).astype(like)


def layer_of(name: str, node: Any, dialect: Dialect) -> nn.Module:
    """Return the torch module of a node that is no neuron.

    Raises
    ------
    ValueError
        If there is none, or a delay is no whole number of the dialect's time steps.
    """
    kind = type(node).__name__
    if kind in ("Affine", "Linear"):
        weight = as_tensor(node.weight)
        linear = nn.Linear(weight.shape[1], weight.shape[0], bias=kind == "Affine")
        return _filled(linear, node)
    if kind in ("Conv1d", "Conv2d"):
        outputs, inputs, *kernel = np.shape(node.weight)
        make = nn.Conv1d if kind == "Conv1d" else nn.Conv2d
        settings = {n: _setting(getattr(node, n)) for n in ("stride", "padding", "dilation")}
        groups = int(node.groups)
        return _filled(
            make(inputs * groups, outputs, tuple(kernel), groups=groups, **settings), node
        )
    if kind in ("AvgPool2d", "SumPool2d"):
        kernel_size, stride, padding = (
            _setting(value) for value in (node.kernel_size, node.stride, node.padding)
        )
        return nn.AvgPool2d(
            kernel_size, stride, padding, divisor_override=1 if kind == "SumPool2d" else None
        )
    if kind == "Flatten":
        start, end = int(node.start_dim), int(node.end_dim)
        return nn.Flatten(start + 1 if start >= 0 else start, end + 1 if end >= 0 else end)
    if kind == "Delay":
        try:
            return Delay(np.asarray(node.delay) / dialect.dt, init_hidden=True)
        except ValueError as error:
            raise ValueError(f"node '{name}' in time steps of {dialect.dt} s: {error}") from error
    if kind == "Scale":
        return Scale(as_tensor(node.scale))
    raise ValueError(f"node '{name}': NIR's {kind} has no module here")


def _filled(module: Any, node: Any) -> nn.Module:
    with torch.no_grad():
        module.weight.copy_(as_tensor(node.weight))
        if module.bias is not None:
            module.bias.copy_(as_tensor(node.bias))
    filled: nn.Module = module
    return filled


def _setting(value: Any) -> Any:
    """Return an integer, a tuple of them, or "same"/"valid", whatever a file made of it."""
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, str):
        return value
    flat = tuple(int(v) for v in np.ravel(value))
    return flat[0] if len(flat) == 1 else flat


def _array(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.detach().cpu().numpy().copy()
    return array


def _bias(module: Any) -> NDArray[Any]:
    if module.bias is None:
        return np.zeros(module.weight.shape[0], dtype=_array(module.weight).dtype)
    return _array(module.bias)
