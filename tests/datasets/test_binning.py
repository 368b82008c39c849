"""Frames: against a loop over events, and against tonic where it means the same."""

import numpy as np
import pytest
import torch

from spikeprop.datasets import Binning, bin_events, make_events

SENSOR = (9, 7, 2)  # width and height differ, so that a swap shows
DURATION = 1000


def recording(seed, n=120, duration=DURATION):
    rng = np.random.default_rng(seed)
    return make_events(
        rng.integers(0, 9, n),
        rng.integers(0, 7, n),
        np.sort(rng.integers(0, duration, n)),
        rng.integers(0, 2, n),
    )


def naive(events_list, steps, step_of, binary):
    frames = np.zeros((steps, len(events_list), 2, 7, 9), dtype=np.float32)
    for b, events in enumerate(events_list):
        for i, (x, y, t, p) in enumerate(events.tolist()):
            step = step_of(events, i, t)
            if step is not None:
                frames[step, b, p, y, x] += 1
    return np.minimum(frames, 1) if binary else frames


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("window", [1, 70, 100, 999, 1000, 5000])
def test_fixed_duration(window, binary):
    batch = [recording(seed, duration=1300) for seed in range(3)]
    steps = -(-DURATION // window)

    def step_of(events, i, t):
        return t // window if t < DURATION else None

    frames = bin_events(batch, Binning(window, binary=binary), SENSOR, DURATION)
    assert frames.dtype == torch.float32
    np.testing.assert_array_equal(frames.numpy(), naive(batch, steps, step_of, binary))


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("bins", [1, 7, 20])
def test_number_of_bins(bins, binary):
    batch = [recording(0), recording(1, n=1), recording(2, n=30, duration=5)]

    def step_of(events, i, t):
        span = events["t"][-1] - events["t"][0] + 1
        return (t - events["t"][0]) * bins // span

    frames = bin_events(batch, Binning(n_time_bins=bins, binary=binary), SENSOR, DURATION)
    np.testing.assert_array_equal(frames.numpy(), naive(batch, bins, step_of, binary))
    counts = bin_events(batch, Binning(n_time_bins=bins, binary=False), SENSOR, DURATION)
    assert counts.sum() == sum(len(events) for events in batch)


@pytest.mark.parametrize("count", [1, 10, 33, 500])
def test_number_of_events(count):
    batch = [recording(0), recording(1, n=35)]
    steps = -(-120 // count)
    frames = bin_events(batch, Binning(event_count=count, binary=False), SENSOR, DURATION)
    np.testing.assert_array_equal(
        frames.numpy(), naive(batch, steps, lambda events, i, t: i // count, False)
    )
    assert frames[-(-35 // count) :, 1].sum() == 0


def test_equals_tonic_on_whole_windows():
    """tonic starts at the first event and drops the last window if incomplete: give it neither."""
    from tonic.functional import to_frame_numpy

    events = recording(0)
    events["t"][0], events["t"][-1] = 0, 999
    ours = bin_events([events], Binning(100, binary=False), SENSOR, DURATION)
    theirs = to_frame_numpy(events, SENSOR, time_window=100, start_time=0, end_time=1000)
    np.testing.assert_array_equal(ours[:, 0].numpy(), theirs)
    ours = bin_events([events], Binning(event_count=40, binary=False), SENSOR, DURATION)
    theirs = to_frame_numpy(events, SENSOR, event_count=40)
    np.testing.assert_array_equal(ours[:, 0].numpy(), theirs)


def test_number_of_bins_loses_no_event_where_tonic_does():
    from tonic.functional import to_frame_numpy

    events = recording(0)
    events["t"][0], events["t"][-1] = 0, 1000
    theirs = to_frame_numpy(events, SENSOR, n_time_bins=10)
    ours = bin_events([events], Binning(n_time_bins=10, binary=False), SENSOR, DURATION)
    assert theirs.sum() == len(events) - 1
    assert ours.sum() == len(events)
    # The windows differ by 0.1 us (1001 us in ten parts), so that an event may change its bin.
    assert np.abs(ours[:, 0].numpy() - theirs).sum() <= 1 + 2 * 10


@pytest.mark.parametrize(
    "binning", [Binning(), Binning(n_time_bins=4), Binning(event_count=5)], ids=str
)
def test_recordings_without_events_give_empty_frames(binning):
    nothing = recording(0, n=0)
    frames = bin_events([nothing, nothing], binning, SENSOR, DURATION)
    assert len(frames) >= 1
    assert frames.shape[1:] == (2, 2, 7, 9)
    assert frames.sum() == 0
    mixed = bin_events([nothing, recording(1), nothing], binning, SENSOR, DURATION)
    alone = bin_events([recording(1)], binning, SENSOR, DURATION)
    assert torch.equal(mixed[:, 1:2], alone)


def test_at_least_one_step():
    assert Binning(15_000).steps(1) == 1
    assert Binning(15_000).steps(0) == 1
    assert Binning(15_000).steps(315_000) == 21
    assert Binning(15_000).steps(315_001) == 22
    assert Binning(n_time_bins=5).steps(1) == 5
    assert Binning(event_count=5).steps(1) is None


def test_the_default_window_gives_way():
    assert Binning() == Binning(15_000) == Binning(time_window=15_000, n_time_bins=None)
    assert Binning(n_time_bins=20).time_window is None
    assert Binning(15_000, event_count=20).time_window is None
    assert Binning(np.int64(7)).time_window == 7


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"time_window": 10, "n_time_bins": 3}, ValueError, "exactly one.*n_time_bins=3"),
        ({"n_time_bins": 3, "event_count": 3}, ValueError, "exactly one"),
        ({"time_window": None}, ValueError, "exactly one.*got none"),
        ({"time_window": 0}, ValueError, "time_window.*at least 1, got 0"),
        ({"n_time_bins": 0, "time_window": None}, ValueError, "n_time_bins.*at least 1"),
        ({"event_count": -1}, ValueError, "event_count"),
        ({"time_window": 1.5}, TypeError, "time_window must be an integer, got 1.5"),
        ({"n_time_bins": "ten"}, TypeError, "n_time_bins must be an integer"),
        ({"n_time_bins": True}, ValueError, "n_time_bins"),
    ],
)
def test_bad_measures(arguments, error, message):
    with pytest.raises(error, match=message):
        Binning(**arguments)


@pytest.mark.parametrize(("field", "value"), [("x", 9), ("y", 7), ("p", 2), ("x", -1), ("t", -1)])
def test_events_outside_the_sensor(field, value):
    events = recording(0)
    events[field][3] = value
    with pytest.raises(ValueError, match=f"'{field}'"):
        bin_events([events], Binning(100), SENSOR, DURATION)


def test_unsorted_events_have_no_span():
    events = recording(0)
    events["t"][5] = 5000
    with pytest.raises(ValueError, match="not sorted"):
        bin_events([events], Binning(n_time_bins=3), SENSOR, DURATION)


def test_empty_batch():
    with pytest.raises(ValueError, match="events_list is empty"):
        bin_events([], Binning(), SENSOR, DURATION)
