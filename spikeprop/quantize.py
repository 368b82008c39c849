"""Weights on few bits: rounded, learned on, and put to work in fixed point.

Per layer and symmetric, ``W = s q`` with integers ``|q| <= 2**(bits - 1) - 1``. The scale ``s`` is
that of the least squared error among clipped ranges (a single outlier would otherwise cost all
other weights their resolution). Biases and thresholds lie on the layer's finer grid ``s / 2**f``.

Learning goes on with the network's own weights on the grid, by the same forward rule
(:class:`OnGrid` around any optimiser): with a master copy in full precision of which the network
holds the rounded weights (``rounding="nearest"``), or without one, each update rounded up or down
at random with its expectation kept (``"stochastic"``; Gupta et al., "Deep learning with limited
numerical precision", ICML 2015).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from spikeprop import checks
from spikeprop.blocks import Block
from spikeprop.fixed_point import FixedPointLIF
from spikeprop.learner import ForwardLearner
from spikeprop.neurons import LIF
from spikeprop.parametrizations import bake

__all__ = ["FRACTION_BITS", "OnGrid", "fixed_point", "quantization_scale", "quantized"]

#: Bits that currents, biases, thresholds and voltages have beyond the weights' grid.
FRACTION_BITS = 4
ROUNDINGS = ("nearest", "stochastic")
_CLIPS = 40


def quantization_scale(weight: Tensor, bits: int) -> float:
    """Return the step of the symmetric grid that rounds ``weight`` with the least squared error.

    Parameters
    ----------
    weight : Tensor
        Any shape.
    bits : int
        2 to 8.

    Raises
    ------
    ValueError
        If ``bits`` is outside its range, or all weights are zero.
    """
    if bits not in range(2, 9):
        raise ValueError(f"bits has to lie in 2 .. 8, got {bits}")
    values = weight.detach().double().flatten()
    largest, top = float(values.abs().max()), 2 ** (bits - 1) - 1
    if largest == 0:
        raise ValueError("weights that are all zero have no scale")
    scales: list[float] = [largest * (clip + 1) / _CLIPS / top for clip in range(_CLIPS)]
    errors = [float((values - _rounded(values, s, bits)).square().sum()) for s in scales]
    return scales[errors.index(min(errors))]


def _rounded(values: Tensor, scale: float, bits: int) -> Tensor:
    top = 2 ** (bits - 1) - 1
    return torch.round(values / scale).clamp_(-top, top) * scale


class OnGrid(torch.optim.Optimizer):
    """Lets another optimiser step, and keeps what it steps on on a grid.

    Parameters
    ----------
    parameters : list of nn.Parameter
        A weight first, and its bias; the scale is the weight's.
    inner : callable
        ``parameters -> torch.optim.Optimizer``.
    bits : int
        Bits of the weights, 2 to 8; the bias has ``FRACTION_BITS`` more.
    rounding : {"nearest", "stochastic"}
        With a master copy in full precision, or without.
    seed : int
        Seed of the stochastic rounding.
    """

    def __init__(
        self,
        parameters: list[nn.Parameter],
        inner: Callable[[list[nn.Parameter]], torch.optim.Optimizer],
        bits: int,
        *,
        rounding: str = "nearest",
        seed: int = 0,
    ) -> None:
        checks.one_of("rounding", rounding, ROUNDINGS)
        super().__init__(parameters, {})
        self.inner, self.bits, self.rounding = inner(parameters), bits, rounding
        # One list of groups: a scheduler that is given this optimiser moves the inner one's rates.
        self.param_groups = self.inner.param_groups
        self.scale = quantization_scale(parameters[0], bits)
        self._generator = torch.Generator().manual_seed(seed)
        self._weights = {id(p) for p in parameters if p.dim() > 1}
        self._parameters = parameters
        self._masters = [p.detach().clone() for p in parameters]
        self._round(stochastic=False)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Make the inner optimiser's step, and round."""
        if self.rounding == "nearest":
            for parameter, master in zip(self._parameters, self._masters, strict=True):
                parameter.copy_(master)
        self.inner.step()
        self._round(stochastic=self.rounding == "stochastic")

    @torch.no_grad()
    def _round(self, *, stochastic: bool) -> None:
        for parameter, master in zip(self._parameters, self._masters, strict=True):
            master.copy_(parameter)
            weight = id(parameter) in self._weights
            grid = self.scale if weight else self.scale / 2**FRACTION_BITS
            levels = parameter / grid
            if stochastic:
                drawn = torch.rand(levels.shape, generator=self._generator, dtype=levels.dtype)
                levels += drawn.to(levels.device)
                levels = torch.floor(levels)
            else:
                levels = torch.round(levels)
            if weight:
                top = 2 ** (self.bits - 1) - 1
                levels.clamp_(-top, top)
            parameter.copy_(levels * grid)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients."""
        self.inner.zero_grad(set_to_none=set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """Return the inner state, the master copies and the scale."""
        return {
            "inner": self.inner.state_dict(),
            "masters": list(self._masters),
            "scale": self.scale,
            "random": self._generator.get_state(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up where :meth:`state_dict` was left."""
        self.inner.load_state_dict(copy.deepcopy(state_dict["inner"]))
        self.param_groups = self.inner.param_groups
        for master, saved in zip(self._masters, state_dict["masters"], strict=True):
            master.copy_(saved)
        self.scale = float(state_dict["scale"])
        self._generator.set_state(state_dict["random"].cpu())


def quantized(
    learner: ForwardLearner,
    bits: int,
    *,
    optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer] | None = None,
    rounding: str = "nearest",
) -> ForwardLearner:
    """Return a learner of a quantised copy of a learner's network, ready to go on learning.

    Parameters
    ----------
    learner : ForwardLearner
        A trained learner; it is left as it is.
    bits : int
        Bits of the weights, 2 to 8.
    optimizer : callable, optional
        ``parameters -> torch.optim.Optimizer`` of the fine-tuning; Adam at 1e-4 if not given.
    rounding : {"nearest", "stochastic"}
        As :class:`OnGrid`.

    Returns
    -------
    ForwardLearner
        With fixed-point neurons and the class signals of ``learner``. Homeostasis goes on: the
        neurons round their thresholds wherever they use them.

    Raises
    ------
    RuntimeError
        If the learner has not seen data.
    ValueError
        If a block is not one synapse before a LIF, or an argument is outside its range.
    """
    net = copy.deepcopy(learner.net)
    bake(net)
    units: dict[str, float] = {}
    for block in learner.blocks:
        _check(block)
        synapse: Any = net.get_submodule(block.name)
        units[block.neuron_name] = quantization_scale(synapse.weight, bits) / 2**FRACTION_BITS
    for block in learner.blocks:
        parent, _, own = block.neuron_name.rpartition(".")
        lif: Any = net.get_submodule(block.neuron_name)
        setattr(net.get_submodule(parent), own, FixedPointLIF(lif, units[block.neuron_name]))
        net.get_submodule(block.name).fraction_bits = FRACTION_BITS  # type: ignore[assignment]
        net.get_submodule(block.name).requires_grad_(True)
    inner = optimizer or (lambda parameters: torch.optim.Adam(parameters, lr=1e-4))
    tuned = ForwardLearner(
        net,
        learner.rule,
        optimizer=lambda p: OnGrid(p, inner, bits, rounding=rounding, seed=learner.seed),
        update_every=learner.update_every,
        time=learner.time,
        seed=learner.seed,
    )
    state = learner.state_dict()
    tuned.bind(state["input_shape"], state["time_steps"])
    for name, value in state["signals"].items():
        tuned.bound().tensors[name] = value.clone()
    return tuned


def _check(block: Block) -> None:
    if not isinstance(block.neuron, LIF) or len(block.sites) > 1 or block.chain:
        raise ValueError(
            f"block '{block.name}' cannot be quantised: it has to be one Linear or Conv2d directly "
            f"before a LIF (fold batch norms, and move pooling behind the neuron)"
        )


def fixed_point(learner: ForwardLearner) -> nn.Module:
    """Return a copy of the network of :func:`quantized`, for :class:`.fixed_point.IntegerNetwork`.

    Raises
    ------
    TypeError
        If the network is no ``nn.Sequential``.
    """
    if not isinstance(learner.net, nn.Sequential):
        raise TypeError(
            f"integer inference runs an nn.Sequential, got {type(learner.net).__name__}"
        )
    return copy.deepcopy(learner.net).eval()
