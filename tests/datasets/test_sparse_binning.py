"""Sparse binning equals dense binning, compiled or not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeprop.datasets import (
    Binning,
    EventBatch,
    EventColumns,
    bin_events,
    bin_events_on,
    bin_events_sparse,
    make_events,
    sparse_binning,
)
from spikeprop.datasets import _bin_kernel as kernel
from spikeprop.datasets.compiled import compiled

binnings = st.builds(
    lambda measure, amount, binary, pool, merge: Binning(
        **{measure: amount}, binary=binary, pool=pool, merge_polarities=merge
    ),
    st.sampled_from(["time_window", "n_time_bins", "event_count"]),
    st.sampled_from([1, 2, 3, 7, 50]),
    st.booleans(),
    st.integers(1, 3),
    st.booleans(),
)


@st.composite
def batches(draw, sort=True):
    width, height, polarities = draw(
        st.tuples(st.integers(1, 80), st.integers(1, 80), st.integers(1, 3))
    )
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    duration = draw(st.integers(1, 200))
    recordings = []
    for length in draw(st.lists(st.sampled_from([0, 1, 2, 30, 200]), min_size=1, max_size=4)):
        t = rng.integers(0, draw(st.sampled_from([1, duration, 2 * duration])), length)
        recordings.append(
            make_events(
                rng.integers(0, width, length),
                rng.integers(0, height, length),
                np.sort(t) if sort else t,
                rng.integers(0, polarities, length),
            )
        )
    return recordings, (width, height, polarities), duration


def same(left: EventBatch, right: EventBatch) -> None:
    assert left.shape == right.shape
    assert left.offsets.dtype == right.offsets.dtype == torch.int64
    assert left.channels.dtype == right.channels.dtype == torch.int32
    assert torch.equal(left.offsets, right.offsets)
    assert torch.equal(left.channels, right.channels)
    assert (left.values is None) == (right.values is None)
    if left.values is not None and right.values is not None:
        assert left.values.dtype == right.values.dtype == torch.float32
        assert torch.equal(left.values, right.values)


@settings(max_examples=300, deadline=None)
@given(batch=batches(), binning=binnings)
def test_equals_the_dense_batch(batch, binning) -> None:
    recordings, sensor_size, duration = batch
    dense = bin_events(recordings, binning, sensor_size, duration)
    same(
        bin_events_sparse(recordings, binning, sensor_size, duration), EventBatch.from_dense(dense)
    )


@pytest.mark.parametrize("kind", [np.int64, np.uint32, np.uint64])
@settings(max_examples=60, deadline=None)
@given(batch=batches(), binning=binnings, data=st.data())
def test_chosen_recordings_are_those_alone(kind, batch, binning, data) -> None:
    recordings, sensor_size, duration = batch
    place = st.integers(0, len(recordings) - 1)
    chosen = np.array(data.draw(st.lists(place, min_size=1, max_size=5)))
    columns = EventColumns.from_list(recordings)
    columns = columns._replace(
        t=columns.t.astype(kind),
        x=columns.x.astype(np.uint8),
        y=columns.y.astype(np.uint8),
        p=columns.p.astype(np.uint8),
    )
    same(
        bin_events_sparse(columns, binning, sensor_size, duration, chosen),
        bin_events_sparse([recordings[i] for i in chosen], binning, sensor_size, duration),
    )


def test_a_chosen_recording_outside_the_sensor_is_refused() -> None:
    good, bad = make_events([1], [0], [0], [0]), make_events([9], [0], [0], [0])
    columns = EventColumns.from_list([good, bad])
    x = bin_events_sparse(columns, Binning(5), (2, 2, 2), 10, np.array([0, 0]))
    assert x.batch == 2
    with pytest.raises(ValueError, match=r"events\['x'\] reaches from 9 to 9"):
        bin_events_sparse(columns, Binning(5), (2, 2, 2), 10, np.array([1]))


@settings(max_examples=60, deadline=None)
@given(batch=batches(), binning=binnings)
def test_binning_on_a_device_gives_the_same(batch, binning) -> None:
    recordings, sensor_size, duration = batch
    dense = bin_events(recordings, binning, sensor_size, duration)
    assert torch.equal(bin_events_on("cpu", recordings, binning, sensor_size, duration), dense)


@pytest.mark.cuda
def test_binning_on_a_cuda_device_gives_the_same() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    events = make_events([1, 1, 0], [0, 0, 1], [0, 5, 9], [0, 0, 1])
    arguments = ([events, events[:1]], Binning(5, binary=False), (2, 2, 2), 10)
    assert torch.equal(bin_events_on("cuda", *arguments).cpu(), bin_events(*arguments))


@settings(max_examples=100, deadline=None)
@given(batch=batches(sort=False), binning=binnings.filter(lambda b: b.n_time_bins is None))
def test_equals_the_dense_batch_where_times_are_in_no_order(batch, binning) -> None:
    recordings, sensor_size, duration = batch
    dense = bin_events(recordings, binning, sensor_size, duration)
    same(
        bin_events_sparse(recordings, binning, sensor_size, duration), EventBatch.from_dense(dense)
    )


@settings(max_examples=30, deadline=None)
@given(batch=batches(), binning=binnings)
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_the_loop_as_it_stands_and_the_numpy_code_give_the_same(batch, binning) -> None:
    recordings, sensor_size, duration = batch
    columns = EventColumns.from_list(recordings)
    arguments = (columns, binning, sensor_size, duration)
    spans = columns.offsets[:-1], columns.offsets[1:]
    plain = sparse_binning._compiled_rows(kernel.bin_rows, columns, *spans, *arguments[1:])
    numpy = sparse_binning._numpy_rows(*arguments)
    for left, right in zip(plain, numpy, strict=True):
        assert (left is None) == (right is None)
        assert left is None or np.array_equal(left, right)


def test_numba_is_used_where_it_is_there_and_not_missed_where_it_is_not(monkeypatch) -> None:
    pytest.importorskip("numba")
    compiled.cache_clear()
    assert compiled(kernel.bin_rows) is not None
    compiled.cache_clear()
    monkeypatch.setenv("SPIKEPROP_NO_NUMBA", "1")
    assert compiled(kernel.bin_rows) is None
    events = make_events([1, 1, 0], [0, 0, 1], [0, 5, 9], [0, 0, 1])
    x = bin_events_sparse([events], Binning(5, binary=False), (2, 2, 2), 10)
    assert x.channels.tolist() == [1, 1, 6]
    compiled.cache_clear()


def test_small_column_types_do() -> None:
    columns = EventColumns(
        np.array([0, 3, 9]),
        np.array([1, 1, 127], dtype=np.int8),
        np.array([0, 0, 127], dtype=np.int16),
        np.array([0, 0, 1], dtype=np.int8),
        np.array([0, 3]),
    )
    for binning in (Binning(5), Binning(5, binary=False, pool=2)):
        x = bin_events_sparse(columns, binning, (128, 128, 2), 10)
        dense = bin_events(columns, binning, (128, 128, 2), 10)
        same(x, EventBatch.from_dense(dense))
        assert dense[1].flatten()[-1] == 1


@pytest.mark.parametrize(
    ("events", "binning", "message"),
    [
        (([34], [0], [0], [0]), Binning(), r"events\['x'\] reaches from 34 to 34"),
        (([0], [-1], [0], [0]), Binning(), r"events\['y'\] reaches from -1"),
        (([0], [0], [0], [2]), Binning(), r"events\['p'\]"),
        (([0], [0], [-1], [0]), Binning(), r"events\['t'\] begins at -1 us"),
        (([0] * 3, [0] * 3, [0, 5, 3], [0] * 3), Binning(n_time_bins=2), "not sorted in t"),
    ],
)
def test_events_without_a_place_are_refused(events, binning, message) -> None:
    arguments = ([make_events(*map(np.array, events))], binning, (34, 34, 2), 100)
    with pytest.raises(ValueError, match=message):
        bin_events_sparse(*arguments)
    with pytest.raises(ValueError, match=message):
        bin_events_on("cpu", *arguments)


def test_an_empty_batch_is_refused() -> None:
    none = np.empty(0, dtype=np.int64)
    for events in ([], EventColumns(none, none, none, none, np.zeros(1, dtype=np.int64))):
        with pytest.raises(ValueError, match="events_list is empty"):
            bin_events_sparse(events, Binning(), (34, 34, 2), 100)
