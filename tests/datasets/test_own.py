"""Users' own data: each kind trains with one line."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spikeprop.datasets import (
    Binning,
    EventArrays,
    EventBatch,
    bin_events,
    length_mask,
    make_events,
    make_loader,
    own,
    sequence_loader,
    stored,
)


def arrays(lengths=(30, 0, 12), seed=0):
    rng = np.random.default_rng(seed)
    return [
        np.stack(
            [
                rng.integers(0, 9, n),
                rng.integers(0, 5, n),
                1000 + np.sort(rng.integers(0, 800, n)),
                rng.integers(0, 2, n),
            ],
            axis=1,
        )
        for n in lengths
    ]


@pytest.mark.parametrize("kind", ["array", "tensor", "structured", "txyp", "floats"])
def test_events_of_every_kind(kind):
    x, y, t, p = (array := arrays((30,))[0]).T
    given = {
        "array": array,
        "tensor": torch.from_numpy(array),
        "structured": make_events(x, y, t, p),
        "txyp": array[:, [2, 0, 1, 3]],
        "floats": array.astype(np.float32),
    }[kind]
    events = own.as_events(given, "txyp" if kind == "txyp" else "xytp")
    assert np.array_equal(events, make_events(x, y, t, p))


def test_one_dimensional_sensors_have_no_y():
    events = np.zeros(3, dtype=[("t", "<i4"), ("x", "<i2"), ("p", "?")])
    events["x"] = [5, 6, 7]
    assert own.as_events(events)["x"].tolist() == [5, 6, 7]
    assert own.as_events(events)["y"].tolist() == [0, 0, 0]
    assert own.as_events([[3, 4]], "xt")["t"].tolist() == [4]
    assert len(own.as_events([])) == 0


@pytest.mark.parametrize(
    ("events", "order", "message"),
    [
        (np.zeros((3, 3)), "xytp", r"or \(N, 4\) with the columns 'xytp', got shape \(3, 3\)"),
        (np.zeros(3), "xytp", "got shape"),
        (np.zeros((3, 2)), "xy", "order has to be letters of 'xytp'"),
        (np.zeros((3, 3)), "xxt", "order has to be"),
        (np.full((3, 4), 0.5), "xytp", "has fractions"),
        (np.zeros(3, dtype=[("x", int)]), "xytp", "need the fields x and t, got x"),
    ],
)
def test_what_are_no_events(events, order, message):
    with pytest.raises(ValueError, match=message):
        own.as_events(events, order)


def test_a_list_of_arrays():
    given = arrays()
    found = EventArrays(given, [0, 2, 1], groups=[5, 5, 6])
    assert found.sensor_size == (9, 5, 2)
    assert found.classes == ["0", "1", "2"]
    assert found.groups.tolist() == [5, 5, 6]
    assert found[0][0]["t"].tolist() == (given[0][:, 2] - given[0][0, 2]).tolist()
    assert found.duration == 1 + max(np.ptp(a[:, 2]) for a in given if len(a))
    loader = make_loader(found, batch_size=3, binning=Binning(100), shuffle=True, seed=0)
    plain = make_loader(
        _Plain(found),
        batch_size=3,
        binning=Binning(100),
        shuffle=True,
        seed=0,
    )
    (x, labels), (y, same) = next(iter(loader)), next(iter(plain))
    assert torch.equal(x, y)
    assert torch.equal(labels, same)


class _Plain:
    """The same set, asked for single recordings only."""

    def __init__(self, dataset):
        self.dataset = dataset
        for name in ("sensor_size", "classes", "targets", "duration"):
            setattr(self, name, getattr(dataset, name))

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        return self.dataset[index]


def test_times_may_be_kept_and_are_sorted():
    events = [[1, 0, 50, 0], [2, 0, 20, 1]]
    assert EventArrays([events], [0], from_zero=False)[0][0]["t"].tolist() == [20, 50]
    assert EventArrays([events], [0])[0][0]["x"].tolist() == [2, 1]


@pytest.mark.parametrize(
    ("targets", "options", "message"),
    [
        ([0], {}, "targets must be one label for each of the 3 recordings"),
        ([0, -1, 1], {}, "label -1 is out of range"),
        ([0, 1, 2], {"classes": ["a", "b"]}, "label 2 is out of range: 2 classes"),
        ([0.0, 1.0, 2.0], {}, "labels must be integers"),
        ([0, 1, 2], {"sensor_size": (3, 3, 2)}, r"the sensor .* allows 0 to 2"),
    ],
)
def test_arrays_that_do_not_fit(targets, options, message):
    with pytest.raises(ValueError, match=message):
        EventArrays(arrays(), targets, **options)
    with pytest.raises(ValueError, match="events_list is empty"):
        EventArrays([], [])


def test_any_dataset_of_events_and_labels(tmp_path):
    class Theirs(torch.utils.data.Dataset):
        sensor_size = (12, 5, 2)
        classes = ("left", "right")

        def __len__(self):
            return 3

        def __getitem__(self, index):
            return arrays()[index], index % 2

    found = EventArrays.from_dataset(Theirs(), duration=500)
    assert (found.name, found.sensor_size, found.duration) == ("theirs", (12, 5, 2), 500)
    assert found.classes == ["left", "right"]
    assert len(stored(found, tmp_path)) == 3
    with pytest.raises(TypeError, match=r"dataset\[0\] has to be \(events, label\)"):
        EventArrays.from_dataset([np.zeros((2, 4))])


def test_sequences_of_tensors():
    sequences = [(torch.full((t, 2, 3), float(t)), t % 2) for t in (3, 5, 1, 4)]
    dense = sequence_loader(sequences, batch_size=3, shuffle=True, seed=1, lengths=True)
    sparse = sequence_loader(sequences, batch_size=3, shuffle=True, seed=1, sparse=True)
    seen = []
    for epoch in (0, 1):
        dense.set_epoch(epoch)
        sparse.set_epoch(epoch)
        for (x, labels, lengths), (events, same) in zip(dense, sparse, strict=True):
            assert x.dtype == torch.float32
            assert x.shape == (lengths.max(), len(labels), 2, 3)
            assert isinstance(events, EventBatch)
            assert torch.equal(events.to_dense(), x)
            assert torch.equal(labels, same)
            mask = length_mask(lengths, len(x))
            assert torch.equal(x, (mask * lengths)[:, :, None, None].expand_as(x).float())
            seen.append(lengths.tolist())
    assert seen[:2] != seen[2:]
    with pytest.raises(ValueError, match=r"item 0 has to be \(T, features...\)"):
        next(iter(sequence_loader([(torch.zeros(3), 0)], batch_size=1, shuffle=False, seed=0)))
    unlike = [(torch.zeros(3, 2), 0), (torch.zeros(3, 4), 0)]
    with pytest.raises(ValueError, match=r"sequences of \(2,\) and of \(4,\) in one batch"):
        next(iter(sequence_loader(unlike, batch_size=2, shuffle=False, seed=0)))
    with pytest.raises(ValueError, match="dataset is empty"):
        sequence_loader([], batch_size=1, shuffle=False, seed=0)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(
    ("binning", "expected"),
    [
        (Binning(100), [3, 0, 8]),
        (Binning(n_time_bins=4), [4, 0, 4]),
        (Binning(event_count=2), [1, 0, 2]),
    ],
)
def test_true_lengths(sparse, binning, expected):
    recordings = [[[0, 0, 0, 0], [1, 1, 250, 1]], [], [[0, 0, 0, 0], [1, 1, 5, 1], [2, 0, 730, 0]]]
    found = EventArrays(recordings, [0, 1, 0], duration=500)
    loader = make_loader(
        found,
        batch_size=3,
        binning=binning,
        shuffle=False,
        seed=0,
        whole=True,
        lengths=True,
        sparse=sparse,
    )
    x, labels, lengths = next(iter(loader))
    assert lengths.tolist() == expected
    assert labels.tolist() == [0, 1, 0]
    assert x.shape[0] == max(expected)
    dense = x.to_dense() if sparse else x
    assert dense.sum() == 5  # nothing cut off at the nominal duration
    assert not dense[~length_mask(lengths, len(dense))].any()
    cut = bin_events([found[2][0]], Binning(100), found.sensor_size, found.duration)
    assert (cut.shape[0], cut.sum()) == (5, 2)
