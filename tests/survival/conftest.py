"""Makes the tiny events and the toy problem importable, whatever folder pytest starts in."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(1, str(Path(__file__).parent.parent))
sys.path.insert(2, str(Path(__file__).parent.parent / "learning"))


@pytest.fixture(autouse=True)
def no_flushing(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests write thousands of files, and none of them cuts the power."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
