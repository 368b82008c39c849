"""Writes small data sets in the layouts that their publishers use; independent of the readers."""

import gzip
import struct
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "formats"))
import golden

#: label (1..11): where a dot goes, so that classes differ
LIGHTS = ("fluorescent", "led")


def gesture(label: int, seed: int, count: int = 60, start: int = 0, span: int = 500_000):
    """Events of one gesture: a dot that circles at a place and speed given by the label."""
    random = np.random.default_rng((label, seed))
    t = np.sort(random.integers(0, span, count))
    angle = 2 * np.pi * (1 + label % 3) * t / span * (1 if label % 2 else -1)
    x = np.clip(30 + 6 * label + 12 * np.cos(angle) + random.normal(0, 1, count), 0, 127)
    y = np.clip(64 + 20 * np.sin(angle) + random.normal(0, 1, count), 0, 127)
    p = random.integers(0, 2, count)
    columns = (x.astype(int), y.astype(int), t + start, p)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def dvs_gesture_original(folder: Path, users=(1, 2, 3, 24, 25), count: int = 60) -> Path:
    """``DvsGesture/userNN_LIGHT.aedat`` with a table of labels beside it."""
    place = folder / "DvsGesture"
    place.mkdir(parents=True)
    names = {"train": [], "test": []}
    for user in users:
        for light in LIGHTS:
            events, rows, start = [], [], 3_000_000
            for label in range(1, 12):
                seed = 100 * user + LIGHTS.index(light)
                events += gesture(label, seed, count, start)
                events.append((0, 0, start + 520_000, 1))  # between two gestures
                rows.append(f"{label},{start},{start + 500_000}")
                start += 700_000
            path = place / f"user{user:02d}_{light}.aedat"
            golden.aedat3(path, events, 128, 128, per_packet=100)
            table = "class,startTime_usec,endTime_usec\n" + "\n".join(rows) + "\n"
            path.with_name(f"user{user:02d}_{light}_labels.csv").write_text(table)
            names["test" if user >= 24 else "train"].append(path.name)
    for split, files in names.items():
        (place / f"trials_to_{split}.txt").write_text("\n".join(files) + "\n")
    return folder


def dvs_gesture_tonic(folder: Path, users=(1, 2, 24)) -> Path:
    """``ibmGestureTrain/userNN_LIGHT/LABEL.npy``: x, y, p and t in milliseconds, no names."""
    for user in users:
        split = "Test" if user >= 24 else "Train"
        for label in range(11):
            path = folder / f"ibmGesture{split}" / f"user{user:02d}_led" / f"{label}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            events = gesture(label + 1, user, start=0, span=900_000)
            np.save(path, np.array([(x, y, p, t // 1000) for x, y, t, p in events], dtype=float))
    return folder


def ncaltech101(folder: Path) -> Path:
    for name in ("BACKGROUND_Google", "accordion", "airplanes"):
        for number in range(1, 11):
            path = folder / "Caltech101" / name / f"image_{number:04d}.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            golden.atis_bin(path, golden.make("bin", number, 20), 240, 180)
            data = bytearray(path.read_bytes())
            data[0::5] = bytes(x % 234 for x in data[0::5])
            data[1::5] = bytes(y % 174 for y in data[1::5])
            path.write_bytes(bytes(data))
    return folder


def cifar10dvs(folder: Path) -> Path:
    for name in ("airplane", "cat", "truck"):
        for number in range(10):
            path = folder / name / f"cifar10_{name}_{number}.aedat4"
            path.parent.mkdir(parents=True, exist_ok=True)
            events = [(x % 128, y % 128, t, p) for x, y, t, p in golden.make("aedat4", number, 20)]
            golden.aedat4(path, events, 128, 128)
    return folder


def dvslip(folder: Path) -> Path:
    kind = np.dtype([("t", "i4"), ("x", "i2"), ("y", "i2"), ("p", "i1")])
    for split in ("train", "test"):
        for name in ("accused", "water"):
            for number in range(2):
                path = folder / "DVS-Lip" / split / name / f"{number}.npy"
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, np.array([(5, 1, 2, 1), (900, 127, 127, 0)], dtype=kind))
    return folder


def asldvs(folder: Path) -> Path:
    from scipy.io import savemat

    for letter in "ay":
        for number in range(1, 6):
            path = folder / letter / f"{letter}_{number:04d}.mat"
            path.parent.mkdir(parents=True, exist_ok=True)
            columns = {"ts": [7, 90_007], "x": [1, 240], "y": [1, 180], "pol": [0, 1]}
            savemat(path, {name: np.array([values]).T for name, values in columns.items()})
    return folder


def pokerdvs(folder: Path) -> Path:
    for split, count in (("train", 3), ("test", 1)):
        for name in ("cl", "di", "he", "sp"):
            for number in range(count):
                path = folder / f"pips_{split}" / name / f"{number}.npy"
                path.parent.mkdir(parents=True, exist_ok=True)
                rows = [(3, 7, 22, 1), (16, 19, 13, 0), (900, 34, 34, 1)]
                np.save(path, np.array(rows, dtype=np.uint64))
    return folder


def heidelberg(folder: Path, name: str = "shd", splits=("train", "test")) -> Path:
    import h5py

    for split in splits:
        random = np.random.default_rng(len(split))
        with h5py.File(folder / f"{name}_{split}.h5", "w") as file:
            group = file.create_group("spikes")
            times = group.create_dataset("times", 6, dtype=h5py.vlen_dtype(np.float16))
            units = group.create_dataset("units", 6, dtype=h5py.vlen_dtype(np.uint16))
            for index in range(6):
                times[index] = np.sort(random.random(30))
                units[index] = random.integers(0, 700, 30)
            file["labels"] = np.array([0, 1, 2, 0, 1, 2], dtype=np.uint16)
            file["extra/keys"] = np.array([b"zero", b"one", b"two"])
            file["extra/speaker"] = np.arange(6)
    return folder


def idx(path: Path, values: np.ndarray, packed: bool) -> None:
    data = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    data += values.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(data) if packed else data)


def mnist(folder: Path, packed: bool = True, count: int = 12) -> Path:
    random = np.random.default_rng(3)
    for prefix in ("train", "t10k"):
        images = random.integers(0, 256, (count, 28, 28))
        images[:, :4] = 0
        images[:, 4, 4] = 255
        suffix = ".gz" if packed else ""
        idx(folder / f"{prefix}-images-idx3-ubyte{suffix}", images, packed)
        idx(folder / f"{prefix}-labels-idx1-ubyte{suffix}", np.arange(count) % 10, packed)
    return folder


def class_folder(folder: Path, split: bool = True, count: int = 8) -> Path:
    """Classes in folders, three formats among them."""
    for part in ("train", "test") if split else (".",):
        for label, name in enumerate(("circle", "square")):
            place = folder / part / name
            place.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                events = [(label, number % 5, 100 * t, t % 2) for t in range(1, 9)]
                kind = ("csv", "npz", "dat")[number % 3]
                suffix, writer, _, _, _ = golden.FORMATS[kind]
                writer(place / f"{number:03d}{suffix}", events, 12, 10)
            (place / "notes.md").write_text("no recording")
    return folder
