"""What rows teach a synapse: their events, and traces that they bring from before a window."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from spikeprop.kernels import kernel
from spikeprop.kernels.carried import go_on, sum_biases, sum_with_traces
from spikeprop.kernels.sparse import sort_events, sum_products

Array = NDArray[Any]

__all__ = ["carry", "teach"]


@kernel
def teach(
    events: tuple[Array, Array, Array, Array],
    x: Array,
    lists: tuple[Array, Array, Array],
    carried: Any,
    out: Array,
    fresh: bool,
) -> None:
    """Add rows' events times what came out of the reverse filter.

    And what their traces from before the window teach, which go on to its end.

    Parameters
    ----------
    events : tuple
        Starts, ends ``(R, L)``, channels and values of the synapse's input.
    x : ndarray, shape (R, L, N or more)
        What came out of the reverse filter.
    lists : tuple
        Pointers, rows and values of :func:`spikeprop.kernels.sparse.sort_events`, which are filled.
    carried : tuple
        The rows' traces and cotangents (:mod:`spikeprop.kernels.carried`), whether there are traces
        from before the window, whether they go on behind it, and, in tuples, how, and the bias's
        own traces and its sum.
    out : ndarray, shape (tiles, inputs, TILE or all outputs)
        Sum of gradients that is added to.
    fresh : bool
        Whatever is in ``out`` counts as zero.
    """
    traces, cotangents, started, _, _, bias = carried
    n, size = events[0].size, bias[1].size
    sort_rows(events, lists)
    if started:
        sum_with_traces(*lists, x.reshape(n, x.shape[2]), traces, cotangents, out, size, fresh)
        sum_biases(cotangents, *bias)
    else:
        sum_products(*lists, x.reshape(1, n, x.shape[2]), out, fresh, 0, size)
    _take_on(events[0].shape, lists, carried)


@kernel
def carry(
    events: tuple[Array, Array, Array, Array],
    x: Array,
    lists: tuple[Array, Array, Array],
    carried: Any,
    out: Array,
    fresh: bool,
) -> None:
    """Do as :func:`teach` for traces alone: somebody else adds what events teach."""
    traces, cotangents, started, _, _, bias = carried
    if fresh:
        out[:] = 0
    if started:
        lists[0][:] = 0
        table, size = x.reshape(-1, x.shape[2]), bias[1].size
        sum_with_traces(*lists, table, traces, cotangents, out, size, False)
        sum_biases(cotangents, *bias)
    sort_rows(events, lists)
    _take_on(events[0].shape, lists, carried)


@kernel
def _take_on(shape: tuple[int, int], lists: tuple[Array, Array, Array], carried: Any) -> None:
    """Take traces of rows ``(R, L)`` to the window's end, if they go on behind it."""
    traces, _, started, goes_on, how, _ = carried
    if goes_on:
        rows, steps = shape
        go_on(*lists, steps, traces, traces.shape[1] // rows, started, *how)


@kernel
def sort_rows(events: tuple[Array, Array, Array, Array], lists: tuple[Array, Array, Array]) -> None:
    """Sort the events of rows ``(R, L)`` by input."""
    starts, ends, channels, values = events
    n = starts.size
    sort_events(starts.reshape(1, n), ends.reshape(1, n), channels, values, n, *lists)
