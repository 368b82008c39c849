r"""Where along the time axis the signal stands.

``parallel``
    Beside the recording, in rows of its own of the batch, at every time step.
``interleaved``
    Recording and signal take turns on the same membrane: the recording at steps 1, 3, 5, ..., its
    class's signal at 2, 4, 6, ...
``leading``, ``trailing``
    Steps of signal alone, before or after the recording, on the same membrane.

On one membrane the two are told apart by time: ``h`` is the evidence gathered at the recording's
steps and ``s`` that of the signal's steps. Each is the voltage through a filter whose weight is 0
at the other's steps, so that the same filters on the eligibility trace give exact gradients,

    h_t = F_rec(mem)_t,  s_t = F_sig(mem)_t,  grad_t = delta^h_t (x) F_rec(trace)_t
                                                     + delta^s_t (x) F_sig(trace)_t

What a step leaves on the membrane, the next one finds: interleaved and leading signals reach ``h``
in training and not in prediction, where the class is not known.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from spikeprop.evidence import Evidence

__all__ = ["PLACEMENTS", "During", "arranged", "is_signal_step", "placed_filters"]

PLACEMENTS = ("parallel", "interleaved", "leading", "trailing")


@dataclass(frozen=True)
class During:
    """An evidence filter that looks only at its own steps: ``first, first + every, ... <= last``.

    Its weight is 0 at all others; among its own it counts from 1.
    """

    evidence: Evidence
    first: int
    every: int = 1
    last: int | None = None

    def weight(self, t: int) -> float:
        """Return ``w_t``."""
        past = t - self.first
        if past < 0 or past % self.every or (self.last is not None and t > self.last):
            return 0.0
        return self.evidence.weight(past // self.every + 1)


def placed_filters(
    placement: str, evidence: Evidence, steps: int, signal_steps: int
) -> tuple[Evidence, Evidence]:
    """Return the filters of recording and signal for a recording of ``steps`` time steps."""
    if placement == "interleaved":
        return During(evidence, 1, 2), During(evidence, 2, 2)
    if placement == "leading":
        return During(evidence, signal_steps + 1), During(evidence, 1, last=signal_steps)
    return During(evidence, 1, last=steps), During(evidence, steps + 1)


def is_signal_step(placement: str, t: int, steps: int, signal_steps: int) -> bool:
    """Tell whether the signal stands at step ``t`` (from 1)."""
    if placement == "interleaved":
        return t % 2 == 0
    return t <= signal_steps if placement == "leading" else t > steps


def arranged(placement: str, x: Tensor, signal_steps: int) -> Tensor:
    """Return ``x`` ``(T, ...)`` with empty time steps where the signal stands."""
    if placement == "interleaved":
        return torch.stack([x, torch.zeros_like(x)], dim=1).flatten(0, 1)
    blank = x.new_zeros(signal_steps, *x.shape[1:])
    return torch.cat([blank, x] if placement == "leading" else [x, blank])
