"""Products of a window's inputs with a synapse: currents forward, weight gradients backward.

With the reverse filter's ``g_t``, ``p`` and ``q_k`` (:mod:`spikeprop.kernels.neuron`) the gradient
of a window in which the weights stand still is

    sum_t delta_t (x) e_t = sum_t g_t (x) x_t + p (x) trace + sum_k q_k (x) e_k

with the trace and its filtered versions ``e_k`` from before the window (design notes, "Updating at
every time step"). A window of one step is one product with the ``e_k`` of that step instead.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from spikeprop.engines.buffers import Buffers
from spikeprop.engines.chain import Link, flatten_rows
from spikeprop.engines.delays import DenseDelay, SparseDelay, delays_of
from spikeprop.engines.filters import Advance, as_tensor
from spikeprop.engines.pools import Pool
from spikeprop.engines.rows import Rows
from spikeprop.kernels import share, spans, sparse, worth
from spikeprop.neurons import Delay
from spikeprop.synapses import Synapse, pull_back, synapse_of
from spikeprop.threads import kernel_threads

__all__ = ["Backward", "DenseProduct", "Product", "RowsProduct", "SparseProduct", "constant"]


#: Bytes from which weights are read in packed tiles. Rows a power of two apart share a few sets of
#: the level-2 cache, so that even 512 x 512 in float32, which would fit it, gathers twice as fast.
PACKED_FROM = 1 << 17
#: Events for each input from which packing pays.
PACKED_AFTER = 8


class Backward(NamedTuple):
    """What the reverse filter gives of a window.

    Attributes
    ----------
    tiles : Tensor
        ``g`` in column tiles ``(tiles, L * n_rows, width)``.
    q : Tensor
        ``(filters, n_rows, N)``.
    p : Tensor
        ``(n_rows, N)``.
    passes : list of bool
        Which filters let anything pass from before the window: the others have ``q`` of zero.
    """

    tiles: Tensor
    q: Tensor
    p: Tensor
    passes: list[bool]

    @property
    def rows(self) -> Tensor:
        """``g`` as one matrix ``(L * n_rows, N)``."""
        if len(self.tiles) == 1:
            return self.tiles[0]
        return torch.cat(list(self.tiles), dim=1)[:, : self.p.shape[1]]

    @property
    def total(self) -> Tensor:
        """``g`` summed over its rows, ``(N,)``."""
        return self.tiles.sum(dim=1).flatten()[: self.p.shape[1]]


class Sorted(NamedTuple):
    """Events sorted by input: ``rows[pointers[j]:pointers[j + 1]]`` are those of input ``j``.

    Attributes
    ----------
    pointers : ndarray of int64, shape (inputs + 1,)
        Where each input's begin.
    rows : ndarray of int32
        Row of each event.
    values : ndarray
        What each holds; empty where every one is 1.
    """

    pointers: Any
    rows: Any
    values: Any


class Product(ABC):
    """One synapse on the way along the time axis.

    Parameters
    ----------
    link : Link
        The block, and what stands before its synapse.
    n_rows : int
        Rows that the gradient comes from.
    filters : int
        Number of evidence filters.
    learns : bool
        Whether gradients will be asked for.
    """

    #: Whether it reads :class:`Rows` or dense windows.
    takes_rows: bool
    #: Columns a tile of the reverse filter's result should have; 0 for all.
    tile = 0

    def __init__(self, link: Link, n_rows: int, filters: int, *, learns: bool) -> None:
        self.link, self.block = link, link.block
        self.n_rows, self.filters = n_rows, filters
        module: Any = link.block.synapse
        self.module = module
        #: The bias's trace and filtered traces: it is a synapse from a constant 1.
        self.bias_carried = np.zeros(1 + filters)
        self.started = False
        self.gradient: Tensor | None = None
        #: Threads whose sums hold something; whatever is in the others' counts as zero.
        self._filled: set[int] = set()
        self.bias_gradient: Tensor | None = None
        self.learns = learns
        if learns and module.bias is not None and module.bias.requires_grad:
            self.bias_gradient = torch.zeros_like(module.bias, requires_grad=False)

    @abstractmethod
    def currents(self, x: Any, rows: int) -> Tensor:
        """Return the currents ``(L, rows, N)`` of a window; rows without input may be anything."""

    def arrive(self, x: Any, first_step: int) -> Any:
        """Return a window's input as the delays in front of the synapse let it arrive.

        Once for each window, before anything else is done with it.
        """
        return x

    def learn(self, x: Any, backward: Backward, advance: Advance, *, goes_on: bool) -> None:
        """Add a window's gradient, and carry the traces over it if another window follows."""
        self.learn_carried(backward)
        self._add_inputs(x, backward)
        if self.bias_gradient is not None:
            self.learn_bias(backward.total, backward)
        if goes_on:
            self._advance(x, advance)

    def learn_carried(self, backward: Backward) -> None:
        """Add the part of a window's gradient that comes from before the window."""
        if not self.started:
            return
        self._add(backward.p, 0)
        for k in range(self.filters):
            if backward.passes[k]:
                self._add(backward.q[k], k + 1)

    def learn_bias(self, total: Tensor, backward: Backward) -> None:
        """Add a window's gradient of the bias, with ``g`` summed over all rows ``(N,)``."""
        if self.started:
            total = total + float(self.bias_carried[0]) * backward.p.sum(dim=0)
            for k in range(self.filters):
                total += float(self.bias_carried[k + 1]) * backward.q[k].sum(dim=0)
        self._add_bias(total)

    def learn_step(self, x: Any, delta: Tensor, advance: Advance) -> None:
        """Add the gradient of a window of one step; ``delta`` is ``(R, filters * N)``."""
        self._advance(x, advance)
        for k, part in enumerate(delta[: self.n_rows].chunk(self.filters, dim=1)):
            self._add(part, k + 1)
            if self.bias_gradient is not None:
                self._add_bias(float(self.bias_carried[k + 1]) * part.sum(dim=0))

    def _advance(self, x: Any, advance: Advance) -> None:
        self._carry(x, advance)
        self.carry_bias(advance)

    def carry_bias(self, advance: Advance) -> None:
        """Take the bias's traces to the end of the window."""
        impulses = advance.from_input.sum(axis=1)
        self.bias_carried = (
            advance.from_self * self.bias_carried
            + advance.from_trace * self.bias_carried[0]
            + impulses
        )
        self.started = True

    @abstractmethod
    def _carry(self, x: Any, advance: Advance) -> None:
        """Take the carried traces to the end of the window."""

    @abstractmethod
    def _add(self, delta: Tensor, k: int) -> None:
        """Add ``delta (x) carried value k``; ``delta`` is ``(n_rows, N)``."""

    @abstractmethod
    def _add_inputs(self, x: Any, backward: Backward) -> None:
        """Add the part of the gradient that comes from the window's own inputs."""

    @abstractmethod
    def _add_bias(self, total: Tensor) -> None:
        """Add the gradient of the bias, summed over rows, ``(N,)``."""

    def take_gradients(self) -> None:
        """Hand the gradients to the parameters."""
        self.module.weight.grad = self._fill_zeros()
        if self.bias_gradient is not None:
            self.module.bias.grad = self.bias_gradient

    def clear_gradients(self) -> None:
        """Start the next sum."""
        self._filled.clear()
        if self.bias_gradient is not None:
            self.bias_gradient.zero_()

    def _fill_zeros(self) -> Tensor:
        """Return the gradient to add to."""
        assert self.learns, "nobody asks for gradients else"
        if self.gradient is None:
            self.gradient = torch.empty_like(self.module.weight, requires_grad=False)
        if 0 not in self._filled:
            self.gradient.zero_()
            self._filled.add(0)
        return self.gradient


class DenseProduct(Product):
    """Any known synapse, on dense windows ``(L, R, *inputs)``."""

    takes_rows = False

    def __init__(self, link: Link, n_rows: int, filters: int, *, learns: bool) -> None:
        super().__init__(link, n_rows, filters, learns=learns)
        rule = synapse_of(self.module)
        assert rule is not None, "find_blocks returns known synapses only"
        self._rule: Synapse = rule
        self._carried: list[Tensor] = []
        self._seen: Tensor | None = None
        #: What the first of the modules in front does, where the block before has done it already.
        self.pool: Pool | None = None
        self._delays = {module: DenseDelay(module) for module in link.delays}

    def arrive(self, x: Tensor, first_step: int) -> Tensor:
        """Run the window through the modules in front, as one batch where no delay is in it."""
        for module in self.link.before[self.pool is not None :]:
            x = self._delays[module].window(x) if isinstance(module, Delay) else _once(x, (module,))
        return x

    def currents(self, x: Tensor, rows: int) -> Tensor:
        """Run the window through the synapse as one batch."""
        self._seen = x
        made = self._run(x).flatten(2)
        if made.shape[1] == rows:
            return made.contiguous()
        out = made.new_empty((len(made), rows, made.shape[2]))
        out[:, : made.shape[1]] = made
        return out

    def _run(self, x: Tensor) -> Tensor:
        return _once(x, (self.module, *[module for module, _ in self.block.chain]))

    def _inputs(self) -> Tensor:
        assert self._seen is not None
        return self._seen[:, : self.n_rows]

    def _carry(self, x: Tensor, advance: Advance) -> None:
        inputs = self._inputs()
        weights = as_tensor(advance.from_input, inputs)
        if constant(inputs):
            inputs, weights = inputs[:1], weights.sum(dim=1, keepdim=True)
        sums = weights @ inputs.reshape(len(inputs), -1)
        new = [row.view(inputs.shape[1:]) for row in sums]
        if self._carried:
            trace = self._carried[0]
            for k, value in enumerate(self._carried):
                new[k].add_(trace, alpha=float(advance.from_trace[k]))
                if k:
                    new[k].add_(value, alpha=float(advance.from_self[k]))
        self._carried = new

    def _add(self, delta: Tensor, k: int) -> None:
        self._add_rows(delta, self._carried[k])

    def _add_inputs(self, x: Tensor, backward: Backward) -> None:
        inputs, rows = self._inputs(), backward.rows
        if constant(inputs):
            rows = rows.view(len(inputs), -1, rows.shape[1]).sum(dim=0)
            inputs = inputs[:1]
        self._add_rows(rows, inputs.reshape(-1, *inputs.shape[2:]))

    def _add_rows(self, delta: Tensor, inputs: Tensor) -> None:
        self._rule.add_weight_gradient(
            self.module, self._fill_zeros(), self._at_synapse(delta), inputs
        )

    def _at_synapse(self, delta: Tensor) -> Tensor:
        return pull_back(self.block.chain, delta.reshape(-1, *self.block.features))

    def _add_bias(self, total: Tensor) -> None:
        assert self.bias_gradient is not None
        self.bias_gradient += self._rule.bias_gradient(self.module, self._at_synapse(total))


def constant(x: Tensor) -> bool:
    """Tell whether a window is one step, expanded in time: a still image, say."""
    return len(x) > 1 and x.stride(0) == 0


def _once(x: Tensor, modules: tuple[nn.Module, ...]) -> Tensor:
    """Run a window through modules that work row by row; a constant one once for all steps."""
    if not constant(x):
        return flatten_rows(x, modules)
    one = flatten_rows(x[:1], modules)
    return one.expand(len(x), *one.shape[1:])


class RowsProduct(Product):
    """A synapse on sparse rows, with traces of its inputs.

    ``inputs`` is the number of inputs, flattened; other arguments as :class:`Product`.
    """

    takes_rows = True

    def __init__(
        self,
        link: Link,
        n_rows: int,
        filters: int,
        buffers: Buffers,
        inputs: int,
        *,
        learns: bool,
    ) -> None:
        super().__init__(link, n_rows, filters, learns=learns)
        self.inputs, self._buffers = inputs, buffers
        self._carried: Tensor | None = None
        self._steps = delays_of(link.before, inputs)
        self._delays: dict[int, SparseDelay] = {}

    def share_among(self, workers: int) -> None:
        """Prepare for so many workers at a time.

        Each has its own recordings, and so its own delay lines, and others for its class signals:
        worker k's are those of -1 - k.
        """
        if self._steps is not None:
            self._delays = {worker: SparseDelay(self._steps) for worker in range(-workers, workers)}

    @property
    def delayed(self) -> bool:
        """Whether events arrive later than they come."""
        return self._steps is not None

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        dtype: torch.dtype = self.module.weight.dtype
        return dtype

    def arrive(self, x: Rows, first_step: int) -> Rows:
        """Put events where they arrive; ``x`` has all rows."""
        return self._delays[0].window(x, first_step) if self._delays else x

    def _traces(self) -> Tensor:
        """Return the carried values, zeros before the first window ends."""
        if self._carried is None:
            shape = (1 + self.filters, self.n_rows, self.inputs)
            name = f"carried.{self.block.index}"
            self._carried = self._buffers.take(name, shape, self.dtype).zero_()
        return self._carried

    def _carry(self, x: Rows, advance: Advance) -> None:
        threads = kernel_threads()
        carried = self._traces().numpy()
        calls = [
            (*x, carried, *advance, a, b)
            for a, b in spans(self.n_rows, threads, worth(self.inputs))
        ]
        share(sparse.advance, calls, threads)


class SparseProduct(RowsProduct):
    """A ``Linear`` synapse on sparse rows, compiled; its weight is kept input-major.

    ``Linear.weight`` stays a tensor ``(outputs, inputs)``, but lies in memory column by column, so
    that one input's weights are contiguous: see :func:`spikeprop.engines.layout.input_major`.
    """

    tile = sparse.TILE

    def __init__(
        self, link: Link, n_rows: int, filters: int, buffers: Buffers, *, learns: bool
    ) -> None:
        module: Any = link.block.synapse
        super().__init__(link, n_rows, filters, buffers, module.in_features, learns=learns)
        self.outputs = module.out_features
        #: ``(inputs, outputs)``, and the bias, which may be empty.
        self.weights = module.weight.detach().t().numpy()
        no_bias = np.empty(0, dtype=self.weights.dtype)
        self.offset = no_bias if module.bias is None else module.bias.detach().numpy()
        self._by_input = np.empty(0, dtype=self.weights.dtype)
        self.share_among(1)

    def arrive_in_group(self, x: Rows, first_row: int, first_step: int, worker: int) -> Rows:
        """Do the same for rows ``first_row, ...`` of ``x`` ``(R, L)``, a worker's."""
        return self._delays[worker].rows(x, first_row, first_step) if self._delays else x

    def currents(self, x: Rows, rows: int) -> Tensor:
        """Gather the weights of each row's events."""
        steps = len(x.starts)
        out = self._buffers.take(
            f"currents.{self.block.index}", (steps, rows, self.outputs), self.dtype
        )
        self._gather(x, out)
        return out

    def _gather(self, x: Rows, out: Tensor) -> None:
        """Gather the weights of rows ``(A, B)`` into ``out`` ``(A, B or more, N)``."""
        groups, listed = x.starts.shape
        weights, bias = self.weights, self.offset
        target, threads = out.numpy(), kernel_threads()
        if self.packs(x.events):
            # A thread keeps its tile in its own cache.
            parts = sparse.columns(self.outputs, threads)
            shape = (len(parts), self.inputs, self.tile)
            tiles = self._buffers.take("tiles packed", shape, self.dtype).numpy()
            calls = [
                (*x, weights, tile, bias, target, 0, listed, a, b)
                for tile, (a, b) in zip(tiles, parts, strict=True)
            ]
            share(sparse.gather_tiles, calls, threads)
        else:  # one after another over rows that stay in the cache
            rows = [
                (*x, weights, bias, target, a, b, 0, self.outputs)
                for a, b in spans(listed, threads, worth(groups * self.outputs))
            ]
            share(sparse.gather_rows, rows, threads)

    @property
    def large(self) -> bool:
        """Whether weights are better read in tiles, if they are read often."""
        return bool(self.weights.nbytes > PACKED_FROM)

    def packs(self, events: float) -> bool:
        """Tell whether for so many events it pays to copy the weights into tiles."""
        return self.large and events > PACKED_AFTER * self.inputs

    def _whole(self) -> Tensor:
        """Return the gradient ``(inputs, outputs)`` to add to."""
        if self.gradient is None:
            # Fresh pages for every batch would cost as much as a pass over them.
            name = f"gradient.{self.block.index}"
            self.gradient = self._buffers.take(name, self.weights.shape, self.dtype).t()
        return self.gradient.t()

    def _fill_zeros(self) -> Tensor:
        self._whole()
        return super()._fill_zeros()

    def gradient_by_input(self) -> Tensor:
        """Return the gradient ``(inputs, outputs)``, to be added to."""
        return self._fill_zeros().t()

    def make_room_to_carry(self, kept: int) -> None:
        """Prepare for :meth:`carried` of windows that others follow, before workers come.

        ``kept`` numbers of each row and input: trace and filtered trace, or the former alone.
        """
        shape = (kept * self.n_rows * self.inputs,)
        self._by_input = self._buffers.array(f"traces.{self.block.index}", shape, self.dtype)

    def carried(self, cotangents: Any, rows: tuple[int, int]) -> tuple[Any, Any]:
        """Return some rows' traces and cotangents for :mod:`spikeprop.kernels.carried`.

        The same rows come together in each window, since their traces lie together.
        ``cotangents`` are the block's ``(n_rows, kept, N or more)``; the bias goes on by itself.
        """
        kept = cotangents.shape[1]
        first, terms = kept * rows[0], kept * (rows[1] - rows[0])
        table = cotangents[slice(*rows)].reshape(terms, cotangents.shape[2])
        traces = self._by_input[first * self.inputs : (first + terms) * self.inputs]
        return traces.reshape(self.inputs if traces.size else 0, terms), table

    def _add(self, delta: Tensor, k: int) -> None:
        traces, out, weight = self._traces()[k], self._whole(), float(0 in self._filled)
        self._filled.add(0)
        threads = kernel_threads()
        parts = spans(delta.shape[1], threads, worth(self.inputs * len(traces)))

        def work(a: int, b: int) -> None:
            out[:, a:b].addmm_(traces.t(), delta[:, a:b], beta=weight)

        share(work, parts, threads)

    def _add_inputs(self, x: Rows, backward: Backward) -> None:
        count = int((x.ends[:, : self.n_rows] - x.starts[:, : self.n_rows]).sum())
        events = self.room_to_sort(x, count, 0)
        sparse.sort_events(*x, self.n_rows, *events)
        if not count and 0 in self._filled:
            return
        threads, table = kernel_threads(), backward.tiles.numpy()
        out = self._whole().numpy()[None], 0 not in self._filled
        self._filled.add(0)
        calls = [(*events, table, *out, a, b) for a, b in sparse.columns(self.outputs, threads)]
        share(sparse.sum_products, calls, threads)

    def room_to_sort(self, x: Rows, count: int, worker: int) -> Sorted:
        """Return what ``count`` events of ``x`` are sorted into."""
        name = f"sorted.{self.block.index}.{worker}"
        rows = self._buffers.array(name, (count,), torch.int32)
        values = np.empty(count if x.values.size else 0, dtype=x.values.dtype)
        return Sorted(np.empty(self.inputs + 1, dtype=np.int64), rows, values)

    def _add_bias(self, total: Tensor) -> None:
        assert self.bias_gradient is not None
        self.bias_gradient += total
