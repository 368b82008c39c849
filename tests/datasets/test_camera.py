"""The simulated camera keeps the laws of its pixels."""

from dataclasses import replace

import numpy as np
import pytest

from spikeprop.datasets import make_events, stabilize
from spikeprop.datasets.camera import (
    DURATION_US,
    SUBPIXELS,
    Camera,
    path,
    record,
    unpack,
)

PLAIN = Camera(
    position=0, rotation=0, shear=0, zoom=0, contrast=256, mismatch=0, noise=0, refractory_us=0
)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    images = np.zeros((4, 8, 8), dtype=np.int64)
    images[:, 1:7, 2:6] = rng.integers(0, 17, (4, 6, 4))
    return images


def test_the_path_is_the_triangle_that_stabilize_undoes():
    t = np.arange(0, DURATION_US + 1, 2_500)
    x, y = path().T / SUBPIXELS
    assert len(t) == len(x) == 127
    corners = np.array([[0, 0], [3.5, 7], [7, 0], [0, 0]])
    for axis, values in enumerate((x, y)):
        exact = np.interp(t, [0, 105_000, 210_000, 315_000], corners[:, axis])
        assert np.abs(values - exact).max() < 0.51 / SUBPIXELS


def test_events_are_sorted_and_on_the_sensor(images):
    for packed in record(images, Camera()):
        x, y, t, p = unpack(packed)
        assert len(t) > 100
        assert (np.diff(t) >= 0).all()
        assert t.min() >= 0
        assert t.max() < DURATION_US
        for values, limit in ((x, 34), (y, 34), (p, 2)):
            assert values.min() >= 0
            assert values.max() < limit


def test_an_empty_scene_makes_no_event():
    assert [len(r) for r in record(np.zeros((2, 8, 8), dtype=np.int64), Camera())] == [0, 0]


def test_on_and_off_events_balance_over_a_closed_path(images):
    """The scene ends where it began: a pixel's rises and falls differ by what its memory hid."""
    for packed in record(images, PLAIN):
        x, y, _, p = unpack(packed)
        net = np.zeros((34, 34), dtype=int)
        np.add.at(net, (y, x), 2 * p - 1)
        assert np.abs(net).max() <= 1
        assert len(p) > 100


def test_number_of_events_follows_the_threshold(images):
    """Brightness travels the same way; half the threshold makes about twice the events."""
    coarse, fine = (
        sum(len(r) for r in record(images, replace(PLAIN, threshold=threshold)))
        for threshold in (200, 100)
    )
    assert 1.7 < fine / coarse < 2.6


def test_the_stabilised_digit_stands_in_the_middle():
    image = np.full((1, 8, 8), 16, dtype=np.int64)
    x, y, t, p = unpack(record(image, PLAIN)[0])
    raw = make_events(x, y, t, p)
    still = stabilize(raw)
    assert len(still) > 0.95 * len(raw)
    for axis in "xy":
        assert abs(still[axis].mean() - 16.5) < 0.75
        assert still[axis].std() < raw[axis].std() + 0.5
    # A square of 22 pixels, edges blurred by bilinear interpolation.
    assert np.percentile(still["x"], 99) - np.percentile(still["x"], 1) == pytest.approx(24, abs=3)


@pytest.mark.parametrize("refractory_us", [3_000, 10_000])
def test_refractory_time(images, refractory_us):
    camera = replace(Camera(), refractory_us=refractory_us, threshold=150, noise=60)
    for packed in record(images, camera):
        x, y, t, _ = unpack(packed)
        pixel = y * 34 + x
        order = np.lexsort((t, pixel))
        gaps = np.diff(t[order])[np.diff(pixel[order]) == 0]
        assert len(gaps) > 100
        assert gaps.min() >= refractory_us


def test_noise_is_the_asked_share(images):
    quiet = record(images, replace(Camera(), noise=0))
    noisy = record(images, replace(Camera(), noise=64))
    for a, b in zip(quiet, noisy, strict=True):
        assert set(a.tolist()) <= set(b.tolist())
        assert 0.85 * len(a) / 4 < len(b) - len(a) <= len(a) / 4 + 1


def test_mismatch_makes_pixels_differ(images):
    plain = record(images, PLAIN)
    uneven = record(images, replace(PLAIN, mismatch=80))
    assert all(a.tolist() != b.tolist() for a, b in zip(plain, uneven, strict=True))


def test_a_recording_depends_on_seed_and_place_only(images):
    """Not on what else is recorded, nor on how many are made at once."""
    many = np.concatenate([images] * 13)  # more than one chunk
    all_of_them = record(many, Camera())
    assert len(all_of_them) == 52
    for a, b in zip(record(images, Camera()), all_of_them, strict=False):
        np.testing.assert_array_equal(a, b)
    assert all_of_them[0].tolist() != all_of_them[4].tolist()
    other = record(images, replace(Camera(), seed=1))
    assert other[0].tolist() != all_of_them[0].tolist()
