"""Writers of every format that share no code with the readers: plain Python, byte by byte.

``WRITERS[name](path, events, width, height)`` writes ``events``, a list of ``(x, y, t, p)`` with
rising times, as the format's documentation says.
"""

import bz2
import io
import struct
import zipfile
from pathlib import Path

import numpy as np

Event = tuple[int, int, int, int]


def aedat2(path: Path, events: list[Event], width: int, height: int) -> None:
    data = b"#!AER-DAT2.0\r\n# AEChip: ch.unizh.ini.jaer.chip.retina.DVS128\r\n"
    for x, y, t, p in events:
        address = (127 - y) << 8 | (127 - x) << 1 | (0 if p else 1)
        data += struct.pack(">II", address, t & 0xFFFFFFFF)
    path.write_bytes(data)


def aedat2_davis(path: Path, events: list[Event], width: int, height: int) -> None:
    data = b"#!AER-DAT2.0\r\n# AEChip: eu.seebetter.ini.chips.davis.DAVIS240C\r\n"
    for x, y, t, p in events:
        address = (179 - y) << 22 | (239 - x) << 12 | p << 11
        data += struct.pack(">II", address, t)
        data += struct.pack(">II", 1 << 31 | 5, t)  # a sample of a frame
    path.write_bytes(data)


def aedat3(path: Path, events: list[Event], width: int, height: int, per_packet: int = 7) -> None:
    data = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#!END-HEADER\r\n"
    # A packet of special events first, to be skipped.
    data += struct.pack("<hhiiiiii", 0, 1, 8, 4, 0, 1, 1, 1) + struct.pack("<Ii", 3, 0)
    groups: list[list[Event]] = []
    for event in events:
        if not groups or len(groups[-1]) == per_packet or groups[-1][0][2] >> 31 != event[2] >> 31:
            groups.append([])
        groups[-1].append(event)
    for group in groups:
        n = len(group) + 1
        data += struct.pack("<hhiiiiii", 1, 1, 8, 4, group[0][2] >> 31, n, n, n - 1)
        data += struct.pack("<Ii", 0, group[0][2] & 0x7FFFFFFF)  # an event marked as not valid
        for x, y, t, p in group:
            data += struct.pack("<Ii", x << 17 | y << 2 | p << 1 | 1, t & 0x7FFFFFFF)
    path.write_bytes(data)


def _flatbuffer(identifier: bytes, fields: list[tuple[str, bytes | int]], prefix: bool) -> bytes:
    """A table whose scalars are inline ("i", "q") and whose vectors ("v") follow, 8-aligned."""
    vtable_size = 4 + 2 * len(fields)
    table = bytearray(struct.pack("<i", 0))
    offsets, vectors = [], []
    for kind, value in fields:
        size = 8 if kind == "q" else 4
        while (len(table) + vtable_size) % size:
            table += b"\0"
        offsets.append(len(table))
        if kind == "v":
            vectors.append((len(table), value))
            table += b"\0\0\0\0"
        else:
            table += struct.pack("<" + kind, value)
    root = 8 + (vtable_size + 3) // 4 * 4
    vtable = struct.pack("<HH", vtable_size, len(table)) + struct.pack(
        f"<{len(offsets)}H", *offsets
    )
    body = bytearray(struct.pack("<I", root) + identifier)
    start = root - vtable_size
    body += bytes(start - len(body)) + vtable
    table[:4] = struct.pack("<i", vtable_size)
    body += table
    for place, (count, raw) in vectors:  # type: ignore[misc]
        while (len(body) + 4) % 8:
            body += b"\0"
        struct.pack_into("<I", body, root + place, len(body) - (root + place))
        body += struct.pack("<I", count) + raw
    return (struct.pack("<I", len(body)) if prefix else b"") + bytes(body)


def aedat4(path: Path, events: list[Event], width: int, height: int, compression: int = 1) -> None:
    import lz4.frame
    import zstandard

    info = (
        '<dv version="2.0"><node name="outInfo"><node name="0">'
        '<attr key="typeIdentifier" type="string">EVTS</attr><node name="info">'
        f'<attr key="sizeX" type="int">{width}</attr><attr key="sizeY" type="int">{height}</attr>'
        "</node></node></node></dv>"
    ).encode()
    header = _flatbuffer(
        b"IOHE", [("i", compression), ("q", -1), ("v", (len(info), info + b"\0"))], True
    )
    pack = {
        0: lambda b: b,
        1: lz4.frame.compress,
        3: zstandard.ZstdCompressor().compress,
    }[compression]
    data = b"#!AER-DAT4.0\r\n" + header
    for start in range(0, len(events), 9):
        group = events[start : start + 9]
        raw = b"".join(struct.pack("<qhhBxxx", t, x, y, p) for x, y, t, p in group)
        packet = pack(_flatbuffer(b"EVTS", [("v", (len(group), raw))], True))
        data += struct.pack("<ii", 0, len(packet)) + packet
        other = pack(_flatbuffer(b"TRIG", [("v", (0, b""))], True))
        data += struct.pack("<ii", 2, len(other)) + other
    path.write_bytes(data)


def aedat4_plain(path: Path, events: list[Event], width: int, height: int) -> None:
    aedat4(path, events, width, height, 0)


def aedat4_zstd(path: Path, events: list[Event], width: int, height: int) -> None:
    aedat4(path, events, width, height, 3)


def evt2(path: Path, events: list[Event], width: int, height: int) -> None:
    data = f"% Date 2020-01-01 00:00:00\n% evt 2.0\n% geometry {width}x{height}\n% end\n".encode()
    high = -1
    for x, y, t, p in events:
        if t >> 6 != high:
            high = t >> 6
            data += struct.pack("<I", 8 << 28 | high & 0x0FFFFFFF)
        data += struct.pack("<I", p << 28 | (t & 63) << 22 | x << 11 | y)
        data += struct.pack("<I", 0xA << 28 | 7)  # a trigger
    path.write_bytes(data)


def evt21(path: Path, events: list[Event], width: int, height: int, legacy: bool = False) -> None:
    kind = "endianness=legacy;" if legacy else ""
    data = f"% camera_integrator_name X\n% format EVT21;{kind}height={height};width={width}\n"
    data = (data + "% end\n").encode()

    def word(value: int) -> bytes:
        low, up = value & 0xFFFFFFFF, value >> 32
        return struct.pack("<II", up, low) if legacy else struct.pack("<II", low, up)

    high = -1
    for x, y, t, p in events:
        if t >> 6 != high:
            high = t >> 6
            data += word(8 << 60 | (high & 0x0FFFFFFF) << 32)
        base = x // 32 * 32
        data += word(p << 60 | (t & 63) << 54 | base << 43 | y << 32 | 1 << (x - base))
    path.write_bytes(data)


def evt21_legacy(path: Path, events: list[Event], width: int, height: int) -> None:
    evt21(path, events, width, height, legacy=True)


def evt3(path: Path, events: list[Event], width: int, height: int, triggers: bool = True) -> None:
    data = f"% evt 3.0\n% format EVT3;height={height};width={width}\n% end\n".encode()
    high = low = row = -1
    for index, (x, y, t, p) in enumerate(events):
        if t >> 12 != high:
            high, low = t >> 12, -1
            data += struct.pack("<H", 8 << 12 | high & 0xFFF)
        if t & 0xFFF != low:
            low = t & 0xFFF
            data += struct.pack("<H", 6 << 12 | low)
        if y != row:
            row = y
            data += struct.pack("<H", y)
        if index % 3 == 0:
            data += struct.pack("<H", 2 << 12 | p << 11 | x)
        elif index % 3 == 1:  # the event is in the second vector after the base
            base = max(0, x - 12 - 3)
            data += struct.pack("<H", 3 << 12 | p << 11 | base)
            for start, kind, bits in ((base, 4, 12), (base + 12, 4, 12), (base + 24, 5, 8)):
                inside = start <= x < start + bits
                data += struct.pack("<H", kind << 12 | (1 << (x - start) if inside else 0))
        else:
            data += struct.pack("<HH", 3 << 12 | p << 11 | x, 5 << 12 | 1)
            data += struct.pack("<H", 0xA << 12 | 5) if triggers else b""
    path.write_bytes(data)


def dat(path: Path, events: list[Event], width: int, height: int) -> None:
    data = f"% Data file containing CD events.\n% Height {height}\n% Width {width}\n".encode()
    data += bytes([12, 8])
    for x, y, t, p in events:
        data += struct.pack("<II", t & 0xFFFFFFFF, p << 28 | y << 14 | x)
    path.write_bytes(data)


def atis_bin(path: Path, events: list[Event], width: int, height: int) -> None:
    data = b""
    for x, y, t, p in events:
        data += bytes([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255])
    path.write_bytes(data)


def _event_stream_head(kind: int, width: int, height: int) -> bytes:
    return b"Event Stream" + bytes([2, 0, 0, kind]) + struct.pack("<HH", width, height)


def es_dvs(path: Path, events: list[Event], width: int, height: int) -> None:
    data, last = _event_stream_head(1, width, height), 0
    for index, (x, y, t, p) in enumerate(events):
        data += b"\xff" * ((t - last) // 127)
        data += struct.pack("<BHH", (t - last) % 127 << 1 | p, x, y)
        if index % 5 == 4:
            data += b"\xfe" * 5
        last = t
    path.write_bytes(data)


def es_atis(path: Path, events: list[Event], width: int, height: int) -> None:
    data, last = _event_stream_head(2, width, height), 0
    for x, y, t, p in events:
        turns, step = divmod(t - last, 63)
        data += b"\xff" * (turns // 3) + (bytes([0xFC | turns % 3]) if turns % 3 else b"")
        data += struct.pack("<BHH", step << 2 | p << 1, x, y)
        data += struct.pack("<BHH", 0 << 2 | 1, x, y)  # a measurement of exposure
        last = t
    path.write_bytes(data)


def es_colour(path: Path, events: list[Event], width: int, height: int) -> None:
    data, last = _event_stream_head(4, width, height), 0
    for x, y, t, _ in events:
        data += b"\xff" * ((t - last) // 254)
        data += struct.pack("<BHHBBB", (t - last) % 254, x, y, 1, 2, 3)
        last = t
    path.write_bytes(data)


def npy_structured(path: Path, events: list[Event], width: int, height: int) -> None:
    kind = np.dtype([("ts", "<u4"), ("polarity", "?"), ("y", ">i2"), ("x", "u2"), ("extra", "f4")])
    rows = np.array([(t, p, y, x, 0.5) for x, y, t, p in events], dtype=kind)
    np.save(path, rows)


def npy_plain(path: Path, events: list[Event], width: int, height: int) -> None:
    np.save(path, np.array([(t, x, y, p) for x, y, t, p in events], dtype=np.float64))


def npz(path: Path, events: list[Event], width: int, height: int) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        columns = zip(("x", "y", "t", "p"), zip(*events, strict=True), strict=True)
        for name, values in [*columns, ("sensor_size", (width, height, 2))]:
            file = io.BytesIO()
            np.save(file, np.array(values, dtype=np.int32))
            archive.writestr(f"{name}.npy", file.getvalue())


def hdf5(path: Path, events: list[Event], width: int, height: int) -> None:
    import h5py

    x, y, t, p = (np.array(column) for column in zip(*events, strict=True))
    with h5py.File(path, "w") as file:
        group = file.create_group("events")
        for name, values in (("x", x), ("y", y), ("t", t - 5), ("p", p)):
            group[name] = values
        file["t_offset"] = 5
        file.attrs["geometry"] = f"{width}x{height}"


def mat(path: Path, events: list[Event], width: int, height: int) -> None:
    from scipy.io import savemat

    x, y, t, p = (np.array(column) for column in zip(*events, strict=True))
    savemat(path, {"TD": {"x": x + 1, "y": y + 1, "ts": t, "p": p + 1}}, do_compression=True)


def csv(path: Path, events: list[Event], width: int, height: int) -> None:
    lines = "".join(f"{p}, {t}, {y}, {x}\n" for x, y, t, p in events)
    path.write_text(f"# {width}x{height}x2\npolarity,timestamp,y,x\n{lines}")


def text_seconds(path: Path, events: list[Event], width: int, height: int) -> None:
    path.write_text("".join(f"{t / 1e6:.6f} {x} {y} {p}\n" for x, y, t, p in events))


def _ros_header(**fields: bytes) -> bytes:
    data = b""
    for name, value in fields.items():
        field = name.encode() + b"=" + value
        data += struct.pack("<I", len(field)) + field
    return struct.pack("<I", len(data)) + data


def _ros_record(data: bytes, **fields: bytes) -> bytes:
    return _ros_header(**fields) + struct.pack("<I", len(data)) + data


def rosbag(
    path: Path, events: list[Event], width: int, height: int, compression: bytes = b"bz2"
) -> None:
    four = (0).to_bytes(4, "little")
    inner = _ros_header(topic=b"/dvs/events", type=b"dvs_msgs/EventArray", md5sum=b"x" * 32)[4:]
    chunk = _ros_record(inner, op=b"\x07", conn=four, topic=b"/dvs/events")
    for start in range(0, len(events), 10):
        group = events[start : start + 10]
        message = struct.pack("<IIII", start, 0, 0, 3) + b"cam"
        message += struct.pack("<III", height, width, len(group))
        for x, y, t, p in group:
            message += struct.pack("<HHIIB", x, y, t // 10**6, t % 10**6 * 1000, p)
        chunk += _ros_record(message, op=b"\x02", conn=four, time=bytes(8))
    packed = {b"bz2": bz2.compress, b"none": bytes}[compression](chunk)
    size = len(chunk).to_bytes(4, "little")
    data = b"#ROSBAG V2.0\n"
    data += _ros_record(
        b" " * 100, op=b"\x03", index_pos=bytes(8), conn_count=four, chunk_count=four
    )
    data += _ros_record(packed, op=b"\x05", compression=compression, size=size)
    data += _ros_record(bytes(16), op=b"\x04", ver=four, conn=four, count=four)
    data += _ros_record(inner, op=b"\x07", conn=four, topic=b"/dvs/events")
    path.write_bytes(data)


def rosbag_plain(path: Path, events: list[Event], width: int, height: int) -> None:
    rosbag(path, events, width, height, b"none")


#: suffix, writer, largest (width, height), limit of t, whether the file names the sensor
FORMATS = {
    "aedat2": (".aedat", aedat2, (128, 128), 1 << 32, True),
    "aedat2-davis": (".aedat", aedat2_davis, (240, 180), 1 << 31, True),
    "aedat3": (".aedat", aedat3, (128, 128), 1 << 33, True),
    "aedat4": (".aedat4", aedat4, (346, 260), 1 << 52, True),
    "aedat4-plain": (".aedat4", aedat4_plain, (346, 260), 1 << 52, True),
    "aedat4-zstd": (".aedat4", aedat4_zstd, (346, 260), 1 << 52, True),
    "evt2": (".raw", evt2, (640, 480), 1 << 34, True),
    "evt21": (".raw", evt21, (1280, 720), 1 << 34, True),
    "evt21-legacy": (".raw", evt21_legacy, (1280, 720), 1 << 34, True),
    "evt3": (".raw", evt3, (1280, 720), 1 << 24, True),
    "dat": (".dat", dat, (304, 240), 1 << 32, True),
    "bin": (".bin", atis_bin, (255, 239), 1 << 23, False),
    "es-dvs": (".es", es_dvs, (320, 240), 1 << 14, True),
    "es-atis": (".es", es_atis, (320, 240), 1 << 14, True),
    "npy": (".npy", npy_structured, (1280, 720), 1 << 32, False),
    "npy-plain": (".npy", npy_plain, (200, 200), 1 << 40, False),
    "npz": (".npz", npz, (1280, 720), 1 << 31, True),
    "hdf5": (".h5", hdf5, (640, 480), 1 << 40, True),
    "mat": (".mat", mat, (304, 240), 1 << 31, False),
    "csv": (".csv", csv, (640, 480), 1 << 50, True),
    "text-seconds": (".txt", text_seconds, (240, 180), 1 << 30, False),
    "rosbag": (".bag", rosbag, (240, 180), 1 << 40, True),
    "rosbag-plain": (".bag", rosbag_plain, (240, 180), 1 << 40, True),
}


def make(name: str, seed: int = 0, count: int = 40) -> list[Event]:
    """Random events that the format can hold, with both corners of the sensor."""
    _, _, (width, height), limit, _ = FORMATS[name]
    random = np.random.default_rng((seed, len(name)))
    t = np.sort(random.integers(0, min(limit, 10**6 if "es" in name else limit), count))
    t[0] = 0 if name in ("bin", "csv") else t[0]
    x, y = random.integers(0, width, count), random.integers(0, height, count)
    p = random.integers(0, 2, count)
    x[:2], y[:2], p[:2] = (0, width - 1), (0, height - 1), (0, 1)
    if name == "text-seconds":
        t[0] = 1  # a fraction of a second says that the unit is seconds
    columns = (x, y, np.sort(t), p)
    return list(zip(*(column.tolist() for column in columns), strict=True))
