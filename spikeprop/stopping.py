"""Being asked to stop: finish what is going on, write what is worth keeping, and end.

Machines that are lent out are taken back by SIGTERM and, half a minute or so later, SIGKILL.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any

__all__ = ["SIGNALS", "Stopped", "Stopping"]

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(BaseException):
    """The process was asked to stop, and what was to be kept is written.

    Not an ``Exception``, so that nothing on the way takes it for an error.

    Parameters
    ----------
    number : int
        The signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number

    @property
    def exit_code(self) -> int:
        """128 and the signal's number, as shells have it: 143 for SIGTERM, 130 for Ctrl-C."""
        return 128 + self.number


class Stopping:
    """Notes signals while it is open; what runs asks :meth:`check` where it may end.

    It raises at once where nothing is ``busy``, and at the second signal (it is ``forced`` then).
    Only the main thread can catch signals: in others it does nothing.

    Parameters
    ----------
    signals : sequence of int
        Which; SIGTERM and that of Ctrl-C if not given.
    """

    def __init__(self, signals: Sequence[int] = SIGNALS) -> None:
        self.signals = signals
        self.number: int | None = None
        self.busy = self.forced = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():
            for number in self.signals:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """End here if asked to.

        Raises
        ------
        Stopped
            If a signal has come.
        """
        if self.number is not None:
            raise Stopped(self.number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.forced = self.busy and self.number is not None
        self.number = number
        if self.forced or not self.busy:
            raise Stopped(number)
