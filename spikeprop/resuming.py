"""What a training run writes to go on after a kill, when, and how it goes on."""

from __future__ import annotations

import json
import time
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor

from spikeprop.checkpoints import Checkpoints
from spikeprop.counting import BackwardPasses, peak_memory_mib
from spikeprop.fit import Callback, EpochResult, Part
from spikeprop.monitor import Row
from spikeprop.stopping import Stopping

if TYPE_CHECKING:
    from spikeprop.learner import ForwardLearner

__all__ = ["Keeper", "Progress", "go_on"]


@dataclass
class Progress:
    """What a run carries across a kill, beside the learner.

    Attributes
    ----------
    rows : list of dict
        Rows of the table, one a finished epoch.
    part : Part, optional
        Where in the next epoch it is.
    seconds, peak_memory_mib, backward_passes
        Of the finished epochs.
    """

    rows: list[Row] = field(default_factory=list)
    part: Part | None = None
    seconds: float = 0.0
    peak_memory_mib: float = 0.0
    backward_passes: int = 0

    @property
    def epochs(self) -> int:
        """Finished epochs."""
        return len(self.rows)


class Keeper(Callback):
    """Writes all that ``--resume`` needs, in one file: by epoch, time and updates, and at the end.

    Parameters
    ----------
    checkpoints : Checkpoints
        Where to.
    progress : Progress
        The run's; what is counted here is added to it.
    data : str
        Fingerprint of the training data.
    counter : BackwardPasses
        Counts backward passes.
    stopping : Stopping
        Tells of signals.
    minutes : float
        Longest time between two checkpoints, by a clock that never jumps.
    updates : int, optional
        Most updates between two checkpoints.

    Notes
    -----
    Of processes that learn together the first writes, and all stop after the same batch.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        progress: Progress,
        data: str,
        counter: BackwardPasses,
        stopping: Stopping,
        *,
        minutes: float,
        updates: int | None,
    ) -> None:
        self.checkpoints, self.progress, self.data = checkpoints, progress, data
        self.counter, self.stopping = counter, stopping
        self.minutes, self.updates = minutes, updates
        self.before = progress.backward_passes
        self.part = progress.part
        self.since, self.count = time.monotonic(), 0
        self.unwritten = False

    def on_epoch_start(self, learner: ForwardLearner, epoch: int, n_batches: int | None) -> None:
        """Let a signal wait from here on until a batch is over."""
        self.stopping.busy = True
        self._stop_together(learner)

    def on_part(self, learner: ForwardLearner, part: Part) -> None:
        """Write a checkpoint where it is time to, and end where a signal has come."""
        before = self.part
        seen = 0 if before is None or before.epoch != part.epoch else before.batches
        self.count += part.batches - seen
        self.part, self.unwritten = part, True
        if self.due():
            self.write(learner)
        self._stop_together(learner)

    def due(self) -> bool:
        """Tell whether it is time for a checkpoint."""
        late = time.monotonic() - self.since >= 60.0 * self.minutes
        return late or (self.updates is not None and self.count >= self.updates)

    def on_validation_start(self, learner: ForwardLearner, part: Part) -> None:
        """Let a signal end the validation at once, of a process on its own."""
        if learner.ranks is None:
            self.stopping.busy = False
            self.stopping.check()

    def on_failure(self, learner: ForwardLearner, part: Part) -> None:
        """Keep what was learned before the data failed."""
        self.part = part
        try:
            self.stop(learner)
        except OSError as error:  # what ended the data is the news
            warnings.warn(f"no checkpoint could be written: {error}", stacklevel=2)

    def on_epoch_end(self, learner: ForwardLearner, result: EpochResult) -> None:
        """Write the checkpoint of a whole epoch."""
        self.stopping.busy = True
        self.part = None
        self.progress.seconds += result.seconds
        self.write(learner)
        self._stop_together(learner)

    def stop(self, learner: ForwardLearner) -> None:
        """Write what is not written yet, if the learner is between two batches."""
        if self.unwritten and not self.stopping.forced:
            self.write(learner)

    def write(self, learner: ForwardLearner) -> None:
        """Write a checkpoint."""
        progress = self.progress
        progress.part = self.part
        progress.peak_memory_mib = max(progress.peak_memory_mib, peak_memory_mib() or 0.0)
        progress.backward_passes = self.before + self.counter.calls
        # The row of an epoch may be there before its checkpoint is.
        rows = progress.rows[: None if self.part is None else self.part.epoch - 1]
        state = {
            "learner": learner.state_dict(),
            "rows": json.dumps(rows),
            "part": None if self.part is None else {**vars(self.part)},
            "seconds": progress.seconds,
            "peak_memory_mib": progress.peak_memory_mib,
            "backward_passes": progress.backward_passes,
            "train_sha256": self.data,
        }
        if learner.ranks is None or learner.ranks.first:
            self.checkpoints.write(learner.updates, state)
        self.since, self.count, self.unwritten = time.monotonic(), 0, False

    def _stop_together(self, learner: ForwardLearner) -> None:
        ranks = learner.ranks
        if ranks is not None:
            found = max(ranks.counts(self.stopping.number or 0))
            self.stopping.number = found or None
        self.stopping.check()


def go_on(checkpoints: Checkpoints, learner: ForwardLearner, data: str) -> Progress:
    """Put the newest whole checkpoint into a learner; a run without any begins at its beginning.

    Parameters
    ----------
    checkpoints : Checkpoints
        Where they are.
    learner : ForwardLearner
        As it was before the first update.
    data : str
        Fingerprint of the training data.

    Raises
    ------
    ValueError
        If there are checkpoints, and none will do: why the newest will not.
    """

    def take(state: dict[str, Any]) -> Progress:
        try:
            if state["train_sha256"] != data:
                raise ValueError(
                    f"the training data are not those that the run in {checkpoints.folder} began "
                    f"with"
                )
            progress = Progress(
                _rows(state["rows"]),
                _part(state["part"]),
                float(state["seconds"]),
                float(state["peak_memory_mib"]),
                int(state["backward_passes"]),
            )
            saved = state["learner"]
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(
                f"a checkpoint in {checkpoints.folder} is not that of a run: {error!r:.200}"
            ) from None
        if progress.part is not None and progress.part.epoch != progress.epochs + 1:
            raise ValueError(
                f"a checkpoint in {checkpoints.folder} is within epoch "
                f"{progress.part.epoch} after {progress.epochs} epochs"
            )
        learner.load_state_dict(saved)
        return progress

    found = checkpoints.newest(take)
    return Progress() if found is None else found


def _rows(text: str) -> list[Row]:
    rows = json.loads(text)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise TypeError("its rows are no table")
    return rows


def _part(found: dict[str, Any] | None) -> Part | None:
    if found is None:
        return None
    counts = [found[name] for name in ("epoch", "batches", "samples", "right")]
    if not all(isinstance(count, int) and count >= 0 for count in counts):
        raise TypeError(f"its counts are {counts}")
    sums = found["sums"]
    if not isinstance(sums, Tensor):
        raise TypeError("its sums are no tensor")
    return Part(counts[0], counts[1], counts[2], counts[3], sums, float(found["seconds"]))
