"""Work that is shared out among threads: who has how many."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest
import torch

from spikeprop import kernels
from spikeprop.kernels import crew, free_threads, share
from spikeprop.threads import for_kernels, kernel_threads


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_results_come_in_the_order_of_the_calls() -> None:
    here = threading.get_ident()
    meeting = threading.Barrier(3, timeout=60)  # broken if they ran one after the other

    def work(number: int) -> tuple[int, bool]:
        meeting.wait()
        return number, threading.get_ident() == here

    assert share(work, [(0,), (1,), (2,)], 3) == [(0, True), (1, False), (2, False)]
    assert share(lambda number: number, [(0,), (1,)], 1) == [0, 1]


def test_two_teams_that_meet_do_not_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    share(lambda _: None, [(0,), (1,), (2,)], 3)  # two helpers at least
    helpers = kernels._helpers_of(os.getpid())
    begun, put = threading.Barrier(2, timeout=60), helpers.calls.put

    class Slowly:
        """Lets another thread's calls in between, if it may come in between."""

        get = helpers.calls.get

        def put(self, call: object) -> None:
            put(call)
            time.sleep(0.05)

    monkeypatch.setattr(helpers, "calls", Slowly())
    size, broken = helpers._count + 1, []

    def team() -> None:
        together = threading.Barrier(size, timeout=5)  # as kernels that meet inside compiled code
        begun.wait()
        try:
            share(lambda _: together.wait(), [(k,) for k in range(size)], size)
        except threading.BrokenBarrierError:
            broken.append(size)

    teams = [threading.Thread(target=team) for _ in range(2)]
    for one in teams:
        one.start()
    for one in teams:
        one.join()
    assert not broken


def test_work_that_is_shared_out_has_one_thread() -> None:
    assert share(lambda _: free_threads(8), [(0,), (1,)], 2) == [1, 1]
    assert free_threads(8) == 8
    with pytest.raises(ZeroDivisionError):
        share(lambda n: 1 // n, [(0,), (1,)], 2)
    assert free_threads(8) == 8


def test_an_error_in_another_thread_is_raised_here() -> None:
    with pytest.raises(ZeroDivisionError):
        share(lambda n: 1 // n, [(1,), (0,)], 2)


def test_kernels_have_torch_s_threads_while_torch_has_one() -> None:
    assert kernel_threads() == 2
    with for_kernels(True):
        assert torch.get_num_threads() == 1
        assert kernel_threads() == 2
        with crew(1):
            assert kernel_threads() == 1
        assert kernel_threads() == 2
    assert torch.get_num_threads() == kernel_threads() == 2
    with for_kernels(False):
        assert torch.get_num_threads() == 2
    with pytest.raises(KeyError), for_kernels(True):
        raise KeyError
    assert torch.get_num_threads() == 2


def test_the_first_error_is_raised_when_all_calls_have_ended() -> None:
    ended = []

    def work(number: int) -> None:
        if number == 2:
            time.sleep(0.05)
            ended.append(number)
        raise ValueError(f"call {number}")

    with pytest.raises(ValueError, match="call 0"):
        share(work, [(0,), (1,), (2,)], 3)
    assert ended == [2]
    assert share(lambda number: number, [(0,), (1,), (2,)], 3) == [0, 1, 2]
