"""Launches on a CUDA device, recorded once and played again: many are shorter than their launch."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch

__all__ = ["RECORDED_ON", "Replays"]

#: Recorded windows that are kept.
KEPT = 16
#: Devices on which launches can be recorded.
RECORDED_ON = ("cuda",)


class Replays:
    """Sequences of launches, recorded once and played again (CUDA graphs)."""

    def __init__(self) -> None:
        self._graphs: dict[Hashable, Any] = {}

    def play(self, key: Hashable, work: Callable[[], None]) -> None:
        """Do ``work()``, which waits for nothing and works on tensors that stay where they are.

        Parameters
        ----------
        key : hashable
            All that the launches depend on: numbers, and where tensors lie.
        work : callable
            Launches kernels; run as it is for the first time, recorded for the second.
        """
        known = key in self._graphs
        if known and self._graphs[key] is None:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                work()
            self._graphs[key] = graph
        if known:
            self._graphs[key].replay()
            return
        if len(self._graphs) >= KEPT:
            self._graphs.clear()
        self._graphs[key] = None  # compiled and allocated for by now
        work()
