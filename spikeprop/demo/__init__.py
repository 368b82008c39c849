"""``spikeprop demo``: a network learns before the user's eyes, in under a minute."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DemoConfig"]


@dataclass(frozen=True)
class DemoConfig:
    """Watch a network learn ten digits in under a minute; nothing is downloaded, nothing left.

    Recordings play while it learns: below them the accuracy of every layer, beside them the
    evidence for each digit as it adds up. In a pipe it prints a line an epoch.
    """

    quick: bool = False
    """Only show that it works: few recordings, a small network, one epoch, no pauses."""

    seed: int = 0
    """Seed of weights, class signals and batches."""

    threads: int = 0
    """Threads to compute with; 0 is PyTorch's choice [threads]."""

    def __post_init__(self) -> None:
        for name in ("seed", "threads"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
