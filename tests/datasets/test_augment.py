"""Augmentation: what each does, and that it depends on (seed, epoch, index) and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeprop.datasets import Binning, EventColumns, augment, make_events, make_loader
from spikeprop.datasets._draws import Draws
from spikeprop.datasets._refractory import kept_events, kept_events_numpy, refractory
from spikeprop.datasets.compiled import compiled

SENSOR = (20, 12, 2)


def batch(lengths=(300, 0, 200, 1), sensor=SENSOR, duration=50_000, seed=0):
    rng = np.random.default_rng(seed)
    return EventColumns.from_list(
        [
            make_events(
                rng.integers(0, sensor[0], n),
                rng.integers(0, sensor[1], n),
                np.sort(rng.integers(0, duration, n)),
                rng.integers(0, sensor[2], n),
            )
            for n in lengths
        ]
    )


def draws(count=4, seed=0, epoch=0, first=0):
    return Draws(seed, np.full(count, epoch), np.arange(first, first + count))


def apply(augmentation, columns, labels=None, **key):
    labels = np.arange(columns.batch) if labels is None else labels
    return augmentation(columns, labels, SENSOR, draws(columns.batch, **key))


def rows(columns):
    """Every recording as a multiset of events."""
    return [sorted(columns.events(i).tolist()) for i in range(columns.batch)]


ALL = [
    augment.DropEvents(0.2, 0.6),
    augment.DropArea(0.4),
    augment.DropTime(0.3),
    augment.Shift(3),
    augment.Rotate(30),
    augment.Scale(0.7, 1.4),
    augment.FlipLeftRight(),
    augment.FlipUpDown(),
    augment.FlipPolarity(),
    augment.TimeStretch(),
    augment.TimeJitter(2000),
    augment.Noise(0.1, 0.5),
    augment.Refractory(3000),
]


def name(augmentation):
    return type(augmentation).__name__


@pytest.mark.parametrize("augmentation", ALL, ids=name)
def test_a_recording_is_changed_by_its_own_key_only(augmentation):
    columns = batch((50, 80, 0, 30))
    whole, _ = apply(augmentation, columns, first=3)
    for i in range(4):
        one = EventColumns.from_list([columns.events(i)])
        alone, _ = augmentation(one, np.array([0]), SENSOR, draws(1, first=3 + i))
        assert np.array_equal(alone.events(0), whole.events(i))
    assert rows(apply(augmentation, columns, first=3)[0]) == rows(whole)
    if not isinstance(augmentation, augment.Refractory):
        changed = [rows(apply(augmentation, columns, epoch=e)[0]) for e in range(6)]
        assert any(change != changed[0] for change in changed)
        seeds = [rows(apply(augmentation, columns, seed=s)[0]) for s in range(6)]
        assert any(change != seeds[0] for change in seeds)


@pytest.mark.parametrize("augmentation", ALL, ids=name)
def test_what_comes_out_is_a_batch_on_the_sensor_in_order(augmentation):
    for seed in range(5):
        columns, labels = apply(augmentation, batch(seed=seed), seed=seed)
        assert columns.batch == 4
        assert labels.tolist() == [0, 1, 2, 3]
        assert columns.offsets[0] == 0
        assert columns.offsets[-1] == len(columns.t) == len(columns.x) == len(columns.p)
        for column, limit in zip((columns.x, columns.y, columns.p), SENSOR, strict=True):
            assert column.min() >= 0
            assert column.max() < limit
        assert columns.t.min() >= 0
        assert not np.any((np.diff(columns.t) < 0) & (np.diff(columns.row) == 0))
        assert len(columns.events(1)) == 0


def subset(part, whole):
    return all(set(a) <= set(b) for a, b in zip(rows(part), rows(whole), strict=True))


def test_drop_events():
    columns = batch((20_000, 20_000))
    dropped, _ = apply(augment.DropEvents(0.3, 0.3), columns)
    assert subset(dropped, columns)
    assert dropped.lengths / columns.lengths == pytest.approx([0.7, 0.7], abs=0.02)
    assert len(apply(augment.DropEvents(1.0, 1.0), columns)[0].t) == 0
    assert rows(apply(augment.DropEvents(0.0, 0.0), columns)[0]) == rows(columns)
    shares = [apply(augment.DropEvents(0, 1), columns, epoch=e)[0].lengths for e in range(20)]
    assert np.std(shares) > 3000


def test_drop_area():
    columns = batch((4000,) * 8)
    dropped, _ = apply(augment.DropArea(0.5), columns)
    assert subset(dropped, columns)
    for i in range(8):
        gone = np.ones((SENSOR[1], SENSOR[0]), dtype=bool)
        events = dropped.events(i)
        gone[events["y"], events["x"]] = False
        ys, xs = np.nonzero(gone)
        assert len(ys) == 6 * 10  # a full rectangle of 10 x 6
        assert (np.ptp(xs), np.ptp(ys)) == (9, 5)
    assert rows(apply(augment.DropArea(0.0), columns)[0]) == rows(columns)
    assert len(apply(augment.DropArea(1.0), columns)[0].t) == 0


def test_drop_time():
    columns = batch((4000,) * 8)
    dropped, _ = apply(augment.DropTime(0.25), columns)
    assert subset(dropped, columns)
    for i in range(8):
        t = np.concatenate([[-1], dropped.events(i)["t"], [50_000]])
        assert np.diff(t).max() == pytest.approx(12_500, abs=150)
        assert len(t) / 4000 == pytest.approx(0.75, abs=0.04)
    assert len(apply(augment.DropTime(1.0), columns)[0].t) == 0


def test_shift_moves_whole_recordings():
    columns = EventColumns.from_list([make_events([10], [6], [5], [1])] * 400)
    moved, _ = apply(augment.Shift(2), columns)
    found = set(zip((moved.x - 10).tolist(), (moved.y - 6).tolist(), strict=True))
    assert found == {(dx, dy) for dx in range(-2, 3) for dy in range(-2, 3)}
    assert np.array_equal(moved.t, columns.t)


def test_rotate_and_scale_are_about_the_middle():
    square = (21, 21, 2)
    events = make_events([20, 10, 10], [10, 10, 0], [0, 1, 2], [0, 1, 1])
    columns = EventColumns.from_list([events] * 200)
    labels = np.zeros(200, dtype=np.int64)
    turned, _ = augment.Rotate(90)(columns, labels, square, draws(200))
    first = turned.t == 0
    x, y = turned.x[first] - 10, turned.y[first] - 10
    assert np.hypot(x, y) == pytest.approx(np.full(len(x), 10.0), abs=0.8)
    angle = np.degrees(np.arctan2(y, x))
    assert angle.min() < -75
    assert angle.max() > 75
    assert np.abs(angle).max() < 95
    still = turned.t == 1
    assert set(turned.x[still].tolist()) == set(turned.y[still].tolist()) == {10}
    smaller, _ = augment.Scale(0.5, 0.5)(columns, labels, square, draws(200))
    assert set(smaller.x[smaller.t == 0].tolist()) == {15}
    assert set(smaller.y[smaller.t == 2].tolist()) == {5}
    larger, _ = augment.Scale(1.5, 1.5)(columns, labels, square, draws(200))
    assert set(larger.t.tolist()) == {1}


def test_flips():
    columns = batch((100,) * 50)
    labels = np.arange(50) % 3
    for augmentation, field, side in (
        (augment.FlipLeftRight(), "x", 20),
        (augment.FlipUpDown(), "y", 12),
        (augment.FlipPolarity(), "p", 2),
    ):
        flipped, same = apply(augmentation, columns, labels)
        assert np.array_equal(same, labels)
        turned = 0
        for i in range(50):
            before, after = columns.events(i), flipped.events(i)
            mirrored = before.copy()
            mirrored[field] = side - 1 - before[field]
            assert np.array_equal(after, before) or np.array_equal(after, mirrored)
            turned += np.array_equal(after, mirrored)
        assert 12 < turned < 38
        always = type(augmentation)(1.0)
        twice, _ = apply(always, apply(always, columns)[0])
        assert rows(twice) == rows(columns)


def test_left_and_right_gestures_change_places():
    columns, labels = batch((10,) * 60), np.arange(60) % 3
    flipped, changed = apply(augment.FlipLeftRight(0.5, (1, 0, 2)), columns, labels)
    for i in range(60):
        turned = not np.array_equal(flipped.events(i), columns.events(i))
        assert changed[i] == ((1, 0, 2)[labels[i]] if turned else labels[i])
    with pytest.raises(ValueError, match="has 2 classes, and there is a recording of class 2"):
        apply(augment.FlipLeftRight(0.5, (1, 0)), columns, labels)


def test_time():
    columns = batch((5000, 5000))
    stretched, _ = apply(augment.TimeStretch(2.0, 2.0), columns)
    assert np.array_equal(stretched.t, 2 * columns.t)
    jittered, _ = apply(augment.TimeJitter(1000), columns._replace(t=columns.t * 0 + 100_000))
    moved = jittered.t - 100_000
    assert moved.std() == pytest.approx(1000, rel=0.05)
    assert abs(moved.mean()) < 50
    assert rows(apply(augment.TimeJitter(0), columns)[0]) == rows(columns)


def test_noise_is_added_to_what_is_there():
    columns = batch((10_000, 10_000, 0))
    noisy, _ = apply(augment.Noise(0.25, 0.25), columns)
    assert subset(columns, noisy)
    assert noisy.lengths.tolist() == [12_500, 12_500, 0]
    added = sorted(set(noisy.events(0).tolist()) - set(columns.events(0).tolist()))
    x, y, t, p = np.array(added).T
    assert (x.mean(), y.mean(), p.mean()) == pytest.approx((9.5, 5.5, 0.5), rel=0.1)
    assert t.mean() == pytest.approx(25_000, rel=0.1)


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 60), min_size=1, max_size=4),
    period=st.sampled_from([0, 1, 5, 50, 10_000]),
    duration=st.sampled_from([1, 30, 1000]),
    seed=st.integers(0, 1000),
)
def test_refractory(lengths, period, duration, seed):
    columns = batch(lengths, (2, 2, 2), duration, seed)
    expected = []
    for i in range(columns.batch):
        last = {}
        for x, y, t, _ in columns.events(i).tolist():
            expected.append((x, y) not in last or t - last[x, y] >= period)
            if expected[-1]:
                last[x, y] = t
    pixel = columns.y * 2 + columns.x
    plain = kept_events(columns.t, pixel, columns.offsets, 4, period)
    numpy = kept_events_numpy(columns.t, pixel, columns.row, period)
    assert plain.tolist() == numpy.tolist() == expected
    assert refractory(columns, (2, 2, 2), period).tolist() == expected


def test_refractory_without_numba(monkeypatch):
    columns = batch()
    expected = rows(apply(augment.Refractory(2000), columns)[0])
    compiled.cache_clear()
    monkeypatch.setenv("SPIKEPROP_NO_NUMBA", "1")
    assert rows(apply(augment.Refractory(2000), columns)[0]) == expected
    compiled.cache_clear()


def test_transforms_of_tonic():
    transforms = pytest.importorskip("tonic.transforms")
    columns = batch((200, 300, 150, 80))
    flip = augment.TonicTransform(transforms.RandomFlipLR(sensor_size=SENSOR, p=1.0))
    ours, _ = apply(augment.FlipLeftRight(1.0), columns)
    assert rows(apply(flip, columns)[0]) == rows(ours)
    drop = augment.TonicTransform(transforms.DropEvent(p=0.5))
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    dropped, _ = apply(drop, columns)
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    assert subset(dropped, columns)
    assert rows(apply(drop, columns)[0]) == rows(dropped)
    assert rows(apply(drop, columns, epoch=1)[0]) != rows(dropped)
    frames = augment.TonicTransform(transforms.ToFrame(sensor_size=SENSOR, n_time_bins=3))
    with pytest.raises(TypeError, match="has to return events with the fields x, y, t and p"):
        apply(frames, columns)


def test_one_after_another_each_with_draws_of_its_own():
    columns, labels = batch((1000,) * 4), np.arange(4)
    pair = [augment.DropEvents(0.5, 0.5)] * 2
    both, _ = augment.augment_batch(pair, columns, labels, SENSOR, draws())
    assert both.lengths / 1000 == pytest.approx([0.25] * 4, abs=0.06)


class Toy:
    sensor_size, classes, duration = SENSOR, ["a", "b"], 50_000

    def __init__(self):
        self.columns_ = batch((100,) * 10)
        self.targets = np.arange(10) % 2

    def __len__(self):
        return 10

    def __getitem__(self, index):
        return self.columns_.events(index), int(self.targets[index])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_through_the_loader(num_workers):
    pipeline = [augment.FlipLeftRight(labels=(1, 0)), augment.DropEvents(), augment.TimeJitter()]
    found = []
    for sparse in (False, True):
        loader = make_loader(
            Toy(),
            batch_size=3,
            binning=Binning(5000),
            shuffle=True,
            seed=1,
            augment=pipeline,
            sparse=sparse,
            num_workers=num_workers if sparse else 0,
        )
        loader.set_epoch(2)
        found.append(list(loader))
        loader.set_epoch(3)
        assert not torch.equal(next(iter(loader))[1], found[-1][0][1]) or not sparse
    for (x, labels), (events, same) in zip(*found, strict=True):
        assert torch.equal(events.to_dense(), x)
        assert torch.equal(labels, same)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: augment.DropEvents(0.5, 0.2), "DropEvents: 0 <= low <= high <= 1 is asked"),
        (lambda: augment.DropEvents(0.5, 1.2), "DropEvents"),
        (lambda: augment.DropArea(-0.1), "DropArea"),
        (lambda: augment.DropTime(2), "DropTime"),
        (lambda: augment.Shift(-1), "Shift: pixels must be an integer of at least 0"),
        (lambda: augment.Rotate(181), "Rotate"),
        (lambda: augment.Scale(0, 1), "Scale"),
        (lambda: augment.FlipLeftRight(2), "FlipLeftRight"),
        (lambda: augment.FlipLeftRight(0.5, (1, 1)), "labels must name every class once"),
        (lambda: augment.FlipUpDown(-1), "FlipUpDown"),
        (lambda: augment.FlipPolarity(float("nan")), "FlipPolarity"),
        (lambda: augment.TimeStretch(0, 1), "TimeStretch"),
        (lambda: augment.TimeJitter(-1), "TimeJitter"),
        (lambda: augment.Noise(0.2, 0.1), "Noise"),
        (lambda: augment.Refractory(-5), "Refractory: period must be"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
