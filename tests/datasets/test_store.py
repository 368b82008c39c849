"""The event store: what comes back, what is refused, and what a kill leaves."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeprop.datasets import (
    Binning,
    EventSlices,
    EventStore,
    make_events,
    make_loader,
    store,
    stored,
    write_store,
)


class Recordings:
    """A user's own set."""

    sensor_size = (34, 34, 2)
    classes = ("a", "b", "c")
    duration = 60_000
    name = "toy set"

    def __init__(self, recordings, groups=None):
        self.recordings = recordings
        self.targets = np.arange(len(recordings)) % 3
        self.groups = groups

    def __len__(self):
        return len(self.recordings)

    def __getitem__(self, index):
        return self.recordings[index], int(self.targets[index])


def recordings(lengths, sensor_size=(34, 34, 2), duration=60_000, seed=0):
    rng = np.random.default_rng(seed)
    return [
        make_events(
            rng.integers(0, sensor_size[0], n),
            rng.integers(0, sensor_size[1], n),
            np.sort(rng.integers(0, duration, n)),
            rng.integers(0, sensor_size[2], n),
        )
        for n in lengths
    ]


@pytest.fixture
def path(tmp_path):
    write_store(tmp_path / "toy.events", Recordings(recordings([40, 0, 3, 200, 7])))
    return tmp_path / "toy.events"


@settings(max_examples=30, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 90), min_size=1, max_size=150),
    sensor_size=st.sampled_from([(1, 1, 1), (34, 34, 2), (256, 3, 2), (1280, 720, 3)]),
    duration=st.sampled_from([1, 60_000, 2**31, 2**40]),
)
def test_what_is_written_comes_back(tmp_path_factory, lengths, sensor_size, duration):
    made = Recordings(recordings(lengths, sensor_size, duration))
    made.sensor_size = sensor_size
    file = tmp_path_factory.mktemp("store") / "set.events"
    write_store(file, made, source="a source")
    found = EventStore(file)
    assert len(found) == len(lengths)
    assert (found.name, found.source, found.classes) == ("toy set", "a source", ["a", "b", "c"])
    assert (found.sensor_size, found.duration, found.groups) == (sensor_size, 60_000, None)
    assert found.targets.tolist() == made.targets.tolist()
    for i, events in enumerate(made.recordings):
        back, label = found[i]
        assert np.array_equal(back, events)
        assert label == i % 3
        assert np.array_equal(found.view(i).t, events["t"])
    chosen = np.array([len(lengths) - 1, 0, 0])
    columns = found.columns(chosen)
    assert all(np.array_equal(columns.events(k), made[i][0]) for k, i in enumerate(chosen))
    left = sorted(p.name for p in file.parent.iterdir())
    assert left == [f".{file.name}.lock", file.name]


def test_batches_from_the_store_are_those_of_the_set(path):
    made = Recordings(recordings([40, 0, 3, 200, 7]))
    arguments = {"batch_size": 2, "shuffle": True, "seed": 3}
    options = [
        {"binning": Binning(5000), "shift": 2},
        {"binning": Binning(5000, binary=False)},
        {"binning": Binning(5000), "lengths": True, "whole": True},
    ]
    for option in options:
        expected = make_loader(made, **arguments, **option)
        expected.set_epoch(1)
        for num_workers in (0, 2):
            found = make_loader(
                EventStore(path), **arguments, **option, sparse=True, num_workers=num_workers
            )
            found.set_epoch(1)
            for (x, *rest), (events, *more) in zip(expected, found, strict=True):
                assert torch.equal(events.to_dense(), x)
                assert all(torch.equal(a, b) for a, b in zip(rest, more, strict=True))


def test_groups_are_kept(tmp_path):
    write_store(tmp_path / "a", Recordings(recordings([1, 2, 3]), groups=np.array([4, 4, 9])))
    assert EventStore(tmp_path / "a").groups.tolist() == [4, 4, 9]


def test_events_are_sorted_on_the_way_in(tmp_path):
    events = make_events([1, 2, 3], [0, 0, 0], [5, 9, 5], [0, 1, 1])
    write_store(tmp_path / "a", Recordings([events, events[:1]]))
    assert EventStore(tmp_path / "a")[0][0]["x"].tolist() == [1, 3, 2]
    assert len(EventStore(tmp_path / "a")[1][0]) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recordings": []}, "dataset is empty"),
        ({"sensor_size": (34, 20, 2)}, r"events\['y'\] reaches from .* allows 0 to 19"),
        ({"sensor_size": (40_000, 34, 2)}, "is larger than 32,768"),
        ({"classes": ("a", "b")}, "label 2 is out of range: 2 classes allow 0 to 1"),
    ],
)
def test_what_cannot_be_stored_leaves_nothing(tmp_path, change, message):
    made = Recordings(recordings([40, 30, 3]))
    for name, value in change.items():
        setattr(made, name, value)
    made.targets = made.targets[: len(made.recordings)]
    with pytest.raises(ValueError, match=message):
        write_store(tmp_path / "a", made)
    assert not [p for p in tmp_path.iterdir() if not p.name.endswith(".lock")]


def test_an_index_out_of_range(path):
    found = EventStore(path)
    assert found[-1][1] == found[4][1]
    with pytest.raises(IndexError, match="index 5 is out of range for 5 recordings"):
        found[5]
    assert repr(found) == "EventStore(toy set, 5 recordings)"


def test_pickling_sends_the_path(path):
    text = pickle.dumps(EventStore(path))
    assert len(text) < 300
    assert np.array_equal(pickle.loads(text)[3][0], EventStore(path)[3][0])


@pytest.mark.parametrize("length", [0, 7, 40, 100, 600, -1])
def test_a_truncated_store_is_refused(path, length):
    whole = path.read_bytes()
    path.write_bytes(whole[:length])
    with pytest.raises(ValueError, match=f"{path}: (damaged|not an event store)"):
        EventStore(path)


def test_every_flipped_byte_is_found(path):
    whole = bytearray(path.read_bytes())
    header = 48 + int.from_bytes(whole[8:16], "little")
    start = -(-header // 64) * 64
    places = [*range(0, header, 13), *range(start, len(whole), 37), len(whole) - 1]
    for place in places:
        broken = whole.copy()
        broken[place] ^= 4
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=f"{path}: (damaged|not an event store)"):
            EventStore(path)


def lie(path, **changes):
    """Write a header that says something else, with a checksum that fits."""
    header, start = store.read_header(path)
    body = path.read_bytes()[start:]
    for name, value in changes.items():
        if name in header["set"]:
            header["set"][name] = value
        elif name in header["columns"]:
            header["columns"][name] = value
        else:
            header[name] = value
    path.write_bytes(store.pack(header) + body)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "another format"),
        ({"version": 2}, "it has version 2, and this spikeprop reads 1"),
        ({"size": -1}, "size is -1"),
        ({"size": 10**15}, "size is"),
        ({"sha256": []}, "size is"),
        ({"t": ["|O8", 0, 250]}, "column t is"),
        ({"x": ["|u1", 10**9, 250]}, "column x lies outside"),
        ({"y": ["|u1", 0, 10**12]}, "column y lies outside"),
        ({"p": ["|u1", 0, 3]}, "not of one length"),
        ({"offsets": ["<i8", 0, 2]}, "offsets do not rise"),
        ({"offsets": ["<i8", 0, 0]}, "offsets do not rise"),
        ({"targets": ["<i8", 0, 1]}, "labels than recordings"),
        ({"columns": {}}, "'t'"),
        ({"classes": "abc"}, "classes is 'abc'"),
        ({"sensor_size": [34, 34]}, "sensor_size is"),
        ({"set": None}, "not an event store of this version"),
    ],
)
def test_a_header_that_lies_is_refused(path, change, message):
    lie(path, **change)
    with pytest.raises(ValueError, match=message):
        EventStore(path)


def test_a_header_of_absurd_length_is_not_read(path):
    whole = bytearray(path.read_bytes())
    whole[8:16] = (2**62).to_bytes(8, "little")
    path.write_bytes(whole)
    with pytest.raises(ValueError, match="damaged at byte 8: a header of"):
        EventStore(path)
    path.write_bytes(store.pack(json.loads("[1]")))
    with pytest.raises(ValueError, match="not an event store of this version"):
        EventStore(path)


def test_without_verification_only_the_frame_is_checked(path):
    whole = bytearray(path.read_bytes())
    header = 48 + int.from_bytes(whole[8:16], "little")
    whole[-(-header // 64) * 64] ^= 1  # the first event's time
    path.write_bytes(whole)
    assert len(EventStore(path, verify=False)) == 5


def test_stored_writes_once(tmp_path):
    made = Recordings(recordings([40, 0, 3]))
    progress = []
    first = stored(made, tmp_path, progress=lambda done, total: progress.append((done, total)))
    assert progress == [(3, 3)]
    assert first.path.parent == tmp_path / "stores"
    assert first.path.name.startswith("toy-set-")
    written = first.path.stat().st_mtime_ns
    assert stored(made, tmp_path).path.stat().st_mtime_ns == written
    other = Recordings(recordings([40, 0, 3], seed=1))
    assert stored(other, tmp_path).path != first.path
    other = Recordings(recordings([40, 0, 3]))
    other.duration = 1
    assert stored(other, tmp_path).path != first.path


def test_stored_makes_a_damaged_store_anew(tmp_path):
    made = Recordings(recordings([40, 0, 3]))
    path = stored(made, tmp_path, num_workers=1).path
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    with pytest.warns(UserWarning, match="It is made anew"):
        stored(made, tmp_path)
    assert path.read_bytes() == whole


def test_a_set_made_of_files_is_stored_again_when_they_change(tmp_path):
    made = Recordings(recordings([4, 5]))
    made.paths = [tmp_path / "a", tmp_path / "b"]
    for file in made.paths:
        file.write_text("x")
    first = stored(made, tmp_path).path
    assert stored(made, tmp_path).path == first
    made.paths[1].write_text("longer")
    assert stored(made, tmp_path).path != first


KILLED = """
import sys, time
import numpy as np
sys.path.insert(0, {tests!r})
from test_store import Recordings, recordings
from spikeprop.datasets import stored

class Slow(Recordings):
    def columns(self, indices):
        from spikeprop.datasets import EventColumns
        if indices[0] == 128:  # reading, not describing
            print("writing", flush=True)
            time.sleep(60)
        return EventColumns.from_list([self.recordings[i] for i in indices])

stored(Slow(recordings([5] * 300)), {root!r})
"""


def test_a_killed_conversion_is_done_again_by_the_next_start(tmp_path):
    code = KILLED.format(tests=str(Path(__file__).parent), root=str(tmp_path))
    first = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert first.stdout.readline() == "writing\n"
    first.send_signal(signal.SIGKILL)
    first.wait()
    left = [p.name for p in (tmp_path / "stores").iterdir()]
    assert any(name.endswith(".partial") for name in left)
    assert not any(not name.startswith(".") for name in left)
    assert len(stored(Recordings(recordings([5] * 300)), tmp_path)) == 300
    left = [p.name for p in (tmp_path / "stores").iterdir()]
    assert not any(name.endswith(".partial") for name in left)


def _store_and_say(root, queue):
    queue.put(str(stored(Recordings(recordings([5] * 3000)), root)))


def test_a_second_process_waits_for_the_first(tmp_path):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    processes = [context.Process(target=_store_and_say, args=(tmp_path, queue)) for _ in range(3)]
    for process in processes:
        process.start()
    assert [queue.get(timeout=60) for _ in processes] == [
        "EventStore(toy set, 3000 recordings)"
    ] * 3
    for process in processes:
        process.join()
    assert len([p for p in (tmp_path / "stores").iterdir() if not p.name.startswith(".")]) == 1


def test_slices(tmp_path):
    t = np.array([0, 10, 99, 100, 199, 250, 299, 301])
    events = make_events(np.arange(8), np.zeros(8), t, np.zeros(8))
    short = make_events([1], [1], [20], [1])
    write_store(tmp_path / "a", Recordings([events, short, short[:0]], groups=np.array([1, 2, 2])))
    slices = EventSlices(EventStore(tmp_path / "a"), 100)
    assert len(slices) == 5
    assert slices.recordings.tolist() == [0, 0, 0, 1, 2]
    assert slices.targets.tolist() == [0, 0, 0, 1, 2]
    assert slices.groups.tolist() == [1, 1, 1, 2, 2]
    assert slices.begins.tolist() == [0, 100, 200, 0, 0]
    assert [slices[i][0]["t"].tolist() for i in range(5)] == [
        [0, 10, 99],
        [0, 99],
        [50, 99],
        [20],
        [],
    ]
    assert slices[-3][0]["x"].tolist() == [5, 6]
    with pytest.raises(IndexError, match="5 slices"):
        slices[5]
    overlapping = EventSlices(EventStore(tmp_path / "a"), 200, stride=50)
    assert overlapping.begins.tolist() == [0, 50, 100, 0, 0]
    assert overlapping[1][0]["t"].tolist() == [49, 50, 149]
    x, _ = next(iter(make_loader(slices, batch_size=5, binning=Binning(50), shuffle=False, seed=0)))
    assert x.shape == (2, 5, 2, 34, 34)
    for name in ("duration", "stride"):
        with pytest.raises(ValueError, match=f"{name} must be an integer of at least 1"):
            EventSlices(EventStore(tmp_path / "a"), **{"duration": 5, name: 0})
