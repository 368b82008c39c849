"""The published sets, from small files in their own layouts."""

import pickle

import layouts
import numpy as np
import pytest
import torch
from real_data import REAL_DATA, needs_real_data

from spikeprop.datasets import obtaining
from spikeprop.datasets.catalogue import CATALOGUE, open_set
from spikeprop.datasets.dvs_gesture import CLASSES, DVSGesture, read_labels
from spikeprop.datasets.fetching import DownloadError
from spikeprop.datasets.images import MNIST, SMNIST, FashionMNIST, read_idx
from spikeprop.datasets.recording_files import EventFolder
from spikeprop.datasets.splits import hashed_split, split_validation

PUBLISHED = {
    "dvsgesture": (layouts.dvs_gesture_tonic, 11, (128, 128, 2)),
    "ncaltech101": (layouts.ncaltech101, 3, (240, 180, 2)),
    "cifar10dvs": (layouts.cifar10dvs, 10, (128, 128, 2)),
    "dvslip": (layouts.dvslip, 2, (128, 128, 2)),
    "asldvs": (layouts.asldvs, 24, (240, 180, 2)),
    "pokerdvs": (layouts.pokerdvs, 4, (35, 35, 2)),
    "shd": (layouts.heidelberg, 3, (700, 1, 1)),
    "smnist": (layouts.mnist, 10, (99, 1, 1)),
    "mnist": (layouts.mnist, 10, (28, 28, 1)),
    "fashion-mnist": (layouts.mnist, 10, (28, 28, 1)),
    "folder": (layouts.class_folder, 2, (12, 10, 2)),
}


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def refuse(file, folder, **_):
        raise DownloadError("no network in tests")

    monkeypatch.setattr(obtaining, "download", refuse)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_set_opens_reads_and_loads(name, tmp_path):
    write, classes, sensor = PUBLISHED[name]
    write(tmp_path)
    seen = []
    for train in (True, False):
        dataset = open_set(name, tmp_path, train=train)
        assert dataset.train is train
        assert len(dataset) == len(dataset.targets) > 0
        assert len(dataset.classes) == classes
        assert dataset.sensor_size == sensor
        for index in range(len(dataset)):
            events, label = dataset[index]
            assert 0 <= label < classes
            assert np.all(np.diff(events["t"]) >= 0)
            assert 0 <= events["t"][0] <= events["t"][-1]
            for column, limit in zip("xyp", sensor, strict=True):
                assert events[column].min() >= 0
                assert events[column].max() < limit
        if hasattr(dataset, "paths"):
            seen.append(set(dataset.paths))
        again = pickle.loads(pickle.dumps(dataset))
        np.testing.assert_array_equal(again[0][0], dataset[0][0])
    assert not seen or not seen[0] & seen[1]
    kind = CATALOGUE[name].open
    x, labels = next(iter(kind.loader(tmp_path, batch_size=3, n_time_bins=4)))
    assert x.shape == (4, 3, sensor[2], sensor[1], sensor[0])
    assert x.sum() > 0
    assert labels.dtype == torch.int64


@pytest.mark.parametrize("name", [name for name, entry in CATALOGUE.items() if entry.parts])
def test_missing_sets_say_what_to_put_where(name, tmp_path):
    where = tmp_path / "nothing"
    for train in (True, False):
        with pytest.raises(FileNotFoundError) as caught:
            open_set(name, where, train=train)
        message = str(caught.value)
        assert str(where) in message
        part = CATALOGUE[name].parts.get("train" if train else "test")
        for file in (part or CATALOGUE[name].parts["all"]).files:
            assert file.name in message
            assert file.md5 in message
            assert len(file.md5) == 32
            assert file.urls or file.page
    assert not where.exists()


def test_figshare_is_asked_by_its_api_first():
    for name in ("dvsgesture", "cifar10dvs"):
        for part in CATALOGUE[name].parts.values():
            for file in part.files:
                assert file.urls[0].startswith("https://api.figshare.com/v2/file/download/")


def test_unknown_sets_and_options(tmp_path):
    with pytest.raises(ValueError, match="there is no data set 'imagenet': choose one of saccade"):
        open_set("imagenet")
    with pytest.raises(ValueError, match="stabilize is for sets recorded by three saccades"):
        open_set("dvsgesture", tmp_path, stabilize=True)


class TestDVSGesture:
    def test_the_original_recordings_are_cut_by_their_labels(self, tmp_path):
        layouts.dvs_gesture_original(tmp_path)
        train, test = DVSGesture(tmp_path), DVSGesture(tmp_path, train=False)
        assert (len(train), len(test)) == (3 * 2 * 11, 2 * 2 * 11)
        assert train.classes == list(CLASSES)
        assert set(train.groups) == {1, 2, 3}
        assert set(test.groups) == {24, 25}
        assert train.note == "DVS Gesture (original form): 66 train samples, of 1,176"
        assert test.note == "DVS Gesture (original form): 44 test samples, of 288"
        events, label = train[13]
        assert (label, train.samples[13].user) == (2, 1)
        expected = layouts.gesture(3, 101)
        columns = [events[name].tolist() for name in "xytp"]
        assert list(zip(*columns, strict=True)) == expected

    def test_tonics_form(self, tmp_path):
        layouts.dvs_gesture_tonic(tmp_path / "DVSGesture")
        test = DVSGesture(tmp_path, train=False)
        assert test.note == "DVS Gesture (tonic form): 11 test samples, of 264"
        assert test.targets.tolist() == list(range(11))
        assert set(test.groups) == {24}
        events, _ = test[4]
        expected = layouts.gesture(5, 24, span=900_000)
        assert events["t"].tolist() == [t // 1000 * 1000 for _, _, t, _ in expected]
        assert events["x"].tolist() == [x for x, _, _, _ in expected]

    def test_validation_is_by_user(self, tmp_path):
        layouts.dvs_gesture_original(tmp_path, users=range(1, 11), count=5)
        dataset = DVSGesture(tmp_path)
        kept, held = split_validation(dataset.targets, 0.2, groups=dataset.groups)
        assert len(set(dataset.groups[held])) == 2
        assert not set(dataset.groups[held]) & set(dataset.groups[kept])
        assert set(dataset.targets[held]) == set(range(11))

    def test_damaged_labels(self, tmp_path):
        layouts.dvs_gesture_original(tmp_path, users=(1,))
        table = tmp_path / "DvsGesture" / "user01_led_labels.csv"
        text = table.read_text()
        for line in ("12,1,2", "1,5,5", "x,1,2", "1,2", "1,-5,9"):
            table.write_text(text + line + "\n")
            with pytest.raises(
                ValueError, match=r"user01_led_labels\.csv: line 13: expected class"
            ):
                DVSGesture(tmp_path)
        table.unlink()
        with pytest.raises(FileNotFoundError, match="the recording beside it needs its labels"):
            DVSGesture(tmp_path)
        with pytest.raises(FileNotFoundError, match="no recordings of users 24 to 29"):
            DVSGesture(tmp_path, train=False)

    def test_tables_without_a_head_and_with_empty_lines(self, tmp_path):
        (tmp_path / "a.csv").write_text("3,50,60\n\n1,10,20\n")
        assert read_labels(tmp_path / "a.csv") == [(0, 10, 20), (2, 50, 60)]

    def test_a_label_that_is_none(self, tmp_path):
        layouts.dvs_gesture_tonic(tmp_path)
        place = tmp_path / "ibmGestureTrain" / "user01_led"
        (place / "0.npy").rename(place / "11.npy")
        with pytest.raises(ValueError, match="label 11 is out of range"):
            DVSGesture(tmp_path)


class TestHashedSplit:
    def test_it_is_the_same_in_any_order(self):
        names = [f"c{index % 3}/{index}" for index in range(60)]
        classes = [name.split("/")[0] for name in names]
        train, test = hashed_split(names, classes, 0.25)
        assert sorted([*train, *test]) == list(range(60))
        chosen = {names[index] for index in test}
        assert [sum(name.startswith(f"c{c}/") for name in chosen) for c in range(3)] == [5, 5, 5]
        order = np.random.default_rng(0).permutation(60)
        again = hashed_split([names[i] for i in order], [classes[i] for i in order], 0.25)[1]
        assert {names[order[index]] for index in again} == chosen
        assert {names[i] for i in hashed_split(names, classes, 0.25, seed=1)[1]} != chosen

    def test_it_never_changes(self):
        names = [f"airplane/cifar10_airplane_{index}" for index in range(1000)]
        test = hashed_split(names, ["airplane"] * 1000, 0.1)[1]
        assert len(test) == 100
        assert test[:8].tolist() == FIRST_CIFAR10DVS_TEST

    def test_bad_arguments(self):
        with pytest.raises(ValueError, match="fraction must lie between 0 and 1"):
            hashed_split(["a"], [0], 1.0)
        with pytest.raises(ValueError, match="differ"):
            hashed_split(["a", "a"], [0, 0], 0.5)
        with pytest.raises(ValueError, match="1 names and 2 targets"):
            hashed_split(["a"], [0, 0], 0.5)


FIRST_CIFAR10DVS_TEST = [3, 15, 17, 58, 65, 75, 76, 78]


def test_sets_without_an_official_split_say_so(tmp_path):
    dataset = open_set("cifar10dvs", layouts.cifar10dvs(tmp_path))
    assert "part of CIFAR10-DVS: 30 of 10,000 training" in dataset.note
    assert "no official split: 10 % of each class by hash (seed 0)" in dataset.note
    assert len(dataset) == 27


def test_ssc_has_a_validation_split(tmp_path):
    from spikeprop.datasets.heidelberg import SHD, SSC

    layouts.heidelberg(tmp_path, "ssc", ("train", "valid", "test"))
    assert SSC(tmp_path, split="valid").note == "part of SSC: 6 of 9,981 test recordings"
    with pytest.raises(ValueError, match="split must be one of train, test, got 'valid'"):
        SHD(tmp_path, split="valid")


def test_damaged_heidelberg_files(tmp_path):
    from spikeprop.datasets.heidelberg import SHD

    (tmp_path / "shd_train.h5").write_bytes(b"no HDF5")
    with pytest.raises(ValueError, match=r"shd_train\.h5 is damaged or no SHD file"):
        SHD(tmp_path)
    import h5py

    layouts.heidelberg(tmp_path)
    with h5py.File(tmp_path / "shd_test.h5", "r+") as file:
        file["spikes/units"][2] = np.array([700] * 30, dtype=np.uint16)
    with pytest.raises(ValueError, match="recording 2 is damaged"):
        SHD(tmp_path, train=False)[2]


def test_a_class_that_is_none(tmp_path):
    layouts.pokerdvs(tmp_path)
    (tmp_path / "pips_train" / "cl").rename(tmp_path / "pips_train" / "joker")
    with pytest.raises(ValueError, match="the folder 'joker' is none of the classes"):
        open_set("pokerdvs", tmp_path)


def test_an_event_outside_the_sensor(tmp_path):
    layouts.pokerdvs(tmp_path)
    path = tmp_path / "pips_test" / "cl" / "0.npy"
    np.save(path, np.array([(0, 35, 2, 1), (5, 1, 2, 0)]))
    with pytest.raises(ValueError, match=r"0\.npy: x reaches from 1 to 35"):
        open_set("pokerdvs", tmp_path, train=False)[0]


class TestEventFolder:
    def test_given_splits(self, tmp_path):
        layouts.class_folder(tmp_path)
        dataset = EventFolder(tmp_path)
        assert dataset.classes == ["circle", "square"]
        assert (len(dataset), dataset.duration, dataset.sensor_size) == (16, 701, (12, 10, 2))
        assert dataset.name == tmp_path.name
        assert EventFolder(tmp_path, duration=5, sensor_size=(50, 40, 2)).duration == 5

    def test_a_hashed_split(self, tmp_path):
        layouts.class_folder(tmp_path, split=False, count=10)
        train, test = EventFolder(tmp_path), EventFolder(tmp_path, train=False)
        assert np.bincount(train.targets).tolist() == [8, 8]
        assert np.bincount(test.targets).tolist() == [2, 2]
        assert not set(train.paths) & set(test.paths)

    def test_without_recordings(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="holds no recordings; expected <class>"):
            EventFolder(tmp_path)
        with pytest.raises(FileNotFoundError, match="no such folder"):
            EventFolder(tmp_path / "none")

    def test_sensors_that_no_file_names(self, tmp_path):
        for name in "ab":
            (tmp_path / name).mkdir()
            for number in range(3):
                rows = np.array([(7, 3, 5, 1), (9, 8, 2, 0), (12, 4, 4, 1)])
                np.save(tmp_path / name / f"{number}.npy", rows)
        assert EventFolder(tmp_path, order="txyp").sensor_size == (9, 6, 2)


class TestImages:
    def test_rate_coding(self, tmp_path):
        dataset = MNIST(layouts.mnist(tmp_path), steps=400, max_rate=0.8)
        counts = np.zeros((28, 28))
        events, _ = dataset[3]
        np.add.at(counts, (events["y"], events["x"]), 1)
        expected = dataset.images[3] * 0.8 * 400 / 255
        assert np.abs(counts - expected).max() < 6 * np.sqrt(400 * 0.25)
        assert abs(counts.sum() / expected.sum() - 1) < 0.02
        np.testing.assert_array_equal(dataset[3][0], events)
        assert events["t"].max() < dataset.duration == 400_000
        other = MNIST(tmp_path, steps=400, max_rate=0.8, seed=1)[3][0]
        assert len(other) != len(events) or np.any(other != events)

    def test_latency_coding(self, tmp_path):
        dataset = MNIST(layouts.mnist(tmp_path, packed=False), coding="latency", steps=11)
        events, _ = dataset[0]
        image = dataset.images[0]
        assert len(events) == np.count_nonzero(image >= 51)
        brightness = image[events["y"], events["x"]]
        assert events["t"][brightness == 255].max() == 0
        assert np.all(np.diff(brightness.astype(int)) <= 26)

    def test_direct_coding(self, tmp_path):
        layouts.mnist(tmp_path)
        dataset = MNIST(tmp_path, coding="direct", steps=3, levels=255)
        loader = MNIST.loader(
            tmp_path,
            train=False,
            batch_size=2,
            time_window=1000,
            binary=False,
            shuffle=False,
            coding="direct",
            steps=3,
            levels=255,
        )
        x, _ = next(iter(loader))
        test = MNIST(tmp_path, train=False)
        assert x.shape == (3, 2, 1, 28, 28)
        for step in range(3):
            np.testing.assert_array_equal(x[step, 1, 0].numpy(), test.images[1])
        assert dataset.duration == 3000

    def test_smnist_is_that_of_tonic(self, tmp_path):
        """The equations of its docstring, pixel by pixel."""
        dataset = SMNIST(layouts.mnist(tmp_path))
        events, _ = dataset[2]
        pixels = dataset.images[2].reshape(-1).astype(int)
        thresholds = np.linspace(0.0, 254.0, 49).astype(np.uint8).astype(int)
        expected = []
        for place in range(784):
            fired = []
            if place < 783:
                for unit, level in enumerate(thresholds):
                    if pixels[place] < level <= pixels[place + 1]:
                        fired.append(98 - unit)
                    if pixels[place] >= level > pixels[place + 1]:
                        fired.append(98 - 49 - unit)
            if pixels[place] == 255:
                fired.append(0)
            expected += [(x, 2 * place + k) for x in sorted(fired) for k in (0, 1)]
        found = zip(events["x"].tolist(), (events["t"] // 1000).tolist(), strict=True)
        assert sorted(found) == sorted(expected)
        with pytest.raises(ValueError, match="neurons must be odd, got 4"):
            SMNIST(tmp_path, neurons=4)

    @pytest.mark.parametrize(
        "options", [{"coding": "morse"}, {"max_rate": 0.0}, {"threshold": 1.5}, {"steps": 0}]
    )
    def test_bad_arguments(self, options, tmp_path):
        with pytest.raises(ValueError, match=next(iter(options))):
            MNIST(layouts.mnist(tmp_path), **options)

    @pytest.mark.parametrize("packed", [True, False])
    def test_damaged_idx_files(self, packed, tmp_path):
        path = tmp_path / "a"
        layouts.idx(path, np.zeros((3, 4)), packed)
        whole = path.read_bytes()
        assert read_idx(path).shape == (3, 4)
        for end in range(len(whole) - 1):
            path.write_bytes(whole[:end])
            with pytest.raises(ValueError, match=r"a: "):
                read_idx(path)
        path.write_bytes(b"\0\0\x08\x03" + b"\xff" * 12)
        with pytest.raises(ValueError, match="makes no sense"):
            read_idx(path)

    def test_images_and_labels_that_do_not_match(self, tmp_path):
        layouts.mnist(tmp_path)
        layouts.idx(tmp_path / "train-labels-idx1-ubyte.gz", np.arange(5), True)
        with pytest.raises(ValueError, match="do not go with labels"):
            FashionMNIST(tmp_path)
        layouts.idx(tmp_path / "train-labels-idx1-ubyte.gz", np.full(12, 10), True)
        with pytest.raises(ValueError, match="label 10 is out of range"):
            MNIST(tmp_path)

    @needs_real_data("mnist")
    def test_the_real_images(self):
        dataset = MNIST(REAL_DATA / "mnist")
        assert len(dataset) == 60_000
        assert dataset.note is None
        assert dataset.images.mean() == pytest.approx(33.3184, abs=1e-3)
        assert 500 < len(dataset[0][0]) < 3000


@needs_real_data("pokerdvs")
def test_the_real_pokerdvs():
    train = open_set("pokerdvs", REAL_DATA / "pokerdvs")
    test = open_set("pokerdvs", REAL_DATA / "pokerdvs", train=False)
    assert (len(train), len(test), train.note) == (48, 20, None)
    assert np.bincount(train.targets).tolist() == [12] * 4
    assert max(train[index][0]["t"][-1] for index in range(48)) < train.duration * 2
