"""Fixed-point neurons and integer-only inference: what a chip computes, bit by bit.

With weights on a grid, ``W = s q`` (``q`` small integers, one ``s`` a layer), everything in a layer
is an integer multiple of a unit ``u = s / 2**f``: currents ``I = u n_I``, thresholds ``u n_th``,
the voltage ``u n``. A LIF step is then

    n_t   = floor(n_{t-1} m / 2**k) + n_I,t - R_t n_th           # "subtract"
    n_t   = floor((1 - R_t) n_{t-1} m / 2**k) + n_I,t            # "zero"
    spk_t = n_t > n_th,    R_t = 1[n_{t-1} > n_th]

with the decay ``beta`` as ``m / 2**k``: one multiplication and one arithmetic shift. The same
numbers twice: :class:`FixedPointLIF` is the simulation, a drop-in for ``LIF`` that carries the
integers as multiples of ``u`` in floating point (and can go on learning: rounding counts as an
input); :class:`IntegerNetwork` has integers alone, from the input events to the spikes.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from spikeprop.neurons import LIF, Delay, MemState
from spikeprop.neurons.base import StepFunction

__all__ = ["FixedPointLIF", "IntegerNetwork"]


def _fixed_step(
    current: Tensor,
    state: MemState,
    *,
    unit: float,
    multiplier: int,
    shift: int,
    threshold: Tensor,
    zero: bool,
) -> tuple[Tensor, MemState]:
    # In float64, where integers are exact far beyond what a neuron reaches.
    n, n_current = (torch.round(value.double() / unit) for value in (state.mem, current))
    fired = (n > threshold).double()
    if zero:
        n = torch.floor(n * (1 - fired) * multiplier / 2**shift) + n_current
    else:
        n = torch.floor(n * multiplier / 2**shift) + n_current - fired * threshold
    spk = (n > threshold).to(current.dtype)
    return spk, MemState((n * unit).to(current.dtype))


class FixedPointLIF(LIF):
    """A LIF on a grid of voltages; the difference equation stands at the top of this file.

    Parameters
    ----------
    lif : LIF
        The neuron to take over: decay, thresholds (rounded to the grid), reset and hidden state.
    unit : float
        What one step of the grid is worth, above 0.
    shift : int
        Fractional bits k of the decay.

    Raises
    ------
    ValueError
        If the neuron has a decay per neuron, or options that have no fixed-point form.
    """

    def __init__(self, lif: LIF, unit: float, shift: int = 10) -> None:
        beta = lif.decay().detach()
        plain = not (lif.inhibition or lif.state_quant) and bool(
            (lif.graded_spikes_factor == 1).all()
        )
        if beta.numel() != 1 or not plain or not lif.reset_delay or lif.reset_mechanism == "none":
            raise ValueError(
                "a fixed-point neuron needs one beta a layer, a delayed reset 'subtract' or "
                "'zero', and no inhibition, state_quant or graded spikes"
            )
        if not unit > 0:
            raise ValueError(f"unit has to be above 0, got {unit}")
        multiplier = round(float(beta) * 2**shift)
        super().__init__(
            multiplier / 2**shift,
            torch.round(lif.threshold.detach().double() / unit).clamp_min(1).mul(unit).to(beta),
            reset_mechanism=lif.reset_mechanism,
            init_hidden=lif.init_hidden,
            output=lif.output,
        )
        self.unit, self.multiplier, self.shift = unit, multiplier, shift

    @property
    def levels(self) -> Tensor:
        """The thresholds as integers, scalar or per neuron."""
        return torch.round(self.threshold.detach().double() / self.unit)

    def step_function(self, current: Tensor) -> StepFunction:
        """Bind the parameters to the step; see ``SpikingNeuron.step_function``."""
        return partial(
            _fixed_step,
            unit=self.unit,
            multiplier=self.multiplier,
            shift=self.shift,
            threshold=self.levels,
            zero=self.reset_mechanism == "zero",
        )


class IntegerNetwork:
    """Integer-only inference of a chain of ``Linear`` or ``Conv2d`` and :class:`FixedPointLIF`.

    Weights are int8, everything else int32; no floating-point number takes part.

    Parameters
    ----------
    net : nn.Sequential
        The simulation: quantised synapses, each directly before its fixed-point neuron; flattening,
        max pooling and delays may stand before a synapse.

    Raises
    ------
    ValueError
        If a module has no integer form, or a weight or bias is not on its layer's grid.
    """

    def __init__(self, net: nn.Sequential) -> None:
        self._steps: list[tuple[str, Any]] = []
        modules = list(net)
        for place, module in enumerate(modules):
            name = str(place)
            if isinstance(module, FixedPointLIF):
                self._steps.append(("neuron", _neuron(module)))
            elif isinstance(module, (nn.Linear, nn.Conv2d)):
                behind = modules[place + 1] if place + 1 < len(modules) else None
                if not isinstance(behind, FixedPointLIF):
                    raise ValueError(f"synapse '{name}' does not stand before a fixed-point neuron")
                self._steps.append(("synapse", _synapse(name, module, behind.unit)))
            elif isinstance(module, Delay):
                self._steps.append(("delay", module))
            elif isinstance(module, (nn.Flatten, nn.MaxPool2d)):
                self._steps.append(("shape", module))
            elif not isinstance(module, (nn.Identity, nn.Dropout)):
                raise ValueError(f"module '{name}' ({type(module).__name__}) has no integer form")

    def run(self, x: Tensor) -> list[Tensor]:
        """Return the spikes of every layer for whole sequences.

        Parameters
        ----------
        x : Tensor
            Event counts ``(T, B, *features)`` of an integer type.

        Returns
        -------
        list of Tensor
            ``(T, B, *features)`` each, int32.

        Raises
        ------
        TypeError
            If ``x`` holds no integers.
        """
        if x.is_floating_point() or x.is_complex():
            raise TypeError(f"x has to hold integer counts, got {x.dtype}")
        voltages: dict[int, Tensor] = {}
        lines: dict[int, Tensor] = {}
        spikes: dict[int, list[Tensor]] = {}
        for x_t in x.to(torch.int32):
            value = x_t
            for place, (kind, part) in enumerate(self._steps):
                if kind == "shape":
                    value = _reshaped(part, value)
                elif kind == "synapse":
                    value = part(value)
                elif kind == "delay":
                    line = lines.get(place, value.new_zeros(part.length, *value.shape))
                    value, lines[place] = part.shift(value, line)
                else:
                    before = voltages.get(place, torch.zeros_like(value))
                    value, voltages[place] = part(value, before)
                    spikes.setdefault(place, []).append(value)
        return [torch.stack(seen) for seen in spikes.values()]


def _reshaped(module: nn.Module, value: Tensor) -> Tensor:
    if isinstance(module, nn.MaxPool2d):  # of spikes: exact in any type
        pooled: Tensor = module(value.to(torch.float32)).to(torch.int32)
        return pooled
    flat: Tensor = module(value)
    return flat


def _neuron(lif: FixedPointLIF) -> Any:
    levels = lif.levels.to(torch.int32)
    multiplier, shift, zero = lif.multiplier, lif.shift, lif.reset_mechanism == "zero"

    def step(current: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
        fired = (n > levels).to(torch.int32)
        if zero:
            n = ((n * (1 - fired) * multiplier) >> shift) + current
        else:
            n = ((n * multiplier) >> shift) + current - fired * levels
        return (n > levels).to(torch.int32), n

    return step


def _synapse(name: str, module: nn.Linear | nn.Conv2d, unit: float) -> Any:
    fraction = int(getattr(module, "fraction_bits", 0))
    grid = unit * 2**fraction
    q = _on_grid(name, "weight", module.weight, grid)
    if q.abs().max() > 127:
        raise ValueError(f"synapse '{name}' has weights beyond 8 bits")
    weight = q.to(torch.int8)
    bias = None
    if module.bias is not None:
        bias = _on_grid(name, "bias", module.bias, unit).to(torch.int32)

    def current(x: Tensor) -> Tensor:
        if isinstance(module, nn.Linear):
            total = x @ weight.to(torch.int32).T
        else:
            total = _conv(module, x, weight.to(torch.int32))
        total = total << fraction
        if bias is not None:
            total = total + bias.reshape(1, -1, *[1] * (total.dim() - 2))
        return total

    return current


def _conv(module: nn.Conv2d, x: Tensor, weight: Tensor) -> Tensor:
    """Convolve integers: torch's convolutions know floating point alone."""
    if module.groups != 1 or module.padding_mode != "zeros" or isinstance(module.padding, str):
        raise ValueError("integer convolutions have one group and padding with zeros, in numbers")
    (ph, pw), (sh, sw), (dh, dw) = module.padding, module.stride, module.dilation
    kh, kw = module.kernel_size
    padded = torch.zeros(
        (*x.shape[:2], x.shape[2] + 2 * ph, x.shape[3] + 2 * pw), dtype=x.dtype, device=x.device
    )
    padded[:, :, ph : ph + x.shape[2], pw : pw + x.shape[3]] = x
    height = (padded.shape[2] - dh * (kh - 1) - 1) // sh + 1
    width = (padded.shape[3] - dw * (kw - 1) - 1) // sw + 1
    total = torch.zeros((len(x), len(weight), height, width), dtype=x.dtype, device=x.device)
    for i in range(kh):
        for j in range(kw):
            rows = slice(i * dh, i * dh + sh * (height - 1) + 1, sh)
            columns = slice(j * dw, j * dw + sw * (width - 1) + 1, sw)
            part = padded[:, :, rows, columns].flatten(2).transpose(1, 2)
            moved = part @ weight[:, :, i, j].T
            total += moved.transpose(1, 2).reshape(total.shape)
    return total


def _on_grid(name: str, what: str, value: Tensor, grid: float) -> Tensor:
    exact = value.detach().double() / grid
    rounded = torch.round(exact)
    if (exact - rounded).abs().max() > 1e-3:
        raise ValueError(f"synapse '{name}': its {what} is not on the grid of its layer")
    return rounded
