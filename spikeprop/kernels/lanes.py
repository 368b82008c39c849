"""Vectors of neighbouring neurons as values, for loops that a compiler leaves scalar.

A compiler turns a loop into vector instructions only where it can prove that no array overlaps
another, and none of these loops that lists what fired. Kernels that matter say it themselves:

    now = load(c, n)                            # LANES neurons from n on
    new = decay * load(m, n) + now
    fired = list_above(new, load(threshold, n), n, places, fired)

A vector is 64 bytes (16 float32, 8 float64), written as LLVM's own vector types: a processor with
narrower registers takes two or four of them. Sums and products may be contracted. Uncompiled, the
same functions work on NumPy arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeprop.kernels import available, kernel

__all__ = [
    "PLAIN",
    "REGISTERS",
    "WIDE",
    "above",
    "aligned",
    "exponential",
    "greatest",
    "lanes",
    "list_above",
    "load",
    "padded",
    "prefetch",
    "root",
    "spread",
    "store",
    "total",
    "whole",
]

#: Bytes of a vector.
WIDE = 64
#: Between which :func:`exponential` works, by a number's bytes. Less would soon become denormal in
#: products, each of which takes a processor as long as a hundred others.
EXPONENTS = {4: (-60.0, 88.0), 8: (-600.0, 709.0)}


def _registers() -> int:
    """Return how many vectors the processor's registers hold: 32 of 64 bytes, or 16 of 32."""
    if not available():
        return 8
    from llvmlite import binding

    return 32 if binding.get_host_cpu_features().get("avx512f", False) else 8


#: Vectors that registers hold at a time.
REGISTERS = _registers()


def lanes(row: Any) -> int:
    """Return the number of entries of a vector of ``row``'s type; a constant in compiled code."""
    count: int = WIDE // row.itemsize
    return count


def whole(row: Any) -> int:
    """Return how many entries of ``row``, from the first on, come in whole vectors."""
    count: int = row.size - row.size % lanes(row)
    return count


def load(row: Any, n: int) -> Any:
    """Return the vector ``row[n : n + lanes]``; ``row`` is contiguous.

    Or a matrix, whose rows are one behind the other: to take a row out of it for a moment would
    count references, which takes as long as ten loads.
    """
    return row.reshape(-1)[n : n + WIDE // row.itemsize].copy()


def store(row: Any, n: int, vector: Any) -> None:
    """Put a vector into ``row`` from ``n`` on, or into a matrix as :func:`load` takes it out."""
    row.reshape(-1)[n : n + len(vector)] = vector


def spread(number: Any) -> Any:
    """Return a vector of one number."""
    return np.full(WIDE // number.itemsize, number)


def above(a: Any, b: Any, yes: Any, no: Any) -> Any:
    """Return ``yes`` where ``a > b``, and ``no`` elsewhere (also where either is NaN)."""
    return np.where(a > b, yes, no)


def root(vector: Any) -> Any:
    """Return the square roots of a vector."""
    return np.sqrt(vector)


def exponential(vector: Any) -> Any:
    """Return e to the power of each entry, which is taken to be between ``EXPONENTS``.

    NaN stays NaN. Compiled: ``2^n e^r`` with whole ``n`` and ``|r| <= log(2) / 2``, for which the
    powers of ``r`` up to the 7th (float64: 13th) make as many digits as the type has.
    """
    return np.exp(np.clip(vector, *EXPONENTS[vector.itemsize]))


def greatest(vector: Any) -> Any:
    """Return the greatest entry of a vector without NaN."""
    return vector.max()


def total(vector: Any) -> Any:
    """Return the sum of a vector."""
    return vector.sum()


def list_above(a: Any, b: Any, n: int, places: Any, count: int) -> int:
    """List ``n + i`` for the lanes ``i`` with ``a > b`` in ``places``, from ``count`` on.

    Return the new count. What stands in ``places`` up to 16 entries further becomes anything.
    """
    found = n + np.nonzero(a > b)[0]
    places[count : count + len(found)] = found
    return count + len(found)


def prefetch(row: Any, n: int) -> None:
    """Begin to bring the line of memory with ``row[n]`` near, to be written."""


#: As they stand above, for whoever runs kernels as plain Python.
PLAIN = {
    "lanes": lanes,
    "whole": whole,
    "load": load,
    "store": store,
    "spread": spread,
    "above": above,
    "root": root,
    "exponential": exponential,
    "greatest": greatest,
    "total": total,
    "list_above": list_above,
    "prefetch": prefetch,
}


def _compiled() -> dict[str, Any]:  # pragma: no cover - machine code
    import math
    import operator

    from llvmlite import ir
    from numba import njit, types
    from numba.core.datamodel import models
    from numba.extending import intrinsic, overload, register_model

    class Vector(types.Type):
        def __init__(self, dtype: Any) -> None:
            self.dtype = dtype
            self.lanes = WIDE * 8 // dtype.bitwidth
            super().__init__(name=f"Vector({dtype})")

    @register_model(Vector)
    class VectorModel(models.PrimitiveModel):
        def __init__(self, manager: Any, kind: Any) -> None:
            number = ir.FloatType() if kind.dtype.bitwidth == 32 else ir.DoubleType()
            super().__init__(  # type: ignore[no-untyped-call]
                manager, kind, ir.VectorType(number, kind.lanes)
            )

    flags = ("contract", "nsz", "arcp")
    word, index, byte = ir.IntType(64), ir.IntType(32), ir.IntType(8)

    def place(context: Any, builder: Any, signature: Any, arguments: Any, kind: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        at = builder.gep(array.data, [arguments[1]])
        return builder.bitcast(at, context.get_value_type(kind).as_pointer())

    @intrinsic
    def _lanes(typing: Any, row: Any) -> Any:
        count = ir.Constant(word, Vector(row.dtype).lanes)
        return types.intp(row), lambda context, builder, signature, arguments: count

    lanes_of: Any = _lanes

    @njit
    def _whole(row):  # type: ignore[no-untyped-def]
        return row.size - row.size % lanes_of(row)

    @intrinsic
    def _load(typing: Any, row: Any, n: Any) -> Any:
        kind = Vector(row.dtype)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            at = place(context, builder, signature, arguments, kind)
            return builder.load(at, align=row.dtype.bitwidth // 8)

        return kind(row, types.intp), generate

    @intrinsic
    def _store(typing: Any, row: Any, n: Any, vector: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            at = place(context, builder, signature, arguments, vector)
            builder.store(arguments[2], at, align=row.dtype.bitwidth // 8)
            return context.get_dummy_value()

        return types.void(row, types.intp, vector), generate

    @intrinsic
    def _spread(typing: Any, number: Any) -> Any:
        kind = Vector(number)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            many = context.get_value_type(kind)
            nothing = ir.Constant(many, ir.Undefined)
            one = builder.insert_element(nothing, arguments[0], ir.Constant(index, 0))
            mask = ir.Constant(ir.VectorType(index, kind.lanes), [0] * kind.lanes)
            return builder.shuffle_vector(one, nothing, mask)

        return kind(number), generate

    @intrinsic
    def _above(typing: Any, a: Any, b: Any, yes: Any, no: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            found = builder.fcmp_ordered(">", arguments[0], arguments[1])
            return builder.select(found, arguments[2], arguments[3])

        return a(a, b, yes, no), generate

    def of_each(name: str, vector: Any, context: Any, builder: Any, value: Any) -> Any:
        """Call LLVM's own function of a vector's entries."""
        many = context.get_value_type(vector)
        name = f"llvm.{name}.v{vector.lanes}f{vector.dtype.bitwidth}"
        kind = ir.FunctionType(many, [many])
        function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
        return builder.call(function, [value])

    @intrinsic
    def _root(typing: Any, vector: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return of_each("sqrt", vector, context, builder, arguments[0])

        return vector(vector), generate

    @intrinsic
    def _exponential(typing: Any, vector: Any) -> Any:
        single = vector.dtype.bitwidth == 32
        # log(2) in two parts, the first of so few digits that its products with n are exact.
        high, low = (0.693359375, -2.12194440e-4) if single else (
            6.93145751953125e-1, 1.42860682030941723212e-6
        )  # fmt: skip
        powers, fraction, bias = (7, 23, 127) if single else (13, 52, 1023)
        least, most = EXPONENTS[vector.dtype.bitwidth // 8]

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            many, (x,) = context.get_value_type(vector), arguments
            whole_numbers = ir.VectorType(ir.IntType(vector.dtype.bitwidth), vector.lanes)

            def all_of(number: Any, kind: Any = many) -> Any:
                return ir.Constant(kind, [number] * vector.lanes)

            def add(a: Any, b: Any, c: Any) -> Any:
                return builder.fadd(a, builder.fmul(b, c, flags=("contract",)), flags=("contract",))

            for limit, beyond in ((least, "<"), (most, ">")):
                outside = builder.fcmp_ordered(beyond, x, all_of(limit))
                x = builder.select(outside, all_of(limit), x)
            n = builder.fmul(x, all_of(1.0 / math.log(2.0)))
            n = of_each("nearbyint", vector, context, builder, n)
            r = add(add(x, n, all_of(-high)), n, all_of(-low))
            value = all_of(1.0 / math.factorial(powers))
            for k in reversed(range(powers)):
                value = add(all_of(1.0 / math.factorial(k)), value, r)
            exponent = builder.add(builder.fptosi(n, whole_numbers), all_of(bias, whole_numbers))
            exponent = builder.shl(exponent, all_of(fraction, whole_numbers))
            return builder.fmul(value, builder.bitcast(exponent, many))

        return vector(vector), generate

    def folded(vector: Any, builder: Any, value: Any, join: Any) -> Any:
        """Fold one half onto the other until one entry is left."""
        lanes = vector.lanes
        while lanes > 1:
            lanes //= 2
            halves = [
                builder.shuffle_vector(
                    value, value, ir.Constant(ir.VectorType(index, lanes), list(range(a, b)))
                )
                for a, b in ((0, lanes), (lanes, 2 * lanes))
            ]
            value = join(*halves)
        return builder.extract_element(value, ir.Constant(index, 0))

    @intrinsic
    def _total(typing: Any, vector: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            def join(a: Any, b: Any) -> Any:
                return builder.fadd(a, b, flags=flags)

            return folded(vector, builder, arguments[0], join)

        return vector.dtype(vector), generate

    @intrinsic
    def _greatest(typing: Any, vector: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            def join(a: Any, b: Any) -> Any:
                return builder.select(builder.fcmp_ordered(">", a, b), a, b)

            return folded(vector, builder, arguments[0], join)

        return vector.dtype(vector), generate

    @intrinsic
    def _prefetch(typing: Any, row: Any, n: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            array = context.make_array(signature.args[0])(context, builder, arguments[0])
            at = builder.bitcast(builder.gep(array.data, [arguments[1]]), byte.as_pointer())
            kind = ir.FunctionType(ir.VoidType(), [byte.as_pointer(), index, index, index])
            name = "llvm.prefetch.p0"
            fetch = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
            to_write, near, data = (ir.Constant(index, k) for k in (1, 3, 1))
            builder.call(fetch, [at, to_write, near, data])
            return context.get_dummy_value()

        return types.void(row, types.intp), generate

    compresses = REGISTERS >= 32  # an instruction of the same processors

    @intrinsic
    def _list_above(typing: Any, a: Any, b: Any, n: Any, places: Any, count: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            lanes, (left, right, first, _, begin) = a.lanes, arguments
            found = builder.fcmp_ordered(">", left, right)
            bits = builder.bitcast(found, ir.IntType(lanes))
            target = context.make_array(places)(context, builder, arguments[3])
            if compresses:
                many = ir.VectorType(index, lanes)
                start = builder.insert_element(
                    ir.Constant(many, ir.Undefined), builder.trunc(first, index),
                    ir.Constant(index, 0),
                )  # fmt: skip
                start = builder.shuffle_vector(
                    start, start, ir.Constant(ir.VectorType(index, lanes), [0] * lanes)
                )
                numbers = builder.add(start, ir.Constant(many, list(range(lanes))))
                kind = ir.FunctionType(many, [many, found.type, many])
                name = f"llvm.experimental.vector.compress.v{lanes}i32"
                pack = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
                packed = builder.call(pack, [numbers, found, ir.Constant(many, ir.Undefined)])
                at = builder.bitcast(builder.gep(target.data, [begin]), many.as_pointer())
                builder.store(packed, at, align=4)
                return builder.add(begin, builder.zext(builder.ctpop(bits), word))
            bits = builder.zext(bits, word)
            before = builder.basic_block
            loop, done = (
                builder.function.append_basic_block(f"fired.{name}") for name in ("loop", "done")
            )
            zero = ir.Constant(word, 0)
            builder.cbranch(builder.icmp_unsigned("!=", bits, zero), loop, done)
            builder.position_at_end(loop)
            rest, at = builder.phi(word), builder.phi(word)
            rest.add_incoming(bits, before)
            at.add_incoming(begin, before)
            lane = builder.cttz(rest, ir.Constant(ir.IntType(1), 1))
            number = builder.trunc(builder.add(first, lane), index)
            builder.store(number, builder.gep(target.data, [at]))
            fewer = builder.and_(rest, builder.sub(rest, ir.Constant(word, 1)))
            more = builder.add(at, ir.Constant(word, 1))
            rest.add_incoming(fewer, loop)
            at.add_incoming(more, loop)
            builder.cbranch(builder.icmp_unsigned("!=", fewer, zero), loop, done)
            builder.position_at_end(done)
            end = builder.phi(word)
            end.add_incoming(begin, before)
            end.add_incoming(more, loop)
            return end

        return types.intp(a, b, types.intp, places, types.intp), generate

    def arithmetic(operation: Any, name: str) -> None:
        @intrinsic
        def apply(typing: Any, a: Any, b: Any) -> Any:
            def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
                return getattr(builder, name)(*arguments, flags=flags)

            return a(a, b), generate

        both: Any = apply

        @overload(operation)
        def of_vectors(a, b):  # type: ignore[no-untyped-def]
            # numba compares these names with those of what is returned, annotations included
            if isinstance(a, Vector) and isinstance(b, Vector):
                return lambda a, b: both(a, b)
            return None

    names = {
        operator.add: "fadd", operator.sub: "fsub", operator.mul: "fmul", operator.truediv: "fdiv"
    }  # fmt: skip
    for operation, name in names.items():
        arithmetic(operation, name)
    return {
        "lanes": _lanes, "whole": _whole, "load": _load, "store": _store, "spread": _spread,
        "above": _above, "root": _root, "exponential": _exponential, "greatest": _greatest,
        "total": _total, "list_above": _list_above, "prefetch": _prefetch,
    }  # fmt: skip


if available():
    _found = _compiled()
    lanes, whole = _found["lanes"], _found["whole"]
    load, store, spread = (_found[k] for k in ("load", "store", "spread"))
    above, root, total = (_found[k] for k in ("above", "root", "total"))
    exponential, greatest = _found["exponential"], _found["greatest"]
    list_above, prefetch = _found["list_above"], _found["prefetch"]


@kernel
def aligned(rows: int, columns: int, like: NDArray[Any]) -> NDArray[Any]:
    """Return a matrix of ``like``'s type, whatever is in it, whose rows begin at whole vectors.

    If the columns fill whole vectors: a vector across two lines of a cache takes twice the time.
    """
    room = np.empty(rows * columns + lanes(like), like.dtype)
    skipped = (-room.ctypes.data) % WIDE // like.itemsize
    return room[skipped : skipped + rows * columns].reshape(rows, columns)


@kernel
def padded(count: int, like: NDArray[Any]) -> int:
    """Return how many numbers of ``like``'s type so many take in whole vectors."""
    lane: int = lanes(like)
    return (count + lane - 1) // lane * lane
