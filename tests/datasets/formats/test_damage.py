"""Damaged files: a clear error with file and byte, or the events before it with a warning."""

import io
import struct
import tracemalloc
import warnings
import zipfile
import zlib

import golden
import numpy as np
import pytest
from golden import FORMATS, make
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spikeprop.datasets.formats import DamageWarning, mat, read_recording

SLACK = 300_000
"""Bytes that reading a file of some hundred bytes may take at most per piece of a reader."""


def outcome(path, **options):
    """Events and whether a warning came, or the message of the error; nothing else may happen."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = read_recording(path, **options)
        except ValueError as error:
            said = str(error)
            found = None
    if found is None:
        assert said.startswith(f"{path}: ")
        return None, said
    assert {type(warning.message) for warning in caught} <= {DamageWarning}
    for warning in caught:
        assert str(warning.message).startswith(f"{path}: at byte ")
    assert len(found.events) > 0
    return found, bool(caught)


def rows(found):
    return list(zip(*(found.events[name].tolist() for name in "xytp"), strict=True))


@pytest.mark.parametrize("name", FORMATS)
def test_truncated_at_every_byte(name, tmp_path):
    suffix, writer, size, _, _ = FORMATS[name]
    whole = tmp_path / f"whole{suffix}"
    events = make(name, 1, 24)
    writer(whole, events, *size)
    data = whole.read_bytes()
    path = tmp_path / f"cut{suffix}"
    step = 1 if len(data) < 2500 else 37  # HDF5 files have kilobytes of padding
    lengths = []
    for end in range(0, len(data), step):
        path.write_bytes(data[:end])
        found, said = outcome(path)
        if found is None:
            assert "at byte" in said or "holds no event" in said
            continue
        lengths.append(len(found.events))
        if name not in ("csv", "text-seconds"):  # the last number may lose its last digits
            assert rows(found) == events[: lengths[-1]]
        if said is False and lengths[-1] < len(events):
            # A cut between two records cannot be told from a shorter recording.
            assert name not in ("npy", "npy-plain", "npz", "hdf5", "mat")
    if name not in ("npz", "hdf5", "mat"):
        assert max(lengths) >= len(events) - 1
        whole_or_nothing = ("npy-plain", "rosbag")  # an array, a compressed chunk
        assert len(set(lengths)) >= (1 if name in whole_or_nothing else 3)


def test_strict_raises_instead(tmp_path):
    path = tmp_path / "a.dat"
    golden.dat(path, make("dat"), 304, 240)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.warns(DamageWarning, match=r"a\.dat: at byte \d+: .* the 39 events before it"):
        assert len(read_recording(path).events) == 39
    with pytest.raises(ValueError, match=r"a\.dat: at byte \d+: the last record has 5 of 8 bytes"):
        read_recording(path, strict=True)


def test_events_outside_the_sensor_that_the_header_names(tmp_path):
    for name in ("aedat4", "evt2", "evt21", "evt3", "dat", "es-dvs", "rosbag", "aedat3"):
        suffix, writer, size, _, _ = FORMATS[name]
        events = make(name, 2)
        events[30] = (size[0] + 3, *events[30][1:])
        path = tmp_path / f"{name}{suffix}"
        writer(path, events, *size)
        found, said = outcome(path)
        assert said is True
        assert rows(found) == events[: len(found.events)]
        assert 20 <= len(found.events) <= 30


LIES = {
    "aedat3-size": (
        "a.aedat",
        b"#!AER-DAT3.1\r\n#!END-HEADER\r\n"
        + struct.pack("<hhiiiiii", 1, 0, 2**31 - 1, 4, 0, 9, 9, 9),
    ),
    "aedat3-number": (
        "a.aedat",
        b"#!AER-DAT3.1\r\n#!END-HEADER\r\n"
        + struct.pack("<hhiiiiii", 1, 0, 8, 4, 0, *[2**31 - 1] * 3),
    ),
    "aedat3-negative": (
        "a.aedat",
        b"#!AER-DAT3.1\r\n#!END-HEADER\r\n" + struct.pack("<hhiiiiii", 1, 0, 8, 4, 0, -5, -5, -5),
    ),
    "aedat3-no-end": ("a.aedat", b"#!AER-DAT3.1\r\n# and so on\r\n" * 3),
    "aedat-1": ("a.aedat", b"#!AER-DAT1.0\r\n" + bytes(8)),
    "aedat4-header": ("a.aedat4", b"#!AER-DAT4.0\r\n" + struct.pack("<I", 2**32 - 1) + bytes(50)),
    "aedat4-empty-header": ("a.aedat4", b"#!AER-DAT4.0\r\n" + bytes(50)),
    "evt-9": ("a.raw", b"% evt 9.0\n" + bytes(100)),
    "no-evt": ("a.raw", b"% nothing\n" + bytes(100)),
    "dat-type": ("a.dat", b"% Version 2\n\x28\x10" + bytes(100)),
    "es-version": ("a.es", b"Event Stream" + bytes([9, 0, 0, 1]) + bytes(50)),
    "es-type": ("a.es", b"Event Stream" + bytes([2, 0, 0, 3]) + bytes(50)),
    "es-sensor": ("a.es", b"Event Stream" + bytes([2, 0, 0, 1]) + bytes(50)),
    "es-generic": ("a.es", b"Event Stream" + bytes([2, 0, 0, 0, 1]) + b"\xff" * 8 + b"\xfe"),
    "es-generic-size": ("a.es", b"Event Stream" + bytes([2, 0, 0, 0, 1]) + b"\xff" * 20),
    "text": ("a.csv", b"hello\nworld\n"),
    "text-long": ("a.csv", b"a" * 100_000),
    "text-nan": ("a.csv", b"x,y,t,p\n1,2,nan,0\n"),
    "text-inf": ("a.csv", b"x,y,t,p\ninf,2,3,0\n"),
    "text-few": ("a.csv", b"x,y,t,p\n1,2,3\n"),
    "text-three": ("a.txt", b"1 2 3\n4 5 6\n"),
    "text-huge": ("a.csv", b"x,y,t,p\n1,2,1e300,0\n"),
    "bag": ("a.bag", b"#ROSBAG V2.0\n" + struct.pack("<I", 2**32 - 1) + bytes(40)),
    "bag-empty": ("a.bag", b"#ROSBAG V2.0\n" + bytes(40)),
    "mat": ("a.mat", b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM" + struct.pack("<II", 14, 2**31)),
    "mat-order": ("a.mat", b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1XX" + bytes(64)),
    "hdf5": ("a.h5", b"\x89HDF\r\n\x1a\n" + bytes(500)),
    "zip": ("a.npz", b"PK\x03\x04" + bytes(500)),
    "unknown": ("a.xyz", b"nothing that is known"),
    "empty": ("a.csv", b""),
}


@pytest.mark.parametrize("name", LIES)
def test_headers_that_lie(name, tmp_path):
    file, data = LIES[name]
    path = tmp_path / file
    path.write_bytes(data)
    tracemalloc.start()
    found, said = outcome(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found is None
    assert "at byte" in said
    assert peak < 40_000_000  # importing SciPy or h5py is most of it


@pytest.mark.parametrize(
    "shape", ["(1000000000000,)", "(-1,)", "(2, 2)", "()", "(9, 'a')", "(1 << 70,)"]
)
def test_npy_headers_that_lie(shape, tmp_path):
    kind = "[('x', '<i8'), ('y', '<i8'), ('t', '<i8'), ('p', '<i8')]"
    head = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode()
    (tmp_path / "a.npy").write_bytes(data)
    found, said = outcome(tmp_path / "a.npy")
    assert found is None
    assert "at byte" in said
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("events.npy", data)
    assert outcome(tmp_path / "a.npz")[0] is None


def test_pickles_are_never_loaded(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.array([{"x": 1}], dtype=object), allow_pickle=True)
    assert "Python objects, which are never loaded" in outcome(path)[1]
    np.savez(tmp_path / "a.npz", events=np.array([print], dtype=object))
    assert "Python objects" in outcome(tmp_path / "a.npz")[1]


def bombs():
    """Files of some kilobytes that unpack to gigabytes."""
    import lz4.frame
    import zstandard

    zeros = bytes(1 << 20)

    def zipped(file):
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            kind = "[('x', '<i8'), ('y', '<i8'), ('t', '<i8'), ('p', '<i8')]"
            head = f"{{'descr': {kind}, 'fortran_order': False, 'shape': ({1 << 28},)}}"
            head = head.ljust(117) + "\n"
            with archive.open("a.npy", "w", force_zip64=True) as member:
                member.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode())
                for _ in range(200):
                    member.write(zeros)

    def aedat4(file, compressed, kind):
        header = golden._flatbuffer(b"IOHE", [("i", kind), ("q", -1), ("v", (0, b""))], True)
        file.write(b"#!AER-DAT4.0\r\n" + header)
        file.write(struct.pack("<ii", 0, len(compressed)) + compressed)

    def matlab(file):
        pack = zlib.compressobj(9)
        data = b"".join(pack.compress(zeros) for _ in range(100)) + pack.flush()
        head = b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM"
        file.write(head + struct.pack("<II", 15, len(data)) + data)

    frame = lz4.frame.LZ4FrameCompressor()
    lz4_data = frame.begin() + b"".join(frame.compress(zeros) for _ in range(300)) + frame.flush()
    pack = zstandard.ZstdCompressor().compressobj()
    zstd_data = b"".join(pack.compress(zeros) for _ in range(300)) + pack.flush()
    return {
        "a.npz": zipped,
        "lz4.aedat4": lambda file: aedat4(file, lz4_data, 1),
        "zstd.aedat4": lambda file: aedat4(file, zstd_data, 3),
        "a.mat": matlab,
    }


@pytest.mark.parametrize("name", ["a.npz", "lz4.aedat4", "zstd.aedat4", "a.mat"])
def test_bombs(name, tmp_path, monkeypatch):
    monkeypatch.setattr(mat, "UNPACKED_LIMIT", 1 << 25)  # a gigabyte takes long to pack
    path = tmp_path / name
    with path.open("wb") as file:
        bombs()[name](file)
    assert path.stat().st_size < 4_000_000
    tracemalloc.start()
    found, said = outcome(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found is None
    assert "at byte" in said
    assert peak < 160_000_000


def test_too_many_events_are_an_error(tmp_path):
    path = tmp_path / "a.raw"
    words = [8 << 12, 6 << 12, 0, 3 << 12, *[4 << 12 | 0xFFF, 3 << 12] * 100_000]
    path.write_bytes(b"% evt 3.0\n" + np.array(words, dtype="<u2").tobytes())
    with pytest.raises(ValueError, match=r"holds more than 100,000 events.*open_recording"):
        read_recording(path, max_events=100_000)
    assert len(read_recording(path).events) == 1_200_000


def test_arguments(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.raw: no such file"):
        read_recording(tmp_path / "a.raw")
    with pytest.raises(FileNotFoundError, match=r"a\.raw: no such file"):
        read_recording(tmp_path / "a.raw", format="raw")
    with pytest.raises(ValueError, match="format must be one of aedat2"):
        read_recording(tmp_path / "a.raw", format="avi")


def seeds():
    """A small whole file of every format, as bytes."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        for name, (suffix, writer, size, _, _) in FORMATS.items():
            path = Path(folder) / f"a{suffix}"
            writer(path, make(name, 5, 16), *size)
            yield name, suffix, path.read_bytes()
        for name, kind in (("es-colour", golden.es_colour),):
            path = Path(folder) / "a.es"
            kind(path, make("es-dvs", 5, 16), 320, 240)
            yield name, ".es", path.read_bytes()
    yield "es-generic", ".es", b"Event Stream" + bytes([2, 0, 0, 0, 7, 6]) + b"abc" + bytes(9)


SEEDS = list(seeds())


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_bytes_behind_a_true_beginning(data, tmp_path_factory):
    name, suffix, whole = data.draw(st.sampled_from(SEEDS))
    keep = data.draw(st.integers(0, min(len(whole), 200)))
    tail = data.draw(st.binary(max_size=300))
    path = tmp_path_factory.getbasetemp() / f"random-{name}{suffix}"
    path.write_bytes(whole[:keep] + tail)
    outcome(path)


def mutate(random, whole):
    """Change a file as damage does: bytes, bits, extreme numbers, pieces lost, doubled, moved."""
    data = bytearray(whole)
    for _ in range(int(random.integers(1, 4))):
        if not data:
            break
        place = int(random.integers(len(data)))
        kind = int(random.integers(8))
        if kind == 0:
            data[place] = int(random.integers(256))
        elif kind == 1:
            data[place] ^= 1 << int(random.integers(8))
        elif kind == 2:
            extreme = (b"\xff" * 4, b"\0" * 4, b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\xff" * 8)
            piece = extreme[int(random.integers(len(extreme)))]
            data[place : place + len(piece)] = piece
        elif kind == 3:
            del data[place:]
        elif kind == 4:
            del data[place : place + int(random.integers(1, 20))]
        elif kind == 5:
            data[place:place] = data[: int(random.integers(1, 40))]
        elif kind == 6:
            data[place:place] = random.bytes(int(random.integers(1, 40)))
        else:
            end = place + int(random.integers(1, 60))
            data[place:end] = random.bytes(end - place)
    return bytes(data)


QUICK = [seed for seed in SEEDS if seed[0] not in ("hdf5", "mat")]
FUZZED = 50_000


@pytest.mark.slow
def test_fuzz(tmp_path):
    """50,000 damaged files of all formats; a share of those that other libraries read."""
    random = np.random.default_rng(2026)
    slow = [seed for seed in SEEDS if seed[0] in ("hdf5", "mat")]
    kinds = {"events": 0, "part": 0, "error": 0}
    for index in range(FUZZED):
        group = slow if index % 100 == 0 else QUICK
        name, suffix, whole = group[int(random.integers(len(group)))]
        path = tmp_path / f"{name}{suffix}"
        path.write_bytes(mutate(random, whole))
        found, said = outcome(path, max_events=100_000)
        kinds["error" if found is None else "part" if said else "events"] += 1
    assert min(kinds.values()) > FUZZED // 20, kinds


def test_every_kind_of_member_is_reached():
    """The fuzz begins with files that are read without complaint."""
    assert len(SEEDS) == len(FORMATS) + 2
    assert len({name for name, _, _ in SEEDS}) == len(SEEDS)
    assert io.BytesIO(SEEDS[0][2]).read(3) == b"#!A"
