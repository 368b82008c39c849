"""Simulated gestures: what the movements are, and that they are the same everywhere."""

from __future__ import annotations

import numpy as np
import pytest

from spikeprop.datasets import SimulatedGestures, gestures, simulated_gestures
from spikeprop.datasets._gesture_kernel import SIDE, STEP_US, follow_arm, follow_arm_numpy
from spikeprop.datasets.compiled import compiled

SMALL = {"people": (1, 1), "takes": 1}


def path(gesture, seed=0):
    return gestures._path(gesture, 1500, 1.2, gestures._Draws((seed, gesture)))


def turning(path):
    """Signed area that the hand goes round, a third of the time each: clockwise is positive."""
    x, y = path.T
    area = x[:-1] * np.diff(y) - y[:-1] * np.diff(x)
    return [part.sum() for part in np.array_split(area, 3)]


@pytest.mark.parametrize("seed", range(5))
def test_circles_turn_as_their_names_say(seed):
    assert min(turning(path(0, seed))) > 5
    assert max(turning(path(1, seed))) < -5
    first, _, last = turning(path(2, seed))
    assert first > 5
    assert last < -5
    first, _, last = turning(path(3, seed))
    assert first < -5
    assert last > 5


@pytest.mark.parametrize("gesture", range(4, 10))
def test_movements_come_in_the_order_of_the_name(gesture):
    found = []
    for part in np.array_split(path(gesture), 3):
        width, height = part[100:-100].std(axis=0)
        found.append(
            "sideways" if width > 3 * height else "up-down" if height > 3 * width else "circles"
        )
    assert ", ".join(found) == gestures.GESTURES[gesture]


def test_the_last_gesture_mixes_all_movements():
    seen = set()
    for part in np.array_split(path(10), 9):
        width, height = part[50:-50].std(axis=0)
        seen.add("s" if width > 3 * height else "u" if height > 3 * width else "c")
    assert seen == {"s", "u", "c"}


def test_the_mirror_map_is_the_mirror_of_the_movements():
    mirrored = gestures.MIRRORED
    assert [mirrored[m] for m in mirrored] == list(range(11))
    for gesture in range(4):
        turned = turning(path(gesture) * [-1.0, 1.0])
        assert (
            np.sign(turned).tolist()[::2] == np.sign(turning(path(mirrored[gesture]))).tolist()[::2]
        )


def scene(steps=6, seed=0):
    rng = np.random.default_rng(seed)
    shoulder = np.tile([70.0, 40.0], (steps + 1, 1))
    elbow = np.stack([np.linspace(80, 86, steps + 1), np.linspace(60, 58, steps + 1)], axis=1)
    hand = np.stack([np.linspace(100, 122, steps + 1), np.linspace(70, 50, steps + 1)], axis=1)
    plane = rng.random((4, SIDE, SIDE))
    return (
        shoulder,
        elbow,
        hand,
        np.array([5.0, 7.0]),
        np.array([-0.5, 0.9, 0.3, 10.0]),
        0.2 * plane[0],
        0.1 + 0.1 * plane[1],
        0.1 + 0.1 * plane[2],
        0.2 * plane[0] + 0.1 * (plane[3] - 0.5),
    )


def test_the_loop_as_it_stands_and_the_numpy_code_give_the_same():
    one, two = scene(), scene()
    plain, numpy = follow_arm(*one), follow_arm_numpy(*two)
    assert len(plain) > 500
    assert np.array_equal(np.sort(plain), np.sort(numpy))
    assert np.array_equal(one[-1], two[-1])  # what the pixels remember


def test_an_arm_outside_the_field_makes_no_event():
    for follow in (follow_arm, follow_arm_numpy):
        shoulder, elbow, hand, *others = scene()
        assert len(follow(shoulder - 500, elbow - 500, hand - 500, *others)) == 0


def test_pixels_follow_the_brightness():
    """ON less OFF events, each worth a threshold, end within one of what the pixel sees."""
    shoulder, elbow, hand, radii, looks, background, on, off, memory = scene(20)
    start = memory.copy()
    events = follow_arm(shoulder, elbow, hand, radii, looks, background, on, off, memory)
    y, x, p = events >> 8 & 127, events >> 1 & 127, events & 1
    assert (events >> 15).max() < 20 * STEP_US
    count_on = np.bincount((y * SIDE + x)[p == 1], minlength=SIDE * SIDE).reshape(SIDE, SIDE)
    count_off = np.bincount((y * SIDE + x)[p == 0], minlength=SIDE * SIDE).reshape(SIDE, SIDE)
    untouched = (count_on + count_off) == 0
    moved = count_on * on - count_off * off
    # The first step sets what the arm covers already; elsewhere memory moves by thresholds alone.
    free = np.zeros((SIDE, SIDE), dtype=bool)
    free[:, 115:] = True
    assert count_on[free].sum() > 50
    np.testing.assert_allclose((start + moved)[free], memory[free], atol=1e-9)
    assert np.array_equal(memory[free & untouched], start[free & untouched])


def test_compiled_and_numpy_code_make_the_same_recording(monkeypatch):
    pytest.importorskip("numba")
    fast = gestures.perform(3, 1, 7, 2)
    compiled.cache_clear()
    monkeypatch.setenv("SPIKEPROP_NO_NUMBA", "1")
    slow = gestures.perform(3, 1, 7, 2)
    compiled.cache_clear()
    assert np.array_equal(fast, slow)
    t = fast >> 15
    assert 4_900_000 < t[-1] < 7_000_000
    assert (np.diff(fast) >= 0).all()
    assert 20_000 < len(fast) / (t[-1] / 1e6) < 120_000  # events a second
    assert not np.array_equal(gestures.perform(3, 1, 7, 1)[:100], fast[:100])


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("gestures")


def test_the_set(root):
    train, test = SimulatedGestures(root, **SMALL), SimulatedGestures(root, train=False, **SMALL)
    assert (len(train), len(test)) == (11, 11)
    assert train.classes == list(gestures.GESTURES)
    assert set(train.groups.tolist()) == {0}
    assert set(test.groups.tolist()) == {1}
    assert np.bincount(train.targets).tolist() == [1] * 11
    assert train.partial
    assert "1 + 1 people, 1 takes" in train.note
    events, label = train[7]
    packed = gestures.perform(simulated_gestures.SEED, 0, label, 0)
    assert np.array_equal(events["t"], packed >> 15)
    assert np.array_equal(events["x"], packed >> 1 & 127)
    assert np.array_equal(events["y"], packed >> 8 & 127)
    assert np.array_equal(events["p"], packed & 1)
    loader = SimulatedGestures.loader(
        root, train=False, n_time_bins=60, batch_size=11, sparse=True, **SMALL
    )
    x, labels = next(iter(loader))
    assert x.shape == (60, 11, 2, 128, 128)
    assert labels.tolist() == list(range(11))


def test_recordings_are_the_published_ones(root):
    """The whole set has a checksum; this is that of a small one, so that it is quick to test."""
    found = SimulatedGestures(root, train=False, **SMALL)
    assert found.checksum == "206761484028cb835b5aa9b5d7eee0c299b69ecb334eeb82e44d78abfcb2ac16"


def test_other_events_than_the_published_ones_are_refused(root, monkeypatch):
    scenes = simulated_gestures._Scenes(1, 1, 1)  # what is in the store already
    monkeypatch.setattr(simulated_gestures, "_Scenes", lambda *_: scenes)
    with pytest.raises(RuntimeError, match=r"have checksum .*, the published ones"):
        SimulatedGestures(root, train=False)


def test_bad_arguments(root):
    with pytest.raises(ValueError, match="people must be an integer of at least 1, got 0"):
        SimulatedGestures(root, people=(0, 1))
    with pytest.raises(ValueError, match="people must be two numbers"):
        SimulatedGestures(root, people=(1, 1, 1))
    with pytest.raises(ValueError, match="takes must be an integer of at least 1"):
        SimulatedGestures(root, takes=0)
