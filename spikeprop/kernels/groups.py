"""A group of recordings through one block in one call: synapse, neurons, loss and gradient.

What :mod:`.sparse` and :mod:`.recordings` do one after the other, without going back to Python
between them: there a call costs a tenth of a millisecond, in which another thread may want to run.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from spikeprop.kernels import kernel
from spikeprop.kernels.carried import go_on, sum_biases, sum_with_traces
from spikeprop.kernels.recordings import learn_with_signals, learn_with_vectors
from spikeprop.kernels.sparse import gather_from_tiles, sort_events, sum_products

Array = NDArray[Any]

__all__ = ["carry", "teach", "with_signals", "with_vectors"]


@kernel
def with_vectors(
    events: tuple[Array, Array, Array, Array],
    synapse: tuple[Array, Array],
    learning: Any,
    lists: tuple[Array, Array, Array],
    carried: Any,
    out: Array,
    fresh: bool,
) -> float:
    """Run recordings through a block whose class vectors are fixed.

    Parameters
    ----------
    events : tuple
        Starts, ends ``(R, L)``, channels and values of the block's input.
    synapse : tuple
        Tiles and bias of :func:`spikeprop.kernels.sparse.gather_from_tiles`.
    learning : tuple
        What :func:`spikeprop.kernels.recordings.learn_with_vectors` wants.
    lists : tuple
        Pointers, rows and values of :func:`spikeprop.kernels.sparse.sort_events`, which are filled.
    carried : tuple
        These recordings' traces and cotangents (:mod:`spikeprop.kernels.carried`), whether there
        are traces from before the window, whether they go on behind it, and, in tuples, how, and
        the bias's own traces and its sum.
    out : ndarray, shape (tiles, inputs, TILE or all outputs)
        Sum of gradients that these recordings' part is added to; empty: nothing is learned.
    fresh : bool
        Whatever is in ``out`` counts as zero.

    Returns
    -------
    float
        Their part of the mean loss, summed over time.
    """
    gather_from_tiles(*events, *synapse, learning[0], carried[5][1].size)
    loss = learn_with_vectors(*learning)
    teach(events, learning[0], lists, carried, out, fresh)
    return loss


@kernel
def with_signals(
    events: tuple[Array, Array, Array, Array],
    synapse: tuple[Array, Array],
    learning: Any,
    lists: tuple[Array, Array, Array],
    carried: Any,
    out: Array,
    fresh: bool,
) -> float:
    """Do as :func:`with_vectors` against class signals."""
    gather_from_tiles(*events, *synapse, learning[0], carried[5][1].size)
    loss = learn_with_signals(*learning)
    teach(events, learning[0], lists, carried, out, fresh)
    return loss


@kernel
def teach(
    events: tuple[Array, Array, Array, Array],
    x: Array,
    lists: tuple[Array, Array, Array],
    carried: Any,
    out: Array,
    fresh: bool,
) -> None:
    """Add rows' events times what came out of the reverse filter, ``x`` ``(R, L, N or more)``.

    And what their traces from before the window teach, which go on to its end.
    """
    if out.size == 0:
        return
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
