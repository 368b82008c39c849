"""Images seen by the simulated camera: made once, the same everywhere; and IDX files."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from spikeprop.datasets import SaccadeImages, SaccadeMNIST, saccade_images
from spikeprop.datasets._camera_kernel import follow, follow_numpy
from spikeprop.datasets.camera import Camera, record, unpack
from spikeprop.datasets.compiled import compiled


def blobs(n=5, height=28, width=28, seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    images = np.zeros((n, height, width))
    for image in images:
        cy, cx = rng.uniform(0.3, 0.7, 2) * (height, width)
        image += 255 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / rng.uniform(8, 30))
    return images.astype(np.uint8)


def idx(array, kind=8):
    head = bytes([0, 0, kind, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return head + array.tobytes()


@pytest.mark.parametrize("shape", [(28, 28), (8, 8), (20, 40), (1, 1)])
@pytest.mark.parametrize("camera", [Camera(), Camera(size=28, refractory_us=0, threshold=200)])
def test_compiled_and_numpy_camera_make_the_same_events(shape, camera, monkeypatch):
    pytest.importorskip("numba")
    images = blobs(3, *shape)
    assert compiled(follow) is not None
    fast = record(images, camera, white=255)
    compiled.cache_clear()
    monkeypatch.setenv("SPIKEPROP_NO_NUMBA", "1")
    slow = record(images, camera, white=255)
    compiled.cache_clear()
    for a, b in zip(fast, slow, strict=True):
        assert np.array_equal(a, b)


def test_the_loop_as_it_stands_gives_the_same_on_a_small_part_of_the_path():
    levels = blobs(1, 8, 8).astype(np.int64) * 256 // 255
    geometry = np.array([[20_000, 30, -30, 20_000, 120, 110, 360_000, 360_000, 230]])
    log = np.array([round(1024 * np.log((v + 32) / 32)) for v in range(257)])
    memory = np.zeros((1, 34 * 34), dtype=np.int64)
    threshold = np.full(34 * 34, 300)
    corners = np.array([[42, 42], [30, 36], [0, 10]])
    arguments = (levels, geometry, log, memory, threshold, threshold, corners, 3000)
    plain, numpy = follow(*arguments), follow_numpy(*arguments)
    assert len(plain) > 50
    assert np.array_equal(np.sort(plain), np.sort(numpy))


def test_numbers_choose_the_random_part():
    images = np.repeat(blobs(1), 3, axis=0)
    all_of_them = record(images, Camera(), white=255)
    assert np.array_equal(record(images[2:], Camera(), white=255, first=2)[0], all_of_them[2])
    assert not np.array_equal(all_of_them[0], all_of_them[1])


@pytest.mark.parametrize(
    ("images", "white", "message"),
    [
        (np.zeros((2, 8)), 16, r"images have to be \(N, H, W\)"),
        (np.zeros((2, 8, 0), dtype=int), 16, "sides of 1 to 4096"),
        (np.zeros((2, 8, 8)), 16, "images have to be integers, 0 to white=16, got float64"),
        (np.full((1, 8, 8), 17), 16, "images reach from 17 to 17; white=16 allows 0 to 16"),
        (np.full((1, 8, 8), -1), 16, "images reach from -1"),
    ],
)
def test_images_that_the_camera_cannot_see(images, white, message):
    with pytest.raises(ValueError, match=message):
        record(images, Camera(), white=white)


def test_a_set_of_images(tmp_path):
    images, targets = blobs(5), np.array([0, 1, 2, 1, 0])
    found = SaccadeImages(images, targets, root=tmp_path, name="blobs", first=7)
    assert (found.name, found.classes, len(found)) == ("blobs", ["0", "1", "2"], 5)
    expected = record(images, Camera(size=28), white=255, first=7)
    for i, packed in enumerate(expected):
        events, label = found[i]
        for name, values in zip("xytp", unpack(packed), strict=True):
            assert np.array_equal(events[name], values)
        assert label == targets[i]
    (store,) = (tmp_path / "stores").glob("*.events")
    written = store.stat().st_mtime_ns
    again = SaccadeImages(images, targets, root=tmp_path, name="blobs", first=7)
    assert store.stat().st_mtime_ns == written
    assert again.checksum == found.checksum
    columns = again.columns(np.array([4, 1]))
    assert np.array_equal(columns.events(0), found[4][0])
    other = SaccadeImages(images, targets, root=tmp_path, name="blobs")
    assert other.checksum != found.checksum
    changed = images.copy()
    changed[3, 20, 20] += 100
    assert SaccadeImages(changed, targets, root=tmp_path).checksum != found.checksum


def test_colours_become_luminance(tmp_path):
    grey = blobs(2)
    colour = np.repeat(grey[..., None], 3, axis=3)
    a = SaccadeImages(grey, [0, 1], root=tmp_path)
    b = SaccadeImages(colour, [0, 1], root=tmp_path)
    assert a.checksum == b.checksum


@pytest.mark.parametrize(
    ("images", "targets", "message"),
    [
        (np.zeros((2, 8, 8)), [0, 1], r"images have to be bytes \(uint8\)"),
        (np.zeros((2, 8), dtype=np.uint8), [0, 1], "images have to be bytes"),
        (np.zeros((0, 8, 8), dtype=np.uint8), [], "images is empty"),
        (blobs(2), [0], "targets must be one integer for each of the 2 images"),
        (blobs(2), [0.0, 1.0], "targets must be one integer"),
        (blobs(2), [0, -1], "label -1 is out of range"),
    ],
)
def test_bad_sets(tmp_path, images, targets, message):
    with pytest.raises(ValueError, match=message):
        SaccadeImages(images, targets, root=tmp_path)


@pytest.fixture
def mnist(tmp_path):
    folder = tmp_path / "MNIST"
    folder.mkdir()
    for prefix, seed in (("train", 0), ("t10k", 1)):
        images = folder / f"{prefix}-images-idx3-ubyte"
        images.write_bytes(idx(blobs(4, seed=seed)))
        labels = np.arange(4, dtype=np.uint8)
        with gzip.open(folder / f"{prefix}-labels-idx1-ubyte.gz", "wb") as file:
            file.write(idx(labels))
    return tmp_path


def test_mnist_from_its_files(mnist):
    train, test = SaccadeMNIST(mnist), SaccadeMNIST(mnist, train=False)
    assert (len(train), len(test), train.targets.tolist()) == (4, 4, [0, 1, 2, 3])
    assert train.partial
    assert train.note == "not MNIST's own images: 4 others in its files"
    expected = record(blobs(4, seed=1), Camera(size=28), white=255, first=60_000)
    assert test[3][0]["t"].tolist() == unpack(expected[3])[2].tolist()
    x, labels = next(iter(SaccadeMNIST.loader(mnist, train=False, batch_size=4, sparse=True)))
    assert x.shape == (21, 4, 2, 34, 34)
    assert labels.tolist() == [0, 1, 2, 3]


def test_mnist_that_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="train-images-idx3-ubyte"):
        SaccadeMNIST(tmp_path, download=False)


def test_other_events_than_the_published_ones_are_refused(mnist, monkeypatch):
    import hashlib

    official = hashlib.sha256(blobs(4).tobytes()).hexdigest()
    monkeypatch.setitem(saccade_images.CHECKSUMS, "train", (official, "0" * 64))
    with pytest.raises(RuntimeError, match=r"have checksum .*, the published ones 000"):
        SaccadeMNIST(mnist)
