"""Class signals as rows behind the recordings of a window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from spikeprop.rules import LocalRule

__all__ = ["put_signals", "signals_of"]


def signals_of(rule: LocalRule, tensors: dict[str, Tensor], first: int, steps: int) -> list[Tensor]:
    """Return the class signals of some time steps: of each, or one if they stand still."""
    found: list[Tensor] = []
    for step in range(1 if rule.stands_still else steps):
        signal = rule.current(tensors, first + step + 1)
        assert signal is not None, "signals travel, or nobody asks for them"
        found.append(signal)
    return found[:1] if all(signal is found[0] for signal in found) else found


def put_signals(signals: Sequence[Any], currents: Any) -> None:
    """Fill the first block's currents ``(L, C, N)`` of signal rows; all tensors, or all arrays."""
    for step, signal in enumerate(signals):
        currents[step if len(signals) > 1 else slice(None)] = signal.reshape(len(signal), -1)
