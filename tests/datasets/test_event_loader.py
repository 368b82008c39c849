"""Batches: what they hold, and that they depend on (seed, epoch) and nothing else."""

import numpy as np
import pytest
import torch

from spikeprop.datasets import (
    Binning,
    EventBatch,
    EventColumns,
    bin_events,
    make_events,
    make_loader,
    shift_events,
)


class Toy:
    """A user's own set: attributes and two methods are enough."""

    sensor_size = (34, 34, 2)
    classes = ("a", "b", "c")
    duration = 60_000

    def __init__(self, n=23):
        rng = np.random.default_rng(0)
        self.targets = rng.integers(0, 3, n)
        self.recordings = [
            make_events(
                rng.integers(8, 26, 40),
                rng.integers(8, 26, 40),
                np.sort(rng.integers(0, 60_000, 40)),
                rng.integers(0, 2, 40),
            )
            for _ in range(n)
        ]

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        return self.recordings[index], int(self.targets[index])


BASE = {"batch_size": 5, "binning": Binning(), "shuffle": True, "seed": 0}


def loader(**changes):
    return make_loader(changes.pop("dataset", None) or Toy(), **{**BASE, **changes})


def batches(loader, epoch=None):
    if epoch is not None:
        loader.set_epoch(epoch)
    return list(loader)


def same(left, right):
    return len(left) == len(right) and all(
        a.shape == c.shape and torch.equal(a, c) and torch.equal(b, d)
        for (a, b), (c, d) in zip(left, right, strict=True)
    )


def test_batches_hold_the_recordings_in_order():
    toy = Toy()
    found = batches(loader(dataset=toy, shuffle=False))
    x = torch.cat([x for x, _ in found], dim=1)
    expected = bin_events(toy.recordings, Binning(), toy.sensor_size, toy.duration)
    assert torch.equal(x, expected)
    assert [x.shape[1] for x, _ in found] == [5, 5, 5, 5, 3]
    assert len(loader()) == 5
    assert len(loader().dataset) == 23
    labels = torch.cat([y for _, y in found])
    assert labels.dtype == torch.int64
    assert labels.tolist() == toy.targets.tolist()


def test_every_epoch_has_an_order_of_its_own_and_no_memory():
    a, b = loader(shift=2), loader(shift=2)
    orders = [batches(a, epoch) for epoch in range(3)]
    assert same(batches(b, 2), orders[2])
    assert same(batches(b, 0), orders[0])
    assert same(batches(b), orders[0])
    assert not same(orders[0], orders[1])
    assert not same(orders[0], batches(loader(shift=2, seed=1), 0))
    for order in orders:
        labels = torch.cat([y for _, y in order])
        assert sorted(labels.tolist()) == sorted(Toy().targets.tolist())


def test_the_global_random_state_is_neither_read_nor_moved():
    torch.manual_seed(1)
    first = batches(loader(shift=2), 1)
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    assert same(first, batches(loader(shift=2), 1))
    assert torch.equal(before, torch.get_rng_state())
    assert (numpy_before == np.random.get_state()[1]).all()  # noqa: NPY002


def test_workers_give_the_same_batches():
    torch.manual_seed(0)
    plain = loader(shift=2)
    expected = batches(plain, 3)
    parallel = torch.utils.data.DataLoader(
        plain.dataset,
        batch_size=5,
        sampler=plain.sampler,
        collate_fn=plain.collate_fn,
        num_workers=2,
    )
    assert same(list(parallel), expected)


def test_shift_moves_whole_recordings_by_at_most_so_much():
    toy = Toy()
    still = batches(loader(dataset=toy, shuffle=False, batch_size=23))[0][0]
    moved = batches(loader(dataset=toy, shuffle=False, batch_size=23, shift=2), 4)[0][0]
    seen = set()
    for i in range(23):
        fits = [
            (dx, dy)
            for dx in range(-2, 3)
            for dy in range(-2, 3)
            if torch.equal(torch.roll(still[:, i], (dy, dx), (2, 3)), moved[:, i])
        ]
        assert len(fits) == 1
        seen.update(fits)
    assert len(seen) > 8
    assert {dx for dx, _ in seen} == {dy for _, dy in seen} == {-2, -1, 0, 1, 2}
    # Nothing is near the border here; elsewhere events leave the sensor and do not come back in.
    assert len(shift_events(make_events([33], [0], [0], [0]), 1, 0, (34, 34, 2))) == 0


def test_indices():
    toy = Toy()
    chosen = [7, 3, 3, 20]
    found = batches(loader(dataset=toy, shuffle=False, indices=chosen))
    assert found[0][1].tolist() == toy.targets[chosen].tolist()
    first = batches(loader(dataset=toy, indices=np.arange(10)), 1)
    assert sum(len(y) for _, y in first) == 10
    # A recording's shift does not depend on which others are used.
    whole = batches(loader(dataset=toy, shuffle=False, shift=3, batch_size=23), 1)[0][0]
    part = batches(loader(dataset=toy, shuffle=False, shift=3, indices=[9]), 1)[0][0]
    assert torch.equal(whole[:, 9:10], part)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size must be an integer of at least 1, got 0"),
        ({"batch_size": 2.0}, TypeError, "batch_size must be an integer"),
        ({"binning": 15_000}, TypeError, "binning must be a Binning, got 15000"),
        ({"seed": -1}, ValueError, "seed must be an integer of at least 0"),
        ({"shift": -1}, ValueError, "shift must be an integer of at least 0"),
        ({"shift": 34}, ValueError, "shift must be smaller than the sensor"),
        ({"indices": []}, ValueError, "no recording to load"),
        ({"indices": [0, 23]}, ValueError, "indices reach from 0 to 23; 23 recordings"),
        ({"indices": [-1]}, ValueError, "indices reach from -1"),
        ({"indices": [0.5]}, TypeError, "indices must be a list of integers"),
        ({"indices": [[1, 2]]}, TypeError, "indices must be a list of integers"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        loader(**arguments)


def test_bad_sets():
    with pytest.raises(ValueError, match="no recording to load"):
        loader(dataset=Toy(0), indices=[])
    toy = Toy()
    toy.targets[4] = 3
    with pytest.raises(ValueError, match="label 3 is out of range: 3 classes allow 0 to 2"):
        loader(dataset=toy)
    toy.targets[4] = -1
    with pytest.raises(ValueError, match="label -1 is out of range"):
        loader(dataset=toy)
    toy.targets = toy.targets + 0.5
    with pytest.raises(ValueError, match="labels must be integers, got float64"):
        loader(dataset=toy)


def test_bad_epoch():
    with pytest.raises(ValueError, match="epoch must be an integer of at least 0"):
        loader().set_epoch(-1)
    with pytest.raises(TypeError, match="epoch"):
        loader().set_epoch("first")


@pytest.mark.parametrize("num_workers", [0, 2])
def test_sparse_batches_are_the_dense_ones(num_workers):
    dense, sparse = loader(shift=3), loader(shift=3, sparse=True, num_workers=num_workers)
    for epoch in (0, 2):
        pairs = zip(batches(dense, epoch), batches(sparse, epoch), strict=True)
        for (x, labels), (events, sparse_labels) in pairs:
            assert isinstance(events, EventBatch)
            assert torch.equal(events.to_dense(), x)
            assert torch.equal(labels, sparse_labels)


def test_a_set_that_gives_columns_is_asked_for_whole_batches():
    class Columns(Toy):
        def columns(self, indices):
            return EventColumns.from_list([self.recordings[i] for i in indices])

        def __getitem__(self, index):
            raise AssertionError("asked for a single recording")

    expected = batches(loader(shift=2), 1)
    assert same(batches(loader(dataset=Columns(), shift=2), 1), expected)


def test_columns_give_their_recordings_back():
    toy = Toy()
    columns = EventColumns.from_list(toy.recordings)
    assert columns.batch == 23
    assert all(np.array_equal(columns.events(i), toy.recordings[i]) for i in range(23))
    with pytest.raises(IndexError, match="index 23 is out of range for 23 recordings"):
        columns.events(23)
