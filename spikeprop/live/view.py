"""What a live stream looks like in the terminal: events, prediction and confidence over time."""

from __future__ import annotations

import sys
import time
from collections import deque
from types import TracebackType
from typing import TextIO

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from spikeprop.datasets import Events
from spikeprop.live.follow import Report
from spikeprop.live.order import Counters

WIDTH, HEIGHT = 48, 16
HISTORY = 60
_SHADES = " .:-=+*#%@"
_BARS = " ▁▂▃▄▅▆▇█"


class View:
    """A picture that is renewed some times a second; where there is no terminal, a line a second.

    Parameters
    ----------
    counters
        What happened so far.
    classes
        Names of the classes.
    sensor_size
        Width, height and number of polarities.
    out
        Where to draw; standard error by default, so that standard output is free for results.
    period_s
        Seconds between two pictures.
    """

    def __init__(
        self,
        counters: Counters,
        classes: list[str],
        sensor_size: tuple[int, int, int],
        out: TextIO | None = None,
        period_s: float | None = None,
    ) -> None:
        self.counters, self.classes, self.sensor_size = counters, classes, sensor_size
        self.console = Console(file=out or sys.stderr)
        self.terminal = self.console.is_terminal
        self.period_s = period_s if period_s is not None else (0.2 if self.terminal else 1.0)
        self._image = np.zeros((HEIGHT, WIDTH))
        self._history: deque[Report] = deque(maxlen=HISTORY)
        self._report: Report | None = None
        self._next = self._before = time.monotonic()
        self._seen = 0
        self._live: Live | None = None

    def __enter__(self) -> View:
        if self.terminal:
            self._live = Live(console=self.console, auto_refresh=False, transient=False)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.draw()
        if self._live is not None:
            self._live.stop()

    def events(self, events: Events) -> None:
        """Take events into the picture."""
        width, height, _ = self.sensor_size
        column = np.clip(events["x"] * WIDTH // width, 0, WIDTH - 1)
        row = np.clip(events["y"] * HEIGHT // height, 0, HEIGHT - 1)
        np.add.at(self._image, (row, column), 1.0)

    def step(self, report: Report) -> None:
        """Take a report; draw if it is time to."""
        self._report = report
        self.tick()

    def tick(self) -> None:
        """Draw if it is time to."""
        if time.monotonic() >= self._next:
            self.draw()

    def draw(self) -> None:
        """Draw now."""
        now = time.monotonic()
        rate = (self.counters.events - self._seen) / max(now - self._before, 1e-9)
        self._seen, self._before, self._next = self.counters.events, now, now + self.period_s
        if self._report is not None:
            self._history.append(self._report)
        line = self.line(rate)
        if self._live is None:
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            self._live.update(Group(self.image(), self.trail(), Text(line)), refresh=True)
        self._image *= 0.3

    def line(self, rate: float) -> str:
        """Return the state in one line."""
        parts = [f"{rate:,.0f} events/s"]
        report = self._report
        if report is not None:
            parts.append(f"step {report.step:,} at {report.time / 1e6:.3f} s")
            name = self.classes[report.prediction]
            parts.append(f"{name} {100 * report.confidence:.0f} %")
            if report.label is not None:
                parts.append(f"learning {self.classes[report.label]}")
        faults = self.counters.faults()
        parts += [f"{name.replace('_', ' ')} {count:,}" for name, count in faults.items()]
        return "; ".join(parts)

    def image(self) -> Text:
        """Return the events of the last moments, a letter for a patch of the sensor."""
        top = max(float(self._image.max()), 1e-9)
        shade = (self._image / top * (len(_SHADES) - 1)).round().astype(int)
        return Text("\n".join("".join(_SHADES[value] for value in row) for row in shade))

    def trail(self) -> Text:
        """Return confidence over time as bars, and the predictions where they change."""
        bars = "".join(_BARS[int(r.confidence * (len(_BARS) - 1) + 0.5)] for r in self._history)
        names: list[str] = []
        for report in self._history:
            name = self.classes[report.prediction]
            if not names or names[-1] != name:
                names.append(name)
        return Text(f"{bars}\n{' > '.join(names[-6:])}")
