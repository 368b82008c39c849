"""Spiking neural networks that learn in forward passes only.

Heavy names load on first use, so that ``import spikeprop`` and ``spikeprop --help`` stay light.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikeprop._version import __version__

if TYPE_CHECKING:
    from spikeprop.learner import ForwardLearner
    from spikeprop.neurons import reset

__all__ = ["ForwardLearner", "__version__", "reset"]

_LAZY = {
    "ForwardLearner": "spikeprop.learner",
    "reset": "spikeprop.neurons",
}

# Started in a clone's root, Python finds the folder spikeprop/ before an installed package, and its
# sub-packages neurons, datasets and experiments lie beside it there, not inside it.
_clone = Path(__file__).resolve().parent.parent
if (_clone / "setup.cfg").is_file() and (_clone / "neurons" / "__init__.py").is_file():
    __path__.append(str(_clone))


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'spikeprop' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
