r"""A plain gradient step at every time step on a CUDA device, without touching every weight in it.

The identity of :mod:`spikeprop.kernels.deferred`, with dense rows: steps of size ``lr`` leave

    W_t = W_0 - lr sum_{s<t} sum_k delta_s^k (x) e_s^k

so that the currents of a window of K steps are one product with the weights at its beginning, less
what the window's earlier modulators make of inputs,

    x_t^r W_t^T = x_t^r W_0^T - sum_{s<t} sum_k kappa_{ts}^{rk} delta_s^k,
    kappa_{ts}^{rk} = lr x_t^r . e_s^k

The filtered traces ``e`` depend on inputs alone: those of all steps, and ``kappa``, are made before
the first. A step is then one small product, the neuron and the loss; the window's end one product
``W_K = W_0 - lr sum_s delta_s (x) e_s``. Weights are read and written once a window.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from spikeprop.engines.device_steps import DeviceBlock
from spikeprop.engines.filters import as_tensor
from spikeprop.engines.halves import add_product, halves_of, in_halves, pays
from spikeprop.engines.live import step_sizes

__all__ = ["PlainBlock"]


class PlainBlock(DeviceBlock):
    """A block of plain steps, or of none."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        module = self.product.module
        self._sizes = step_sizes(self.optimizer, module.weight, module.bias)
        self._halved = in_halves(self.product.link)

    def drive(self, x: Tensor, currents: Tensor) -> None:
        """Make all currents, by the weights at the window's beginning."""
        currents.copy_(self.product.currents(x, self.scan.n_rows))

    def begin(self, x: Tensor, weights: Any) -> tuple[Tensor, ...]:
        """Make ``kappa`` ``(L, rows, L, learning rows)``."""
        steps, rows, _ = x.shape
        self._traces, constants = self.filter_inputs(x, weights)
        self._constants = as_tensor(np.repeat(constants, self.rows), x)
        of_weight, of_bias = self._sizes
        found = self.take("kappa", (steps * rows, steps * self.rows))
        torch.mm(x.reshape(steps * rows, -1), self._traces.flatten(0, 1).t(), out=found)
        found *= of_weight
        if of_bias:
            found += of_bias * self._constants
        return (found.view(steps, rows, steps, self.rows),)

    def before(self, window: Any, step: int, currents: Tensor, evidence: Tensor) -> None:
        """Take from a step's currents what the window's steps before it make of its input."""
        if not window or not step:
            return
        kappa = window[0][step, :, :step].flatten(1)
        deltas = evidence[:step, : self.rows].reshape(-1, evidence.shape[2])
        currents[step, : len(kappa)].addmm_(kappa, deltas, alpha=-1.0)

    def after(self, window: Any, step: int, delta: Tensor) -> None:
        """Leave a step's modulators where they are until the window's end."""

    def end(self, deltas: Tensor) -> None:
        """Make all of a window's steps."""
        of_weight, of_bias = self._sizes
        rows = deltas[:, : self.rows].reshape(-1, deltas.shape[2])
        if of_weight:
            weight, traces = self.weight, self._traces.flatten(0, 1)
            if self._halved and pays(len(rows), weight):
                found = halves_of(rows.contiguous(), self.buffers, "halves.g")
                trace = halves_of(traces, self.buffers, "halves.e")
                add_product(weight, found.t, trace, -of_weight)
            else:
                weight.addmm_(rows.t(), traces, alpha=-of_weight)
        if of_bias:
            self.bias.detach().sub_(of_bias * (self._constants @ rows))
        self.product.clear_gradients()
