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
        self._membrane, self._buffers = membrane, buffers
        self._mem = weight.new_zeros(n_rows, self.size)
        # A neuron that never resets has its free potential for a voltage.
        apart = free and membrane.reset != "none"
        self._free = weight.new_zeros(n_rows if apart else 0, self.size)
        self._evidence = weight.new_zeros(filters, n_rows, self.size)
        self._threshold = membrane.threshold.to(weight).contiguous()
        self._counts = torch.zeros(self.size, dtype=torch.int32, device=weight.device)

    def begin(self, currents: Tensor, weights: Any) -> Tensor:
        """Take a window's currents; with one filter the evidence takes their place."""
        self._x = currents
        self._weights = torch.as_tensor(weights).to(currents)
        self._passes = [bool(first != 1.0) for first in weights[:, 0]]
        steps = len(currents)
        name = f"spikes.{self.block.index}"
        self._spikes = self._take(name, (steps, self.n_rows, self.size))
        self._out = currents
        if self.filters > 1:
            shape = (steps, self.n_rows, self.filters * self.size)
            self._out = self._take(f"features.{self.block.index}", shape)
        return self._out

    def _take(self, name: str, shape: tuple[int, ...]) -> Tensor:
        return self._buffers.take(name, shape, self._x.dtype, self._x.device)

    def forward(self, first: int, last: int) -> None:
        """Run some steps of the window."""
        from spikeprop.kernels import triton_neuron

        triton_neuron.integrate(
            self._x, self._mem, self._free, self._threshold, self._membrane.beta,
            self._membrane.reset, self._weights, self._evidence, self._out, self._spikes,
            self._counts, self.n_recordings, first, last,
        )  # fmt: skip

    def reverse(self, delta: Tensor, n_rows: int, tile: int) -> Backward:
        """Run modulators backwards."""
        from spikeprop.kernels import triton_neuron

        steps = len(delta)
        g = self._take("g", (steps, n_rows, self.size))
        q = self._take("q", (self.filters, n_rows, self.size))
        p = self._take("p", (n_rows, self.size))
        triton_neuron.reverse(delta, self._weights, self._membrane.beta, q, p, g)
        return Backward(g.view(1, steps * n_rows, self.size), q, p, self._passes)

    def rows(self) -> Rows:
        """List the spikes (on the CPU: event-driven products run there)."""
        events = as_events(self._spikes.cpu())
        return Rows.of_window(events, 0, len(self._spikes), self._spikes.dtype)

    def dense(self) -> Tensor:
        """Return the spikes."""
        return self._spikes.view(*self._spikes.shape[:2], *self.block.features)

    @property
    def spike_sum(self) -> Tensor:
        """Spikes of the recordings so far."""
        return self._counts.view(self.block.features)
