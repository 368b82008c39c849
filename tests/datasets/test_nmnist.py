"""N-MNIST from a folder: both layouts, part of the set, and folders that are wrong."""

import pickle

import numpy as np
import pytest
import torch

from spikeprop.datasets import NMNIST, make_events, stabilize, write_events


def write_recording(path, seed, n=200):
    rng = np.random.default_rng(seed)
    events = make_events(
        rng.integers(0, 34, n),
        rng.integers(0, 34, n),
        np.sort(rng.integers(0, 310_000, n)),
        rng.integers(0, 2, n),
    )
    write_events(path, events)
    return events


@pytest.fixture
def folder(tmp_path):
    for split, offset in (("Train", 0), ("Test", 100)):
        for digit in range(10):
            for number in range(2):
                path = tmp_path / split / str(digit) / f"{number + 1:05d}.bin"
                write_recording(path, offset + 2 * digit + number)
    return tmp_path


def test_reads_part_of_the_set_and_says_so(folder):
    train = NMNIST(folder)
    assert len(train) == 20
    assert train.partial
    assert train.note == "part of N-MNIST: 20 of 60,000 training recordings"
    assert NMNIST(folder, train=False).note == "part of N-MNIST: 20 of 10,000 test recordings"
    assert train.targets.tolist() == [digit for digit in range(10) for _ in range(2)]
    assert train.targets.dtype == np.int64
    assert (train.name, train.sensor_size, train.duration) == ("nmnist", (34, 34, 2), 315_000)
    assert train.classes == [str(digit) for digit in range(10)]
    assert "20 of 60,000" in repr(train)


def test_items(folder, tmp_path_factory):
    expected = write_recording(tmp_path_factory.mktemp("x") / "a.bin", 5)
    dataset = NMNIST(folder)
    events, label = dataset[5]
    np.testing.assert_array_equal(events, expected)
    assert label == 2
    assert type(label) is int
    assert dataset[-1][1] == 9
    with pytest.raises(IndexError, match="20"):
        dataset[20]
    with pytest.raises(IndexError):
        dataset[-21]


def test_options_are_those_of_tonic(folder):
    plain = NMNIST(folder)[3][0]
    first = NMNIST(folder, first_saccade_only=True)
    assert first.duration == 100_000
    np.testing.assert_array_equal(first[3][0], plain[plain["t"] < 100_000])
    still = NMNIST(folder, first_saccade_only=True, stabilize=True)[3][0]
    np.testing.assert_array_equal(still, stabilize(plain[plain["t"] < 100_000]))


def test_tonics_layout(folder):
    plain = NMNIST(folder)
    (folder / "NMNIST").mkdir()
    for split in ("Train", "Test"):
        (folder / split).rename(folder / "NMNIST" / split)
    moved = NMNIST(folder)
    assert len(moved) == 20
    assert len(NMNIST(folder / "NMNIST", train=False)) == 20
    np.testing.assert_array_equal(moved[7][0], plain_events(plain, moved, 7))


def plain_events(plain, moved, index):
    plain.paths = moved.paths
    return plain[index][0]


def test_default_folder(folder, monkeypatch):
    monkeypatch.setenv("SPIKEPROP_DATA", str(folder))
    assert len(NMNIST()) == 20
    monkeypatch.delenv("SPIKEPROP_DATA")
    home = folder / "home"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    with pytest.raises(FileNotFoundError, match="spikeprop"):
        NMNIST(download=False)
    assert not home.exists()
    with pytest.raises(ValueError, match="root is empty"):
        NMNIST("")


def test_a_full_set_is_not_partial(folder, monkeypatch):
    from spikeprop.datasets import nmnist

    monkeypatch.setattr(nmnist, "RECORDINGS", {"train": 20, "test": 20})
    dataset = NMNIST(folder)
    assert not dataset.partial
    assert dataset.note is None
    assert repr(dataset) == "NMNIST(train, 20 recordings)"


def test_other_files_are_left_alone(folder):
    (folder / "Train" / "README.md").write_text("hello")
    (folder / "Train" / ".hidden").mkdir()
    (folder / "Train" / "notes").mkdir()
    (folder / "Train" / "3" / "._00001.bin").write_bytes(b"x")
    assert len(NMNIST(folder)) == 20


@pytest.mark.parametrize("name", ["10", "-1", "cat", "07"])
def test_label_out_of_range(folder, name):
    write_recording(folder / "Train" / name / "1.bin", 0)
    with pytest.raises(ValueError, match=f"label '{name}' is out of range"):
        NMNIST(folder)


def test_empty_split(tmp_path):
    (tmp_path / "Train" / "3").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="holds no recordings"):
        NMNIST(tmp_path)


def test_a_damaged_recording_is_named(folder):
    path = folder / "Train" / "4" / "00002.bin"
    path.write_bytes(path.read_bytes()[:-3])
    dataset = NMNIST(folder)
    with pytest.raises(ValueError, match=r"4.00002\.bin: truncated"):
        dataset[9]
    with pytest.raises(ValueError, match="truncated"):
        list(NMNIST.loader(folder))


def test_loader(folder):
    loader = NMNIST.loader(folder, batch_size=8, n_time_bins=10, seed=3, shift=1)
    batches = list(loader)
    assert [x.shape for x, _ in batches] == [(10, n, 2, 34, 34) for n in (8, 8, 4)]
    labels = torch.cat([y for _, y in batches])
    assert labels.tolist() != sorted(labels.tolist())
    assert sorted(labels.tolist()) == NMNIST(folder).targets.tolist()
    test = NMNIST.loader(folder, train=False, shift=5)
    assert torch.cat([y for _, y in test]).tolist() == NMNIST(folder, train=False).targets.tolist()
    still = NMNIST.loader(folder, train=False)
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(test, still, strict=True))


def test_a_set_can_be_pickled(folder):
    dataset = pickle.loads(pickle.dumps(NMNIST(folder)))
    assert len(dataset[0][0]) == 200
