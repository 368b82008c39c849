"""Scans: a block's neurons and evidence filters over a window of steps, and the filters reversed.

Two ways to the same numbers: compiled loops for leaky neurons that can be reduced to a few numbers,
and the neuron's own step function for the others.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spikeprop.blocks import Block
from spikeprop.engines.buffers import Buffers
from spikeprop.engines.chain import Membrane, decay_of
from spikeprop.engines.filters import as_tensor
from spikeprop.engines.pools import Pool
from spikeprop.engines.products import Backward
from spikeprop.engines.rows import Rows, as_events
from spikeprop.kernels import neuron, share, spans, worth
from spikeprop.potentials import FreePotential
from spikeprop.threads import kernel_threads

__all__ = ["CompiledScan", "Scan", "TorchScan"]


class Scan(ABC):
    """One block's neurons on the way along the time axis.

    Parameters
    ----------
    block : Block
        The block.
    n_rows, n_recordings, filters : int
        Rows R in all, recordings among them, evidence filters.
    """

    def __init__(self, block: Block, n_rows: int, n_recordings: int, filters: int) -> None:
        self.block, self.n_rows, self.n_recordings = block, n_rows, n_recordings
        self.filters = filters
        self.size = block.features.numel()
        #: Whether nobody asks for this window's spikes.
        self.unread = False

    @abstractmethod
    def begin(self, currents: Tensor, weights: Any) -> Tensor:
        """Take a window's currents ``(L, R, N)`` and filter weights ``(filters, L)``.

        Returns the place ``(L, R, filters * N)`` that :meth:`forward` fills with evidence; it may
        be the currents' own.
        """

    @abstractmethod
    def forward(self, first: int, last: int) -> None:
        """Run some steps of the window."""

    @abstractmethod
    def reverse(self, delta: Tensor, n_rows: int, tile: int) -> Backward:
        """Run the first ``n_rows`` rows of modulators ``(L, R, filters * N)`` backwards."""

    @abstractmethod
    def rows(self) -> Rows:
        """Return the window's spikes as sparse rows."""

    @abstractmethod
    def dense(self) -> Tensor:
        """Return the window's spikes ``(L, R, *features)``."""

    @property
    @abstractmethod
    def spike_sum(self) -> Tensor:
        """Spikes of the recordings so far ``(*features)``."""


class CompiledScan(Scan):
    """Leaky neurons in compiled loops.

    Parameters
    ----------
    free : bool
        Whether evidence is made of the free potential, or of the voltage.
    membrane : Membrane
        The neurons.
    buffers : Buffers
        Working memory.
    dtype : torch.dtype
        float32 or float64.
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
        dtype: torch.dtype,
    ) -> None:
        super().__init__(block, n_rows, n_recordings, filters)
        self.membrane, self._buffers, self._dtype = membrane, buffers, dtype
        # A neuron that never resets has its free potential for a voltage.
        voltages = 2 if free and membrane.reset != "none" else 1
        state = self._buffers.array(
            f"state.{block.index}", (voltages + filters, n_rows, self.size), dtype
        )
        state[:] = 0
        self.mem, self.evidence = state[0], state[voltages:]
        self.free_mem = state[1] if voltages == 2 else state[0, :0]
        self.threshold = membrane.threshold.contiguous().numpy()
        self.counts = np.zeros(self.size, dtype=np.int64)

    def _take(self, name: str, shape: tuple[int, ...], dtype: torch.dtype | None = None) -> Tensor:
        return self._buffers.take(f"{name}.{self.block.index}", shape, dtype or self._dtype)

    def begin(self, currents: Tensor, weights: Any) -> Tensor:
        """Take a window's currents; with one filter the evidence takes their place."""
        steps = len(currents)
        self._x, self._weights = currents.numpy(), weights
        self._spikes = self._take(
            "spikes", (steps, self.n_rows, self.size + 1), torch.int32
        ).numpy()
        self._starts = np.empty((steps, self.n_rows), dtype=np.int64)
        self._ends = np.empty((steps, self.n_rows), dtype=np.int64)
        if self.filters == 1:
            self._out = np.empty((0, 0, 0), dtype=self._x.dtype)
            return currents
        out = self._take("features", (steps, self.n_rows, self.filters * self.size))
        self._out = out.numpy()
        return out

    def forward(self, first: int, last: int) -> None:
        """Run some steps of the window."""
        threads = kernel_threads()
        parts = spans(self.n_rows, threads, worth(self.size * (last - first)))
        counts = [self.counts, *[np.zeros_like(self.counts) for _ in parts[1:]]]
        calls = [
            (
                self._x,
                self.mem,
                self.free_mem,
                self.threshold,
                self.membrane.beta,
                neuron.RESETS[self.membrane.reset],
                self._weights,
                self.evidence,
                self._out,
                self._spikes,
                self._starts,
                self._ends,
                count,
                self.n_recordings,
                first,
                last,
                a,
                b,
            )
            for (a, b), count in zip(parts, counts, strict=True)
        ]
        share(neuron.integrate, calls, threads)
        for count in counts[1:]:
            self.counts += count

    def reverse(self, delta: Tensor, n_rows: int, tile: int) -> Backward:
        """Run modulators backwards, into column tiles."""
        steps = len(delta)
        tile = min(tile or self.size, self.size)
        tiles = self._buffers.take(
            "tiles", (-(-self.size // tile), steps * n_rows, tile), self._dtype
        )
        q = self._buffers.take("q", (self.filters, n_rows, self.size), self._dtype)
        p = self._buffers.take("p", (n_rows, self.size), self._dtype)
        threads = kernel_threads()
        arrays = (delta.numpy(), self._weights, self.membrane.beta, q.numpy(), p.numpy())
        calls = [
            (*arrays, tiles.numpy(), a, b)
            for a, b in spans(n_rows, threads, worth(self.size * steps))
        ]
        share(neuron.reverse, calls, threads)
        return Backward(tiles, q, p, [bool(w != 1.0) for w in self._weights[:, 0]])

    def rows(self) -> Rows:
        """Return the spike lists."""
        nothing = np.empty(0, dtype=self._x.dtype)
        return Rows(self._starts, self._ends, self._spikes.reshape(-1), nothing)

    def dense(self) -> Tensor:
        """Return the spikes as a dense window."""
        return self._spread(None, self.block.features)

    def pooled(self, pool: Pool) -> Tensor:
        """Return the spikes pooled, which are never dense before."""
        return self._spread(pool.places, pool.features)

    def _spread(self, places: Any, features: torch.Size) -> Tensor:
        shape = (len(self._starts), self.n_rows, features.numel())
        out = self._take("dense", shape)
        self.rows().dense(shape[2], self.n_rows, self._dtype, places, out)
        return out.view(*shape[:2], *features)

    @property
    def spike_sum(self) -> Tensor:
        """Spikes of the recordings so far."""
        return torch.from_numpy(self.counts).view(self.block.features)


class TorchScan(Scan):
    """Any neuron with a step function, one step after the other.

    Parameters
    ----------
    free : FreePotential, optional
        What evidence is made of; None for the voltage.
    """

    def __init__(
        self,
        block: Block,
        n_rows: int,
        n_recordings: int,
        filters: int,
        free: FreePotential | None,
    ) -> None:
        super().__init__(block, n_rows, n_recordings, filters)
        self.free = free
        self._state: Any = None
        self._evidence: list[Tensor] = []
        self._sum: Tensor | None = None

    def begin(self, currents: Tensor, weights: Any) -> Tensor:
        """Take a window's currents."""
        self._x, self._weights = currents, weights
        self._spk = torch.empty_like(currents)
        self._features = currents.new_empty((*currents.shape[:2], self.filters * self.size))
        if self._state is None:
            module: Any = self.block.neuron
            self._state = module.initial_state(self._shaped(currents[0]))
            self._evidence = [torch.zeros_like(currents[0]) for _ in range(self.filters)]
        return self._features

    def forward(self, first: int, last: int) -> None:
        """Run some steps of the window."""
        module: Any = self.block.neuron
        with torch.no_grad():
            step = module.step_function(self._shaped(self._x[0]))
            for at in range(first, last):
                spk, self._state = step(self._shaped(self._x[at]), self._state)
                self._spk[at] = spk.reshape(self.n_rows, -1)
                if self.free is None:
                    u = self._state.mem.reshape(self.n_rows, -1)
                else:
                    u = self.free.advance(self._x[at])
                for k, value in enumerate(self._evidence):
                    value.lerp_(u, float(self._weights[k, at]))
                    self._features[at, :, k * self.size : (k + 1) * self.size] = value
        fired = (self._spk[first:last, : self.n_recordings] != 0).sum(dim=(0, 1))
        self._sum = fired if self._sum is None else self._sum + fired

    def _shaped(self, current: Tensor) -> Tensor:
        return current.view(self.n_rows, *self.block.features)

    def reverse(self, delta: Tensor, n_rows: int, tile: int) -> Backward:
        """Run modulators backwards."""
        beta = decay_of(self.block)
        parts = delta[:, :n_rows].reshape(len(delta), n_rows, self.filters, self.size)
        g = delta.new_empty((len(delta), n_rows, self.size))
        q, p = torch.zeros_like(parts[0]), torch.zeros_like(g[0])
        w = as_tensor(self._weights, delta)[:, :, None]
        for at in range(len(delta) - 1, -1, -1):
            q += parts[at]
            p.mul_(beta).add_((w[:, at] * q).sum(dim=1))
            g[at] = p
            q *= 1.0 - w[:, at]
        passes = [bool(first != 1.0) for first in self._weights[:, 0]]
        return Backward(
            g.view(1, -1, self.size), q.transpose(0, 1).contiguous(), p.mul_(beta), passes
        )

    def rows(self) -> Rows:
        """List the spikes."""
        events = as_events(self._spk)
        return Rows.of_window(events, 0, len(self._spk), self._spk.dtype)

    def dense(self) -> Tensor:
        """Return the spikes."""
        return self._spk.view(*self._spk.shape[:2], *self.block.features)

    @property
    def spike_sum(self) -> Tensor:
        """Spikes of the recordings so far."""
        assert self._sum is not None
        return self._sum.view(self.block.features)
