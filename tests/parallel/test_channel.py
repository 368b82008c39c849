"""Messages between stages come out as they went in, in their order."""

from __future__ import annotations

from pathlib import Path

import jobs
import processes
import pytest


@pytest.mark.parametrize("room", ["64", "262144"])
def test_messages_of_all_sizes_pass_the_stages(room: str, tmp_path: Path) -> None:
    """The smaller room is less than most messages, whose rest then comes by itself."""
    processes.run(3, jobs.relayed, room, folder=tmp_path)
