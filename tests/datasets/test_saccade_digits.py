"""SaccadeDigits: the published recordings, whatever happens to the file that keeps them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from spikeprop.datasets import SaccadeDigits, saccade_digits
from spikeprop.datasets.bin_format import read_events, write_events
from spikeprop.datasets.camera import record

pytestmark = pytest.mark.slow  # the first test that runs makes the recordings: some ten seconds


@pytest.fixture(scope="module")
def made():
    return saccade_digits.make()


@pytest.fixture(scope="module")
def root(made, tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saccade_digits, "make", lambda: made)
        SaccadeDigits(root)
    return root


@pytest.fixture(scope="module")
def train(root):
    return SaccadeDigits(root)


@pytest.fixture(scope="module")
def test(root):
    return SaccadeDigits(root, train=False)


def test_this_machine_makes_the_published_recordings(made, root):
    assert saccade_digits.checksum(made) == saccade_digits.SHA256
    with np.load(root / saccade_digits.FILE, allow_pickle=False) as file:
        assert saccade_digits.checksum(dict(file)) == saccade_digits.SHA256


def test_the_split(train, test):
    assert (len(train), len(test)) == (1400, 397)
    both = np.bincount(train.targets) + np.bincount(test.targets)
    assert np.abs(np.bincount(test.targets) - both * 397 / 1797).max() < 1
    assert both.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    first = {train[i][0].tobytes() for i in range(len(train))}
    assert len(first) == 1400
    assert not first & {test[i][0].tobytes() for i in range(len(test))}


def test_the_same_kind_of_data_as_nmnist(test, tmp_path):
    assert (test.name, test.sensor_size, test.duration) == ("saccade-digits", (34, 34, 2), 315_000)
    assert not test.partial
    assert test.note is None
    assert test.classes == [str(digit) for digit in range(10)]
    counts = []
    for index in range(0, 397, 10):
        events, label = test[index]
        assert label == test.targets[index]
        write_events(tmp_path / "a.bin", events)
        np.testing.assert_array_equal(read_events(tmp_path / "a.bin", (34, 34, 2)), events)
        counts.append(len(events))
    assert 2_000 < np.mean(counts) < 4_500


def test_at_least_five_percent_of_events_are_noise(made):
    images = load_digits().images[:200].astype(np.int64)
    quiet = record(images, replace(saccade_digits.CAMERA, noise=0))
    share = 1 - np.array([len(r) for r in quiet]) / np.diff(made["ends"][:200], prepend=0)
    assert share.min() >= 0.05
    assert share.max() < 0.1


def test_options(root, test):
    short = SaccadeDigits(root, train=False, first_saccade_only=True)
    assert short.duration == 100_000
    events = test[5][0]
    np.testing.assert_array_equal(short[5][0], events[events["t"] < 100_000])
    still = SaccadeDigits(root, train=False, stabilize=True)
    wander = [test[i][0]["x"].mean() for i in range(50)]
    middle = [still[i][0]["x"].mean() for i in range(50)]
    assert abs(np.mean(middle) - 16.5) < 1
    assert np.std(middle) < np.std(wander) + 0.5


def test_loader(root):
    loader = SaccadeDigits.loader(root, batch_size=50, seed=1)
    x, labels = next(iter(loader))
    assert x.shape == (21, 50, 2, 34, 34)
    assert x.dtype == torch.float32
    assert labels.shape == (50,)
    assert 0.03 < x.mean() < 0.06
    assert set(x.unique().tolist()) == {0.0, 1.0}
    counts = SaccadeDigits.loader(root, batch_size=50, seed=1, binary=False)
    assert next(iter(counts))[0].max() > 1
    first = SaccadeDigits.loader(root, train=False, first_saccade_only=True)
    assert next(iter(first))[0].shape == (7, 64, 2, 34, 34)
    with pytest.raises(ValueError, match="batch_size"):
        SaccadeDigits.loader(root, batch_size=0)


def test_an_intact_file_is_used(root, monkeypatch):
    monkeypatch.setattr(saccade_digits, "make", None)
    assert len(SaccadeDigits(root)) == 1400


@pytest.mark.parametrize("damage", ["truncated", "changed", "empty", "pickle", "other", "folder"])
def test_a_damaged_file_is_made_anew(root, tmp_path, monkeypatch, damage):
    path = tmp_path / saccade_digits.FILE
    good = (root / saccade_digits.FILE).read_bytes()
    arrays = saccade_digits.load_or_make(root / saccade_digits.FILE)
    monkeypatch.setattr(saccade_digits, "make", lambda: arrays)
    if damage == "truncated":
        path.write_bytes(good[: len(good) // 2])
    elif damage == "changed":
        changed = arrays["events"].copy()
        changed[1000] ^= 1
        np.savez(path, **{**arrays, "events": changed})
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "pickle":
        np.savez(path, **{name: np.array([object()]) for name in arrays})
    elif damage == "other":
        np.savez(path, something=np.arange(3))
    if damage == "folder":
        path.mkdir()
        with pytest.warns(UserWarning, match="could not be kept"):
            assert len(SaccadeDigits(tmp_path)) == 1400
        assert list(path.iterdir()) == []
    else:
        assert len(SaccadeDigits(tmp_path)) == 1400
        with np.load(path) as file:
            assert saccade_digits.checksum(dict(file)) == saccade_digits.SHA256
    assert [p.name for p in tmp_path.iterdir()] == [saccade_digits.FILE]


def test_other_events_than_the_published_ones_are_refused(root, tmp_path, monkeypatch):
    arrays = dict(saccade_digits.load_or_make(root / saccade_digits.FILE))
    arrays["labels"] = arrays["labels"][::-1]
    monkeypatch.setattr(saccade_digits, "make", lambda: arrays)
    with pytest.raises(RuntimeError, match="sha256") as caught:
        SaccadeDigits(tmp_path)
    assert saccade_digits.SHA256 in str(caught.value)
    assert saccade_digits.checksum(arrays) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_no_obstacle(root, tmp_path, monkeypatch):
    arrays = saccade_digits.load_or_make(root / saccade_digits.FILE)
    monkeypatch.setattr(saccade_digits, "make", lambda: arrays)
    (tmp_path / "file").write_text("not a folder")
    with pytest.warns(UserWarning, match="could not be kept"):
        assert len(SaccadeDigits(tmp_path / "file")) == 1400
