"""The five-byte event format: round trip, agreement with tonic, and every kind of damage."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from spikeprop.datasets import EVENT_DTYPE, make_events, read_events, write_events
from spikeprop.datasets.bin_format import OVERFLOW_Y

SENSOR = (34, 34, 2)


@st.composite
def recordings(draw):
    n = draw(st.integers(1, 50))
    x, y = (draw(hnp.arrays(np.int64, n, elements=st.integers(0, 33))) for _ in range(2))
    t = np.sort(draw(hnp.arrays(np.int64, n, elements=st.integers(0, 2**23 - 1))))
    p = draw(hnp.arrays(np.int64, n, elements=st.integers(0, 1)))
    return make_events(x, y, t, p)


@settings(max_examples=50, deadline=None)
@given(events=recordings())
def test_round_trip(events, tmp_path_factory):
    path = tmp_path_factory.mktemp("bin") / "a.bin"
    write_events(path, events)
    read = read_events(path, SENSOR)
    assert read.dtype == EVENT_DTYPE
    np.testing.assert_array_equal(read, events)


def test_one_event_written_by_hand(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes([3, 7, 0x80 | 1, 2, 5]))
    np.testing.assert_array_equal(
        read_events(path, SENSOR), make_events([3], [7], [65536 + 512 + 5], [1])
    )


@pytest.mark.parametrize("seed", range(5))
def test_reads_what_tonic_reads(seed, tmp_path):
    """Random files with overflow records, whose times rise from one event to the next."""
    from tonic.io import read_mnist_file

    rng = np.random.default_rng(seed)
    n = 500
    data = np.stack([rng.integers(0, 34, n), rng.integers(0, 34, n)], axis=1)
    data[rng.random(n) < 0.02, 1] = OVERFLOW_Y
    t = np.sort(rng.integers(0, 2**20, n))
    p = rng.integers(0, 2, n)
    times = np.stack([p << 7 | t >> 16, t >> 8 & 255, t & 255], axis=1)
    raw = np.concatenate([data, times], axis=1).astype(np.uint8).tobytes()
    path = tmp_path / "a.bin"
    path.write_bytes(raw)
    expected = read_mnist_file(io.BytesIO(raw), dtype=EVENT_DTYPE, is_stream=True)
    assert len(expected) < n
    np.testing.assert_array_equal(read_events(path, SENSOR), expected)


def test_an_overflow_record_moves_later_times(tmp_path):
    path = tmp_path / "a.bin"
    records = [[1, 2, 0, 0, 9], [0, OVERFLOW_Y, 0, 0, 0], [1, 2, 0, 0, 3]]
    path.write_bytes(bytes(value for record in records for value in record))
    assert read_events(path, SENSOR)["t"].tolist() == [9, 2**13 + 3]


@pytest.mark.parametrize("missing", [1, 2, 3, 4])
def test_truncated_file(missing, tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(10 - missing))
    with pytest.raises(ValueError, match=r"a\.bin: truncated: \d bytes"):
        read_events(path, SENSOR)


@pytest.mark.parametrize("data", [b"", bytes([0, OVERFLOW_Y, 0, 0, 0])])
def test_empty_recording(data, tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.bin: empty recording"):
        read_events(path, SENSOR)


@pytest.mark.parametrize("place", [(34, 0), (0, 34), (255, 255)])
def test_coordinates_outside_the_sensor(place, tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes([0, 0, 0, 0, 0, *place, 0, 0, 1]))
    with pytest.raises(ValueError, match=r"a\.bin: event 1 at .* outside the sensor of 34 x 34"):
        read_events(path, SENSOR)


def test_unsorted_times_are_sorted_stably(tmp_path):
    path = tmp_path / "a.bin"
    events = make_events([1, 2, 3, 4], [0, 0, 0, 0], [50, 10, 50, 10], [0, 1, 0, 1])
    write_events(path, events)
    read = read_events(path, SENSOR)
    assert read["t"].tolist() == [10, 10, 50, 50]
    assert read["x"].tolist() == [2, 4, 1, 3]


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_events(tmp_path / "none.bin", SENSOR)


@pytest.mark.parametrize(
    ("field", "value"), [("x", 256), ("y", 240), ("t", 2**23), ("p", 2), ("x", -1), ("t", -1)]
)
def test_the_writer_refuses_what_does_not_fit(field, value, tmp_path):
    events = make_events([1], [1], [1], [1])
    events[field] = value
    with pytest.raises(ValueError, match=f"'{field}'"):
        write_events(tmp_path / "a.bin", events)
    assert list(tmp_path.iterdir()) == []
