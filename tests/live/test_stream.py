"""A learner follows streams: time steps, labels, sources, and the command."""

import csv
import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from tiny_events import recording, tiny_arguments, write_tiny_events

from spikeprop.cli import main
from spikeprop.datasets import make_events, write_recording
from spikeprop.live import Counters, Follower, encode_end, encode_events, encode_label, sources
from spikeprop.live.view import View


class Learner:
    """Notes what it is given; predicts the number of events so far, modulo 3."""

    class rule:  # noqa: N801
        predict_from = "last"

    def __init__(self):
        self.seen, self.together = [], []

    def steps(self, x, label, *, every_step):
        assert every_step
        logits = torch.zeros(2, len(x.to_dense()), 1, 3)
        for at, x_t in enumerate(x.to_dense()):
            self.seen.append((x_t, None if label is None else int(label)))
            logits[-1, at, 0, len(self.seen) % 3] = 4.0
        self.together.append(len(x.to_dense()))
        return type("M", (), {"logits": logits})


def follower(**options):
    counters = Counters()
    return Follower(Learner(), (4, 3, 2), 10, counters, 3, **options), counters


def events(*rows):
    return make_events(*np.array(rows).T)


def test_time_steps():
    one, counters = follower()
    one.events(events((1, 2, 100, 1), (0, 0, 109, 0), (3, 1, 110, 0)))
    one.events(events((3, 1, 111, 0), (2, 0, 145, 1)))
    one.finish()
    cells = [x.nonzero().tolist() for x, _ in one.learner.seen]
    assert cells == [
        [[0, 0, 0, 0], [0, 1, 2, 1]],
        [[0, 0, 1, 3]],
        [],
        [],
        [[0, 1, 0, 2]],
    ]
    assert all(x.max() <= 1 for x, _ in one.learner.seen)
    assert (one.steps, counters.events, counters.faults()) == (5, 5, {})
    assert (one.report.step, one.report.time, one.report.prediction) == (5, 150, 2)
    assert one.report.confidence == pytest.approx(np.exp(4) / (np.exp(4) + 2), rel=1e-5)


def test_counts():
    one, _ = follower(binary=False)
    one.events(events((1, 2, 5, 1), (1, 2, 6, 1)))
    one.finish()
    assert one.learner.seen[0][0][0, 1, 2, 1] == 2


def test_what_cannot_be_used_is_counted():
    one, counters = follower()
    one.events(events((1, 2, 100, 1), (4, 0, 101, 0), (0, 3, 102, 0), (0, 0, 125, 1)))
    one.events(events((1, 1, 103, 1), (1, 1, 126, 1)))
    one.events(events((1, 1, 90, 1)))
    one.set_label(0, 7)
    assert counters.faults() == {"outside_events": 2, "late_events": 2, "bad_labels": 1}
    assert counters.events == 3


def test_a_long_silence_is_passed_over():
    one, counters = follower()
    one.events(events((0, 0, 0, 0), (0, 0, 10**9, 0)))
    assert one.steps == 1001
    assert counters.skipped_steps == 10**8 - 1001
    one.events(events((0, 0, 10**9 + 10, 0)))
    assert one.steps == 1002


def test_labels_hold_from_their_time_on():
    one, _ = follower()
    one.set_label(0, 2)
    one.events(events((0, 0, 100, 0)))
    one.set_label(115, 1)
    one.set_label(130, None)
    one.events(events((0, 0, 145, 0)))
    one.finish()
    assert [label for _, label in one.learner.seen] == [2, 1, 1, None, None]
    blind, _ = follower(learn=False)
    blind.set_label(0, 2)
    blind.events(events((0, 0, 100, 0), (0, 0, 110, 0)))
    assert blind.learner.seen[0][1] is None
    assert blind.report.label == 2


def test_steps_that_are_over_are_taken_together_while_their_label_is_the_same():
    one, _ = follower()
    one.set_label(0, 1)
    one.events(events((0, 0, 100, 0)))
    one.set_label(120, 2)
    one.events(events((1, 0, 111, 0), (2, 0, 131, 0), (3, 0, 1240, 0)))
    assert one.learner.together == [2, 64, 48]
    assert [label for _, label in one.learner.seen] == [1, 1] + [2] * 112
    told = []
    one.on_step = told.append
    one.events(events((0, 0, 1261, 0)))
    assert [(report.step, report.time, report.prediction) for report in told] == [
        (115, 1250, 115 % 3),
        (116, 1260, 116 % 3),
    ]


def test_arguments():
    with pytest.raises(ValueError, match="step_us and num_classes are 1 or more"):
        Follower(Learner(), (4, 3, 2), 0, Counters(), 3)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("udp://192.168.0.1:5000", "must be a loopback address"),
        ("tcp://example.com:5000", "must be a loopback address"),
        ("http://127.0.0.1:80", "udp://HOST:PORT or tcp://HOST:PORT"),
        ("udp://127.0.0.1:99999", "a port is 0 to 65535"),
    ],
)
def test_only_the_loopback_is_listened_to(where, message):
    with pytest.raises(ValueError, match=message):
        sources.open_source(where, Counters())


def test_other_bad_sources(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        sources.open_source(str(tmp_path / "none.raw"), Counters())
    with pytest.raises(ValueError, match="speed must be 0 or more"):
        sources.open_source("-", Counters(), speed=-1)
    with pytest.raises(ValueError, match="labels belong to a file"):
        sources.open_source("-", Counters(), labels=[])
    taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    taken.bind(("127.0.0.1", 0))
    with pytest.raises(OSError, match="cannot listen on"):
        sources.open_source(f"udp://127.0.0.1:{taken.getsockname()[1]}", Counters())
    taken.close()


def test_a_file_is_paced_and_labelled(tmp_path, monkeypatch):
    clock = [50.0]
    monkeypatch.setattr(sources.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(sources.time, "sleep", lambda s: clock.__setitem__(0, clock[0] + s))
    monkeypatch.setattr(sources, "FILE_PACKET", 2)
    t = np.array([0, 100_000, 500_000, 900_000, 1_000_000]) + 7
    path = tmp_path / "a.npz"
    write_recording(path, make_events([0] * 5, [0] * 5, t, [0] * 5), (4, 3, 2))
    seen = []
    for found in sources.open_source(str(path), Counters(), labels=[(400_000, 600_000, 2)]):
        for packet in found:
            seen.append((packet.kind, packet.number, round(clock[0] - 50, 3), packet.label))
    assert seen == [
        (0, 0, 0.0, None),
        (1, 1, 0.0, 2),
        (1, 2, 0.0, None),
        (0, 3, 0.5, None),
        (0, 4, 1.0, None),
        (2, 5, 1.0, None),
    ]
    fast = list(sources.open_source(str(path), Counters(), speed=0))
    assert [len(found) for found in fast] == [4]


def free_port(kind=socket.SOCK_DGRAM):
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def collect(stream, until=10.0):
    """Packets until the end of the stream."""
    found, stop = [], time.monotonic() + until
    for packets in stream:
        found += packets
        if packets and packets[-1].kind == 2:
            break
        assert time.monotonic() < stop
    stream.close()
    return found


def test_udp():
    counters, port = Counters(), free_port()
    stream = sources.open_source(f"udp://127.0.0.1:{port}", counters)
    sent = [encode_events(n, events((n, 0, n, 0))) for n in range(5)]
    sources.send_udp(("localhost", port), iter([*sent, b"junk", encode_end(5)]), rate=1000)
    found = collect(stream)
    assert [packet.number for packet in found] == [0, 1, 2, 3, 4, 5]
    assert counters.malformed == 1


def test_tcp_takes_connections_one_after_another():
    counters, port = Counters(), free_port(socket.SOCK_STREAM)
    stream = sources.open_source(f"tcp://localhost:{port}", counters)

    def send():
        for data in (encode_label(0, 0, 1) + b"junk", encode_events(1, some()), encode_end(2)):
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(data)

    threading.Thread(target=send, daemon=True).start()
    assert [packet.number for packet in collect(stream)] == [0, 1, 2]
    assert counters.malformed == 1


def some():
    return events((0, 0, 5, 0), (1, 1, 6, 1))


def test_a_full_queue_is_counted(monkeypatch):
    monkeypatch.setattr(sources, "QUEUE_PACKETS", 3)
    counters, port = Counters(), free_port()
    stream = sources.open_source(f"udp://127.0.0.1:{port}", counters)
    sources.send_udp(("127.0.0.1", port), iter(encode_label(n, 0, 0) for n in range(10)))
    deadline = time.monotonic() + 10
    while counters.overflows < 7 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert counters.overflows == 7
    stream.close()


def test_labels_of_a_file(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("class,start,stop\ncat,0,10\n1,20,30\n")
    assert sources.read_labels(path, ["cat", "dog"]) == [(0, 10, 0), (20, 30, 1)]
    for line in ("cow,0,1", "cat,5,5", "2,0,1", "cat,x,1", "cat"):
        path.write_text(f"class,start,stop\n{line}\n")
        with pytest.raises(ValueError, match=r"labels\.csv: line 2: expected columns"):
            sources.read_labels(path, ["cat", "dog"])


def test_the_view(monkeypatch):
    counters = Counters(events=100, lost=2, late_events=1)

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for out in (io.StringIO(), Terminal()):
        monkeypatch.setenv("TERM", "xterm")
        with View(counters, ["cat", "dog", "cow"], (4, 3, 2), out, period_s=0.0) as view:
            one, _ = follower(on_step=view.step)
            one.set_label(0, 1)
            view.events(some())
            one.events(events((0, 0, 5, 0), (1, 1, 16, 1)))
            view.tick()
        shown = out.getvalue()
        assert "dog 96 %" in shown
        assert "learning dog" in shown
        assert "lost 2; late events 1" in shown
        if out.isatty():
            assert "@" in shown
            assert "█" in shown


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run on three digits."""
    folder = tmp_path_factory.mktemp("runs")
    data = write_tiny_events(tmp_path_factory.mktemp("data"))
    assert main([*tiny_arguments(data, folder), "--name", "done"]) == 0
    return folder / "done"


def stream_bytes(digits=(0, 1, 2), label=True, damage=False):
    """Recordings of digits one after another, each with its label."""
    number, data, start = 0, b"", 0
    for digit in digits:
        if label:
            data += encode_label(number, start, digit)
            number += 1
        found = recording(digit, 5)
        found["t"] += start
        data += encode_events(number, found) + (b"SPKEjunk" if damage else b"")
        number += 1
        start += 400_000
    return data + encode_end(number)


def test_the_command_reads_standard_input(run, tmp_path):
    code = "import sys; from spikeprop.cli import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["stream", str(run), "--step", "60000", "--log", str(tmp_path / "a.csv")]
    arguments += ["--save", str(tmp_path / "after.safetensors")]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        input=stream_bytes(damage=True),
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
    )
    shown = done.stdout.decode()
    assert "packets    7" in shown
    assert "events     450" in shown
    assert "malformed  3" in shown
    assert "labelled time steps, as they came" in shown
    assert "events/s" in done.stderr.decode()
    rows = list(csv.DictReader((tmp_path / "a.csv").open()))
    assert {row["label"] for row in rows} == {"0", "1", "2"}
    assert rows[0]["time_us"] != ""
    assert (tmp_path / "after.safetensors").stat().st_size > 1000


def test_the_command_learns_what_labels_say(run, tmp_path, capsys):
    """Labels that contradict the training: after a while they are what it predicts."""
    path, labels = tmp_path / "a.npz", tmp_path / "labels.csv"
    pieces, lines, length = [], ["start,stop,class"], 300_000
    for turn in range(30):
        found = recording(turn % 2, turn)
        found["t"] += turn * length
        pieces.append(found)
        lines.append(f"{turn * length},{(turn + 1) * length},{1 - turn % 2}")
    whole = np.concatenate(pieces)
    whole["t"] -= whole["t"][0]
    write_recording(path, whole, (34, 34, 2))
    labels.write_text("\n".join(lines) + "\n")
    arguments = ["stream", str(run), str(path), "--speed", "0", "--step", "10000", "--quiet"]
    arguments += ["--labels", str(labels), "--log", str(tmp_path / "log.csv")]
    accuracies = {}
    for learn in ("--learn", "--no-learn"):
        assert main([*arguments, learn]) == 0
        rows = list(csv.DictReader((tmp_path / "log.csv").open()))
        assert len(rows) > 400
        accuracies[learn] = np.mean([row["label"] == row["prediction"] for row in rows[-120:]])
    assert "accuracy" in capsys.readouterr().out
    assert accuracies["--learn"] > accuracies["--no-learn"] + 0.2, json.dumps(accuracies)


def test_the_command_over_udp(run, capsys):
    port = free_port()

    def send():
        time.sleep(0.5)
        data = []
        for number in range(30):
            found = recording(number % 3, number)
            found["t"] = found["t"] // 10 + number * 30_000
            data.append(encode_events(number, found))
        data[10], data[11] = data[11], data[10]  # reordered
        data.insert(15, data[14])  # duplicated
        del data[20]  # lost
        for _ in range(200):  # until it listens
            sources.send_udp(("127.0.0.1", port), iter([b"noise"]))
            time.sleep(0.01)
            if listening.is_set():
                break
        sources.send_udp(("127.0.0.1", port), iter([*data, encode_end(30)]), rate=200)

    listening = threading.Event()
    original = sources.udp

    def udp(*arguments):
        opened = original(*arguments)
        listening.set()
        return opened

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "udp", udp)
        threading.Thread(target=send, daemon=True).start()
        arguments = ["stream", str(run), f"udp://127.0.0.1:{port}", "--step", "10000", "--quiet"]
        assert main([*arguments, "--seconds", "60"]) == 0
    shown = capsys.readouterr().out
    for expected in ("duplicated 1", "reordered  1", "lost       1", "events     4,350"):
        assert expected in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--label", "cat"], "label must be one of"),
        (["--window", "-1"], "window is 0 or more"),
        (["--update-every", "0"], "update_every must be at least 1"),
        (["--lr", "0"], "lr must be above 0"),
        (["--save", "none/a.safetensors"], "there is no folder"),
    ],
)
def test_bad_options(arguments, message, run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sources, "standard_input", lambda counters: iter(()))
    assert main(["stream", str(run), *arguments, "--quiet"]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_memory_does_not_grow(run):
    """2,500 time steps: what is allocated after 500 and after all of them is the same."""
    import gc
    import tracemalloc

    from spikeprop import inference

    learner, _, metrics = inference.load(run)
    one = Follower(learner, (34, 34, 2), 1000, Counters(), 10)
    one.set_label(0, 1)
    chance = np.random.default_rng(0)
    size = []
    tracemalloc.start()
    for step in range(2_500):
        x, y = chance.integers(0, 34, (2, 20))
        one.events(make_events(x, y, np.full(20, step * 1000), x % 2))
        if step in (500, 2_499):
            gc.collect()  # cycles that wait for their collection are no growth
            size.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert metrics
    assert size[1] - size[0] < 20_000
