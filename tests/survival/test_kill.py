"""``kill -9`` at random moments: the run ends with the bits of an undisturbed one."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from started import Starter
from test_runs import same_tensors
from tiny_events import tiny_arguments, write_tiny_events

from spikeprop import runs
from spikeprop.checkpoint import load_state

#: Kills of one process, and of one of two; more of them by the variable (100 and 20, say).
KILLS, RANK_KILLS = map(int, os.environ.get("SPIKEPROP_KILLS", "10,3").split(","))
INTERVAL = 3

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and kill")


@pytest.fixture(scope="module")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    found = Starter(tmp_path_factory.mktemp("starter") / "updates")
    yield found
    found.close()


@pytest.mark.slow
@pytest.mark.parametrize(("ranks", "wanted"), [(1, KILLS), (2, RANK_KILLS)])
def test_killed_at_random_moments(
    starter: Starter, tmp_path: Path, ranks: int, wanted: int
) -> None:
    data = write_tiny_events(tmp_path / "data")
    arguments = [
        *tiny_arguments(data, tmp_path / "runs"),
        "--checkpoint-updates", str(INTERVAL), "--resume", "auto", "--name",
    ]  # fmt: skip
    assert starter.run([*arguments, "first"])[0] == [0]
    codes, seconds = starter.run([*arguments, "whole"], ranks=ranks)  # all is compiled by now
    assert codes == [0] * ranks
    whole = runs.RunFolder(tmp_path / "runs" / "whole")
    chance, kills, number, repeated = random.Random(0), 0, 0, 0
    while kills < wanted:
        name, number = f"killed-{number}", number + 1
        path = tmp_path / "runs" / name
        done = 0
        while True:
            starter.updates.write_text("")
            after = chance.uniform(0.0, 0.9 * seconds) if kills < wanted else None
            victim = chance.randrange(ranks)
            codes, _ = starter.run([*arguments, name], after, ranks, victim)
            made = starter.noted()
            if made:
                assert done - INTERVAL < made[0] <= done + 1, "an interval is repeated at most"
                assert made == list(range(made[0], made[-1] + 1))
                repeated += done + 1 - made[0]
                done = made[-1]
            if codes == [0] * ranks:
                break
            assert codes[victim] == -9
            kills += 1
        assert (path / runs.WEIGHTS).read_bytes() == (whole / runs.WEIGHTS).read_bytes()
        assert same_tensors(load_state(path / runs.LEARNER), load_state(whole / runs.LEARNER))
        assert {p.name for p in path.iterdir() if "tfevents" not in p.name} == {
            p.name for p in whole.path.iterdir() if "tfevents" not in p.name
        }, "nothing half-written is left"
    printed = Path(f"{starter.updates}.out").read_text().splitlines()
    assert not [line for line in printed if "damaged" in line], "no checkpoint was found damaged"
    # What the other one says: it lost its peer, or, where that died at the start, never found it.
    known = ("lost", "did not find the others")
    other = [line for line in printed if "error" in line and not any(w in line for w in known)]
    assert not other, other
    print(f"{kills} kills in {number} runs, {repeated} updates repeated")
