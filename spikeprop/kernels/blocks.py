"""Products of dense matrices, some rows and columns at a time with all their sums in registers.

A multiply-add needs two numbers from near memory unless they are used again while they are in a
register. ``HEIGHT`` rows by ``ABREAST`` vectors of columns fill the registers with sums: a term of
all of them takes as many loads as there are rows and vectors, not their product. Measured on one
core with AVX-512: 140 to 170 GFLOPS of a processor's 180 or so, where four rows made 120.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from spikeprop.kernels import available, kernel
from spikeprop.kernels.lanes import REGISTERS, WIDE, lanes

Array = NDArray[Any]

__all__ = ["ABREAST", "HEIGHT", "PLAIN", "add_block", "add_half", "add_matrix", "add_part"]

#: Rows of a block, and of half of one.
HEIGHT, HALF = 6, 3
#: Vectors of columns of a block.
ABREAST = 4 if REGISTERS >= 32 else 1
#: Terms that are summed at a time: so many rows of a table stay in the first-level cache.
TERMS = 64


def add_block(
    factors: Any, r: int, table: Any, c: int, out: Any, o: int, n: int, first: int, last: int
) -> None:
    """Add a block of a product, ``HEIGHT`` rows by ``ABREAST`` vectors of columns.

    Parameters
    ----------
    factors : ndarray, shape (rows, terms)
        Of which rows ``r`` to ``r + HEIGHT - 1``. All three matrices are C-contiguous and of one
        type, float32 or float64.
    table : ndarray, shape (terms, columns)
        Of which the columns from ``c`` on.
    out : ndarray
        What is added to, from row ``o`` and column ``n`` on.
    first, last : int
        Range of the terms.
    """
    _plainly(HEIGHT, factors, r, table, c, out, o, n, first, last)


def add_half(
    factors: Any, r: int, table: Any, c: int, out: Any, o: int, n: int, first: int, last: int
) -> None:
    """Do as :func:`add_block` with ``HALF`` rows."""
    _plainly(HALF, factors, r, table, c, out, o, n, first, last)


def _plainly(
    height: int,
    factors: Any,
    r: int,
    table: Any,
    c: int,
    out: Any,
    o: int,
    n: int,
    first: int,
    last: int,
) -> None:
    width = ABREAST * WIDE // out.itemsize
    terms = table[first:last, c : c + width]
    out[o : o + height, n : n + width] += factors[r : r + height, first:last] @ terms


def _compiled(height: int, abreast: int) -> Any:  # pragma: no cover - machine code
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def array(place: int) -> tuple[Any, Any]:
            kind = signature.args[place]
            made = context.make_array(kind)(context, builder, arguments[place])
            return made.data, builder.extract_value(made.shape, 1)

        (factors, terms), (table, columns), (out, width) = array(0), array(2), array(4)
        r, c, o, n, first, last = (arguments[k] for k in (1, 3, 5, 6, 7, 8))
        number = context.get_data_type(signature.args[0].dtype)
        size = signature.args[0].dtype.bitwidth // 8
        word, index, count = ir.IntType(64), ir.IntType(32), WIDE // size
        vector, nothing = ir.VectorType(number, count), ir.Undefined

        def at(base: Any, k: int) -> Any:
            place = builder.gep(base, [ir.Constant(word, k * count)])
            return builder.bitcast(place, vector.as_pointer())

        def row(base: Any, k: Any, long: Any, begin: Any) -> Any:
            return builder.gep(base, [builder.add(builder.mul(k, long), begin)])

        def spread(value: Any) -> Any:
            zero = ir.Constant(index, 0)
            one = builder.insert_element(ir.Constant(vector, nothing), value, zero)
            mask = ir.Constant(ir.VectorType(index, count), [0] * count)
            return builder.shuffle_vector(one, ir.Constant(vector, nothing), mask)

        zero = ir.Constant(word, 0)
        scales, targets = [], []
        for k in range(height):
            further = ir.Constant(word, k)
            scales.append(row(factors, builder.add(r, further), terms, zero))
            targets.append(row(out, builder.add(o, further), width, n))
        found = [[builder.load(at(t, k), align=size) for k in range(abreast)] for t in targets]
        before = builder.basic_block
        loop, body, done = (
            builder.function.append_basic_block(f"block.{name}")
            for name in ("loop", "body", "done")
        )
        builder.branch(loop)
        builder.position_at_end(loop)
        i = builder.phi(word)
        i.add_incoming(first, before)
        sums = [[builder.phi(vector) for _ in values] for values in found]
        for totals, values in zip(sums, found, strict=True):
            for total, value in zip(totals, values, strict=True):
                total.add_incoming(value, before)
        builder.cbranch(builder.icmp_signed("<", i, last), body, done)
        builder.position_at_end(body)
        base = row(table, i, columns, c)
        term = [builder.load(at(base, k), align=size) for k in range(abreast)]
        fused = ("contract",)
        for totals, scale in zip(sums, scales, strict=True):
            factor = spread(builder.load(builder.gep(scale, [i])))
            for total, value in zip(totals, term, strict=True):
                more = builder.fmul(factor, value, flags=fused)
                total.add_incoming(builder.fadd(total, more, flags=fused), body)
        i.add_incoming(builder.add(i, ir.Constant(word, 1)), body)
        builder.branch(loop)
        builder.position_at_end(done)
        for totals, target in zip(sums, targets, strict=True):
            for k, total in enumerate(totals):
                builder.store(total, at(target, k), align=size)
        return context.get_dummy_value()

    @intrinsic
    def block(
        typing: Any,
        factors: Any,
        r: Any,
        table: Any,
        c: Any,
        out: Any,
        o: Any,
        n: Any,
        first: Any,
        last: Any,
    ) -> Any:
        place = types.intp
        given = (factors, place, table, place, out, place, place, place, place)
        return types.void(*given), generate

    return block


#: As they stand above, for whoever runs kernels as plain Python.
PLAIN = {"add_block": add_block, "add_half": add_half}

if available():
    add_block, add_half = _compiled(HEIGHT, ABREAST), _compiled(HALF, ABREAST)


@kernel
def add_matrix(factors: Array, table: Array, out: Array, begin: int, end: int) -> None:
    """``out[r, begin:end] += sum over m of factors[r, m] * table[m]``.

    All are C-contiguous; ``TERMS`` rows of the table are in the first-level cache while all rows
    pass. What makes no whole block goes row by row.
    """
    rows, terms = factors.shape
    for first in range(0, terms, TERMS):
        last = min(first + TERMS, terms)
        add_part(factors, 0, rows, table, begin, out, begin, end, first, last)


@kernel
def add_part(
    factors: Array,
    first_row: int,
    last_row: int,
    table: Array,
    shift: int,
    out: Array,
    begin: int,
    end: int,
    first: int,
    last: int,
) -> None:
    """Do as :func:`add_matrix` for some rows and terms; a column is ``shift`` less in the table."""
    rows, wide, n = last_row - first_row, ABREAST * lanes(out), begin
    high, rest = last_row - rows % HEIGHT, last_row - rows % HALF
    while n + wide <= end:
        for r in range(first_row, high, HEIGHT):
            add_block(factors, r, table, n - shift, out, r, n, first, last)
        if high < rest:
            add_half(factors, high, table, n - shift, out, high, n, first, last)
        _add_row_by_row(factors, rest, last_row, table, shift, out, n, n + wide, first, last)
        n += wide
    _add_row_by_row(factors, first_row, last_row, table, shift, out, n, end, first, last)


@kernel
def _add_row_by_row(
    factors: Array,
    first_row: int,
    last_row: int,
    table: Array,
    shift: int,
    out: Array,
    n: int,
    end: int,
    first: int,
    last: int,
) -> None:
    """Do what makes no whole block."""
    for r in range(first_row, last_row):
        row = out[r]
        for m in range(first, last):
            t, f = table[m], factors[r, m]
            for i in range(n, end):
                row[i] += f * t[i - shift]
