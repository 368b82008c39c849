"""Threads that meet inside compiled code, many times a millisecond.

To hand work to a sleeping thread and to be woken by it takes a tenth of a millisecond and more, as
long as the work of a time step. So a thread that waits here looks again and again whether the other
has posted a number, and lets others have its core if that takes longer than usual.

    post(posts, 0, 5)        # all that was written before is seen by who waits for 5
    wait(posts, 0, 5)

``posts`` are int64 numbers that grow; each that is posted by a thread of its own has a line of a
cache to itself, ``LINE`` numbers. A thread that fails posts ``GONE``, so that nobody waits for it.
"""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeprop.kernels import available, kernel

__all__ = ["GONE", "LINE", "PLAIN", "board", "post", "wait"]

#: Numbers of a line of a cache.
LINE = 8
#: Is posted by a thread that does no more.
GONE = 1 << 62
#: Looks before others may have the core: some ten microseconds.
LOOKS = 10_000


def post(posts: Any, i: int, number: int) -> None:
    """Post a number in place ``i``."""
    posts[i] = number


def seen(posts: Any, i: int) -> int:
    """Return what is posted in place ``i``."""
    return int(posts[i])


def let_others() -> None:
    """Let another thread have this core, if one wants it."""
    time.sleep(0)


#: As they stand above, for whoever runs kernels as plain Python.
PLAIN = {"post": post, "seen": seen, "let_others": let_others}


def _compiled() -> dict[str, Any]:  # pragma: no cover - machine code
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    def place(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.gep(array.data, [arguments[1]])

    @intrinsic
    def _post(typing: Any, posts: Any, i: Any, number: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            at = place(context, builder, signature, arguments)
            builder.store_atomic(arguments[2], at, "release", 8)
            return context.get_dummy_value()

        return types.void(posts, types.intp, types.int64), generate

    @intrinsic
    def _seen(typing: Any, posts: Any, i: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            at = place(context, builder, signature, arguments)
            return builder.load_atomic(at, "acquire", 8)

        return types.int64(posts, types.intp), generate

    @intrinsic
    def _let_others(typing: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            if os.name != "posix":
                return context.get_dummy_value()
            kind = ir.FunctionType(ir.IntType(32), [])
            name = "sched_yield"
            function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
            builder.call(function, [])
            return context.get_dummy_value()

        return types.void(), generate

    return {"post": _post, "seen": _seen, "let_others": _let_others}


if available():
    _found = _compiled()
    post, seen, let_others = _found["post"], _found["seen"], _found["let_others"]


@kernel
def wait(posts: NDArray[np.int64], i: int, number: int) -> int:
    """Wait until place ``i`` holds ``number`` or more, and return what it holds."""
    looks, found = 0, seen(posts, i)
    while found < number:
        looks += 1
        if looks > LOOKS:
            let_others()
        found = seen(posts, i)
    return found


def board(threads: int) -> NDArray[np.int64]:
    """Return places for as many threads, thread k's at ``k * LINE``, all zero."""
    return np.zeros(threads * LINE, np.int64)
