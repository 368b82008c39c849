"""The way of the learning signal into the network: from a class's code to rows of the batch.

Where the signal enters, and what its rows are (``c`` a code, ``S`` a projection, ``W`` the first
synapse, ``x`` a recording):

=================  ===================================================  ====================
name               current of the signal rows in the first block        rows
=================  ===================================================  ====================
``propagated``     ``S c``, ``S`` fixed and random                      one a class
``learned``        ``S c``, ``S`` trained by the first block's loss     one a class
``synapse``        ``W (P c) + b``, ``P`` fixed, shaped as the input    one a class
``drawn``          ``W g_c + b``, ``g_c`` a picture of the class        one a class
``context-input``  ``W x + b + S c``, ``S`` fixed                       one a recording
``concatenated``   the same, ``S`` trained: ``[W, S] [x, c] + b``       one a recording
``overlaid``       ``W x' + b``, ``c`` over the first D of ``x``        one a recording
``projection``     none: a fixed random vector a class and layer        none
=================  ===================================================  ====================

Sources: slides 22, 24, 40 of the signal propagation tutorial (``W_1 P_R``, ``[W_1] P_L``, ``W_1
concat``, and the label overlaid on the first pixels, as in Hinton's Forward-Forward).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from spikeprop.evidence import Evidence
from spikeprop.glyphs import glyphs
from spikeprop.placements import arranged, is_signal_step, placed_filters
from spikeprop.signals import random_projection
from spikeprop.time_codes import Constant, TimeCode

__all__ = ["SIGNALS", "SignalPath", "Way"]


class Way(NamedTuple):
    """How a signal enters.

    Attributes
    ----------
    rows : str
        "classes", "recordings", or "none".
    by_current : bool
        Whether the first block's current has a part ``S c``.
    by_synapse : bool
        Whether the rows have an input of their own to the first synapse.
    learned : bool
        Whether ``S`` is trained.
    """

    rows: str
    by_current: bool
    by_synapse: bool
    learned: bool = False


SIGNALS: dict[str, Way] = {
    "propagated": Way("classes", by_current=True, by_synapse=False),
    "projection": Way("none", by_current=False, by_synapse=False),
    "learned": Way("classes", by_current=True, by_synapse=False, learned=True),
    "synapse": Way("classes", by_current=False, by_synapse=True),
    "drawn": Way("classes", by_current=False, by_synapse=True),
    "context-input": Way("recordings", by_current=True, by_synapse=True),
    "concatenated": Way("recordings", by_current=True, by_synapse=True, learned=True),
    "overlaid": Way("recordings", by_current=False, by_synapse=True),
}


@dataclass(frozen=True)
class SignalPath:
    """One way of the signal, with codes; parameters as :class:`~spikeprop.rules.SigProp`.

    Its tensors: ``signal.0`` ``(C, *features)`` for a fixed ``S`` and a constant code; else
    ``codes`` ``(P, C, D)`` and ``projection``, ``(F, D)`` as the weight of a linear layer, or
    shaped as the input behind D.
    """

    name: str
    scale: float
    coding: TimeCode
    placement: str
    signal_steps: int
    labels: str

    @property
    def way(self) -> Way:
        """How the signal enters."""
        way = SIGNALS[self.name]
        return way._replace(rows="recordings") if self.labels == "vectors" else way

    @property
    def plain(self) -> bool:
        """Whether the tensors are currents, one a class (and layer)."""
        whole = isinstance(self.coding, Constant) and self.labels != "vectors"
        return self.name == "projection" or (self.name == "propagated" and whole)

    def draw(
        self, codes: Tensor, shapes: Sequence[torch.Size], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Draw what depends on the layers' shapes alone."""
        if self.plain:
            shapes = shapes[:1] if self.name == "propagated" else shapes
            return {
                f"signal.{block}": random_projection(codes, shape, self.scale, generator)
                for block, shape in enumerate(shapes)
            }
        tensors = {"codes": self.coding.draw(codes, generator)}
        if self.way.by_current:
            width = tensors["codes"].shape[2]
            drawn = torch.randn((width, shapes[0].numel()), generator=generator)
            tensors["projection"] = (drawn * self.scale).T.contiguous()
        return tensors

    def draw_input(
        self, codes: Tensor, shape: torch.Size, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Draw what depends on the input's shape."""
        if self.name == "drawn":
            return {"projection": glyphs(len(codes), shape)}
        if self.name == "overlaid" and shape.numel() < codes.shape[1]:
            raise ValueError(
                f"signal='overlaid' puts {codes.shape[1]} entries of a code on the input, which "
                f"has only {shape.numel()}"
            )
        if self.name != "synapse":
            return {}
        drawn = torch.randn((codes.shape[1], *shape), generator=generator)
        return {"projection": drawn * self.scale}

    def begin(self, tensors: dict[str, Tensor], labels: Tensor | None) -> dict[str, Tensor]:
        """Return the tensors with what a batch's signals depend on: a dictionary of its own."""
        if labels is None:
            return dict(tensors)
        if self.labels == "batch":
            return {**tensors, "classes": labels.unique()}  # type: ignore[no-untyped-call]
        if self.way.rows == "recordings" or self.placement != "parallel":
            return {**tensors, "labels": labels}
        return dict(tensors)

    def code(self, tensors: dict[str, Tensor], t: int) -> Tensor | None:
        """Return the codes ``(S, D)`` of the signal rows at step ``t``; None where there is none.

        Without labels there are no rows for recordings.
        """
        labels = tensors.get("labels")
        if self.labels == "vectors":
            return labels
        codes = tensors["codes"]
        codes = codes[(t - 1) % len(codes)]
        if self.way.rows == "recordings":
            return None if labels is None else codes[labels]
        return codes[tensors["classes"]] if "classes" in tensors else codes

    def currents(self, tensors: dict[str, Tensor], t: int) -> Tensor | None:
        """Return the signal rows' ``S c_t``, features flat or not; None without such a current."""
        if not self.way.by_current:
            return None
        if self.plain:
            signal = tensors["signal.0"]
            signal = signal[tensors["classes"]] if "classes" in tensors else signal
        else:
            code = self.code(tensors, t)
            if code is None:
                return None
            signal = code @ tensors["projection"].detach().T
        stands = self.placement == "parallel" or self._stands(tensors, t)
        return signal if stands else torch.zeros_like(signal)

    def own_currents(self, tensors: dict[str, Tensor], t: int) -> Tensor | None:
        """Return the signal's current on the recordings' own membranes, one a recording."""
        if self.placement == "parallel" or "labels" not in tensors or not self._stands(tensors, t):
            return None
        signal = self.currents(tensors, t)
        assert signal is not None, "placed signals are currents"
        return signal[tensors["labels"]]

    def inputs(self, x_t: Tensor, tensors: dict[str, Tensor], t: int) -> Tensor | None:
        """Return the inputs ``(S, *inputs)`` of the signal rows to the first synapse."""
        if not self.way.by_synapse:
            return None
        code = self.code(tensors, t)
        if code is None:
            return None
        if self.name == "overlaid":
            over = x_t.clone().flatten(1)
            over[:, : code.shape[1]] = code
            return over.reshape(x_t.shape)
        if self.way.rows == "recordings":
            return x_t
        return torch.einsum("cd,d...->c...", code, tensors["projection"])

    def filters(self, evidence: tuple[Evidence, ...], steps: int) -> tuple[Evidence, ...]:
        """Return the evidence filters for recordings of so many time steps."""
        if self.placement == "parallel":
            return evidence
        return placed_filters(self.placement, evidence[0], steps, self.signal_steps)

    def arrange(self, x: Tensor, tensors: dict[str, Tensor]) -> Tensor:
        """Return ``x`` ``(T, ...)`` with the signal's own steps, and note T in ``tensors``."""
        if self.placement == "parallel":
            return x
        tensors["steps"] = torch.tensor(len(x))
        return arranged(self.placement, x, self.signal_steps)

    def _stands(self, tensors: dict[str, Tensor], t: int) -> bool:
        return is_signal_step(self.placement, t, int(tensors["steps"]), self.signal_steps)

    def with_class(
        self, tensors: dict[str, Tensor], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return the tensors that grow by a class, one-hot codes assumed."""
        grown, more = {}, 1
        for name, value in tensors.items():
            if name.startswith("signal."):
                row = torch.randn((1, *value.shape[1:]), generator=generator) * self.scale
                grown[name] = torch.cat([value, row.to(value)])
        if "codes" in tensors:
            codes = tensors["codes"]
            one_hot = torch.eye(codes.shape[1] + 1)
            fresh = self.coding.draw(one_hot, generator).to(codes)
            fresh[:, :-1] = 0.0  # the old classes' codes stay, and fire nothing that is new
            fresh[:, :-1, : codes.shape[2]] = codes
            more = fresh.shape[2] - codes.shape[2]
            grown["codes"] = fresh
        projection = tensors.get("projection")
        if projection is not None and self.way.by_current:
            columns = torch.randn((len(projection), more), generator=generator) * self.scale
            grown["projection"] = torch.cat([projection.detach(), columns.to(projection)], dim=1)
        elif projection is not None and self.name == "synapse":
            row = torch.randn((1, *projection.shape[1:]), generator=generator) * self.scale
            grown["projection"] = torch.cat([projection, row.to(projection)])
        elif projection is not None:
            grown["projection"] = glyphs(len(projection) + 1, projection.shape[1:]).to(projection)
        return grown
