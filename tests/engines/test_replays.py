"""Recorded launches: run, then recorded, then played again, for each key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from spikeprop.engines import replays as module
from spikeprop.engines.replays import Replays


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is recorded and played, on a machine without a GPU."""
    told: list[str] = []

    class Graph:
        def replay(self) -> None:
            told.append("played")

    @contextmanager
    def recording(graph: Any) -> Iterator[None]:
        assert isinstance(graph, Graph)
        told.append("recorded:")
        yield

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", recording)
    return told


def test_work_runs_at_first_is_recorded_at_second_and_played_from_then_on(told: list[str]) -> None:
    replays = Replays()
    for _ in range(4):
        replays.play("key", lambda: told.append("work"))
    assert told == ["work", "recorded:", "work", "played", "played", "played"]


def test_another_key_is_other_work(told: list[str]) -> None:
    replays = Replays()
    for key in (("beta", 0.9), ("beta", 0.8), ("beta", 0.9)):
        replays.play(key, lambda: told.append("work"))
    assert told == ["work", "work", "recorded:", "work", "played"]


def test_no_more_than_some_are_kept(told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 2)
    replays = Replays()
    for key in (1, 2, 3, 1):
        replays.play(key, lambda: told.append("work"))
    assert told == ["work"] * 4, "the first was forgotten when the third came"
