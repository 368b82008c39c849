r"""A step of Adam at every time step on a CUDA device.

Adam moves every weight at every step, so that nothing waits: a step is the product of its input
with the weights as they are, the neuron, the loss, and

    g_t = sum_k delta_t^k (x) e_t^k,    W_{t+1} = Adam(W_t, g_t)

in six launches or so, and all of a window's are played again at once (:mod:`.device_steps`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikeprop.engines.adam import DeviceAdam
from spikeprop.engines.device_steps import DeviceBlock
from spikeprop.engines.filters import as_tensor

__all__ = ["AdamBlock"]


class _Window(NamedTuple):
    """What the steps of a window read and write, besides the parameters and their moments."""

    x: Tensor
    traces: Tensor
    constants: Tensor
    sizes: Tensor
    gradient: Tensor
    bias_gradient: Tensor


class AdamBlock(DeviceBlock):
    """A block that Adam steps on; ``steps`` is the batch's number of time steps."""

    def __init__(self, *arguments: Any, adam: DeviceAdam, steps: int) -> None:
        super().__init__(*arguments)
        module = self.product.module
        self._of_weight = adam.several(module.weight, steps)
        self._of_bias = None
        if self.product.bias_gradient is not None:
            self._of_bias = adam.several(module.bias, steps)
        self._done = 0

    def drive(self, x: Tensor, currents: Tensor) -> None:
        """Leave all to :meth:`before`: every step has other weights."""

    def begin(self, x: Tensor, weights: Any) -> tuple[Tensor, ...]:
        """Filter the window's input; look up which of the optimiser's steps these are."""
        steps, place = len(x), self.take
        traces, constants = self.filter_inputs(x, weights)
        here = slice(self._done, self._done + steps)
        self._done += steps
        window = _Window(
            x=place("x", tuple(x.shape)).copy_(x),
            traces=traces,
            constants=place("constants", (steps, self.rows)),
            sizes=place("sizes", (2, steps, 2)),
            gradient=place("gradient", tuple(self.weight.shape)),
            bias_gradient=place("gradient of bias", self.weight.shape[:1]),
        )
        window.constants.copy_(as_tensor(constants[:, None], x).expand(-1, self.rows))
        window.sizes[0] = self._of_weight.sizes[here]
        if self._of_bias is not None:
            window.sizes[1] = self._of_bias.sizes[here]
        return window

    def before(self, window: _Window, step: int, currents: Tensor, evidence: Tensor) -> None:
        """Make a step's currents."""
        x = window.x[step]
        out = currents[step, : len(x)]
        if self.bias is None:
            torch.mm(x, self.weight.t(), out=out)
        else:
            torch.addmm(self.bias.detach(), x, self.weight.t(), out=out)

    def after(self, window: _Window, step: int, delta: Tensor) -> None:
        """Step on a time step's gradient."""
        from spikeprop.kernels import triton_adam

        weight, bias = self._of_weight.state, self._of_bias
        torch.mm(delta.t(), window.traces[step], out=window.gradient)
        triton_adam.step(self.weight, window.gradient, window.sizes[0, step], *weight)
        if bias is not None:
            torch.mv(delta.t(), window.constants[step], out=window.bias_gradient)
            own = self.bias.detach()
            triton_adam.step(own, window.bias_gradient, window.sizes[1, step], *bias.state)

    @property
    def held(self) -> tuple[Any, ...]:
        """Parameters, moments and the optimiser's numbers that no step changes."""
        of_bias = () if self._of_bias is None else self._of_bias.state
        return (self.weight, self.bias, *self._of_weight.state, *of_bias)

    def end(self, deltas: Tensor) -> None:
        """Leave no gradient behind."""
        self.product.clear_gradients()
