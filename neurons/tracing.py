"""Whether a step is run for its numbers, or by something that looks at what it does.

``torch.compile`` and ``torch.export`` trace a step, and the transforms of ``torch.func`` run it on
tensors that are not plain ones. Shortcuts that these do not know are taken only where neither
happens. (To try one and catch the error would do, but an error of torch's takes milliseconds.)
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def plain(*tensors: Tensor) -> bool:
    """Say whether these are plain tensors in a step that nobody traces.

    Parameters
    ----------
    *tensors : torch.Tensor
        What the step works on.

    Returns
    -------
    bool
        Whether every operation of torch may be used on them.
    """
    return not torch.compiler.is_compiling() and not any(_wrapped(tensor) for tensor in tensors)


def keeps_attributes(tensor: Tensor) -> bool:
    """Say whether a tensor may be left behind as an attribute of a module.

    An exported graph has no attributes to write to, and what lives inside a transform of torch.func
    cannot be touched after it.

    Parameters
    ----------
    tensor : torch.Tensor
        Part of a neuron's state.

    Returns
    -------
    bool
        Whether it may.
    """
    if torch.compiler.is_compiling():
        return not _exporting()
    return not _wrapped(tensor)


def _never() -> bool:
    return False


def _unknown(tensor: Tensor) -> bool:
    return True


# The one is younger than the oldest torch that is allowed here, the other is not public.
_exporting: Callable[[], bool] = getattr(torch.compiler, "is_exporting", _never)
_wrapped: Callable[[Tensor], bool] = getattr(
    getattr(torch._C, "_functorch", None), "is_functorch_wrapped_tensor", _unknown
)
