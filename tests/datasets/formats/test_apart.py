"""A reader in a process of its own: what it reads, its damage, its hanging and its death."""

import os
import signal
import time

import golden
import numpy as np
import pytest

from spikeprop.datasets import make_events
from spikeprop.datasets.formats import DamageError, Stream, apart, hdf5, read_recording

EVENTS = make_events([1, 2], [3, 4], [5, 6], [0, 1])

pytestmark = pytest.mark.skipif(not apart.CAN_FORK, reason="no fork here")


def pieces(*actions):
    for action in actions:
        if callable(action):
            action()
        else:
            yield action


def test_what_the_child_reads():
    big = make_events(*[np.arange(100_000)] * 4)
    stream = apart.apart(lambda: Stream((3, 4, 2), pieces(EVENTS, big)))
    assert stream.sensor_size == (3, 4, 2)
    found = list(stream.events)
    np.testing.assert_array_equal(found[0], EVENTS)
    np.testing.assert_array_equal(found[1], big)
    assert apart.apart(lambda: Stream(None, pieces())).sensor_size is None


def test_damage_goes_through():
    def fail():
        raise DamageError(7, "broken")

    def wrong():
        raise KeyError("x")

    with pytest.raises(DamageError, match="at byte 7: broken"):
        apart.apart(fail)
    with pytest.raises(DamageError, match="cannot be read: KeyError"):
        apart.apart(wrong)
    stream = apart.apart(lambda: Stream(None, pieces(EVENTS, fail)))
    assert len(next(stream.events)) == 2
    with pytest.raises(DamageError, match="at byte 7"):
        next(stream.events)


def test_a_crash_and_a_hang_are_damage(monkeypatch):
    monkeypatch.setattr(apart, "SILENCE_S", 3.0)

    def crash():
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(DamageError, match="crashed"):
        apart.apart(crash)
    stream = apart.apart(lambda: Stream(None, pieces(EVENTS, lambda: time.sleep(60))))
    assert len(next(stream.events)) == 2
    with pytest.raises(DamageError, match=r"does not come to an end \(3 s\)"):
        next(stream.events)


def test_a_reader_that_is_left_is_ended(monkeypatch):
    children = []
    fork = os.fork
    monkeypatch.setattr(os, "fork", lambda: children.append(fork()) or children[-1])
    stream = apart.apart(lambda: Stream(None, pieces(*[EVENTS] * 100_000)))
    next(stream.events)
    stream.events.close()
    with pytest.raises(ChildProcessError):
        os.waitpid(children[0], os.WNOHANG)


def test_without_processes(monkeypatch, tmp_path):
    path = tmp_path / "a.h5"
    golden.hdf5(path, golden.make("hdf5"), 640, 480)
    expected = read_recording(path)
    monkeypatch.setattr(apart, "CAN_FORK", False)
    found = read_recording(path)
    np.testing.assert_array_equal(found.events, expected.events)
    assert found.sensor_size == expected.sensor_size
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(ValueError, match=r"a\.h5: at byte 0"):
        read_recording(path)
    assert hdf5.MAGIC in path.read_bytes()
