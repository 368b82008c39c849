"""The scan on a CUDA device: neuron, evidence filters and reverse filter in Triton.

The windowed engine's products are dense there (cuBLAS), and the rule's modulator runs over all
steps of a chunk at once: the cosine loss against fixed vectors in Triton, any other in torch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikeprop.blocks import Block
from spikeprop.engines.buffers import Buffers
from spikeprop.engines.chain import Membrane
from spikeprop.engines.filters import as_tensor
from spikeprop.engines.products import Backward
from spikeprop.engines.rows import Rows, as_events
from spikeprop.engines.scans import Scan

__all__ = ["TritonScan"]


class TritonScan(Scan):
    """Leaky neurons in Triton.

    Parameters
    ----------
    membrane : Membrane
        The neurons.
    buffers : Buffers
        Working memory.
    weight : Tensor
        The synapse's: its device and type are those of the scan.
    """

    def __init__(
        self,
        block: Block,
        n_rows: int,
        n_recordings: int,
        filters: int,
        free: bool,
        membrane: Membrane,
        buffers: Buffers,
        weight: Tensor,
    ) -> None:
        super().__init__(block, n_rows, n_recordings, filters)
        self._buffers, self._like = buffers, weight
        self.beta, self.reset = membrane.beta, membrane.reset
        self._mem = self._take("mem", (n_rows, self.size)).zero_()
        # A neuron that never resets has its free potential for a voltage.
        apart = free and membrane.reset != "none"
        self._free = self._take("free", (n_rows if apart else 0, self.size)).zero_()
        self._evidence = self._take("evidence", (filters, n_rows, self.size)).zero_()
        self._threshold = self._take("threshold", (self.size,))
        self._threshold.copy_(membrane.threshold)
        name = f"counts.{block.index}"
        self._counts = buffers.take(name, (self.size,), torch.int32, weight.device).zero_()

    def begin(self, currents: Tensor, weights: Any, here: Tensor | None = None) -> Tensor:
        """Take a window's currents; with one filter the evidence takes their place.

        ``here`` are the weights on the device, if they are there already.
        """
        self._x = currents
        self._weights = as_tensor(weights, currents) if here is None else here
        self._passes = [bool(first != 1.0) for first in weights[:, 0]]
        steps = len(currents)
        self._spikes = self._take("spikes", (0 if self.unread else steps, self.n_rows, self.size))
        self._out = currents
        if self.filters > 1:
            shape = (steps, self.n_rows, self.filters * self.size)
            self._out = self._take("features", shape)
        return self._out

    def _take(self, name: str, shape: tuple[int, ...]) -> Tensor:
        like, name = self._like, f"{name}.{self.block.index}"
        return self._buffers.take(name, shape, like.dtype, like.device)

    def forward(self, first: int, last: int) -> None:
        """Run some steps of the window."""
        from spikeprop.kernels import triton_neuron

        triton_neuron.integrate(
            self._x, self._mem, self._free, self._threshold, self.beta,
            self.reset, self._weights, self._evidence, self._out, self._spikes,
            self._counts, self.n_recordings, first, last,
        )  # fmt: skip

    def reverse(self, delta: Tensor, n_rows: int, tile: int) -> Backward:
        """Run modulators backwards."""
        from spikeprop.kernels import triton_neuron

        steps = len(delta)
        like = self._like
        g = self._buffers.take("g", (steps, n_rows, self.size), like.dtype, like.device)
        q = self._buffers.take("q", (self.filters, n_rows, self.size), like.dtype, like.device)
        p = self._buffers.take("p", (n_rows, self.size), like.dtype, like.device)
        triton_neuron.reverse(delta, self._weights, self.beta, q, p, g)
        return Backward(g.view(1, steps * n_rows, self.size), q, p, self._passes)

    def rows(self) -> Rows:
        """List the spikes (on the CPU: event-driven products run there)."""
        events = as_events(self._spikes.cpu())
        return Rows.of_window(events, 0, len(self._spikes), self._spikes.dtype)

    def dense(self) -> Tensor:
        """Return the spikes."""
        return self._spikes.view(*self._spikes.shape[:2], *self.block.features)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All that :meth:`forward` reads and writes, besides currents and weights."""
        held = (self._mem, self._free, self._evidence, self._threshold, self._counts)
        return (*held, self._spikes, self._out)

    @property
    def spike_sum(self) -> Tensor:
        """Spikes of the recordings so far."""
        return self._counts.view(self.block.features).clone()
