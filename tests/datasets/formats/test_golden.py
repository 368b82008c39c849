"""Every reader against files of independent writers."""

import struct
import warnings

import golden
import numpy as np
import pytest
from golden import FORMATS, make

from spikeprop.datasets import EVENT_DTYPE, make_events
from spikeprop.datasets.formats import (
    DamageWarning,
    format_of,
    open_recording,
    read_recording,
    write_recording,
)


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def write(name, folder, events, width=None, height=None):
    suffix, writer, size, _, _ = FORMATS[name]
    path = folder / f"{name}{suffix}"
    writer(path, events, width or size[0], height or size[1])
    return path


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", FORMATS)
def test_reads_what_an_independent_writer_wrote(name, seed, tmp_path):
    events = make(name, seed)
    path = write(name, tmp_path, events)
    found = read_recording(path)
    assert found.events.dtype == EVENT_DTYPE
    columns = [found.events[column].tolist() for column in "xytp"]
    assert list(zip(*columns, strict=True)) == events
    size, named = FORMATS[name][2], FORMATS[name][4]
    assert found.sensor_size == ((*size, 2) if named else None)
    assert found.format == format_of(path)


@pytest.mark.parametrize("name", FORMATS)
def test_pieces_are_the_whole(name, tmp_path):
    events = make(name, 7)
    with open_recording(write(name, tmp_path, events)) as stream:
        pieces = np.concatenate(list(stream.events))
    np.testing.assert_array_equal(pieces["t"], [event[2] for event in events])


def test_many_events_cross_the_blocks_of_a_reader(tmp_path, monkeypatch):
    """State is carried from block to block: tiny blocks give what large ones give."""
    from spikeprop.datasets.formats import event_stream, source

    names = ("aedat2", "evt2", "evt21", "evt3", "dat", "bin", "es-dvs", "es-atis")
    paths = [write(name, tmp_path, make(name, 3, 300)) for name in names]
    whole = [read_recording(path).events for path in paths]
    original = source.Source.records
    monkeypatch.setattr(
        source.Source, "records", lambda self, size, block=0: original(self, size, 24)
    )
    monkeypatch.setattr(event_stream, "_BLOCK", 7)
    for path, expected in zip(paths, whole, strict=True):
        np.testing.assert_array_equal(read_recording(path).events, expected)


def test_colour_and_generic_event_streams(tmp_path):
    path = tmp_path / "colour.es"
    events = [(1, 2, 5, 0), (3, 0, 700, 0)]
    golden.es_colour(path, events, 4, 3)
    found = read_recording(path)
    assert found.sensor_size == (4, 3, 1)
    assert found.events.tolist() == events
    path = tmp_path / "generic.es"
    body = bytes([7, 3 << 1]) + b"abc" + b"\xff\xfe" + bytes([1, 1 | 0, 1 << 1]) + bytes(128)
    path.write_bytes(b"Event Stream" + bytes([2, 0, 0, 0]) + body)
    found = read_recording(path)
    assert found.events["t"].tolist() == [7, 7 + 254 + 1]
    assert found.sensor_size == (1, 1, 1)


@pytest.mark.parametrize(
    ("name", "period"),
    [("aedat2", 1 << 32), ("dat", 1 << 32), ("evt2", 1 << 34), ("evt3", 1 << 24)],
)
def test_times_go_on_where_they_wrap_round(name, period, tmp_path):
    times = [period - 3000, period - 1, period + 2, period + 5000, 7 * period // 5]
    times += [9 * period // 5, 2 * period - 10, 2 * period + 1]
    if name == "evt3":  # its upper part is written often enough
        times = list(range(period - 100_000, 3 * period, 2_000_000))
    events = [(index, 0, t, 1) for index, t in enumerate(times)]
    suffix, writer, size, _, _ = FORMATS[name]
    path = tmp_path / f"a{suffix}"
    if name in ("aedat2", "dat"):
        times = [t for t in times if t < period + 10_000]
        events = events[: len(times)]
    writer(path, events, *size)
    assert read_recording(path).events["t"].tolist() == times


def test_evt3_zeroes_the_lower_time_when_the_upper_one_changes(tmp_path):
    words = [8 << 12 | 1, 6 << 12 | 77, 5, 2 << 12 | 3, 8 << 12 | 1, 2 << 12 | 4, 8 << 12 | 2]
    words += [2 << 12 | 5, 6 << 12 | 9, 2 << 12 | 6]
    path = tmp_path / "a.raw"
    path.write_bytes(b"% evt 3.0\n" + struct.pack(f"<{len(words)}H", *words))
    assert read_recording(path).events["t"].tolist() == [4096 + 77, 4096 + 77, 8192, 8192 + 9]


def test_events_before_the_first_time_are_left_out(tmp_path):
    path = tmp_path / "a.raw"
    path.write_bytes(b"% evt 3.0\n" + struct.pack("<5H", 5, 2 << 12 | 3, 8 << 12, 6 << 12, 2 << 12))
    assert read_recording(path).events.tolist() == [(0, 5, 0, 0)]
    path.write_bytes(b"% evt 2.0\n" + struct.pack("<3I", 1 << 28, 8 << 28, 1 << 28 | 1 << 22))
    assert read_recording(path).events.tolist() == [(0, 0, 1, 1)]


def test_data_may_begin_like_a_line_of_the_header(tmp_path):
    """The first word of the data is 0x25 0x20, '% '."""
    path = tmp_path / "a.raw"
    path.write_bytes(b"% evt 3.0\n" + b"% " + struct.pack("<4H", 8 << 12, 6 << 12, 3, 2 << 12))
    assert read_recording(path).events.tolist() == [(0, 3, 0, 0)]


def test_aedat3_skips_events_that_are_not_valid(tmp_path):
    path = write("aedat3", tmp_path, make("aedat3"))
    assert len(read_recording(path).events) == 40


def test_times_out_of_order_are_sorted_and_keep_their_order(tmp_path):
    path = tmp_path / "a.npy"
    events = make_events([1, 2, 3, 4], [0, 0, 0, 0], [50, 10, 50, 10], [0, 1, 0, 1])
    np.save(path, events)
    assert read_recording(path).events["x"].tolist() == [2, 4, 1, 3]
    assert read_recording(path, from_zero=True).events["t"].tolist() == [0, 0, 40, 40]


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5", ".csv", ".bin"])
def test_write_and_read_back(suffix, tmp_path):
    events = make_events([1, 2, 3], [0, 5, 0], [5, 10, 50], [0, 1, 0])
    path = tmp_path / f"new/a{suffix}"
    write_recording(path, events, (10, 20, 2))
    found = read_recording(path)
    np.testing.assert_array_equal(found.events, events)
    kept = suffix in (".npz", ".h5", ".csv")
    assert found.sensor_size == ((10, 20, 2) if kept else None)


def test_write_refuses_other_names(tmp_path):
    with pytest.raises(ValueError, match=r"can write names that end in \.npy"):
        write_recording(tmp_path / "a.raw", make_events([], [], [], []))


@pytest.mark.parametrize("order", ["txyp", "xypt", "xytp", "ptxy", "tpyx"])
def test_the_order_of_columns_is_found_or_given(order, tmp_path):
    random = np.random.default_rng(5)
    columns = {
        "x": random.integers(0, 30, 200),
        "y": random.integers(0, 30, 200),
        "t": np.sort(random.integers(0, 10**6, 200)),
        "p": random.integers(0, 2, 200),
    }
    table = np.stack([columns[name] for name in order], axis=1)
    np.save(tmp_path / "a.npy", table)
    np.savetxt(tmp_path / "a.csv", table, fmt="%d", delimiter=";")
    np.savez(tmp_path / "a.npz", data=table)
    for suffix in ("npy", "csv", "npz"):
        path = tmp_path / f"a.{suffix}"
        given = read_recording(path, order=order).events
        for name, values in columns.items():
            assert given[name].tolist() == values.tolist()
        if order.index("x") < order.index("y"):
            np.testing.assert_array_equal(read_recording(path).events, given)


def test_an_unclear_order_is_an_error(tmp_path):
    np.save(tmp_path / "a.npy", np.full((5, 4), 9))
    with pytest.raises(ValueError, match="order='txyp'"):
        read_recording(tmp_path / "a.npy")
    with pytest.raises(ValueError, match="order must name the columns"):
        read_recording(tmp_path / "a.npy", order="xyt")


def test_minus_one_is_off(tmp_path):
    (tmp_path / "a.csv").write_text("t,x,y,p\n1,2,3,-1\n2,2,3,1\n")
    assert read_recording(tmp_path / "a.csv").events["p"].tolist() == [0, 1]


@pytest.mark.parametrize(("name", "t"), [("t_ms", 3000), ("t [s]", 3_000_000), ("time_ns", 0)])
def test_units_in_names(name, t, tmp_path):
    (tmp_path / "a.csv").write_text(f"x,y,{name},p\n1,1,3,1\n1,1,3,1\n")
    assert read_recording(tmp_path / "a.csv").events["t"][0] == t


def test_hdf5_layouts(tmp_path):
    import h5py

    x, y, t, p = [1, 2], [3, 4], [5, 600], [0, 1]
    rows = np.array(list(zip(x, y, p, t, strict=True)), dtype=[(n, "i8") for n in "xypt"])
    with h5py.File(tmp_path / "prophesee.h5", "w") as file:
        file["CD/events"] = rows
        file["EXT_TRIGGER/events"] = np.zeros(3, dtype=[("id", "i2"), ("t", "i8")])
    with h5py.File(tmp_path / "mvsec.h5", "w") as file:
        file["davis/left/events"] = np.stack([x, y, np.array(t) / 1e6, p], axis=1)
    with h5py.File(tmp_path / "root.h5", "w") as file:
        for name, values in (("xs", x), ("ys", y), ("ps", p), ("ts", np.array(t) / 1e3)):
            file[name] = values
        file["ts"].attrs["unit"] = "ms"
        file.attrs["width"], file.attrs["height"] = 8, 9
    for name in ("prophesee", "mvsec", "root"):
        found = read_recording(tmp_path / f"{name}.h5")
        assert found.events.tolist() == [(1, 3, 5, 0), (2, 4, 600, 1)]
        assert found.sensor_size == ((8, 9, 2) if name == "root" else None)


def test_matlab_layouts(tmp_path):
    from scipy.io import savemat

    columns = {"x": [0, 2], "y": [3, 4], "ts": [5, 600], "pol": [0, 1]}
    savemat(tmp_path / "asl.mat", {name: np.array([v]).T for name, v in columns.items()})
    polarity = {"x": [0, 2], "y": [3, 4], "timeStamp": [5, 600], "polarity": [0, 1]}
    savemat(tmp_path / "jaer.mat", {"aedat": {"data": {"polarity": polarity}}})
    for name in ("asl", "jaer"):
        found = read_recording(tmp_path / f"{name}.mat").events
        assert found.tolist() == [(0, 3, 5, 0), (2, 4, 600, 1)]


@pytest.mark.parametrize(("name", "encoding"), [("evt2", "evt2"), ("dat", "dat"), ("evt3", "evt3")])
def test_expelliarmus_reads_the_same(name, encoding, tmp_path):
    expelliarmus = pytest.importorskip("expelliarmus")
    events = make(name, 1, 200)
    if name == "evt3":  # that reader adds 4096 us wherever the lower time falls
        events = [(x, y, index * 3, p) for index, (x, y, _, p) in enumerate(events)]
    path = write(name, tmp_path, events)
    if name == "evt3":
        golden.evt3(path, events, 1280, 720, triggers=False)
    found = expelliarmus.Wizard(encoding=encoding).read(path)
    for column in "xytp":
        assert found[column].tolist() == read_recording(path).events[column].tolist()


def test_damage_warning_is_a_warning():
    assert issubclass(DamageWarning, UserWarning)
