"""The eligibility filter: how a neuron's voltage depends on the currents that came in so far.

With the reset and whatever else a spike triggers held as inputs, a neuron with linear
sub-threshold dynamics is the filter

    z_t = A z_{t-1} + B current_t,    mem_t = C z_t

with n internal variables. As the current is linear in the synapse's input, ``current_t = W x_t``,
the very same filter run on ``x_t`` gives the derivative of the voltage,

    q_t = A q_{t-1} + B x_t,    trace_t = C q_t = d mem_t / d W        (neuron by neuron).

For nonlinear dynamics ``z_t = f(z_{t-1}, current_t)`` the matrices are the local Jacobians
``A_t = df/dz``, ``B_t = df/dcurrent`` at each step, one set a row and neuron: derivatives that
reach a neuron through its own state only (the truncation of e-prop: Bellec et al., "A solution to
the learning dilemma for recurrent networks of spiking neurons", Nat. Commun. 11, 2020).

Where the matrices differ from neuron to neuron the trace does not factor into one input-sized
tensor a row: it is one value a synapse, ``F_out`` times the memory and arithmetic. What still
factors is the reverse filter over a chunk of steps,

    mu_t = A_{t+1}^T mu_{t+1} + C^T delta_t,    grad = sum_t (B_t^T mu_t) (x) x_t,

exact within the chunk; between chunks the carried trace is kept per synapse, or cut.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor


class LinearFilter(NamedTuple):
    """``z_t = A z_{t-1} + B current_t``, ``mem_t = C z_t`` with ``n`` internal variables.

    Behind the leading dimensions stand those of the parameters: none for one filter that serves a
    whole layer, ``(*features)`` for a filter a neuron, ``(rows, *features)`` for local Jacobians.

    Attributes
    ----------
    A : torch.Tensor
        ``(n, n, *per)``, from the variables before the step (second index) to those after it.
    B : torch.Tensor
        ``(n, *per)``, from the current.
    C : torch.Tensor
        ``(n, *per)``, to the voltage.
    """

    A: Tensor
    B: Tensor
    C: Tensor

    @property
    def order(self) -> int:
        """Number of internal variables, n."""
        return int(self.B.shape[0])

    @property
    def shared(self) -> bool:
        """Whether one filter serves all neurons, so that the trace factors."""
        n = self.order
        return self.A.numel() == n * n and self.B.numel() == n and self.C.numel() == n


def make_filter(A: list[list[Any]], B: list[Any], C: list[Any]) -> LinearFilter:
    """Stack entries, numbers or tensors that broadcast with each other, into a filter.

    Parameters
    ----------
    A, B, C : list
        The matrices' entries, at least one of which is a tensor.

    Returns
    -------
    LinearFilter
        Differentiable in the entries.
    """
    entries = [*(entry for row in A for entry in row), *B, *C]
    like = next(entry for entry in entries if isinstance(entry, Tensor))
    whole = [torch.as_tensor(entry, dtype=like.dtype, device=like.device) for entry in entries]
    shape: torch.Size = torch.broadcast_shapes(  # type: ignore[no-untyped-call]
        *(entry.shape for entry in whole)
    )
    n = len(B)
    stacked = torch.stack([entry.expand(shape) for entry in whole])
    per = stacked.shape[1:]
    return LinearFilter(
        stacked[: n * n].reshape(n, n, *per), stacked[n * n : n * n + n], stacked[n * n + n :]
    )


def advance(filter_: LinearFilter, q: Tensor | None, x: Tensor) -> Tensor:
    """Advance a factored trace by a step: ``q_t = A q_{t-1} + B x_t``.

    Parameters
    ----------
    filter_ : LinearFilter
        A filter that all neurons share.
    q : torch.Tensor or None
        The internal variables of the trace before the step, ``(n, *x.shape)``; None at the start of
        a sequence.
    x : torch.Tensor
        The synapse's input, ``(rows, *input features)``.

    Returns
    -------
    torch.Tensor
        ``(n, *x.shape)``; ``read`` makes the trace of it.

    Raises
    ------
    ValueError
        If the filter differs from neuron to neuron, or the shapes differ.
    """
    if not filter_.shared:
        raise ValueError(
            f"neurons with a filter of their own (A of shape {tuple(filter_.A.shape)}) have no "
            "common eligibility trace; use scalar parameters, or the reverse filter"
        )
    n = filter_.order
    dtype = x.dtype if x.is_floating_point() else filter_.B.dtype
    x = x.to(dtype)
    driven = filter_.B.reshape(n, *[1] * x.dim()).to(dtype) * x
    if q is None:
        return driven
    if q.shape != driven.shape:
        raise ValueError(
            f"q has shape {tuple(q.shape)}, but must have shape {tuple(driven.shape)} for an x of "
            f"shape {tuple(x.shape)}; a new sequence starts with q=None"
        )
    carried: Tensor = torch.tensordot(filter_.A.reshape(n, n).to(dtype), q, dims=1)
    return carried + driven


def read(filter_: LinearFilter, q: Tensor) -> Tensor:
    """Give the trace, ``C q``.

    Parameters
    ----------
    filter_ : LinearFilter
        The filter that ``q`` was advanced with.
    q : torch.Tensor
        ``(n, *x.shape)``.

    Returns
    -------
    torch.Tensor
        ``d mem / d W``, neuron by neuron, of ``x``'s shape.
    """
    trace: Tensor = torch.tensordot(filter_.C.reshape(filter_.order).to(q.dtype), q, dims=1)
    return trace


def local_jacobian(
    step: Callable[[Tensor, Any], tuple[Tensor, Any]], current: Tensor, state: Any
) -> LinearFilter:
    """Linearise one step of dynamics that act neuron by neuron, spikes held as inputs.

    One forward-mode derivative for each state variable and one for the current; no backward pass.

    Parameters
    ----------
    step : Callable
        ``(current, state) -> (spk, state)``; its spikes must have no derivative without a graph.
    current : torch.Tensor
        This step's current, ``(rows, *features)``.
    state : NamedTuple
        The state before the step, each of the current's shape.

    Returns
    -------
    LinearFilter
        ``A`` of shape ``(n, n, rows, *features)``, and ``B`` and ``C`` of ``(n, rows, *features)``.
    """
    kind, primals = type(state), (current.detach(), *(value.detach() for value in state))

    def flow(now: Tensor, *before: Tensor) -> tuple[Tensor, ...]:
        return tuple(step(now, kind(*before))[1])

    def column(k: int) -> Tensor:
        tangents = tuple(
            torch.ones_like(value) if i == k else torch.zeros_like(value)
            for i, value in enumerate(primals)
        )
        return torch.stack(torch.func.jvp(flow, primals, tangents)[1])

    with torch.no_grad(), warnings.catch_warnings():
        # torch itself uses it, when the first derivative of this kind is taken.
        warnings.filterwarnings("ignore", ".*torch.jit.script. is deprecated", DeprecationWarning)
        B = column(0)
        A = torch.stack([column(k) for k in range(1, len(primals))], dim=1)
        C = torch.zeros_like(B)
        C[kind._fields.index("mem")] = 1
    return LinearFilter(A, B, C)
