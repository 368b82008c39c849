"""Class signals as rows behind the recordings of a window."""

from __future__ import annotations

from torch import Tensor

from spikeprop.rules import LocalRule

__all__ = ["put_signals"]


def put_signals(rule: LocalRule, tensors: dict[str, Tensor], first: int, currents: Tensor) -> None:
    """Fill the first block's currents ``(L, C, *features)`` of signal rows, from step ``first``."""
    if not currents.shape[1]:
        return
    found = [rule.current(tensors, first + step + 1) for step in range(len(currents))]
    if all(signal is found[0] for signal in found):  # they stand still, as most do
        found = found[:1]
    for step, signal in enumerate(found):
        assert signal is not None, "signals travel, or there is no row of them"
        currents[step if len(found) > 1 else slice(None)] = signal.flatten(1)
