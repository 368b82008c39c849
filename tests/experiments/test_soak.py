"""The soak runs: what it sends is learned from or counted, in a process of its own."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from spikeprop.experiments.benchmarks import soak


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.skipif(not Path("/proc/net/udp").exists(), reason="needs Linux's /proc")
def test_no_packet_is_lost_silently(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = [
        "--seconds", "1", "--rate", "20000", "--hidden", "24", "16", "--port", str(free_port()),
        "--out", str(tmp_path / "soak.json"),
    ]  # fmt: skip
    monkeypatch.setattr("sys.argv", ["soak", *options])
    assert soak.main() == 0, capsys.readouterr().err
    found = json.loads((tmp_path / "soak.json").read_text())
    assert found["sent"] == {"packets": 1003, "events": 20_000}
    assert found["unaccounted_packets"] == 0
    lost = found["faults"].get("lost", 0)
    assert found["taken"]["packets"] == 1003 - lost
    assert found["taken"]["events"] >= 20_000 - 20 * lost
    assert 0 < found["taken"]["time steps"] <= 1000
    assert found["processor_share"] > 0
    assert len(found["memory_mib"]) >= 50


def test_what_happens_to_a_packet_that_is_taken_or_lost_is_not_counted_again() -> None:
    printed = """packets    95
events     1,900
time steps 95
duplicated 2
reordered  4
late       1
lost       5
late events 7
"""
    found = soak._result(printed, 100, [1.0, 1.0], 0.0, 1.0, 0.0, soak.SoakConfig())
    assert found["unaccounted_packets"] == 0
    assert found["faults"]["duplicated"] == 2


@pytest.mark.parametrize(
    ("options", "message"), [({"rate": 10}, "rate has to lie"), ({"seconds": 0.1}, "seconds has")]
)
def test_bad_options(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        soak.SoakConfig(**options)  # type: ignore[arg-type]
