r"""Weights that are computed from other parameters, as by ``torch.nn.utils.parametrizations``.

The engine's gradient is that of the weight ``W`` itself; what is trained are the *originals* it is
computed from. Each known parametrisation carries the gradient on in closed form. Weight
normalisation (Salimans and Kingma, arXiv 1602.07868), per slice along ``dim``:

.. math::

    W = g \frac{v}{\lVert v \rVert}, \quad
    \frac{\partial L}{\partial g} = \frac{\partial L}{\partial W} \cdot \frac{v}{\lVert v \rVert},
    \quad
    \frac{\partial L}{\partial v} = \frac{g}{\lVert v \rVert} \left(
        \frac{\partial L}{\partial W}
        - \frac{\partial L}{\partial g} \frac{v}{\lVert v \rVert} \right)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import _WeightNorm

__all__ = [
    "PARAMETRIZATIONS",
    "bake",
    "check_parametrizations",
    "originals",
    "set_gradient",
    "trains",
]

NAMES = ("weight", "bias")


def _weight_norm(kind: Any, gradient: Tensor, g: Tensor, v: Tensor) -> list[Tensor]:
    dim = -1 if kind.dim is None else kind.dim
    dims = [d for d in range(v.dim()) if dim < 0 or d != dim]
    norm = v.norm(dim=dims, keepdim=True)
    direction = v / norm
    along = (gradient * direction).sum(dim=dims, keepdim=True)
    return [along.reshape(g.shape), g.reshape(norm.shape) / norm * (gradient - along * direction)]


#: ``(parametrisation, gradient of the weight, *originals) -> gradients of the originals``
PARAMETRIZATIONS: dict[type[nn.Module], Callable[..., list[Tensor]]] = {_WeightNorm: _weight_norm}


def originals(module: nn.Module, name: str) -> list[nn.Parameter]:
    """Return the parameters that ``module``'s weight or bias is made of; none if it has none."""
    if parametrize.is_parametrized(module, name):
        return list(module.parametrizations[name].parameters(recurse=False))  # type: ignore[index, union-attr]
    value = module._parameters.get(name)
    return [] if value is None else [value]


def trains(module: nn.Module, name: str) -> bool:
    """Tell whether ``module``'s weight or bias takes part in learning."""
    return any(p.requires_grad for p in originals(module, name))


def check_parametrizations(name: str, module: nn.Module) -> None:
    """Refuse what :func:`set_gradient` has no closed form for.

    Raises
    ------
    ValueError
        For an unknown or a composed parametrisation, and for the older, hook-based ones.
    """
    for parameter in NAMES:
        if parametrize.is_parametrized(module, parameter):
            steps: Any = module.parametrizations[parameter]  # type: ignore[index]
            if len(steps) != 1 or type(steps[0]) not in PARAMETRIZATIONS:
                kinds = ", ".join(type(step).__name__ for step in steps)
                raise ValueError(
                    f"synapse '{name}': its {parameter} is parametrised by {kinds}, for which no "
                    f"gradient is known here; weight_norm of torch.nn.utils.parametrizations is, "
                    f"and PARAMETRIZATIONS takes one of your own"
                )
    if isinstance(getattr(module, "weight", None), Tensor) and not originals(module, "weight"):
        raise ValueError(
            f"synapse '{name}': its weight is no parameter (an older, hook-based weight_norm or "
            f"spectral_norm?); use torch.nn.utils.parametrizations.weight_norm"
        )


def set_gradient(module: nn.Module, name: str, gradient: Tensor) -> None:
    """Put the gradient of ``module``'s weight or bias where an optimiser looks for it.

    Parameters
    ----------
    module : nn.Module
        The trained module.
    name : {"weight", "bias"}
        Which.
    gradient : Tensor
        Gradient with respect to it; an unparametrised parameter gets this very tensor.
    """
    if not parametrize.is_parametrized(module, name):
        module._parameters[name].grad = gradient  # type: ignore[union-attr]
        return
    steps: Any = module.parametrizations[name]  # type: ignore[index]
    kind: nn.Module = steps[0]
    parameters = originals(module, name)
    parts = PARAMETRIZATIONS[type(kind)](kind, gradient, *[p.detach() for p in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        if parameter.requires_grad:
            parameter.grad = part


def bake(module: nn.Module) -> None:
    """Replace every parametrised tensor in ``module`` by the plain parameter it stands for.

    ``parametrize.remove_parametrizations`` is no use on a copy: a parametrised module's class is
    made for it alone, a copy shares that class, and removal would take the weight from both.
    """
    for part in module.modules():
        if not parametrize.is_parametrized(part):
            continue
        names = list(part.parametrizations)  # type: ignore[arg-type]
        values = {name: getattr(part, name).detach().clone() for name in names}
        part.__class__ = type(part).__bases__[0]
        del part.parametrizations
        for name, value in values.items():
            part.register_parameter(name, nn.Parameter(value))
