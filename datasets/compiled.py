"""Compiled loops where numba is there; its absence costs time, never a result.

Every loop has a NumPy twin that the tests hold it equal to. Compiled code is kept in numba's cache
beside the source; where that folder cannot be written it is compiled anew in each process.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from functools import cache
from typing import Any

DISABLE = "SPIKEPROP_NO_NUMBA"
"""Environment variable: 1 takes the NumPy code even where numba is installed."""


@cache
def compiled(function: Callable[..., Any]) -> Callable[..., Any] | None:
    """Return ``function`` compiled, without Python's lock; None where numba is absent."""
    if os.environ.get(DISABLE, "0") not in ("", "0"):
        return None
    try:
        numba: Any = importlib.import_module("numba")
    except ImportError:
        return None
    try:
        fast = numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # no folder for the cache
        fast = numba.njit(nogil=True)(function)
    return fast  # type: ignore[no-any-return]
