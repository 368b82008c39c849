"""Rules that send a signal along a :class:`~spikeprop.signal_path.SignalPath`.

What the reference engine asks of them, answered from their options; how signal and recording are
compared is the rule's own (:mod:`spikeprop.rules.sigprop`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from spikeprop.contrast import BatchContrast
from spikeprop.evidence import Evidence, as_filters
from spikeprop.losses import LocalLoss, SquaredDistance
from spikeprop.output_layer import draw_outputs
from spikeprop.rules.base import LocalRule, Rule
from spikeprop.signal_path import SignalPath
from spikeprop.signals import class_codes
from spikeprop.time_codes import Constant, Phases, TimeCode

__all__ = ["SendingRule"]


class SendingRule(LocalRule):
    """A dataclass with these options; see :class:`~spikeprop.rules.SigProp`."""

    loss: LocalLoss
    signal: str
    signal_scale: float
    codes: Tensor | None
    coding: TimeCode
    placement: str
    signal_steps: int
    labels: str
    readout: str

    def check_pairs(self, n_filters: int) -> None:
        """Refuse what does not go with a signal of each recording's own."""
        rows, placed = self.path.way.rows, self.placement != "parallel"
        if rows == "recordings" and self.readout == "nearest":
            raise ValueError(
                f"signal={self.signal!r}, labels={self.labels!r} have a signal a recording and none"
                f" a class, so that no nearest one can be found: set readout='trained'"
            )
        if (rows == "recordings" or placed) and not isinstance(
            self.loss, (BatchContrast, SquaredDistance)
        ):
            raise ValueError(
                f"signal={self.signal!r}, placement={self.placement!r}, labels={self.labels!r} "
                f"compare pairs of recording and signal: loss has to be BatchContrast(...) "
                f"(contrast-... on the command line) or SquaredDistance(), got {self.loss!r}"
            )
        if placed and (self.signal != "propagated" or self.labels != "all" or n_filters > 1):
            raise ValueError(
                f"placement={self.placement!r} needs signal='propagated', labels='all' and one "
                f"evidence filter"
            )
        if self.signal == "projection" and not (
            self.labels == "all" and isinstance(self.coding, Constant)
        ):
            raise ValueError(
                "signal='projection' sends nothing through the network: labels has to be 'all' and "
                "coding Constant()"
            )
        way = self.path.way
        if isinstance(self.coding, Phases) and way.by_synapse and not way.by_current:
            raise ValueError(
                f"coding Phases(...) widens a current, and signal={self.signal!r} is none: use "
                f"'propagated' or 'learned'"
            )
        if self.regression and (
            self.signal not in ("propagated", "learned") or not isinstance(self.coding, Constant)
        ):
            raise ValueError(
                "labels='vectors' needs signal='propagated' or 'learned' and coding Constant()"
            )

    @cached_property
    def path(self) -> SignalPath:
        """The signal's way into the network."""
        return SignalPath(
            self.signal,
            self.signal_scale,
            self.coding,
            self.placement,
            self.signal_steps,
            self.labels,
        )

    @property
    def regression(self) -> bool:
        """Whether labels and predictions are vectors."""
        return self.labels == "vectors"

    @property
    def streams(self) -> bool:
        """Whether signals need nothing of labels that a stream brings later."""
        return self.path.way.rows != "recordings" and self.placement == "parallel"

    @property
    def undivided(self) -> str | None:
        """What needs the whole batch."""
        if isinstance(self.loss, BatchContrast):
            return "contrasts the recordings of a batch with each other"
        if self.labels == "batch":
            return "sends the signals of the batch's classes alone"
        if self.placement != "parallel":
            return "begins to compare where any recording of the batch has been seen"
        return None

    @property
    def needs_context(self) -> bool:
        """Whether the loss makes its targets of the signals at a block's input."""
        sends = self.path.way.rows != "none" and self.placement == "parallel"
        return sends and isinstance(self.loss, BatchContrast)

    @property
    def unwindowed(self) -> str | None:
        """What only the reference engine does."""
        if self.placement != "parallel":
            return "puts the signal into time steps of its own"
        if self.enters_synapse or self.path.way.rows == "recordings":
            return "sends signals that depend on the batch, or through the first synapse"
        return "sends the batch's classes only" if self.labels == "batch" else super().unwindowed

    @property
    def enters_synapse(self) -> bool:
        """Whether signal rows pass the first synapse."""
        return self.path.way.by_synapse

    @property
    def stands_still(self) -> bool:
        """Whether it is a current a class, drawn once, at all time steps."""
        own = type(self).current is SendingRule.current  # and not a subclass's
        return own and self.path.plain and self.labels == "all" and self.placement == "parallel"

    def draw(self, shapes: Sequence[torch.Size], generator: torch.Generator) -> dict[str, Tensor]:
        """Draw projections and codes along time, and the output layers, which begin at zero."""
        tensors = self.path.draw(class_codes(self.num_classes, self.codes), shapes, generator)
        if self.readout == "trained":
            filters = len(as_filters(self.evidence))
            tensors |= draw_outputs(self.num_classes, shapes, filters)
        return tensors

    def draw_input(
        self, shape: torch.Size, shapes: Sequence[torch.Size], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Draw what is shaped as the input."""
        return self.path.draw_input(class_codes(self.num_classes, self.codes), shape, generator)

    def learned(self, tensors: dict[str, Tensor]) -> list[str]:
        """Return the learned projection, and the output layers."""
        names = ["projection"] if self.path.way.learned else []
        return names + [name for name in tensors if name.startswith("output.")]

    def filters(self, steps: int) -> tuple[Evidence, ...]:
        """Return the evidence filters: for recording and signal, where they take turns."""
        return self.path.filters(as_filters(self.evidence), steps)

    def begin(self, tensors: dict[str, Tensor], labels: Tensor | None) -> dict[str, Tensor]:
        """Return the tensors with the batch's classes or labels, where signals depend on them."""
        return self.path.begin(tensors, labels)

    def arrange(self, x: Tensor, tensors: dict[str, Tensor]) -> Tensor:
        """Return ``x`` with time steps for the signal."""
        return self.path.arrange(x, tensors)

    def inputs(self, x_t: Tensor, tensors: dict[str, Tensor], t: int) -> Tensor | None:
        """Return the signal rows' inputs: of their own, or zeros."""
        return (
            self.path.inputs(x_t, tensors, t)
            if self.enters_synapse
            else super().inputs(x_t, tensors, t)
        )

    def current(self, tensors: dict[str, Tensor], t: int) -> Tensor | None:
        """Return ``S c_t`` of the signal rows; None for signals without."""
        return self.path.currents(tensors, t)

    def own_current(self, tensors: dict[str, Tensor], t: int) -> Tensor | None:
        """Return the signal's current on the recordings' own membranes."""
        return self.path.own_currents(tensors, t)

    def code(self, tensors: dict[str, Tensor], t: int) -> Tensor | None:
        """Return the signal rows' codes."""
        return self.path.code(tensors, t)

    def with_class(
        self, tensors: dict[str, Tensor], generator: torch.Generator
    ) -> tuple[Rule, dict[str, Tensor]]:
        """Return the rule for one class more, with a signal drawn for it and an output at zero.

        Raises
        ------
        TypeError
            For codes of the user's own, and for vectors.
        """
        if self.codes is not None or self.regression:
            raise TypeError("a class can be added where codes are one-hot, and labels classes")
        grown = self.path.with_class(tensors, generator)
        for name, value in tensors.items():
            if name.startswith("output."):
                grown[name] = torch.cat([value.detach(), torch.zeros_like(value[:1])])
        return replace(self, num_classes=self.num_classes + 1), grown  # type: ignore[type-var]
