r"""Traces Propagation: spike traces of recordings and of targets, compared in every layer.

A one-hot target runs through a projection ``S`` of its own into the first layer, and from there on
through the same synapses, beside the recordings. Spikes leave traces, and the recordings' are told
apart by the targets', as softly as the targets differ in the layer below:

.. math::

    \varepsilon^l_t = \beta \varepsilon^l_{t-1} + s^l_t, \quad
    z_{bb'} = \varepsilon^l_b \cdot \tilde\varepsilon^l_{b'}, \quad
    y_{b\cdot} = \text{softmax}_{b'}\big(-\lVert \tilde\varepsilon^{l-1}_b -
    \tilde\varepsilon^{l-1}_{b'} \rVert\big), \quad
    E^l = -\frac1B \sum_b y_{b\cdot} \cdot \log \text{softmax}(z_{b\cdot})

.. math::

    \Delta W^l_t \propto - \Big(\frac{\partial E^l}{\partial \varepsilon^l_t} \odot \psi_t\Big)
    \otimes x_t - \Big(\frac{\partial E^l}{\partial \tilde\varepsilon^l_t} \odot \tilde\psi_t\Big)
    \otimes \tilde x_t

Derivatives are those of the present step; a target's row is one a class here, and is counted as
often as its class stands in the batch, which gives the same numbers. The output integrates the last
spikes, ``o_t = o_{t-1} + W^{out} s_t + b``, and learns by the delta rule on the trace.

Source: Pes et al., "Traces propagation: memory-efficient and scalable forward-only learning in
spiking neural networks", Neuromorph. Comput. Eng. 6, 014002, 2026 (arXiv 2509.13053), equations
(11) to (18), algorithm 1, section 3.1; the surrogate is the authors' arctangent. Reading taken:
maps of convolutions are compared flattened. ``similarity_scale`` divides the similarities (1 in the
paper).

Local in time: yes. Local in space: yes (layers compare their own traces and those that come to
them). Surrogate: yes. Feedback path: none. Contrastive: it needs batches with several classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from spikeprop.losses import cross_entropy
from spikeprop.rules.base import Constraints
from spikeprop.rules.pseudo import ATan, PseudoDerivative
from spikeprop.rules.readout_rule import ReadoutRule
from spikeprop.rules.three_factor import Eligibility, Lesson, Step, Trace

__all__ = ["TracesPropagation"]


@dataclass(frozen=True)
class TracesPropagation(ReadoutRule):
    """Traces Propagation.

    Parameters
    ----------
    trace_decay : float
        Decay ``beta`` of the spike traces per time step, from 0 to below 1.
    signal_scale : float
        Standard deviation of ``S`` as drawn.
    learn_projection : bool
        Whether ``S`` is trained, too.
    similarity_scale : float
        What similarities are divided by, above 0.
    **options
        Those of ``ReadoutRule``; ``kappa`` is not read.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """

    constraints: ClassVar[Constraints | None] = Constraints(
        local_in_time=True,
        local_in_space=True,
        surrogate=True,
        feedback="none",
        layerwise=False,
        changes_network="readout",
        memory="(B + C) (I + F)",
        multiply_adds="2 (B + C) I F + B B F",
        source="Pes et al., Neuromorph. Comput. Eng. 6, 014002 (2026)",
    )
    search: ClassVar[Mapping[str, Sequence[Any]]] = {
        "lr": (1e-3, 3e-4, 3e-3),
        "dropout": (0.0, 0.2),
        "trace_decay": (0.9, 0.98),
        "similarity_scale": (10.0, 3.0, 30.0),
        "homeostasis": (None, 0.1),
    }

    surrogate: PseudoDerivative | None = ATan(2.0)  # noqa: RUF009 - frozen
    trace_decay: float = 0.9
    signal_scale: float = 0.5
    learn_projection: bool = True
    similarity_scale: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.trace_decay < 1.0:
            raise ValueError(
                f"trace_decay has to be at least 0 and below 1, got {self.trace_decay}"
            )
        if not self.similarity_scale > 0.0:
            raise ValueError(f"similarity_scale has to be above 0, got {self.similarity_scale}")

    @property
    def undivided(self) -> str | None:
        """What needs the whole batch."""
        return "compares the traces of a batch with each other"

    @property
    def eligibilities(self) -> tuple[Eligibility, ...]:
        """The presynaptic spikes of the step."""
        return (Trace(0.0),)

    def draw(self, shapes: Sequence[torch.Size], generator: torch.Generator) -> dict[str, Tensor]:
        """Draw the readout and ``S``."""
        own = super().draw(shapes, generator)
        drawn = torch.randn((self.num_classes, shapes[0].numel()), generator=generator)
        own["signal"] = (self.signal_scale * drawn).reshape(self.num_classes, *shapes[0])
        return own

    def learned(self, tensors: dict[str, Tensor]) -> list[str]:
        """Return the readout's names, and ``S``'s where it is trained."""
        return [*super().learned(tensors), *(["signal"] if self.learn_projection else [])]

    def current(self, tensors: dict[str, Tensor]) -> Tensor:
        """Return ``S c`` for every class, the same at every step."""
        return tensors["signal"].detach()

    def learn(self, step: Step) -> Lesson:
        """Compare traces in each layer, and let the error train the output."""
        n = len(step.views[0].spk) - self.num_classes
        traces = [view.follow("trace", view.spk, self.trace_decay) for view in step.views]
        last = step.views[-1]
        weight = step.tensors["readout.weight"].detach()
        current = last.spk[:n] @ weight.T + step.tensors["readout.bias"].detach()
        y = last.follow("output", current, 1.0)
        logits = [y] * len(step.views)
        if step.labels is None:
            return Lesson([y.new_zeros(())] * len(step.views), logits, [], {})
        below = self._target_traces(step, y)
        values: list[Tensor] = []
        deltas: list[tuple[Tensor, ...]] = []
        for view, trace in zip(step.views, traces, strict=True):
            value, at_trace = self._compare(trace[:n], trace[n:], below, step.labels)
            values.append(value)
            deltas.append((at_trace * view.psi,))
            below = trace[n:]
        _, error = cross_entropy(y, step.labels)
        gradients = {"readout.weight": error.T @ traces[-1][:n], "readout.bias": error.sum(dim=0)}
        if self.learn_projection:
            gradients["signal"] = deltas[0][0][n:].reshape(step.tensors["signal"].shape)
        return Lesson(values, logits, deltas, gradients)

    def _target_traces(self, step: Step, like: Tensor) -> Tensor:
        """Return the traces of the one-hot targets themselves, ``(C, C)``."""
        onehot = torch.eye(self.num_classes, dtype=like.dtype, device=like.device)
        return step.views[0].follow("target", onehot, self.trace_decay)

    def _compare(
        self, h: Tensor, t: Tensor, below: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the loss and its gradient at the traces of all rows, ``(B + C, F)``."""
        z = h @ t[labels].T / self.similarity_scale
        wanted = torch.softmax(-torch.cdist(below, below)[labels][:, labels], dim=1)
        value = -(wanted * torch.log_softmax(z, dim=1)).sum(dim=1).mean()
        error = (torch.softmax(z, dim=1) - wanted) / (len(h) * self.similarity_scale)
        at_targets = torch.zeros_like(t).index_add_(0, labels, error.T @ h)
        return value, torch.cat([error @ t[labels], at_targets])

    def signals(self, step: Step, error: Tensor) -> list[Tensor]:
        """Not asked for: :meth:`learn` has signals of its own."""
        raise NotImplementedError
