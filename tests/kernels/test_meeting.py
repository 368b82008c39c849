"""Threads that meet in compiled code see what the other has written before it posted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from spikeprop import kernels
from spikeprop.kernels.meeting import LINE, board, post, wait

pytestmark = pytest.mark.skipif(not kernels.available(), reason="needs numba")


@kernels.kernel
def alternate(posts: Any, numbers: Any, me: int, turns: int) -> None:
    """Write every second of the numbers, each the sum of the two before."""
    for turn in range(me, turns, 2):
        wait(posts, (1 - me) * LINE, turn)
        numbers[turn + 2] = numbers[turn + 1] + numbers[turn]
        post(posts, me * LINE, turn + 1)


@pytest.mark.parametrize("times", range(5))
def test_two_threads_in_turns(times: int) -> None:
    turns = 20 + times
    numbers, posts = np.zeros(turns + 2, np.int64), board(2)
    numbers[1] = 1
    kernels.share(alternate, [(posts, numbers, me, turns) for me in range(2)], 2)
    wanted = [0, 1]
    while len(wanted) < turns + 2:
        wanted.append(wanted[-1] + wanted[-2])
    assert numbers.tolist() == wanted
    assert sorted(posts[::LINE].tolist()) == [turns - 1, turns]
