"""Recordings of real cameras, where they are at hand: plausible events from every file."""

import struct
import warnings

import numpy as np
import pytest
from real_data import REAL_DATA, needs_real_data

from spikeprop.datasets.formats import read_recording

FORMATS = REAL_DATA / "formats"
#: file: format, sensor, number of events, duration in seconds
EXPECTED = {
    "atis_td.mat": ("mat", None, 242_040, 3.0),
    "davis346.aedat4": ("aedat4", (320, 240, 2), 111_954, 0.59),
    "dvs.es": ("es", (320, 240, 2), 473_225, 1.0),
    "dvs128.aedat4": ("aedat4", (128, 128, 2), 18_342, 5.46),
    "dvs128_object.aedat": ("aedat2", (128, 128, 2), 126_164, 18.5),
    "generic.es": ("es", (1, 1, 1), 70, 1.2),
    "ncars.dat": ("dat", None, 4_407, 0.1),
    "sample_evt2.raw": ("raw", (640, 480, 2), 539_481, 0.05),
    "sample_evt3.raw": ("raw", (1280, 720, 2), 219_596, 0.0088),
    "sample_evt3_decoded.npy": ("npy", None, 219_596, 0.054),
    "stmnist.mat": ("mat", (10, 10, 2), 2_346, 0.7),
    "trcl0.es": ("es", (30, 32, 2), 2_628, 0.0147),
}


@needs_real_data("formats")
def test_every_file_is_expected():
    assert {path.name for path in FORMATS.iterdir()} == set(EXPECTED)


@needs_real_data("formats")
@pytest.mark.parametrize("name", EXPECTED)
def test_plausible_events(name):
    kind, sensor, count, seconds = EXPECTED[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = read_recording(FORMATS / name, strict=True)
    events = found.events
    assert (found.format, found.sensor_size, len(events)) == (kind, sensor, count)
    assert np.all(np.diff(events["t"]) >= 0)
    assert events["t"][-1] - events["t"][0] == pytest.approx(seconds * 1e6, rel=0.03)
    if name == "generic.es":
        return
    assert set(np.unique(events["p"])) == {0, 1}
    assert 0.3 < events["p"].mean() < 0.75
    width, height = events["x"].max() + 1, events["y"].max() + 1
    assert events["x"].min() >= 0
    assert events["y"].min() >= 0
    if sensor is None:
        assert (width, height) in ((304, 240), (54, 61), (1280, 720))
    # A picture, not noise: pixels near each other have like numbers of events.
    image = np.zeros((height + 1, width + 1))
    np.add.at(image, (events["y"], events["x"]), 1)
    image = np.minimum(image, np.quantile(image[image > 0], 0.95))
    a, b = image[:, :-1].ravel(), image[:, 1:].ravel()
    assert np.corrcoef(a, b)[0, 1] > 0.15


@needs_real_data("formats")
def test_evt3_equals_the_file_that_was_decoded_from_it():
    """Event for event in x, y and p; in t but for what the file's decoder adds.

    The camera repeats the upper time every 16 us, and the lower time then steps back by some
    microseconds. That decoder (expelliarmus 1.1.12 gives the same) takes each step back for a
    period of 4,096 us, so its 8.8 ms become 54 ms; the upper time in the file does not agree.
    """
    ours = read_recording(FORMATS / "sample_evt3.raw").events
    theirs = np.load(FORMATS / "sample_evt3_decoded.npy")
    for name in "xyp":
        np.testing.assert_array_equal(ours[name], theirs[name])
    # Word by word, as the decoder counts: one period more at each step back.
    data = (FORMATS / "sample_evt3.raw").read_bytes()
    start = data.index(b"% system_ID 48\n") + len(b"% system_ID 48\n")
    times, high, low, extra, bases = [], 0, 0, 0, 0
    for (word,) in struct.iter_unpack("<H", data[start:]):
        kind, content = word >> 12, word & 0xFFF
        if kind == 8:
            high = content
        elif kind == 6:
            extra += content < low
            low = content
        elif kind == 2:
            times.append((high + extra << 12 | low, high << 12 | low))
        elif kind in (4, 5):
            count = (content if kind == 4 else content & 0xFF).bit_count()
            times += [(high + extra << 12 | low, high << 12 | low)] * count
        bases += kind == 8
    decoded, specified = np.array(times).T
    np.testing.assert_array_equal(theirs["t"], decoded)
    np.testing.assert_array_equal(ours["t"], specified)
    # 551 repeats of the upper time, 16 us apart: the recording has 8.8 ms.
    assert (ours["t"][-1] - ours["t"][0]) / 16 == pytest.approx(bases, abs=2)


@needs_real_data("pokerdvs")
def test_pokerdvs_symbols():
    paths = sorted((REAL_DATA / "pokerdvs" / "poker_dvs").glob("*.aedat"))
    assert len(paths) == 131
    for path in paths:
        found = read_recording(path, strict=True)
        assert found.sensor_size == (128, 128, 2)
        extent = [int(np.ptp(found.events[name])) + 1 for name in "xy"]
        assert max(extent) <= 40
        assert 2_000 < np.ptp(found.events["t"]) < 100_000
    for path in (REAL_DATA / "pokerdvs").glob("pips_*/*/*.npy"):
        events = read_recording(path).events  # columns t, x, y, p without names
        assert max(events["x"].max(), events["y"].max()) < 35
        assert np.ptp(events["t"]) < 30_000
