"""The optional package ``nir``."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["nir_package"]


def nir_package() -> Any:
    """Return the package ``nir``.

    Raises
    ------
    ImportError
        If it is not installed; the message says how to get it.
    """
    try:
        return import_module("nir")
    except ImportError as error:
        raise ImportError("spikeprop.nir needs the package nir: pip install nir") from error
