"""One trained module on its way along the time axis: its traces and the gradient they make.

For a neuron whose sub-threshold dynamics are the linear filter ``F`` and evidence filters ``E_k``:

    trace_t = F(x)_t,   e^k_t = E_k(trace)_t,   grad_t = sum over k of  delta^k_t (x) e^k_t

The bias is a synapse from a constant 1 with traces of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from spikeprop.blocks import Site
from spikeprop.evidence import Evidence
from spikeprop.parametrizations import set_gradient, trains
from spikeprop.synapses import pull_back, synapse_of

__all__ = ["SitePass"]


class SitePass:
    """A trained module, followed through one batch of sequences or one stream.

    Parameters
    ----------
    site : Site
        The module and the chain behind it.
    decay : float
        Decay factor of the neuron's voltage.
    filters : sequence of Evidence
        Filters of the voltage that the loss looks at.
    rows : slice
        Rows of the batch whose current comes from this module.
    """

    def __init__(self, site: Site, decay: float, filters: Sequence[Evidence], rows: slice) -> None:
        rule = synapse_of(site.module)
        assert rule is not None, "find_blocks returns known synapses only"
        self.site, self.calls = site, 0
        self._rule, self._decay, self._filters, self._rows = rule, decay, filters, rows
        module: Any = site.module
        self._module = module
        self._gradients = {
            name: torch.zeros_like(getattr(module, name), requires_grad=False)
            for name in ("weight", "bias")
            if trains(module, name)
        }
        self._trace: Tensor | None = None
        self._eligibility: list[Tensor] = []
        self._bias_trace = 0.0
        self._bias_eligibility = [0.0] * len(filters)

    @property
    def tracks(self) -> bool:
        """Whether anything here is trained."""
        return bool(self._gradients)

    def take(self, x: Tensor) -> None:
        """Note the input ``x`` ``(R, *inputs)`` of a time step."""
        self.calls += 1
        if self._gradients:
            self._advance(self._rule.presynaptic(self._module, x[self._rows]), 1.0)

    def skip(self) -> None:
        """Note a time step in which the module was not called: no input, and no bias either."""
        self.calls += 1
        if self._trace is not None:
            self._advance(None, 0.0)

    def _advance(self, x: Tensor | None, one: float) -> None:
        if self._trace is None:
            assert x is not None, "skip does nothing before the first input"
            self._trace = torch.zeros_like(x)
            self._eligibility = [torch.zeros_like(x) for _ in self._filters]
        self._trace.mul_(self._decay)
        if x is not None:
            self._trace.add_(x)
        self._bias_trace = self._decay * self._bias_trace + one
        for k, evidence in enumerate(self._filters):
            weight = evidence.weight(self.calls)
            self._eligibility[k].lerp_(self._trace, weight)
            self._bias_eligibility[k] += weight * (self._bias_trace - self._bias_eligibility[k])

    def learn(self, parts: Sequence[Tensor]) -> None:
        """Add one time step's gradient; ``parts`` has the modulator of each filter ``(R, ...)``."""
        if self._trace is None:
            return
        for part, trace, bias_trace in zip(
            parts, self._eligibility, self._bias_eligibility, strict=True
        ):
            delta = pull_back(self.site.chain, part[self._rows])
            if "weight" in self._gradients:
                self._rule.add_weight_gradient(
                    self._module, self._gradients["weight"], delta, trace
                )
            if "bias" in self._gradients:
                gradient = self._rule.bias_gradient(self._module, delta)
                self._gradients["bias"].add_(gradient, alpha=bias_trace)

    def hand_over(self) -> None:
        """Put the summed gradient where the optimiser looks for it."""
        for name, gradient in self._gradients.items():
            set_gradient(self._module, name, gradient)

    def forget(self) -> None:
        """Start a new sum."""
        for gradient in self._gradients.values():
            gradient.zero_()
