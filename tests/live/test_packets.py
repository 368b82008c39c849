"""The frame format, and the order of packets: against its description, byte by byte."""

import random
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeprop.datasets import make_events
from spikeprop.live import (
    END,
    EVENTS,
    LABEL,
    Counters,
    Packet,
    Reorder,
    Splitter,
    encode_end,
    encode_events,
    encode_label,
    parse,
)


def some_events(count=5, start=10**12):
    return make_events(
        np.arange(count), np.arange(count) + 3, start + np.arange(count) * 7, np.arange(count) % 2
    )


def test_the_bytes_are_as_documented():
    data = encode_events(9, make_events([5], [6], [1000], [1]))
    expected = b"SPKE" + struct.pack("<BBHQQ", 1, 0, 1, 9, 1000) + struct.pack("<IHH", 0, 5, 13)
    assert data == expected + struct.pack("<I", zlib.crc32(expected))
    label = b"SPKE" + struct.pack("<BBHQQi", 1, 1, 0, 3, 77, -1)
    assert encode_label(3, 77, None) == label + struct.pack("<I", zlib.crc32(label))


def test_round_trips():
    packet = parse(encode_events(3, some_events()))
    assert (packet.kind, packet.number, packet.time) == (EVENTS, 3, 10**12)
    np.testing.assert_array_equal(packet.events, some_events())
    assert parse(encode_label(4, 8, 2))[:5] == (LABEL, 4, 8, None, 2)
    assert parse(encode_label(4, 8, None)).label is None
    assert parse(encode_end(5, 9)).kind == END
    assert len(parse(encode_events(0, some_events(0))).events) == 0


@pytest.mark.parametrize(
    ("events", "message"),
    [
        (some_events(8001), "8,000 events at most"),
        (make_events([1 << 16], [0], [0], [0]), "'x'"),
        (make_events([0], [1 << 15], [0], [0]), "'y'"),
        (make_events([0], [0], [-1], [0]), "0 or more"),
        (make_events([0, 0], [0, 0], [0, 1 << 32], [0, 0]), r"less than 2\*\*32"),
    ],
)
def test_what_does_not_fit(events, message):
    with pytest.raises(ValueError, match=message):
        encode_events(0, events)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=80), st.integers(0, 60))
def test_malformed_datagrams_are_none(tail, keep):
    whole = encode_events(1, some_events(2))
    data = whole[:keep] + tail
    assert parse(data) is None or data == whole
    damaged = bytearray(whole)
    damaged[keep % len(whole)] ^= 1
    assert parse(bytes(damaged)) is None


def test_a_time_that_no_clock_has():
    head = b"SPKE" + struct.pack("<BBHQQ", 1, 2, 0, 0, 1 << 63)
    assert parse(head + struct.pack("<I", zlib.crc32(head))) is None


@pytest.mark.parametrize("seed", range(20))
def test_bytes_are_cut_into_packets_whatever_lies_between(seed):
    chance = random.Random(seed)
    sent = [encode_events(index, some_events(index % 4)) for index in range(12)]
    stream, damage = b"", 0
    for data in sent:
        if chance.random() < 0.4:
            stream += bytes(chance.randrange(256) for _ in range(chance.randrange(1, 60)))
            damage += 1
        stream += data
    splitter, found = Splitter(), []
    while stream:
        size = chance.randrange(1, 50)
        found += list(splitter.feed(stream[:size]))
        stream = stream[size:]
    splitter.close()
    assert [packet.number for packet in found] == list(range(12))
    assert splitter.malformed == damage


def test_a_packet_in_a_damaged_one_is_found():
    inner = encode_label(1, 5, 0)
    broken = encode_events(0, some_events(3))[:-1]
    splitter = Splitter()
    found = list(splitter.feed(broken + inner + encode_end(2)))
    assert [packet.number for packet in found] == [1, 2]
    assert splitter.malformed == 1
    list(splitter.feed(b"SPK"))
    splitter.close()
    assert splitter.malformed == 2


def packets(numbers):
    return [Packet(EVENTS, number, number) for number in numbers]


def through(order, numbers):
    return [ready.number for packet in packets(numbers) for ready in order.push(packet)]


def test_order_is_kept_and_restored():
    counters = Counters()
    order = Reorder(counters, window=4)
    assert through(order, [5, 6, 8, 9, 7, 10]) == [5, 6, 7, 8, 9, 10]
    assert counters.faults() == {"reordered": 1}


def test_duplicates_late_and_lost_packets_are_counted():
    counters = Counters()
    order = Reorder(counters, window=2)
    assert through(order, [0, 1, 1, 3, 3, 4, 5]) == [0, 1, 3, 4, 5]
    assert counters.faults() == {"duplicated": 2, "lost": 1}
    assert through(order, [2, 2, 6]) == [6]
    assert counters.faults() == {"duplicated": 3, "lost": 1, "late": 1}
    assert through(order, [9]) == []
    assert [packet.number for packet in order.flush()] == [9]
    assert counters.lost == 3
    assert counters.packets == 7


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 30), max_size=60), st.integers(0, 6))
def test_every_packet_is_taken_or_counted(numbers, window):
    counters = Counters()
    order = Reorder(counters, window)
    taken = through(order, numbers) + [packet.number for packet in order.flush()]
    assert taken == sorted(set(taken))
    assert counters.packets == len(taken)
    assert len(numbers) == counters.packets + counters.duplicated + counters.late
    if taken:
        assert counters.lost == taken[-1] - taken[0] + 1 - len(taken)


def test_memory_of_numbers_is_bounded():
    counters = Counters()
    order = Reorder(counters)
    through(order, range(20_000))
    assert len(order._known) <= 4_096
    assert len(order._waiting) == 0
