"""What can be done to events: the same as tonic where tonic has it."""

import subprocess
import sys

import numpy as np
import pytest

from spikeprop.datasets import (
    EVENT_DTYPE,
    EventDataset,
    first_saccade,
    make_events,
    shift_events,
    stabilize,
)


def random_events(seed, n=3000, duration=330_000):
    rng = np.random.default_rng(seed)
    return make_events(
        rng.integers(0, 34, n),
        rng.integers(0, 34, n),
        np.sort(rng.integers(0, duration, n)),
        rng.integers(0, 2, n),
    )


@pytest.mark.parametrize("seed", range(5))
def test_stabilize_equals_tonic(seed):
    from tonic.datasets.nmnist import stabilize as reference

    events = random_events(seed)
    # Moments at which positions fall exactly on a pixel, between two, or on a corner of the path.
    exact = np.array([0, 15_000, 30_000, 45_000, 105_000, 105_001, 210_000, 210_001, 240_000])
    events["t"][: len(exact)] = exact
    before = events.copy()
    result = stabilize(events)
    np.testing.assert_array_equal(events, before)
    np.testing.assert_array_equal(result, reference(events.copy()))
    assert result.dtype == EVENT_DTYPE
    assert 0 < len(result) < len(events)


def test_first_saccade_is_tonics_rule():
    events = random_events(0)
    np.testing.assert_array_equal(first_saccade(events), events[events["t"] < 1e5])


def test_shift_drops_what_leaves_the_sensor():
    events = make_events([0, 33, 5], [0, 3, 33], [1, 2, 3], [0, 1, 0])
    moved = shift_events(events, 1, -2, (34, 34, 2))
    np.testing.assert_array_equal(moved, make_events([6], [31], [3], [0]))
    assert len(shift_events(events, 0, 0, (34, 34, 2))) == 3


def test_the_base_class_leaves_recordings_to_its_children():
    dataset = EventDataset(train=True)
    dataset.targets = np.array([1])
    with pytest.raises(NotImplementedError):
        dataset[0]


def test_import_is_light():
    """tonic is GPL-3 and imported for downloads only; scikit-learn for making digits only."""
    code = (
        "import sys, spikeprop.datasets\n"
        "heavy = {'tonic', 'sklearn', 'snntorch', 'matplotlib', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
