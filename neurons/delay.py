"""Delays on synapses: what a neuron sends arrives some time steps later.

With a delay d in time steps, whole and not negative, for each input, or for each synapse:

    Delay          y_j(t) = x_j(t - d_j)                          # in front of any synapse
    DelayTaps      y(t)   = [x(t), x(t - 1), ..., x(t - n)]       # a synapse for each delay
    DelayedLinear  y_i(t) = sum_j W_ij x_j(t - d_ij) + b_i

where x is 0 before the first step. The first two are linear, act row by row and stand between a
neuron and a synapse, whose eligibility trace then is that of the delayed input: forward learning is
exact with them as it is without, and a ``Linear`` behind ``DelayTaps`` learns which delay counts.
The third is a synapse by itself, and learns exactly, too: the trace of a weight is that of the
input which its delay lets through, one trace an input and delay that occurs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import snntorch as snn
import torch
from torch import Tensor, nn

from spikeprop.neurons.arguments import as_length, as_parameter, check_floating
from spikeprop.neurons.reset import register

Delays = float | Sequence[float] | np.ndarray | Tensor


class DelayLine(nn.Module):
    """Base of the delays: a module that remembers its last inputs, ``(n, rows, *features)``.

    State has the rules of ``SpikingNeuron``: explicit (``y, line = delay(x, line)``) or kept inside
    with ``init_hidden=True`` (``y = delay(x)``), never in ``state_dict``, never copied, and cleared
    by ``spikeprop.neurons.reset`` and ``snntorch.utils.reset``.

    Parameters
    ----------
    length : int
        Number n of inputs to remember.
    init_hidden : bool
        Keep the line inside the module.
    """

    line: Tensor

    #: What snnTorch's loops over neurons take it for, so that they clear it.
    _reset_as = snn.Leaky

    def __init__(self, length: int, init_hidden: bool) -> None:
        super().__init__()
        self.length = length
        self.init_hidden = init_hidden
        self.__dict__["line"] = torch.zeros(0)
        register(self)

    def read(self, window: Tensor) -> Tensor:
        """Make the output of the last inputs.

        Parameters
        ----------
        window : torch.Tensor
            ``(n + 1, rows, *features)``, the newest first.
        """
        raise NotImplementedError

    def step(self, x: Tensor, line: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """One time step as a pure function.

        Parameters
        ----------
        x : torch.Tensor
            This step's input, ``(rows, *features)``.
        line : torch.Tensor, optional
            The last inputs, ``(n, rows, *features)``, the newest first; None for a fresh start.

        Returns
        -------
        y, line : torch.Tensor
            Output, and the inputs to remember.

        Raises
        ------
        TypeError
            If an argument is not a floating tensor.
        ValueError
            If shapes do not fit.
        """
        return self.shift(x, self._begun(x, line))

    def shift(self, x: Tensor, line: Tensor) -> tuple[Tensor, Tensor]:
        """Put an input of any type in front of the line; return output and line, as ``step``."""
        window = torch.cat((x[None], line))
        return self.read(window), window[: self.length]

    def _begun(self, x: Tensor, line: Tensor | None) -> Tensor:
        """Return the line that a step's input meets, checked."""
        check_floating("x", x)
        shape = (self.length, *x.shape)
        if line is None or line.shape == (0,):
            line = x.new_zeros(shape)
        if line.shape != shape:
            raise ValueError(
                f"the delay line has shape {tuple(line.shape)}, but must have shape {shape} for an "
                f"input of shape {tuple(x.shape)}; call spikeprop.neurons.reset(net) between "
                "sequences"
            )
        return line

    def forward(self, x: Tensor, line: Tensor | None = None) -> Any:
        """One time step; see ``step``.

        Parameters
        ----------
        x : torch.Tensor
            This step's input, ``(rows, *features)``.
        line : torch.Tensor, optional
            As in ``step``; not allowed with ``init_hidden=True``.

        Returns
        -------
        torch.Tensor or tuple of torch.Tensor
            The output, with ``init_hidden=False`` together with the line.

        Raises
        ------
        TypeError
            As in ``step``, or if ``line`` is given with ``init_hidden=True``.
        ValueError
            As in ``step``.
        """
        if not self.init_hidden:
            return self.step(x, line)
        if line is not None:
            raise TypeError("line must not be given to a delay with init_hidden=True")
        y, after = self.step(x, self.line)
        self.__dict__["line"] = after
        return y

    def unroll(self, x: Tensor, line: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Run a whole sequence along dimension 0, without touching the state inside.

        Parameters
        ----------
        x : torch.Tensor
            Inputs, ``(T, rows, *features)``.
        line : torch.Tensor, optional
            As in ``step``.

        Returns
        -------
        y : torch.Tensor
            Outputs, one a step.
        line : torch.Tensor
            The line after the last step.

        Raises
        ------
        TypeError
            As in ``step``.
        ValueError
            As in ``step``, or if there is no time step.
        """
        if x.dim() == 0 or x.shape[0] == 0:
            raise ValueError(f"x must have at least one time step, but has shape {tuple(x.shape)}")
        return self._unrolled(x, self._begun(x[0], line))

    def _unrolled(self, x: Tensor, line: Tensor) -> tuple[Tensor, Tensor]:
        """Do what ``unroll`` says, on what it has checked."""
        seen = []
        for row in x:
            y, line = self.step(row, line)
            seen.append(y)
        return torch.stack(seen), line

    @property
    def state(self) -> tuple[Tensor]:
        """The line inside, as the only state variable."""
        return (self.line,)

    def reset_mem(self) -> Tensor:
        """Forget the last inputs.

        Returns
        -------
        torch.Tensor
            An empty placeholder.
        """
        self.__dict__["line"] = self.line.new_zeros(0)
        return self.line

    def _apply(self, fn: Any, recurse: bool = True) -> DelayLine:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.__dict__["line"] = fn(self.line)
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "line": self.line.new_zeros(0)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        register(self)


class Delay(DelayLine):
    """Delays its inputs, all alike or each by its own time.

    Parameters
    ----------
    delay : float or array_like or torch.Tensor
        Delay in time steps, or in milliseconds with ``dt``; one, or one an input (any shape that
        broadcasts with the features).
    dt : float, optional
        Length of a time step in milliseconds.
    init_hidden : bool
        Keep the line inside the module, as a ``Sequential`` needs it.

    Raises
    ------
    TypeError
        If an argument is not numeric.
    ValueError
        If a delay is negative, or not a whole number of time steps.
    """

    delay: Tensor

    def __init__(
        self, delay: Delays, *, dt: float | None = None, init_hidden: bool = False
    ) -> None:
        steps = as_steps(delay, dt)
        super().__init__(int(steps.max()), init_hidden)
        self.register_buffer("delay", steps)

    def read(self, window: Tensor) -> Tensor:
        """Pick each input of its time; see ``DelayLine.read``."""
        if self.delay.dim() == 0:
            return window[-1]
        index = self.delay.expand(1, *window.shape[1:])
        return window.gather(0, index)[0]

    def _unrolled(self, x: Tensor, line: Tensor) -> tuple[Tensor, Tensor]:
        """Pick all steps' inputs at once."""
        seen = torch.cat((line.flip(0), x))  # the oldest first
        features = x.shape[2:]
        time = torch.arange(self.length, len(seen), device=x.device)
        index = time.view(-1, 1, *[1] * len(features)) - self.delay.to(x.device).expand(features)
        return seen.gather(0, index.expand(x.shape)), seen[len(x) :].flip(0)

    def extra_repr(self) -> str:
        """Show what distinguishes one layer from another."""
        return f"delays of up to {self.length} steps, init_hidden={self.init_hidden}"


class DelayTaps(DelayLine):
    """Gives its last inputs side by side, for a synapse that has a weight for each delay.

    Parameters
    ----------
    length : int
        Longest delay n in time steps. Inputs ``(rows, F)`` become ``(rows, (n + 1) F)``, the newest
        first.
    init_hidden : bool
        Keep the line inside the module, as a ``Sequential`` needs it.

    Raises
    ------
    TypeError
        If ``length`` is not a number.
    ValueError
        If it is negative, or not whole.
    """

    def __init__(self, length: int, *, init_hidden: bool = False) -> None:
        super().__init__(int(as_steps(length, None, "length")), init_hidden)

    def read(self, window: Tensor) -> Tensor:
        """Put the inputs side by side; see ``DelayLine.read``."""
        return torch.cat(tuple(window), dim=1)

    def extra_repr(self) -> str:
        """Show what distinguishes one layer from another."""
        return f"{self.length}, init_hidden={self.init_hidden}"


class DelayedLinear(DelayLine):
    """Fully connected synapse with a fixed delay of its own for each connection.

    Trained by forward learning (with ``init_hidden=True``) and by backpropagation through time. It
    costs a matrix product for each delay that occurs.

    Parameters
    ----------
    in_features, out_features : int
        Numbers of inputs and outputs.
    delay : array_like or torch.Tensor
        Delays in time steps, or in milliseconds with ``dt``; broadcasts to
        ``(out_features, in_features)``.
    bias : bool
        Whether there is a bias.
    dt : float, optional
        Length of a time step in milliseconds.
    init_hidden : bool
        Keep the line inside the module.

    Raises
    ------
    TypeError
        If an argument is not numeric.
    ValueError
        If a delay is negative or not a whole number of steps, or the shape does not fit.
    """

    delay: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        delay: Delays,
        bias: bool = True,
        *,
        dt: float | None = None,
        init_hidden: bool = False,
    ) -> None:
        steps = as_steps(delay, dt)
        try:
            steps = steps.expand(out_features, in_features).clone()
        except RuntimeError:
            raise ValueError(
                f"delay has shape {tuple(steps.shape)}, which does not broadcast to (out_features, "
                f"in_features), ({out_features}, {in_features})"
            ) from None
        super().__init__(int(steps.max()), init_hidden)
        synapse = nn.Linear(in_features, out_features, bias)
        self.weight, self.bias = synapse.weight, synapse.bias
        self.register_buffer("delay", steps)
        #: The delays that occur, ascending.
        self.taps: list[int] = sorted(set(steps.flatten().tolist()))

    def at(self, tap: int) -> Tensor:
        """Say which connections have a delay of ``tap`` steps, ``(out_features, in_features)``."""
        return self.delay == tap

    def seen(self, x: Tensor) -> Tensor:
        """Give what the weights are about to multiply, before a step with ``init_hidden=True``.

        Parameters
        ----------
        x : torch.Tensor
            Inputs of this step, ``(rows, *, in_features)``; rows may be missing behind.

        Returns
        -------
        torch.Tensor
            The inputs at each delay that occurs, ``(rows, taps, *, in_features)``.
        """
        line = self.line
        if line.shape == (0,):
            line = x.new_zeros((self.length, *x.shape))
        window = torch.cat((x[None], line[:, : len(x)].to(x.dtype)))
        return window[self.taps].movedim(0, 1)

    def read(self, window: Tensor) -> Tensor:
        """Sum over delays; see ``DelayLine.read``."""
        parts = [nn.functional.linear(window[tap], self.weight * self.at(tap)) for tap in self.taps]
        total = torch.stack(parts).sum(0)
        return total if self.bias is None else total + self.bias

    def extra_repr(self) -> str:
        """Show what distinguishes one layer from another."""
        out_features, in_features = self.weight.shape
        return f"{in_features}, {out_features}, delays of up to {self.length} steps"


def as_steps(delay: Delays, dt: float | None, name: str = "delay") -> Tensor:
    """Give delays as whole numbers of time steps.

    Parameters
    ----------
    delay : float or array_like or torch.Tensor
        In time steps, or in milliseconds with ``dt``.
    dt : float or None
        Length of a time step in milliseconds.
    name : str
        The argument's name, for messages.

    Returns
    -------
    torch.Tensor
        Of dtype int64.

    Raises
    ------
    TypeError
        If an argument is not numeric.
    ValueError
        If a delay is negative or not a whole number of steps, or ``dt`` is not positive.
    """
    as_parameter(name, delay)
    given = torch.as_tensor(delay, dtype=torch.float64)
    steps = given if dt is None else given / as_length("dt", dt)
    whole = steps.round()
    if not ((steps >= 0) & ((steps - whole).abs() < 1e-6)).all():
        unit = "time steps" if dt is None else f"time steps of {dt} ms"
        raise ValueError(
            f"{name} must be a whole number of {unit}, 0 or more, but is {given.tolist()}"
        )
    return whole.long()
