"""The epochs of a training run with their checkpoints, as each of its processes makes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from spikeprop.checkpoints import Checkpoints
from spikeprop.counting import count_backward_passes
from spikeprop.fit import Callback
from spikeprop.parallel.staged import StagedKeeper, fit_staged
from spikeprop.resuming import Keeper, Progress
from spikeprop.stopping import Stopped, Stopping

if TYPE_CHECKING:
    from spikeprop.assemble import Data
    from spikeprop.config import TrainConfig
    from spikeprop.learner import ForwardLearner

__all__ = ["run_epochs"]


def run_epochs(
    config: TrainConfig,
    data: Data,
    learner: ForwardLearner,
    checkpoints: Checkpoints,
    progress: Progress,
    stopping: Stopping,
    *,
    start_epoch: int,
    callbacks: Sequence[Callback] = (),
) -> None:
    """Learn from where a run is to its last epoch.

    Of several processes only the first writes checkpoints, but all stop after the same batch.

    Parameters
    ----------
    config : TrainConfig
        The run's options.
    data : Data
        Training and validation data.
    learner : ForwardLearner
        As it was at the run's newest checkpoint.
    checkpoints : Checkpoints
        Where they are written.
    progress : Progress
        What the run carries; its ``part`` says where in the next epoch it is.
    stopping : Stopping
        Tells of signals.
    start_epoch : int
        Finished epochs.
    callbacks : sequence of Callback
        Called before a checkpoint is written, which says that all else of its epoch is there.

    Raises
    ------
    ConnectionError
        If a process is lost.
    Stopped
        If any process was asked to stop, once a checkpoint is written.
    """
    with count_backward_passes() as counter:
        made: Any = StagedKeeper if config.pipeline else Keeper
        keeper = made(
            checkpoints,
            progress,
            data.summary["train_sha256"],
            counter,
            stopping,
            minutes=config.checkpoint_minutes,
            updates=config.checkpoint_updates,
        )
        options: dict[str, Any] = {
            "epochs": config.epochs,
            "start_epoch": start_epoch,
            "part": progress.part,
            "schedule": config.schedule,
        }
        try:
            if isinstance(keeper, StagedKeeper):
                fit_staged(
                    learner, data.train, data.validation, callbacks=callbacks, keeper=keeper,
                    **options,
                )  # fmt: skip
            else:
                learner.fit(
                    data.train, data.validation, guard=True, callbacks=[*callbacks, keeper],
                    **options,
                )  # fmt: skip
        except Stopped:
            keeper.stop(learner)
            raise
        finally:
            stopping.busy = False
