from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from spikeprop.evidence import Evidence, Leaky, RunningMean, as_filters
from spikeprop.homeostasis import Homeostasis
from spikeprop.rules.base import Constraints, Modulation
from spikeprop.rules.contrast import (
    NONE,
    ContrastRule,
    Rows,
    Seen,
    Wire,
)
from spikeprop.rules.labels import draw_wrong, shuffle_wrong, label_codes
from spikeprop.rules.goodness import contrast, goodness
from spikeprop.rules.local_readout import draw_readouts, readout_gradients, readout_logits


@dataclass(frozen=True)
class ForwardForward(ContrastRule):
    num_classes: int
    goodness: str = "voltage"
    label: str = "overlay"
    negatives: str = "wrong"
    n_negatives: int = 1
    objective: str = "pair"
    alpha: float = 4.0
    theta: float = 1.0
    cells: int = 1
    strength: float = 1.0
    density: float = 0.2
    prediction: str = "goodness"
    potential: str = "free"
    evidence: Any = RunningMean()
    stream_evidence: Any = Leaky(0.1)
    homeostasis: Homeostasis | None = Homeostasis()
    stream_homeostasis: Homeostasis | None = Homeostasis(gain=0.005)
    predict_from: str = "vote"

    @property
    def scouts(self):
        return self.negatives == "hard"

    def draw(self, shapes, generator):
        C = self.num_classes
        tensors = {}
        if self.label == "overlay":
            tensors["codes"] = torch.eye(C).repeat_interleave(self.cells, 1) * self.strength
        else:
            M = self.cells * C
            tensors["codes"] = (torch.rand(C, M, generator=generator) < self.density).float() * self.strength
            bound = 1.0 / math.sqrt(M)
            tensors["label.0"] = (torch.rand(shapes[0].numel(), M, generator=generator) * 2 - 1) * bound
        if self.prediction == "readout":
            tensors |= draw_readouts([s.numel() for s in shapes], C)
        return tensors

    def learned(self, tensors):
        return [n for n in tensors if n != "codes"]

    def wires(self, n_blocks):
        return [Wire("label.0", 0, "context")] if self.label == "appended" else []

    def rows(self, labels, n, scores):
        C = self.num_classes
        if labels is None:
            if self.prediction == "readout":
                classes = torch.full((1, n), NONE)
            else:
                classes = torch.arange(C)[:, None].expand(C, n)
            return Rows(classes, torch.zeros(classes.shape), None)
        groups, signs = [labels], [torch.ones(n)]
        if self.negatives == "all":
            k = torch.arange(1, C)[:, None]
            neg = (labels + k) % C
            groups += list(neg); signs += [-torch.ones(n)] * (C - 1)
        else:
          for _ in range(self.n_negatives):
            if self.negatives == "shuffled":
                w, ok = shuffle_wrong(labels)
                groups.append(w)
                signs.append(-ok.float())
            else:
                groups.append(draw_wrong(labels, C, scores))
                signs.append(-torch.ones(n))
        if self.prediction == "readout":
            groups.append(torch.full((n,), NONE))
            signs.append(torch.zeros(n))
        return Rows(torch.stack(groups), torch.stack(signs), labels)

    def stream_rows(self, labels, n, scores):
        raise NotImplementedError

    def imprint(self, x, rows, tensors):
        if self.label != "overlay":
            return x
        codes = label_codes(rows.classes, tensors["codes"]).to(x)
        R, M = codes.shape
        lead = x.shape[: x.dim()]
        # rows dim
        dim = 0 if x.shape[0] == R else 1
        flat = x.flatten(dim + 1)
        flat[..., :M] = codes
        return flat.reshape(x.shape)

    def context(self, rows, t, scores, tensors):
        return label_codes(rows.classes, tensors["codes"])

    def modulate(self, block, seen, tensors):
        value, g, delta = contrast(seen.evidence, seen.rows.signs, self)
        n = seen.rows.classes.shape[1]
        if self.prediction == "readout":
            logits = readout_logits(block, seen.evidence[-n:], tensors)
        else:
            logits = g.new_full((n, self.num_classes), -math.inf).scatter(1, seen.rows.classes.T, self.alpha * g.T)
        return Modulation(value, logits, delta)

    def logits(self, block, seen, tensors):
        if self.prediction == "readout":
            return readout_logits(block, seen.evidence, tensors)
        g = goodness(seen.evidence).reshape(seen.rows.classes.shape)
        return self.alpha * g.T

    def own_gradients(self, block, seen, tensors):
        if self.prediction != "readout":
            return {}
        n = seen.rows.classes.shape[1]
        return readout_gradients(block, seen.evidence[-n:], seen.rows.labels, tensors)

    def config(self):
        return {"rule": "x"}
