"""Windows forward and backward: the same bins, in the other order."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spikeprop.datasets import Binning, SaccadeDigits, TimeOrder, make_loader

WINDOW, STEP = 150_000, 15_000


@pytest.fixture(scope="module")
def digits() -> SaccadeDigits:
    return SaccadeDigits(train=False)


def test_a_window_is_a_piece_of_its_recording(digits: SaccadeDigits) -> None:
    windows = TimeOrder(digits, WINDOW)
    assert len(windows) == len(digits)
    assert windows.sensor_size == digits.sensor_size
    for index in range(0, 60, 7):
        events, label = windows[index]
        whole, digit = digits[index]
        start = windows.offsets[index]
        inside = whole[(whole["t"] >= start) & (whole["t"] < start + WINDOW)]
        assert label == digit + 10 * windows.backward[index]
        assert np.all(np.diff(events["t"]) >= 0)
        expected = inside["t"] - start
        if windows.backward[index]:
            events, expected = events[::-1], WINDOW - 1 - expected
        np.testing.assert_array_equal(events["t"], expected)
        for name in "xyp":
            np.testing.assert_array_equal(events[name], inside[name])


def test_a_sum_over_time_tells_nothing_of_the_direction(digits: SaccadeDigits) -> None:
    first, second = TimeOrder(digits, WINDOW, seed=1), TimeOrder(digits, WINDOW, seed=1)
    second.backward = 1 - first.backward
    chosen = np.arange(40)
    frames = []
    for windows in (first, second):
        loader = make_loader(
            windows, batch_size=40, binning=Binning(time_window=STEP), shuffle=False, seed=0,
            indices=chosen,
        )  # fmt: skip
        frames.append(next(iter(loader))[0])
    assert frames[0].shape[0] == WINDOW // STEP
    assert torch.equal(frames[0], frames[1].flip(0))
    assert not torch.equal(frames[0], frames[1])


def test_directions_are_balanced_and_seeded(digits: SaccadeDigits) -> None:
    windows = TimeOrder(digits, WINDOW)
    for digit in range(10):
        own = windows.backward[digits.targets == digit]
        assert abs(int(own.sum()) * 2 - len(own)) <= 1
    assert windows.classes[:2] == ["0", "1"]
    assert windows.classes[11] == "1, backward"
    again, other = TimeOrder(digits, WINDOW), TimeOrder(digits, WINDOW, seed=1)
    np.testing.assert_array_equal(windows.targets, again.targets)
    np.testing.assert_array_equal(windows.offsets, again.offsets)
    assert not np.array_equal(windows.offsets, other.offsets)


def test_windows_longer_than_the_recordings_are_refused(digits: SaccadeDigits) -> None:
    with pytest.raises(ValueError, match="window must be at most the recordings' 315000 us"):
        TimeOrder(digits, 400_000)
    with pytest.raises(ValueError, match="window"):
        TimeOrder(digits, 0)
