"""A convolution of events: each adds the kernel's taps at the few places that see it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spikeprop.engines.buffers import Buffers
from spikeprop.engines.chain import Link
from spikeprop.engines.products import Backward, RowsProduct
from spikeprop.engines.rows import Rows
from spikeprop.kernels import convolution, share, spans, worth
from spikeprop.kernels.convolution import Taps
from spikeprop.kernels.lanes import WIDE
from spikeprop.threads import kernel_threads

__all__ = ["EventConvolution"]


class EventConvolution(RowsProduct):
    """A ``Conv2d`` on sparse rows (:attr:`~spikeprop.engines.chain.Link.gathers`), compiled."""

    def __init__(
        self, link: Link, n_rows: int, filters: int, buffers: Buffers, *, learns: bool
    ) -> None:
        inputs = link.block.sites[0].inputs
        super().__init__(link, n_rows, filters, buffers, inputs.numel(), learns=learns)
        module, self._threads = self.module, kernel_threads()
        self.share_among(1)
        self._taps = _taps(
            (inputs[1], inputs[2]),
            module.kernel_size,
            module.stride,
            module.padding,
            module.out_channels,
            _filled_up(module.out_channels, module.weight.element_size()),
        )
        if learns:
            self.gradient = torch.empty_like(module.weight, requires_grad=False)
            # The sums of each thread, of the kernel's taps with the outputs side by side.
            shape = (self._threads, *module.weight.shape[1:], self._taps.wide)
            self._sums = buffers.take(f"gradient.{self.block.index}", shape, self.dtype)

    def currents(self, x: Rows, rows: int) -> Tensor:
        """Add the taps of each row's events."""
        steps, listed = x.starts.shape
        taps, module = self._taps, self.module
        size = self.block.features.numel()
        out = self._buffers.take(f"currents.{self.block.index}", (steps, rows, size), self.dtype)
        weights = module.weight.new_zeros((*module.weight.shape[1:], taps.wide))
        weights[..., : taps.outputs] = module.weight.permute(1, 2, 3, 0)
        bias = module.weight.new_zeros(taps.wide)
        if module.bias is not None:
            bias[: taps.outputs] = module.bias
        fixed = (*x, weights.flatten().numpy(), bias.numpy(), taps)
        parts = self._parts(listed, steps * size)
        calls = [(*fixed, room, out.numpy(), a, b) for room, a, b in parts]
        share(convolution.convolve, calls, self._threads)
        return out

    def _add_inputs(self, x: Rows, backward: Backward) -> None:
        steps, size = len(x.starts), self.block.features.numel()
        delta = backward.rows.view(steps, self.n_rows, size).numpy()
        parts = self._parts(self.n_rows, steps * size)
        calls = [
            (*x, delta, self._taps, room, self._sum_of(worker), a, b)
            for worker, (room, a, b) in enumerate(parts)
        ]
        share(convolution.sum_taps, calls, self._threads)

    def _add(self, delta: Tensor, k: int) -> None:
        traces, delta_rows = self._traces()[k].numpy(), delta.contiguous().numpy()
        fixed = (traces, delta_rows, self._taps)
        parts = self._parts(self.n_rows, traces.shape[1])
        calls = [
            (*fixed, room, self._sum_of(worker), a, b) for worker, (room, a, b) in enumerate(parts)
        ]
        share(convolution.correlate, calls, self._threads)

    def _add_bias(self, total: Tensor) -> None:
        assert self.bias_gradient is not None
        self.bias_gradient += total.view(self._taps.outputs, -1).sum(dim=1)

    def _fill_zeros(self) -> Tensor:
        assert self.gradient is not None, "nobody asks for gradients else"
        total = self._sums[sorted(self._filled)].sum(dim=0)
        self.gradient.copy_(total[..., : self._taps.outputs].permute(3, 0, 1, 2))
        return self.gradient

    def _sum_of(self, worker: int) -> Any:
        """Return a worker's sum for compiled code to add to, flat."""
        if worker not in self._filled:
            self._sums[worker].zero_()
            self._filled.add(worker)
        return self._sums[worker].view(-1).numpy()

    def _parts(self, rows: int, per_row: int) -> list[tuple[Any, int, int]]:
        """Cut rows for some threads: room for a row that is turned, and the range, of each."""
        taps = self._taps
        parts = spans(rows, self._threads, worth(per_row))
        shape = (len(parts), taps.places[0] * taps.places[1] * taps.wide)
        room = self._buffers.take("convolution", shape, self.dtype).numpy()
        return [(own, a, b) for own, (a, b) in zip(room, parts, strict=True)]


def _filled_up(outputs: int, bytes_each: int) -> int:
    lanes = WIDE // bytes_each
    return -(-outputs // lanes) * lanes


@lru_cache(maxsize=64)
def _taps(
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    outputs: int,
    wide: int,
) -> Taps:
    reach = [_reach(*numbers) for numbers in zip(size, kernel, stride, padding, strict=True)]
    (rows, down), (columns, across) = reach
    return Taps(rows, columns, kernel, stride, padding, (down, across), outputs, wide)


def _reach(size: int, kernel: int, stride: int, padding: int) -> tuple[NDArray[np.int64], int]:
    """Return which places see each row of the input, as :class:`Taps` has it, and all places."""
    places = (size + 2 * padding - kernel) // stride + 1
    at = np.arange(size) + padding
    last = np.minimum(at // stride, places - 1)
    first = np.maximum(-((kernel - 1 - at) // stride), 0)
    return np.stack([last, np.maximum(last - first + 1, 0), at - last * stride]), places
